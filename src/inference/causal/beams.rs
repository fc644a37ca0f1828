//! Beam search: several beginnings of an answer are gone on with at the same time, and the best whole ones kept. The rules are those of
//! transformers (`num_beams`, `length_penalty`, `early_stopping`, without sampling): scores are sums of log-probabilities, divided by
//! the length to the power of the penalty when a text is whole.

/// When a search ends before `max_new_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// When the best open text, at its length now, is no better than the worst whole one (`false` in transformers).
    #[default]
    Likely,
    /// As soon as there are as many whole texts as beams (`true`).
    Full,
    /// When no open text can become better, at the length that suits it best (`"never"`).
    Certain,
}

/// How wide a search is and what it prefers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeamOptions {
    /// Texts that are gone on with at the same time, at least one.
    pub beams: usize,
    /// Above 0 prefers longer texts, below 0 shorter ones.
    pub length_penalty: f32,
    pub early_stopping: EarlyStopping,
}

impl Default for BeamOptions {
    fn default() -> Self {
        Self { beams: 4, length_penalty: 1.0, early_stopping: EarlyStopping::Likely }
    }
}

/// A whole text.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// New ids, without a stop id.
    pub ids: Vec<u32>,
    /// The stop id that ended it; `None` where it has all `max_new_tokens`, or who steers the search has ended it.
    pub stop_id: Option<u32>,
    pub score: f32,
}

/// An open text.
#[derive(Clone)]
struct Open {
    ids: Vec<u32>,
    score: f32,
}

/// A search, without the network: it is given log-probabilities, and says which texts go on.
pub(super) struct Beams {
    options: BeamOptions,
    stop_ids: Vec<u32>,
    max_new_tokens: usize,
    open: Vec<Open>,
    /// The best first, at most as many as beams.
    whole: Vec<Hypothesis>,
}

impl Beams {
    pub(super) fn new(options: BeamOptions, stop_ids: Vec<u32>, max_new_tokens: usize) -> Self {
        let open = vec![Open { ids: Vec::new(), score: 0.0 }];
        Self { options, stop_ids, max_new_tokens, open, whole: Vec::new() }
    }

    /// The new ids of each open text.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u32]> {
        self.open.iter().map(|open| &open.ids[..])
    }

    /// The last id of each open text; none before the first step.
    pub(super) fn last(&self) -> impl Iterator<Item = u32> {
        self.open.iter().filter_map(|open| open.ids.last().copied())
    }

    pub(super) fn whole(self) -> Vec<Hypothesis> {
        self.whole
    }

    /// Goes one token further, given the log-probabilities `[open texts, vocabulary]`; `ends` says of new ids whether they are whole with the
    /// last. Returns from which text each of the new ones comes; `None` when the search is at its end. What has the probability 0 never comes.
    pub(super) fn advance(&mut self, log_probabilities: &[f32], mut ends: impl FnMut(&[u32]) -> bool) -> Option<Vec<usize>> {
        let BeamOptions { beams, length_penalty, early_stopping } = self.options;
        let width = log_probabilities.len() / self.open.len();
        // So many that enough are left when each stop id ends a text.
        let kept = self.stop_ids.len().max(1).saturating_add(1).saturating_mul(beams);
        let score = |i: usize| log_probabilities[i] + self.open[i / width].score;
        let best = greatest(log_probabilities.len(), kept, score);
        let length = self.open[0].ids.len() + 1;
        let last = length == self.max_new_tokens;
        let full = self.whole.len() == beams;
        let (mut parents, mut open) = (Vec::new(), Vec::new());
        for (rank, i) in best.into_iter().enumerate() {
            let (parent, id) = (i / width, (i % width) as u32);
            if score(i) == f32::NEG_INFINITY {
                break;
            }
            let stop_id = self.stop_ids.contains(&id).then_some(id);
            let mut ids = self.open[parent].ids.clone();
            ids.extend(stop_id.is_none().then_some(id));
            if !last && stop_id.is_none() && !ends(&ids) {
                if open.len() < beams {
                    open.push(Open { ids, score: score(i) });
                    parents.push(parent);
                }
            } else if rank < beams && !(full && early_stopping == EarlyStopping::Full) {
                self.whole.push(Hypothesis { ids, stop_id, score: score(i) / (length as f32).powf(length_penalty) });
            }
        }
        // Stable, so that of two alike the earlier stays.
        self.whole.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.whole.truncate(beams);
        self.open = open;
        let first = self.open.first()?;
        let reach = match early_stopping {
            EarlyStopping::Certain if length_penalty > 0.0 => self.max_new_tokens,
            _ => length,
        };
        let possible = first.score / (reach as f32).powf(length_penalty);
        let full = self.whole.len() == beams;
        let worse = full && self.whole.last().is_some_and(|worst| possible <= worst.score);
        let enough = full && early_stopping == EarlyStopping::Full;
        (!worse && !enough).then_some(parents)
    }
}

/// The indices of the `count` greatest, the greatest first; of two alike the earlier.
fn greatest(len: usize, count: usize, score: impl Fn(usize) -> f32) -> Vec<usize> {
    let mut best: Vec<usize> = (0..len).collect();
    let order = |a: &usize, b: &usize| score(*b).total_cmp(&score(*a)).then(a.cmp(b));
    if count < len {
        best.select_nth_unstable_by(count, order);
        best.truncate(count);
    }
    best.sort_unstable_by(order);
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens and a stop id, with probabilities by the last token alone.
    fn search(options: BeamOptions, max_new_tokens: usize, rows: [[f32; 3]; 3]) -> Vec<Hypothesis> {
        let mut beams = Beams::new(options, vec![2], max_new_tokens);
        let mut row = vec![rows[2]];
        loop {
            let log: Vec<f32> = row.concat().iter().map(|p| p.ln()).collect();
            if beams.advance(&log, |_| false).is_none() {
                return beams.whole();
            }
            row = beams.last().map(|id| rows[id as usize]).collect();
        }
    }

    /// The likelier first token leads into texts that are all unlikely.
    #[test]
    fn a_wide_search_finds_what_a_greedy_one_misses() {
        let rows = [[0.3, 0.3, 0.4], [0.05, 0.05, 0.9], [0.6, 0.4, 0.0]];
        let find = |beams| search(BeamOptions { beams, ..BeamOptions::default() }, 5, rows)[0].clone();
        assert_eq!((find(1).ids, find(1).stop_id), (vec![0], Some(2)));
        assert_eq!((find(2).ids, find(2).stop_id), (vec![1], Some(2)));
        assert!((find(2).score - (0.4f32 * 0.9).ln() / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_penalty_prefers_lengths() {
        let rows = [[0.55, 0.05, 0.4], [0.05, 0.05, 0.9], [0.5, 0.5, 0.0]];
        let find = |length_penalty| {
            let options = BeamOptions { beams: 3, length_penalty, early_stopping: EarlyStopping::Certain };
            search(options, 6, rows)[0].ids.len()
        };
        assert_eq!(find(-1.0), 1);
        assert!(find(3.0) > 3);
    }

    #[test]
    fn the_greatest_come_in_order() {
        let scores = [1.0, 5.0, 3.0, 5.0, f32::NEG_INFINITY, 4.0];
        assert_eq!(greatest(6, 3, |i| scores[i]), [1, 3, 5]);
        assert_eq!(greatest(2, 3, |i| scores[i]), [1, 0]);
    }
}
