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

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(config: &str) -> Evaluation<'static> {
        let config = toml::from_str(config).unwrap();
        Evaluation { states: InMemory::new(RecommendFold::new(&config)), metrics: Metrics::default(), progress: &|| () }
    }

    fn taken(rows: &[(&str, &str)]) -> Vec<Taken> {
        let one = |(number, (user, item)): (usize, &(&str, &str))| Taken {
            user: (*user).into(),
            item: (*item).into(),
            time_ms: number as i64 * 1_000,
            kind: "click".into(),
        };
        rows.iter().enumerate().map(one).collect()
    }

    const POPULAR: &str = "popularity = [{ name = 'p' }]\nblend = { weights = { p = 1.0 }, filter_seen = false }";
    const NEXT: &str = "covisit = [{ name = 'n' }]\nsession = {}\nblend = { weights = { n = 1.0 }, filter_seen = false }";

    /// Would catch a leak: an event that is folded before it is asked for would be foreseen.
    #[test]
    fn an_event_is_asked_for_before_it_is_folded() {
        let mut all_new = evaluation(POPULAR);
        all_new.prequential(&taken(&[("u", "a"), ("v", "b"), ("w", "c")]), 0.0).unwrap();
        assert_eq!((all_new.metrics.means().support, all_new.metrics.means().hit_rate_20), (3, 0.0));
        let mut again = evaluation(POPULAR);
        again.prequential(&taken(&[("u", "a"), ("v", "a"), ("w", "b"), ("x", "b")]), 0.0).unwrap();
        // The second a stands first, the second b second.
        assert_eq!(again.metrics.means().mrr_20, (1.0 + 0.5) / 4.0);
    }

    /// Would catch a leak: the last two items of a user, or those of users before, in what is known of items.
    #[test]
    fn leave_one_out_knows_the_folded_part_alone() {
        let rows = [("u", "a"), ("u", "b"), ("u", "c"), ("v", "a"), ("v", "b"), ("v", "c"), ("w", "b"), ("w", "a")];
        for (split, foreseen) in [(Split::Test, 0.0), (Split::Valid, 0.0)] {
            let mut evaluation = evaluation(NEXT);
            evaluation.leave_one_out(&taken(&rows), split, None).unwrap();
            let means = evaluation.metrics.means();
            assert_eq!((means.support, means.hit_rate_20), (2, foreseen), "{split:?}");
        }
        // A third user who took b and c before, all folded but the end.
        let mut more = rows.to_vec();
        more.extend([("x", "b"), ("x", "c"), ("x", "y"), ("x", "z")]);
        let mut evaluation = evaluation(NEXT);
        evaluation.leave_one_out(&taken(&more), Split::Test, None).unwrap();
        assert_eq!(evaluation.metrics.means().hit_rate_20, 2.0 / 3.0);
    }

    /// Would catch test sessions that teach each other, or know the item that is asked for.
    #[test]
    fn test_sessions_change_nothing_but_themselves() {
        let train = taken(&[("s", "a"), ("s", "b")]);
        let mut evaluation = evaluation(NEXT);
        evaluation.sessions(&train, &taken(&[("t", "a"), ("t", "b"), ("t", "c"), ("s", "b"), ("s", "c")])).unwrap();
        let means = evaluation.metrics.means();
        // b after a is known; c after b never is.
        assert_eq!((means.support, means.hit_rate_20), (3, 1.0 / 3.0));
    }

    /// Would catch negatives that hold what the user took, or change from run to run.
    #[test]
    fn negatives_come_from_the_seed() {
        let rows: Vec<(String, String)> = (0..300).map(|n| (format!("u{}", n / 6), format!("i{}", n * n % 97))).collect();
        let rows: Vec<(&str, &str)> = rows.iter().map(|(user, item)| (user.as_str(), item.as_str())).collect();
        let run = |seed| {
            let mut evaluation = evaluation(POPULAR);
            evaluation.leave_one_out(&taken(&rows), Split::Test, Some((20, seed))).unwrap();
            evaluation.metrics
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
