//! How far two spreads of the same bounds lie apart.

use super::spread::Spread;

/// Least share of both spreads, on the mean, in one bin of the index: thinner ones are joined with the next.
const LEAST: f64 = 0.05;

/// The population stability index of the second spread against the first; `None` where either is empty. Below 0.1 the two are called alike,
/// above 0.25 far apart. Each bin has half a number more than it has, so that empty ones can be compared.
pub fn psi(first: &Spread, second: &Spread) -> Option<f64> {
    let (of_first, of_second) = (first.total() as f64, second.total() as f64);
    if of_first == 0.0 || of_second == 0.0 {
        return None;
    }
    let bins = bins(first, second);
    let more = 0.5 * bins.len() as f64;
    let term = |(one, other): &(u64, u64)| {
        let (one, other) = ((*one as f64 + 0.5) / (of_first + more), (*other as f64 + 0.5) / (of_second + more));
        (other - one) * (other / one).ln()
    };
    Some(bins.iter().map(term).sum())
}

/// The greatest gap between the two cumulated spreads (Kolmogorov-Smirnov), at the bounds; `None` where either is empty.
pub fn ks(first: &Spread, second: &Spread) -> Option<f64> {
    let (of_first, of_second) = (first.total() as f64, second.total() as f64);
    if of_first == 0.0 || of_second == 0.0 {
        return None;
    }
    let (mut below_one, mut below_other, mut gap) = (0.0, 0.0, 0.0f64);
    for ((_, one), (_, other)) in first.parts().zip(second.parts()) {
        below_one += one as f64 / of_first;
        below_other += other as f64 / of_second;
        gap = gap.max((below_one - below_other).abs());
    }
    Some(gap)
}

/// Counts of both, in bins that hold at least a twentieth of the two each, taken by their shares.
fn bins(first: &Spread, second: &Spread) -> Vec<(u64, u64)> {
    let (of_first, of_second) = (first.total() as f64, second.total() as f64);
    let is_thin = |(one, other): &(u64, u64)| (*one as f64 / of_first + *other as f64 / of_second) / 2.0 < LEAST;
    let mut bins: Vec<(u64, u64)> = Vec::new();
    for ((_, one), (_, other)) in first.parts().zip(second.parts()) {
        match bins.last_mut().filter(|bin| is_thin(bin)) {
            Some(thin) => *thin = (thin.0 + one, thin.1 + other),
            None => bins.push((one, other)),
        }
    }
    // What is left at the end may be thin too.
    if let [.., before, last] = &mut bins[..]
        && is_thin(last)
    {
        *before = (before.0 + last.0, before.1 + last.1);
        bins.pop();
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(scores: impl Iterator<Item = f64>) -> Spread {
        let mut spread = Spread::of_scores();
        scores.for_each(|score| spread.record(score, 1));
        spread
    }

    /// Would catch: an index that is not 0 between equals, one that does not see a shift, a gap that is not the greatest.
    #[test]
    fn equals_are_alike_and_a_shift_is_seen() {
        let even = || (0..1_000).map(|n| f64::from(n) / 1_000.0);
        let (one, moved) = (spread(even()), spread(even().map(|score| (score + 0.3).min(1.0))));
        assert_eq!((psi(&one, &one.clone()), ks(&one, &one.clone())), (Some(0.0), Some(0.0)));
        assert!(psi(&one, &moved).unwrap() > 0.25, "{:?}", psi(&one, &moved));
        assert!((ks(&one, &moved).unwrap() - 0.3).abs() < 0.01, "{:?}", ks(&one, &moved));
        let none = Spread::of_scores();
        assert_eq!((psi(&one, &none), ks(&none, &one)), (None, None));
        let apart = psi(&spread([0.1; 20].into_iter()), &spread([0.9; 20].into_iter()));
        assert!(apart.is_some_and(|psi| psi.is_finite() && psi > 1.0), "{apart:?}");
    }
}
