//! From counts to rows of the table `shadow`, and back.

use crate::store::postgres::ShadowCount;
use crate::telemetry::{ShadowCounts, Spread};

const COMPARED: &str = "compared";
const DROPPED: &str = "dropped";
const FAILED: &str = "failed";
const FLIP: &str = "flip";
const CHAMPION: &str = "champion_score";
const CHALLENGER: &str = "challenger_score";
const DIFFERENCE: &str = "difference";
/// The place of what lies above the last bound.
const ABOVE: &str = "above";

/// Rows without those that count nothing.
pub fn of(counts: &ShadowCounts) -> Vec<ShadowCount> {
    let row = |what: &'static str, one: &str, other: &str, count: u64, total: f64| ShadowCount {
        what: what.to_owned(),
        one: one.to_owned(),
        other: other.to_owned(),
        count: i64::try_from(count).unwrap_or(i64::MAX),
        total,
    };
    let plain = [(COMPARED, counts.compared), (DROPPED, counts.dropped), (FAILED, counts.failed)];
    let mut rows: Vec<ShadowCount> = plain.iter().map(|(what, count)| row(what, "", "", *count, 0.0)).collect();
    rows.extend(counts.flips.iter().map(|((champion, challenger), count)| row(FLIP, champion, challenger, *count, 0.0)));
    for (what, spread) in [(CHAMPION, &counts.champion), (CHALLENGER, &counts.challenger), (DIFFERENCE, &counts.differences)] {
        // The sum of all stands in one row.
        let mut sum = spread.sum();
        for (bound, count) in spread.parts().filter(|(_, count)| *count > 0) {
            let bound = bound.map_or_else(|| ABOVE.to_owned(), |bound| bound.to_string());
            rows.push(row(what, &bound, "", count, std::mem::take(&mut sum)));
        }
    }
    rows.retain(|row| row.count > 0);
    rows
}

/// Adds a row to counts. What this version does not know is passed over.
pub fn add(counts: &mut ShadowCounts, row: &ShadowCount) {
    let count = u64::try_from(row.count).unwrap_or_default();
    let put = |spread: &mut Spread| match row.one.parse::<f64>() {
        Ok(bound) => spread.put(Some(bound), count, row.total),
        Err(_) => spread.put(None, count, row.total),
    };
    match row.what.as_str() {
        COMPARED => counts.compared += count,
        DROPPED => counts.dropped += count,
        FAILED => counts.failed += count,
        FLIP => {
            let pair = (row.one.as_str().into(), row.other.as_str().into());
            *counts.flips.entry(pair).or_default() += count;
        }
        CHAMPION => put(&mut counts.champion),
        CHALLENGER => put(&mut counts.challenger),
        DIFFERENCE => put(&mut counts.differences),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{ShadowState, ShadowTally};

    /// Would catch: a count, a bin or a sum that is lost on the way to Postgres and back.
    #[test]
    fn what_is_written_reads_the_same() {
        let tally = ShadowTally::new("m@1", ShadowState::Running);
        for n in 0..50 {
            let score = f64::from(n) / 7.0 - 1.0;
            tally.compared((n % 3 == 0).then_some(("a", "b")), &[(score, score * score * 300.0)]);
        }
        tally.dropped(2);
        tally.failed(3);
        let (_, wanted) = tally.now();
        let mut found = ShadowCounts::default();
        of(&wanted).iter().for_each(|row| add(&mut found, row));
        assert_eq!((found.compared, &found.flips, found.dropped, found.failed), (50, &wanted.flips, 2, 3));
        for (one, other) in [
            (&found.champion, &wanted.champion),
            (&found.challenger, &wanted.challenger),
            (&found.differences, &wanted.differences),
        ] {
            assert!(one.parts().eq(other.parts()) && (one.sum() - other.sum()).abs() < 1e-6, "{one:?}\n{other:?}");
        }
        assert!(of(&ShadowCounts::default()).is_empty());
    }
}
