//! Maximal marginal relevance (Carbonell and Goldstein 1998): one suggestion after another, worth much and unlike those chosen.

use crate::function::windows::cosine;

/// A reply that fits.
pub struct Candidate<'a> {
    pub worth: f32,
    /// Of its text, of length 1.
    pub vector: &'a [f32],
    /// At most one is chosen of those with the same; `None` goes with all.
    pub intent: Option<&'a str>,
}

/// The places of at most `wanted` candidates, the worthiest first; of equals the first. The first chosen is always the worthiest.
pub fn choose(candidates: &[Candidate<'_>], wanted: usize, diversity: f32) -> Vec<usize> {
    // The greatest cosine with one that is chosen already.
    let mut known = vec![0.0f32; candidates.len()];
    let mut open: Vec<usize> = (0..candidates.len()).collect();
    let mut chosen = Vec::new();
    while chosen.len() < wanted {
        let share = if chosen.is_empty() { 0.0 } else { diversity };
        let gain = |i: usize| (1.0 - share) * candidates[i].worth - share * known[i];
        let Some(next) = open.iter().copied().reduce(|best, i| if gain(i) > gain(best) { i } else { best }) else { break };
        let taken = &candidates[next];
        open.retain(|&i| i != next && (taken.intent.is_none() || candidates[i].intent != taken.intent));
        for &i in &open {
            known[i] = known[i].max(cosine(candidates[i].vector, taken.vector));
        }
        chosen.push(next);
    }
    chosen.sort_by(|&a, &b| candidates[b].worth.total_cmp(&candidates[a].worth).then(a.cmp(&b)));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: suggestions that say the same, two of one intent, a best one that gives way, an order other than by worth.
    #[test]
    fn suggestions_are_unlike_each_other() {
        let (a, b) = ([1.0, 0.0], [0.0, 1.0]);
        let all = [(0.6, &b), (0.9, &a), (0.8, &a), (0.5, &b)].map(|(worth, vector)| Candidate { worth, vector, intent: None });
        assert_eq!(choose(&all, 2, 0.0), [1, 2]);
        assert_eq!(choose(&all, 2, 0.5), [1, 0]);
        assert_eq!(choose(&all, 1, 1.0), [1]);
        assert_eq!(choose(&all, 9, 0.5), [1, 2, 0, 3]);
        assert_eq!((choose(&all, 3, 0.0), choose(&[], 3, 0.3)), (vec![1, 2, 0], vec![]));
    }

    #[test]
    fn one_of_each_intent() {
        let vector = [1.0];
        let one = |worth, intent| Candidate { worth, vector: &vector, intent };
        let all = [one(0.9, Some("x")), one(0.8, Some("x")), one(0.7, None), one(0.6, None), one(0.5, Some("y"))];
        assert_eq!(choose(&all, 9, 0.3), [0, 2, 3, 4]);
    }
}
