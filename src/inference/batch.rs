//! How texts are cut into batches. Pure.

use std::ops::Range;

/// Indices of texts in batches of similar length: sorted by length (ties by index), each batch at most `budget` tokens; a text
/// longer than the budget makes a batch of its own. Every index comes exactly once.
pub fn by_token_budget(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| lengths[i]);
    filled(order, lengths, budget)
}

/// The same in the order of arrival, without sorting: for those who want to see what sorting brings.
pub fn as_they_come(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    filled((0..lengths.len()).collect(), lengths, budget)
}

/// Batches in this order.
fn filled(order: Vec<usize>, lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for index in order {
        match batches.last_mut() {
            Some(batch) if tokens + lengths[index] <= budget => {
                batch.push(index);
                tokens += lengths[index];
            }
            _ => {
                batches.push(vec![index]);
                tokens = lengths[index];
            }
        }
    }
    batches
}

/// Splits a slice into at most `shares` consecutive ranges of about equal weight, none empty, for as many model threads.
pub fn shares(weights: &[usize], shares: usize) -> Vec<Range<usize>> {
    let total: usize = weights.iter().sum();
    let mut ranges = Vec::new();
    let (mut start, mut done) = (0, 0);
    for (index, weight) in weights.iter().enumerate() {
        done += weight;
        let quota = total * (ranges.len() + 1) / shares.max(1);
        if done >= quota && ranges.len() + 1 < shares {
            ranges.push(start..index + 1);
            start = index + 1;
        }
    }
    if start < weights.len() {
        ranges.push(start..weights.len());
    }
    ranges
}

/// The share of positions that would be padding if each batch were a rectangle `[texts, longest]`, as networks on candle need
/// it. The packed encoder computes none of them.
pub fn padding_share(lengths: &[usize], batches: &[Vec<usize>]) -> f64 {
    let real: usize = batches.iter().flatten().map(|&i| lengths[i]).sum();
    let padded: usize = batches.iter().map(|b| b.len() * b.iter().map(|&i| lengths[i]).max().unwrap_or(0)).sum();
    if padded == 0 { 0.0 } else { 1.0 - real as f64 / padded as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_over_the_budget_stands_alone() {
        assert_eq!(by_token_budget(&[5, 90, 3, 4], 10), vec![vec![2, 3], vec![0], vec![1]]);
    }

    #[test]
    fn nothing_gives_no_batch_and_no_padding() {
        assert!(by_token_budget(&[], 10).is_empty());
        assert!(shares(&[], 4).is_empty());
        assert_eq!(padding_share(&[], &[]), 0.0);
    }

    proptest! {
        #[test]
        fn every_text_comes_once_and_budgets_hold(lengths in prop::collection::vec(1usize..300, 0..200), budget in 1usize..2000) {
            for batches in [by_token_budget(&lengths, budget), as_they_come(&lengths, budget)] {
            for batch in &batches {
                prop_assert!(batch.len() == 1 || batch.iter().map(|&i| lengths[i]).sum::<usize>() <= budget);
            }
            let mut seen: Vec<usize> = batches.into_iter().flatten().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn shares_cover_the_slice_in_order(weights in prop::collection::vec(0usize..300, 0..100), parts in 1usize..9) {
            let ranges = shares(&weights, parts);
            prop_assert!(ranges.len() <= parts);
            let mut at = 0;
            for range in &ranges {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > range.start);
                at = range.end;
            }
            prop_assert_eq!(at, weights.len());
        }
    }
}
