//! When a ladder is gone down and up: a decision on ages and times alone.
//!
//! What is behind is not enough to go down: after a restart, or on a topic that is read from its beginning, the age falls by itself as the
//! pipeline catches up. Down goes who stays above the objective for `hold` and does not fall, or so slowly that it would not end. Up goes who
//! stays below half of the objective for `recover`; between the two nothing moves. Who has gone up too early waits twice as long the next time.

use std::time::Duration;

/// Of the time that passes, the age must fall by more than this part, or it does not count as falling.
const FALLING: f64 = 0.1;
/// Doublings of `recover` at most.
const DOUBLINGS: u32 = 4;

/// Bounds on a ladder.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub objective: Duration,
    pub hold: Duration,
    pub recover: Duration,
    /// What is older is history: it says nothing.
    pub history_after: Duration,
    /// Rungs below the top.
    pub lowest: usize,
}

/// Where a pipeline stands. Times are since any one moment.
#[derive(Debug, Clone)]
pub struct Descent {
    terms: Terms,
    rung: usize,
    /// Since when the age is above the objective and does not fall, and the age then.
    above: Option<(Duration, Duration)>,
    /// Since when it is below half of it.
    below: Option<Duration>,
    /// When it last went up.
    risen: Option<Duration>,
    doublings: u32,
}

impl Descent {
    pub fn new(terms: Terms) -> Self {
        Self { terms, rung: 0, above: None, below: None, risen: None, doublings: 0 }
    }

    /// The rung in force once something of that age has come.
    pub fn see(&mut self, now: Duration, age: Duration) -> usize {
        let Terms { objective, history_after, .. } = self.terms;
        if age > history_after {
            return self.rung;
        }
        if age > objective {
            self.below = None;
            self.too_old(now, age);
        } else if age <= objective / 2 {
            self.above = None;
            self.young(now);
        } else {
            (self.above, self.below) = (None, None);
        }
        self.rung
    }

    fn too_old(&mut self, now: Duration, age: Duration) {
        let (since, first) = *self.above.get_or_insert((now, age));
        let passed = now.saturating_sub(since);
        if passed < self.terms.hold {
            return;
        }
        // Each stretch is judged by itself.
        self.above = Some((now, age));
        let fallen = first.as_secs_f64() - age.as_secs_f64();
        if fallen > FALLING * passed.as_secs_f64() || self.rung == self.terms.lowest {
            return;
        }
        self.rung += 1;
        if self.risen.is_some_and(|risen| now.saturating_sub(risen) <= self.wait() * 2) {
            self.doublings = (self.doublings + 1).min(DOUBLINGS);
        }
        self.risen = None;
    }

    fn young(&mut self, now: Duration) {
        let since = *self.below.get_or_insert(now);
        if self.risen.is_some_and(|risen| now.saturating_sub(risen) > self.wait() * 2) {
            (self.doublings, self.risen) = (0, None);
        }
        if self.rung == 0 || now.saturating_sub(since) < self.wait() {
            return;
        }
        self.rung -= 1;
        // The next rung is waited for anew.
        (self.below, self.risen) = (Some(now), Some(now));
    }

    fn wait(&self) -> Duration {
        self.terms.recover * 2u32.pow(self.doublings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn descent(lowest: usize) -> Descent {
        Descent::new(Terms {
            objective: SECOND * 10,
            hold: SECOND * 5,
            recover: SECOND * 30,
            history_after: SECOND * 3_600,
            lowest,
        })
    }

    /// The rungs of a world in which each rung scores so many events a second, second by second; `load` says how many come. What was waiting
    /// is scored in its order, so that its age is what of the backlog is older than now.
    fn world(mut descent: Descent, seconds: u32, load: impl Fn(u32) -> f64, capacity: &[f64]) -> (Vec<usize>, f64) {
        let (mut rungs, mut come, mut scored, mut oldest) = (Vec::new(), vec![0.0], 0.0, 0.0f64);
        for second in 0..seconds {
            let now = f64::from(second);
            come.push(come.last().copied().unwrap_or_default() + load(second));
            // When the next event in line has come.
            let at = come.partition_point(|total| *total <= scored).saturating_sub(1) as f64;
            let age = if scored < *come.last().unwrap() { (now - at).max(0.0) } else { 0.0 };
            oldest = oldest.max(age);
            let rung = descent.see(SECOND * second, Duration::from_secs_f64(age));
            scored = (scored + capacity[rung]).min(*come.last().unwrap());
            rungs.push(rung);
        }
        (rungs, oldest)
    }

    fn moves(rungs: &[usize]) -> usize {
        rungs.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// Would catch: an age without bound under a load that the top cannot hold, a ladder that is not left when the load goes, one that is
    /// left at once.
    #[test]
    fn a_step_of_load_is_held_and_left() {
        let load = |second| if (60..300).contains(&second) { 250.0 } else { 50.0 };
        let (rungs, oldest) = world(descent(2), 900, load, &[100.0, 200.0, 400.0]);
        assert_eq!((rungs[59], rungs[250].max(rungs[200]), rungs[899]), (0, 2, 0), "{rungs:?}");
        assert!(oldest < 30.0, "{oldest}");
        let (alone, without) = world(descent(0), 900, load, &[100.0]);
        assert!(without > 100.0 && moves(&alone) == 0, "{without}: the load is none");
    }

    /// Would catch: a ladder that goes up and down for ever while the load stays.
    #[test]
    fn a_load_that_stays_is_tried_less_and_less() {
        let (rungs, oldest) = world(descent(1), 7_200, |_| 150.0, &[100.0, 400.0]);
        assert!(moves(&rungs) < 40 && oldest < 40.0, "{} {oldest}", moves(&rungs));
        let late = &rungs[3_600..];
        assert!(late.iter().filter(|rung| **rung == 0).count() * 10 < late.len() * 2, "most of the time it stays down");
    }

    /// Would catch: a topic that is read from its beginning, or a backlog after a stop, that degrades although it is being caught up; history
    /// that moves anything.
    #[test]
    fn what_is_caught_up_or_is_history_moves_nothing() {
        let mut catching_up = descent(2);
        for second in 0..200 {
            let age = Duration::from_secs(1_000).saturating_sub(SECOND * 4 * second);
            assert_eq!(catching_up.see(SECOND * second, age), 0, "{second}");
        }
        let mut history = descent(2);
        for second in 0..10_000 {
            assert_eq!(history.see(SECOND * second, SECOND * 86_400 * 700), 0);
        }
        let mut standing = descent(2);
        let rungs: Vec<usize> = (0..12).map(|second| standing.see(SECOND * second, SECOND * 60)).collect();
        assert_eq!((rungs[4], rungs[5], rungs[9], rungs[10]), (0, 1, 1, 2), "behind, and no end in sight");
    }

    /// Would catch: one late event among many that moves the ladder; ages about the objective that do.
    #[test]
    fn what_passes_moves_nothing() {
        let mut descent = descent(2);
        for second in 0..1_000u32 {
            let age = if second % 4 == 0 { 4 } else { 30 };
            assert_eq!(descent.see(SECOND * second, SECOND * age), 0);
        }
    }
}
