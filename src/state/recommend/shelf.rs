//! What is remembered of all items together, or of those of one category: rankings, totals, what may not be shown, new items.

use super::bytes::parts;
use super::forward::Forward;
use super::id::{Id, Map};
use super::ranking::Ranking;

/// An item with a vector, as a candidate for those who like its kind.
#[derive(Debug, Clone)]
pub struct Card {
    pub item: Id,
    pub vector: Vec<f32>,
}
parts!(Card { item, vector });

#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// All events of an item.
    pub counts: Map<u64>,
    /// As the popularities of this scope are declared; then short and long of the trend.
    pub rankings: Vec<Ranking>,
    pub events: u64,
    pub newest_ms: i64,
    /// Sessions that began.
    pub sessions: u64,
    pub taken: Forward,
    pub impressions: Forward,
    /// Items that may not be shown from this time on.
    pub withheld: Map<i64>,
    /// Newest last.
    pub catalogue: Vec<Card>,
    pub truncated: bool,
}
parts!(Shelf { counts, rankings, events, newest_ms, sessions, taken, impressions, withheld, catalogue, truncated });

impl Shelf {
    pub fn count(&mut self, item: &Id, most: usize) {
        match self.counts.get_mut(item) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(item.clone(), 1);
            }
        }
        // An eighth more than the cap before the rarest go: they are looked for seldom.
        if self.counts.len() > most + most / 8 {
            self.truncated = true;
            let mut counts: Vec<(u64, Id)> = self.counts.iter().map(|(id, count)| (*count, id.clone())).collect();
            counts.sort_unstable();
            for (_, rarest) in &counts[..counts.len() - most] {
                self.counts.remove(rarest);
            }
        }
    }

    pub fn ranking(&mut self, number: usize) -> &mut Ranking {
        if self.rankings.len() <= number {
            self.rankings.resize_with(number + 1, Ranking::default);
        }
        &mut self.rankings[number]
    }

    pub fn shows(&self, item: &Id, time_ms: i64) -> bool {
        self.withheld.get(item).is_none_or(|from_ms| time_ms < *from_ms)
    }

    /// An item from this time on, or for ever.
    pub fn withhold(&mut self, item: &Id, from_ms: Option<i64>, most: usize) {
        match from_ms {
            Some(from_ms) => {
                self.withheld.insert(item.clone(), from_ms);
            }
            None => {
                self.withheld.remove(item);
            }
        }
        // What is withheld since longest is the least likely to be a candidate still.
        while self.withheld.len() > most {
            self.truncated = true;
            let oldest = self.withheld.iter().min_by(|a, b| a.1.cmp(b.1).then(a.0.cmp(b.0))).map(|(item, _)| item.clone());
            let Some(oldest) = oldest else { break };
            self.withheld.remove(&oldest);
        }
    }

    pub fn shelve(&mut self, item: &Id, vector: Option<&[f32]>, most: usize) {
        self.catalogue.retain(|card| card.item != *item);
        if let Some(vector) = vector {
            self.catalogue.push(Card { item: item.clone(), vector: vector.into() });
        }
        if self.catalogue.len() > most {
            self.catalogue.remove(0);
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let rankings: usize = self.rankings.iter().map(Ranking::heap_bytes).sum();
        // All vectors have the length that the config says.
        let vector = self.catalogue.last().map_or(0, |card| size_of::<Card>() + card.vector.len() * 4);
        rankings + self.catalogue.len() * vector + self.withheld.capacity() * 28 + self.counts.capacity() * 28
    }
}
