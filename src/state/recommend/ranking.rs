//! Counts of items, and their order. Fading keeps the order, so it is changed by events alone.

use super::bytes::{Part, Read, parts};
use super::forward::Forward;
use super::id::{Id, Map};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A weight, and how many events stand behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tally {
    exponent: i32,
    events: u32,
    mantissa: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self::of(Forward::default(), 0)
    }
}

impl Tally {
    fn of(weight: Forward, events: u32) -> Self {
        let (exponent, mantissa) = weight.parts();
        Self { exponent, events, mantissa }
    }

    pub fn weight(&self) -> Forward {
        Forward::from_parts(self.exponent, self.mantissa).unwrap_or_default()
    }

    pub fn take(&mut self, weight: f64, growth: Forward) {
        let mut sum = self.weight();
        sum.add(weight, growth);
        *self = Self::of(sum, self.events + 1);
    }
}

impl Part for Tally {
    fn write(&self, into: &mut Vec<u8>) {
        self.weight().write(into);
        self.events.write(into);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        Ok(Self::of(Forward::read(from)?, u32::read(from)?))
    }
}

/// A taking that a window still sees.
#[derive(Debug, Clone, PartialEq)]
struct Taken {
    at_ms: i64,
    weight: f64,
    item: Id,
}
parts!(Taken { at_ms, weight, item });

/// Events over which a ranking is judged.
const FORESIGHT_EVENTS: u32 = 1_000;

/// How a ranking forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Fades by half in so many milliseconds; `None`: never.
    Decay(Option<i64>),
    /// Sees the last so many milliseconds.
    Window(i64),
}

impl Memory {
    pub fn growth(self, time_ms: i64) -> Forward {
        match self {
            Self::Decay(half_life_ms) => Forward::growth(time_ms, half_life_ms),
            Self::Window(_) => Forward::of(1.0),
        }
    }
}

/// Items by weight.
#[derive(Debug, Clone, Default)]
pub struct Ranking {
    tallies: Map<Tally>,
    /// Of a window: what it sees, oldest first.
    taken: Vec<Taken>,
    /// Of `taken`, how many at its front are gone already; they are cleared away in bulk.
    gone: usize,
    newest_ms: i64,
    pub truncated: bool,
    /// Share of the last events that were among the ten best before they came, and over how many it is the mean.
    foresight: f64,
    asked: u32,
    /// The tallies by weight: derived, never written.
    order: BTreeSet<(Forward, Reverse<Id>)>,
}

impl Ranking {
    pub fn take(&mut self, item: &Id, weight: f64, at_ms: i64, memory: Memory, most: usize) {
        let foreseen = self.order.iter().rev().take(10).any(|(_, Reverse(best))| best == item);
        self.asked = (self.asked + 1).min(FORESIGHT_EVENTS);
        self.foresight += (f64::from(u8::from(foreseen)) - self.foresight) / f64::from(self.asked);
        if let Memory::Window(window_ms) = memory {
            self.newest_ms = if self.tallies.is_empty() { at_ms } else { self.newest_ms.max(at_ms) };
            self.expire(self.newest_ms - window_ms);
            if at_ms <= self.newest_ms - window_ms {
                return;
            }
            let place = self.taken.partition_point(|taken| taken.at_ms <= at_ms).max(self.gone);
            self.taken.insert(place, Taken { at_ms, weight, item: item.clone() });
            if self.taken.len() - self.gone > most {
                self.truncated = true;
                self.drop_oldest();
            }
        }
        self.change(item, |tally| tally.take(weight, memory.growth(at_ms)));
        while self.tallies.len() > most {
            self.truncated = true;
            let Some((_, Reverse(weakest))) = self.order.first().cloned() else { break };
            self.change(&weakest, |tally| *tally = Tally::default());
        }
    }

    /// Forgets what a window no longer sees.
    fn expire(&mut self, until_ms: i64) {
        while self.taken.get(self.gone).is_some_and(|taken| taken.at_ms <= until_ms) {
            self.drop_oldest();
        }
        if self.gone * 2 > self.taken.len() {
            self.taken.drain(..self.gone);
            self.gone = 0;
        }
    }

    fn drop_oldest(&mut self) {
        let Taken { weight, item, .. } = self.taken[self.gone].clone();
        self.gone += 1;
        self.change(&item, |tally| {
            let rest = Forward::of(tally.weight().at(Forward::of(1.0)) - weight);
            *tally = if tally.events > 1 { Tally::of(rest, tally.events - 1) } else { Tally::default() };
        });
    }

    fn change(&mut self, item: &Id, change: impl FnOnce(&mut Tally)) {
        let tally = self.tallies.entry(item.clone()).or_default();
        let before = *tally;
        change(tally);
        let after = *tally;
        // By its events: a window that has lost more than a capped item has gathered since leaves a weight of zero.
        if before.events > 0 {
            self.order.remove(&(before.weight(), Reverse(item.clone())));
        }
        if after.events == 0 {
            self.tallies.remove(item);
        } else {
            self.order.insert((after.weight(), Reverse(item.clone())));
        }
    }

    /// The ranking at a time from its newest event on.
    pub fn sight(&self, time_ms: i64, memory: Memory) -> Sight<'_> {
        let mut lost = Map::default();
        if let Memory::Window(window_ms) = memory {
            let gone = self.taken[self.gone..].iter().take_while(|taken| taken.at_ms <= time_ms - window_ms);
            for Taken { weight, item, .. } in gone {
                let entry: &mut (f64, u32) = lost.entry(item.clone()).or_default();
                *entry = (entry.0 + weight, entry.1 + 1);
            }
        }
        Sight { ranking: self, growth: memory.growth(time_ms), lost }
    }

    pub fn heap_bytes(&self) -> usize {
        self.tallies.len() * 130 + self.taken.capacity() * size_of::<Taken>()
    }
}

/// A ranking looked at: faded, and without what its window has lost since the newest event.
pub struct Sight<'a> {
    ranking: &'a Ranking,
    growth: Forward,
    lost: Map<(f64, u32)>,
}

impl<'a> Sight<'a> {
    /// Weight and events of an item.
    pub fn of(&self, item: &Id) -> (f64, u32) {
        self.ranking.tallies.get(item).map_or((0.0, 0), |tally| self.now(item, tally))
    }

    /// How often the ten best were right of late.
    pub fn foresight(&self) -> f64 {
        self.ranking.foresight
    }

    fn now(&self, item: &Id, tally: &Tally) -> (f64, u32) {
        let weight = tally.weight().at(self.growth);
        match self.lost.get(item) {
            Some((_, events)) if *events >= tally.events => (0.0, 0),
            Some((lost, events)) => (weight - lost, tally.events - events),
            None => (weight, tally.events),
        }
    }

    /// The heaviest that are allowed; equal ones by name.
    pub fn best(&self, most: usize, allowed: impl Fn(&Id) -> bool) -> Vec<(&'a Id, f64)> {
        let order = self.ranking.order.iter().rev().map(|(_, Reverse(item))| item).filter(|item| allowed(item));
        // What the window has lost may have stood before anything else.
        let mut best: Vec<(&'a Id, f64)> =
            order.take(most + self.lost.len()).map(|item| (item, self.of(item).0)).filter(|(_, weight)| *weight > 0.0).collect();
        if !self.lost.is_empty() {
            best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        }
        best.truncate(most);
        best
    }
}

impl Part for Ranking {
    fn write(&self, into: &mut Vec<u8>) {
        self.tallies.write(into);
        let seen = &self.taken[self.gone..];
        seen.len().write(into);
        seen.iter().for_each(|taken| taken.write(into));
        self.newest_ms.write(into);
        self.truncated.write(into);
        self.foresight.write(into);
        self.asked.write(into);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let tallies = Map::<Tally>::read(from)?;
        let (taken, newest_ms, truncated) = (Vec::read(from)?, i64::read(from)?, bool::read(from)?);
        let (foresight, asked) = (f64::read(from)?, u32::read(from)?);
        let order = tallies.iter().map(|(item, tally)| (tally.weight(), Reverse(item.clone()))).collect();
        Ok(Self { tallies, taken, gone: 0, newest_ms, truncated, foresight, asked, order })
    }
}
