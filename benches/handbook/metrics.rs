//! The book's measures.

use std::collections::{BTreeMap, BTreeSet};

/// Area under the ROC curve: the share of pairs that stand right, ties half.
pub fn auc(scored: &mut [(f64, bool)]) -> f64 {
    scored.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut rank_sum, mut at) = (0.0, 0);
    while at < scored.len() {
        let end = at + scored[at..].iter().take_while(|row| row.0 == scored[at].0).count();
        let rank = (at + 1 + end) as f64 / 2.0;
        rank_sum += rank * scored[at..end].iter().filter(|row| row.1).count() as f64;
        at = end;
    }
    let bad = scored.iter().filter(|row| row.1).count() as f64;
    let good = scored.len() as f64 - bad;
    (rank_sum - bad * (bad + 1.0) / 2.0) / (bad * good)
}

/// Average precision: the sum over the thresholds of (recall gained) x precision.
pub fn average_precision(scored: &mut [(f64, bool)]) -> f64 {
    scored.sort_by(|one, other| other.0.total_cmp(&one.0));
    let bad = scored.iter().filter(|row| row.1).count() as f64;
    let (mut hits, mut sum, mut at) = (0.0, 0.0, 0);
    while at < scored.len() {
        let end = at + scored[at..].iter().take_while(|row| row.0 == scored[at].0).count();
        let found = scored[at..end].iter().filter(|row| row.1).count() as f64;
        hits += found;
        sum += found / bad * hits / end as f64;
        at = end;
    }
    sum
}

/// Day, customer, probability, fraud.
pub type Scored = (i64, u64, f64, bool);

/// Card precision at 100: a day's 100 customers with the highest score, the share that was defrauded; who was found leaves the days that
/// follow; the mean of the days.
pub fn card_precision(rows: &[Scored]) -> f64 {
    let days: BTreeSet<i64> = rows.iter().map(|row| row.0).collect();
    let mut found = BTreeSet::new();
    let mut sum = 0.0;
    for day in &days {
        let mut customers: BTreeMap<u64, (f64, bool)> = BTreeMap::new();
        for (_, customer, score, fraud) in rows.iter().filter(|row| row.0 == *day && !found.contains(&row.1)) {
            let entry = customers.entry(*customer).or_insert((f64::MIN, false));
            *entry = (entry.0.max(*score), entry.1 | fraud);
        }
        let mut ranked: Vec<(u64, (f64, bool))> = customers.into_iter().collect();
        ranked.sort_by(|one, other| other.1.0.total_cmp(&one.1.0));
        let caught: Vec<u64> = ranked.iter().take(100).filter(|(_, (_, fraud))| *fraud).map(|(customer, _)| *customer).collect();
        sum += caught.len() as f64 / 100.0;
        found.extend(caught);
    }
    sum / days.len() as f64
}
