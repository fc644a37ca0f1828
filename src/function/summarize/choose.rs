//! Maximal marginal relevance (Carbonell and Goldstein 1998): one sentence after another, near the text and far from those chosen.

use crate::function::windows::cosine;

/// The places of `wanted` rows, in their order, each with its cosine to the mean of all. Rows have length 1. Of equals the first.
pub fn choose(rows: &[&[f32]], wanted: usize, relevance: f32) -> Vec<(usize, f32)> {
    let centre = centre(rows);
    let near: Vec<f32> = rows.iter().map(|row| cosine(row, &centre)).collect();
    // The greatest cosine with a row that is chosen already.
    let mut known = vec![0.0f32; rows.len()];
    let mut open: Vec<usize> = (0..rows.len()).collect();
    let mut chosen: Vec<usize> = if wanted < rows.len() { Vec::new() } else { std::mem::take(&mut open) };
    while chosen.len() < wanted {
        let worth = |i: usize| relevance * near[i] - (1.0 - relevance) * known[i];
        let Some(next) = open.iter().copied().reduce(|best, i| if worth(i) > worth(best) { i } else { best }) else { break };
        open.retain(|&i| i != next);
        for &i in &open {
            known[i] = known[i].max(cosine(rows[i], rows[next]));
        }
        chosen.push(next);
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|place| (place, near[place])).collect()
}

/// The mean of the rows, of length 1.
fn centre(rows: &[&[f32]]) -> Vec<f32> {
    let mut centre = vec![0.0; rows.first().map_or(0, |row| row.len())];
    rows.iter().for_each(|row| centre.iter_mut().zip(*row).for_each(|(sum, value)| *sum += value));
    let length = cosine(&centre, &centre).sqrt().max(f32::MIN_POSITIVE);
    centre.iter_mut().for_each(|value| *value /= length);
    centre
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a summary that says one thing twice, one in the order of worth, a choice that is not the same every time.
    #[test]
    fn what_is_said_already_is_not_said_again() {
        let (a, b) = ([1.0, 0.0], [0.6, 0.8]);
        let rows: [&[f32]; 4] = [&b, &a, &a, &a];
        let places = |wanted, relevance| choose(&rows, wanted, relevance).iter().map(|(place, _)| *place).collect::<Vec<_>>();
        assert_eq!(places(1, 0.5), [1]);
        assert_eq!(places(2, 0.5), [0, 1]);
        assert_eq!(places(2, 1.0), [1, 2]);
        assert_eq!((places(3, 0.5), places(4, 0.5)), (vec![0, 1, 2], vec![0, 1, 2, 3]));
        assert_eq!((places(9, 0.7).len(), choose(&[], 3, 0.7).len()), (4, 0));
    }
}
