//! The protocols: what is folded, what is asked before it, and how the answer is ranked.

use super::input::Taken;
use super::metrics::Metrics;
use crate::event::{Event, Rejection};
use crate::state::in_memory::InMemory;
use crate::state::recommend::{Blend, Id, RecommendFold, State, View};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{HashMap, HashSet};

static EMPTY: State = State::Empty;

/// A fold with its states, and what it is asked.
pub struct Evaluation<'a> {
    pub states: InMemory<RecommendFold>,
    pub metrics: Metrics,
    /// Called after each event.
    pub progress: &'a dyn Fn(),
}

/// Which item of a user is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Split {
    /// The last but one: for choosing settings.
    Valid,
    /// The last one.
    Test,
}

impl Evaluation<'_> {
    /// Asks for the list of a user as the states stand, and ranks what the user takes: its place in the list,
    /// or, among others, after all that score the same.
    fn rank(&self, taken: &Taken, offset: i64, among: Option<&[&str]>) -> Result<Option<usize>, Rejection> {
        let seen = self.states.look(&taken.request(offset), &EMPTY)?;
        let view = View::new(self.states.fold(), &seen.states, &seen.facts);
        let (blend, item) = (Blend::new(&view), Id::new(&taken.item));
        let score = blend.of(&item);
        if let Some(others) = among {
            let above = others.iter().filter(|other| ***other != *taken.item && blend.of(&Id::new(other)) >= score);
            return Ok(Some(1 + above.count()));
        }
        let place = blend.scored.iter().position(|other| *other.item == item);
        Ok(place.filter(|place| blend.scored[*place].score > 0.0).map(|place| place + 1))
    }

    fn fold(&mut self, event: &Event, keys: usize) -> Result<(), Rejection> {
        (self.progress)();
        self.states.fold_into(event, keys)
    }

    /// Item events come before everything.
    pub fn describe(&mut self, items: &[Event]) -> Result<(), Rejection> {
        items.iter().try_for_each(|event| self.states.fold_into(event, usize::MAX))
    }

    /// Leave one out. All but the last two items of a user are folded; then the last but one into the user alone, and the last is
    /// asked for. With `negatives` it is ranked among so many items that are not in the folded part, drawn with repetition.
    pub fn leave_one_out(&mut self, taken: &[Taken], split: Split, negatives: Option<(usize, u64)>) -> Result<(), Rejection> {
        let mut by_user: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut users: Vec<&str> = Vec::new();
        for (number, event) in taken.iter().enumerate() {
            by_user.entry(&event.user).or_insert_with(|| {
                users.push(&event.user);
                Vec::new()
            });
            by_user.entry(&event.user).and_modify(|own| own.push(number));
        }
        users.retain(|user| by_user[user].len() >= 3);
        let last_two: HashSet<usize> = users.iter().flat_map(|user| by_user[user].iter().rev().take(2).copied()).collect();
        for (number, event) in taken.iter().enumerate().filter(|(number, _)| !last_two.contains(number)) {
            self.fold(&event.event(number as i64), usize::MAX)?;
        }
        let mut catalogue: Vec<&str> = taken.iter().map(|event| &*event.item).collect();
        catalogue.sort_unstable();
        catalogue.dedup();
        let mut random = StdRng::seed_from_u64(negatives.map_or(0, |(_, seed)| seed));
        for user in users {
            let own = &by_user[user];
            let (train, rest) = own.split_at(own.len() - 2);
            let asked = match split {
                Split::Valid => rest[0],
                Split::Test => {
                    self.fold(&taken[rest[0]].event(rest[0] as i64), 1)?;
                    rest[1]
                }
            };
            let others: Option<Vec<&str>> = negatives.map(|(count, _)| {
                let train: HashSet<&str> = train.iter().map(|number| &*taken[*number].item).collect();
                let draw = std::iter::repeat_with(|| catalogue[random.random_range(0..catalogue.len())]);
                draw.filter(|item| !train.contains(item)).take(count).collect()
            });
            (self.progress)();
            let rank = self.rank(&taken[asked], asked as i64, others.as_deref())?;
            self.metrics.take(rank);
        }
        Ok(())
    }

    /// Test, then train: every event after the first `warm_up` share is asked for as the states stand before it, then folded.
    pub fn prequential(&mut self, taken: &[Taken], warm_up: f64) -> Result<(), Rejection> {
        let first = (taken.len() as f64 * warm_up).round() as usize;
        for (number, event) in taken.iter().enumerate() {
            if number >= first {
                let rank = self.rank(event, number as i64, None)?;
                self.metrics.take(rank);
            }
            self.fold(&event.event(number as i64), usize::MAX)?;
        }
        Ok(())
    }

    /// Next item of a session: all of `train` is folded; then every event of a test session but its first is asked for, and folded
    /// into that session alone: what is known of items stays as it was.
    pub fn sessions(&mut self, train: &[Taken], test: &[Taken]) -> Result<(), Rejection> {
        for (number, event) in train.iter().enumerate() {
            self.fold(&event.event(number as i64), usize::MAX)?;
        }
        let mut begun: HashSet<&str> = HashSet::new();
        for (number, event) in test.iter().enumerate() {
            let offset = (train.len() + number) as i64;
            // A session of the test may bear a name that one of the training has.
            let named = Taken { user: format!("test {}", event.user).into(), ..event.clone() };
            if !begun.insert(&event.user) {
                let rank = self.rank(&named, offset, None)?;
                self.metrics.take(rank);
            }
            self.fold(&named.event(offset), 1)?;
        }
        Ok(())
    }
}

/// The sessions that begin in the last fifth of the events, and the events of all others that came before.
pub fn newest_sessions(taken: Vec<Taken>) -> (Vec<Taken>, Vec<Taken>) {
    let mut first: HashMap<Box<str>, i64> = HashMap::new();
    for event in &taken {
        first.entry(event.user.clone()).or_insert(event.time_ms);
    }
    let cut_ms = taken.get(taken.len() * 4 / 5).map_or(i64::MAX, |event| event.time_ms);
    let (test, train): (Vec<Taken>, Vec<Taken>) = taken.into_iter().partition(|event| first[&event.user] >= cut_ms);
    (train.into_iter().filter(|event| event.time_ms < cut_ms).collect(), test)
}
