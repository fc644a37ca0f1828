//! What is remembered of an item: what it is, what follows it, the sessions that held it, its impressions.

use super::bytes::parts;
use super::forward::Forward;
use super::id::{Id, Map};
use super::ranking::Tally;
use std::collections::VecDeque;

/// What an item event said.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    pub title: Option<Box<str>>,
    pub categories: Vec<Id>,
    pub hidden: bool,
    /// After this the item is not shown.
    pub expires_ms: Option<i64>,
    /// Of the model that the config names.
    pub vector: Option<Vec<f32>>,
    /// Event time of the item event.
    pub time_ms: i64,
}
parts!(Meta { title, categories, hidden, expires_ms, vector, time_ms });

/// What was taken after, or with, this item.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub pairs: Map<Tally>,
    pub sum: Forward,
    pub truncated: bool,
}
parts!(Row { pairs, sum, truncated });

impl Row {
    pub fn take(&mut self, other: &Id, weight: f64, growth: Forward, most: usize) {
        let pair = match self.pairs.get_mut(other) {
            Some(pair) => pair,
            None => self.pairs.entry(other.clone()).or_default(),
        };
        pair.take(weight, growth);
        self.sum.add(weight, growth);
        // An eighth more than the cap before the weakest go: they are looked for seldom.
        if self.pairs.len() > most + most / 8 {
            self.truncated = true;
            let mut weights: Vec<(Forward, Id)> = self.pairs.iter().map(|(id, pair)| (pair.weight(), id.clone())).collect();
            weights.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            for (_, weakest) in &weights[..self.pairs.len() - most] {
                self.pairs.remove(weakest);
            }
        }
    }
}

/// A session that held the item, with its items in order.
#[derive(Debug, Clone)]
pub struct Sitting {
    pub newest_ms: i64,
    pub user: Id,
    pub number: u32,
    pub items: Vec<Id>,
}
parts!(Sitting { newest_ms, user, number, items });

#[derive(Debug, Clone, Default)]
pub struct Item {
    pub meta: Option<Box<Meta>>,
    /// As the co-visits are declared.
    pub rows: Vec<Row>,
    /// Oldest first.
    pub sittings: VecDeque<Sitting>,
    pub events: u64,
    pub taken: Forward,
    pub impressions: Forward,
    pub impression_events: u64,
    pub newest_ms: i64,
}
parts!(Item { meta, rows, sittings, events, taken, impressions, impression_events, newest_ms });

/// Sessions that are looked at to tell how much memory all take.
const SITTINGS_ASKED: usize = 8;

impl Item {
    pub fn row(&mut self, number: usize) -> &mut Row {
        if self.rows.len() <= number {
            self.rows.resize_with(number + 1, Row::default);
        }
        &mut self.rows[number]
    }

    /// Takes a session as it stands after an event: it replaces what was known of it. What is known was told by an event of the
    /// session, so it is not older than the session's `start_ms`.
    pub fn sit(
        &mut self,
        (user, number, start_ms): (&Id, u32, i64),
        newest_ms: i64,
        items: impl FnOnce(&mut Vec<Id>),
        most: usize,
    ) {
        let newer = self.sittings.iter().rev().take_while(|sitting| sitting.newest_ms >= start_ms);
        let back = newer.enumerate().find(|(_, sitting)| sitting.number == number && sitting.user == *user).map(|(back, _)| back);
        let known = back.and_then(|back| self.sittings.remove(self.sittings.len() - 1 - back));
        let mut sitting = known.unwrap_or_else(|| Sitting { newest_ms, user: user.clone(), number, items: Vec::new() });
        sitting.newest_ms = newest_ms.max(sitting.newest_ms);
        items(&mut sitting.items);
        let order = |other: &Sitting| (other.newest_ms, &other.user, other.number) < (sitting.newest_ms, user, number);
        let place = self.sittings.partition_point(order);
        self.sittings.insert(place, sitting);
        if self.sittings.len() > most {
            self.sittings.pop_front();
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(|row| 48 + row.pairs.capacity() * 38).sum();
        // Asked after every event: the newest sessions stand for the others.
        let newest = self.sittings.iter().rev().take(SITTINGS_ASKED);
        let items: usize = newest.map(|sitting| sitting.items.capacity() * size_of::<Id>()).sum();
        let sittings = self.sittings.len() * 72 + items * self.sittings.len().div_ceil(SITTINGS_ASKED);
        let vector = |meta: &Meta| meta.vector.as_ref().map_or(0, |vector| vector.len() * 4);
        let meta = self.meta.as_ref().map_or(0, |meta| 120 + vector(meta) + meta.categories.len() * size_of::<Id>());
        rows + sittings + meta
    }
}
