//! What stands in Postgres, beside what should.

use crate::data::{Golden, TIES, Transaction};
use crate::metrics::{self, Scored};
use crate::stage::Stage;
use crate::{Anyhow, Options};
use millrace::scoring::Ranking;
use serde_json::Value;
use sqlx::Row;
use std::collections::{HashMap, HashSet};

/// As `millrace parity`: the book writes nine digits.
const FEATURES: f64 = 5e-9;
const PROBABILITY: f64 = 1e-6;

#[derive(Default)]
struct Compared {
    answers: u64,
    late: u64,
    /// Transactions whose features differ, tie rows left out.
    features: u64,
    ties: u64,
    probabilities: u64,
    tied_probabilities: u64,
    largest: f64,
    rows: u64,
}

/// Compares the answers of one model; says whether all is as it should be.
pub async fn compare(
    options: &Options,
    stage: &Stage,
    model: &str,
    transactions: &[Transaction],
    golden: &Golden,
) -> Anyhow<bool> {
    let pipeline = crate::scenario::pipeline(stage, model);
    let mut connection = stage.connect().await?;
    let rows = sqlx::query(
        "SELECT (value ->> 'event_id')::bigint, (value ->> 'probability')::float8, value ->> 'status', (value -> 'features')::text \
         FROM millrace.record WHERE pipeline = $1 AND kind = 'prediction'",
    )
    .bind(&pipeline)
    .fetch_all(&mut connection)
    .await?;
    let dead: i64 =
        sqlx::query_scalar("SELECT count(*) FROM millrace.record WHERE kind = 'dead_letter'").fetch_one(&mut connection).await?;
    let begin = transactions.first().map_or(0, Transaction::day) + crate::HISTORY_DAYS;
    let whole: HashSet<u64> = transactions.iter().filter(|one| one.day() >= begin).map(|one| one.id).collect();
    let mut found = Compared::default();
    let mut scores: HashMap<u64, f64> = HashMap::new();
    for row in &rows {
        let id = row.try_get::<i64, _>(0)? as u64;
        let probability: Option<f64> = row.try_get(1)?;
        let probability = probability.unwrap_or(f64::NAN);
        found.answers += 1;
        found.late += u64::from(row.try_get::<&str, _>(2)? == "late");
        // Of the days before there is not all of the history.
        let whole = whole.contains(&id);
        if let Some(book) = golden.features.get(&id).filter(|_| whole) {
            let said: Value = serde_json::from_str(row.try_get(3)?)?;
            let same = golden.columns.iter().zip(book).all(|(name, book)| {
                said[name.as_str()].as_f64().is_some_and(|said| (said - book).abs() <= FEATURES * book.abs().max(1.0))
            });
            match TIES.contains(&id) {
                true => found.ties += u64::from(!same),
                false => found.features += u64::from(!same),
            }
            found.rows += 1;
        }
        if let Some(row) = golden.rows.get(&id) {
            let difference = (probability - row.golden[model]).abs();
            let beyond = u64::from(difference.is_nan() || difference > PROBABILITY);
            match TIES.contains(&id) {
                true => found.tied_probabilities += beyond,
                false => {
                    found.largest = found.largest.max(difference);
                    found.probabilities += beyond;
                }
            }
        }
        scores.insert(id, probability);
    }
    let missing = transactions.iter().filter(|transaction| !scores.contains_key(&transaction.id)).count();
    let table: Vec<Scored> = transactions
        .iter()
        .filter_map(|transaction| {
            let (row, score) = (golden.rows.get(&transaction.id)?, scores.get(&transaction.id)?);
            Some((transaction.day(), transaction.customer, *score, row.fraud))
        })
        .collect();
    let ranking = Ranking::new(table.iter().map(|row| (row.2, row.3)).collect());
    println!(
        "| {model} {} | {} | {} | {missing} | {dead} | {} of {} x {} ({} ties) | {} of {} ({} ties, else max {:.1e}) | {:.3} / {:.3} / {:.3} |",
        options.fold,
        found.answers,
        found.late,
        found.features,
        found.rows,
        golden.columns.len(),
        found.ties,
        found.probabilities,
        golden.rows.len(),
        found.tied_probabilities,
        found.largest,
        ranking.auc().unwrap_or(f64::NAN),
        ranking.average_precision().unwrap_or(f64::NAN),
        metrics::card_precision(&table),
    );
    Ok(missing == 0 && dead == 0 && found.features == 0 && found.probabilities == 0)
}
