//! What is remembered of a user: the last events, what was seen and hidden, the open session, tastes.

use super::bytes::parts;
use super::forward::Forward;
use super::id::{Id, Map};
use crate::config::recommend::Recommend;
use crate::state::At;

/// One event of a user's past.
#[derive(Debug, Clone)]
pub struct Past {
    pub time_ms: i64,
    pub offset: i64,
    pub item: Id,
    /// Fingerprint of the event's id: an event that comes again is known by it.
    pub id: u64,
    /// Number of the session that it belongs to.
    pub session: u32,
}
parts!(Past { time_ms, offset, item, id, session });

/// The newest session.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    pub number: u32,
    pub start_ms: i64,
    pub end_ms: i64,
    pub events: u32,
}
parts!(Visit { number, start_ms, end_ms, events });

/// The decayed sum of the vectors of what a user took: `sum * 2^exponent`, so that it need not be touched to fade.
#[derive(Debug, Clone, Default)]
pub struct Taste {
    pub exponent: i32,
    pub sum: Vec<f64>,
    pub events: u64,
    pub newest_ms: i64,
}
parts!(Taste { exponent, sum, events, newest_ms });

impl Taste {
    pub fn take(&mut self, vector: &[f32], weight: f64, growth: Forward, at_ms: i64) {
        let (exponent, mantissa) = growth.parts();
        if self.sum.is_empty() {
            (self.exponent, self.sum) = (exponent, vec![0.0; vector.len()]);
        }
        if exponent > self.exponent {
            let fade = super::forward::power_of_two(self.exponent - exponent);
            self.sum.iter_mut().for_each(|x| *x *= fade);
            self.exponent = exponent;
        }
        let factor = weight * mantissa * super::forward::power_of_two(exponent - self.exponent);
        self.sum.iter_mut().zip(vector).for_each(|(x, y)| *x += factor * f64::from(*y));
        self.events += 1;
        self.newest_ms = self.newest_ms.max(at_ms);
    }
}

#[derive(Debug, Clone, Default)]
pub struct User {
    /// Oldest first.
    pub past: Vec<Past>,
    /// When each item was last taken.
    pub seen: Map<i64>,
    pub hidden: Map<i64>,
    pub visit: Visit,
    pub affinity: Map<Forward>,
    pub taste: Option<Taste>,
    pub events: u64,
    pub truncated: bool,
}
parts!(User { past, seen, hidden, visit, affinity, taste, events, truncated });

impl User {
    pub fn newest_ms(&self) -> Option<i64> {
        self.past.last().map(|past| past.time_ms)
    }

    pub fn knows(&self, id: u64, item: &Id) -> bool {
        self.past.iter().any(|past| past.id == id && past.item == *item)
    }

    /// The session that an event at this time belongs to, were it folded.
    pub fn session_at(&self, time_ms: i64, gap_ms: Option<i64>) -> u32 {
        match gap_ms {
            Some(gap_ms) if self.visit.events > 0 && time_ms - self.visit.end_ms > gap_ms => self.visit.number + 1,
            _ => self.visit.number,
        }
    }

    /// What came before an event, newest first.
    pub fn before(&self, at: At) -> impl Iterator<Item = &Past> {
        let end = self.past.partition_point(|past| (past.time_ms, past.offset) < (at.time_ms, at.offset));
        self.past[..end].iter().rev()
    }

    /// The distinct items of the past, newest first.
    pub fn last_items(&self, most: usize) -> Vec<&Id> {
        let mut items: Vec<&Id> = Vec::with_capacity(most);
        for past in self.past.iter().rev() {
            if items.len() == most {
                break;
            }
            if !items.contains(&&past.item) {
                items.push(&past.item);
            }
        }
        items
    }

    pub fn take(&mut self, past: Past, config: &Recommend) {
        let gap_ms = config.session.as_ref().map(|session| session.gap.ms());
        let (time_ms, number) = (past.time_ms, self.session_at(past.time_ms, gap_ms));
        if number != self.visit.number || self.visit.events == 0 {
            self.visit = Visit { number, start_ms: time_ms, end_ms: time_ms, events: 0 };
        }
        self.visit.events += 1;
        self.visit.start_ms = self.visit.start_ms.min(time_ms);
        self.visit.end_ms = self.visit.end_ms.max(time_ms);
        let last = self.seen.entry(past.item.clone()).or_insert(time_ms);
        *last = time_ms.max(*last);
        self.truncated |= cap_oldest(&mut self.seen, config.history.seen);
        let place = self.past.partition_point(|other| (other.time_ms, other.offset) <= (time_ms, past.offset));
        self.past.insert(place, past);
        if self.past.len() > config.history.items {
            self.past.remove(0);
        }
        self.events += 1;
    }

    pub fn hide(&mut self, item: &Id, time_ms: i64, config: &Recommend) {
        let last = self.hidden.entry(item.clone()).or_insert(time_ms);
        *last = time_ms.max(*last);
        self.truncated |= cap_oldest(&mut self.hidden, config.entries);
    }

    pub fn like(&mut self, categories: &[Id], weight: f64, at_ms: i64, config: &Recommend) {
        let Some(affinity) = &config.affinity else { return };
        let growth = Forward::growth(at_ms, Some(affinity.half_life.ms()));
        for category in categories {
            self.affinity.entry(category.clone()).or_default().add(weight, growth);
        }
        while self.affinity.len() > affinity.categories {
            self.truncated = true;
            let weakest = self.affinity.iter().min_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
            let Some(weakest) = weakest.map(|(category, _)| category.clone()) else { break };
            self.affinity.remove(&weakest);
        }
    }

    /// Categories by how much they are liked.
    pub fn liked(&self, most: usize) -> Vec<(&Id, Forward)> {
        let mut liked: Vec<(&Id, Forward)> = self.affinity.iter().map(|(category, weight)| (category, *weight)).collect();
        liked.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        liked.truncate(most);
        liked
    }

    pub fn heap_bytes(&self) -> usize {
        self.past.capacity() * size_of::<Past>()
            + (self.seen.capacity() + self.hidden.capacity() + self.affinity.capacity()) * 30
            + self.taste.as_ref().map_or(0, |taste| taste.sum.len() * 8)
    }
}

/// Keeps the newest; says whether one went.
fn cap_oldest(map: &mut Map<i64>, most: usize) -> bool {
    let mut cut = false;
    while map.len() > most {
        let oldest = map.iter().min_by(|a, b| a.1.cmp(b.1).then(a.0.cmp(b.0))).map(|(item, _)| item.clone());
        let Some(oldest) = oldest else { break };
        map.remove(&oldest);
        cut = true;
    }
    cut
}
