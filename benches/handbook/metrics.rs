//! The book's measures.

use std::collections::{BTreeMap, BTreeSet};

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
