//! The decide: one statement and no open transaction for most rounds; large ones go by COPY.

use super::errors::store_error;
use super::frozen;
use super::lease::lease;
use crate::event::TopicPartition;
use crate::record::{Provenance, Record};
use crate::store::{Advance, StoreError};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};

/// Compare-and-set on the claim and on P; it returns what moved. One that stands still (from = to) writes states, and has nothing to do once
/// S has reached P: an earlier one, given up and carried out late, must not take S back.
macro_rules! compare_and_set {
    () => {
        r#"
UPDATE millrace.stream_partition AS p
SET next_offset = a.to_offset, fold_from = greatest(p.fold_from, a.fold_from), fold = $15,
    published_offset = greatest(p.published_offset, least(a.published, a.to_offset)),
    event_time = greatest(p.event_time, to_timestamp(a.event_ms / 1000.0)),
    events = p.events + a.events, records = p.records + a.records, skipped = p.skipped + a.skipped, dead = p.dead + a.dead,
    idle_claims = CASE WHEN p.suspect_offset >= a.to_offset THEN p.idle_claims ELSE 0 END,
    suspect_offset = CASE WHEN p.suspect_offset >= a.to_offset THEN p.suspect_offset END
FROM unnest($3::text[], $4::int[], $5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
            $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])
     AS a (topic, partition, claim, from_offset, to_offset, published, event_ms, events, records, skipped, dead, fold_from)
WHERE p.pipeline = $1 AND p.run = $2 AND p.topic = a.topic AND p.partition = a.partition
  AND p.claim = a.claim AND p.next_offset = a.from_offset AND (a.from_offset < a.to_offset OR p.fold_from < p.next_offset)
"#
    };
}

mod copy;
mod latest;
pub(super) mod states;

/// The inserts are joined to what moved: a partition that did not move wrote nothing, and hinders no other.
const DECIDE: &str = concat!(
    "WITH moved AS (",
    compare_and_set!(),
    r#"RETURNING p.topic, p.partition, p.stream
), named AS (
    SELECT a.number, moved.* FROM unnest($3::text[], $4::int[]) WITH ORDINALITY AS a (topic, partition, number)
    JOIN moved USING (topic, partition)
), written AS (
    INSERT INTO millrace.record
        (pipeline, run, topic, partition, "offset", n, kind, out_topic, key, headers, value, function, model, config, label, score, stream)
    SELECT $1, $2, named.topic, named.partition, r."offset", r.n, r.kind, r.out_topic, r.key, r.headers::json, r.value::json,
           $26, coalesce(r.model, $27), coalesce(r.config, $28), r.label, r.score, named.stream
    FROM unnest($16::int[], $17::bigint[], $18::smallint[], $19::text[], $20::text[], $21::bytea[], $22::text[], $23::text[],
                $24::text[], $25::float8[], $29::text[], $30::text[])
         AS r (advance, "offset", n, kind, out_topic, key, headers, value, label, score, model, config)
    JOIN named ON named.number = r.advance
"#
);
const MOVED: &str = "SELECT topic, partition FROM moved";

/// Attempts when Postgres says that this round and another stood in each other's way.
const ATTEMPTS: usize = 3;

/// Rows from which on the round goes by COPY: the two are about even from 400 to 2,000 rows, COPY is ahead above
/// (`benches/decide.rs`).
const COPY_FROM: usize = 2_000;

pub async fn decide(pool: &PgPool, provenance: &Provenance, round: &[Advance]) -> Result<Vec<TopicPartition>, StoreError> {
    let mut attempt = 1;
    let rows: usize = round.iter().map(|advance| advance.records.len()).sum();
    loop {
        let result = match rows >= COPY_FROM {
            true => copy::decide(pool, provenance, round).await,
            false => statement(pool, provenance, round).await,
        };
        match result {
            Err(error) if attempt < ATTEMPTS && (is_deadlock(&error) || stood_still(pool, provenance, round, &error).await) => {
                attempt += 1
            }
            result => return result.map_err(|error| store_error(&error)),
        }
    }
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|database| database.code()).is_some_and(|code| code == "40P01")
}

/// Whether the rows were held by sessions that stood still, an earlier one of this worker perhaps, and that are ended now.
async fn stood_still(pool: &PgPool, provenance: &Provenance, round: &[Advance], error: &sqlx::Error) -> bool {
    let partitions = round.iter().map(|advance| (&*advance.partition.topic, advance.partition.partition)).unzip();
    frozen::ended(pool, error, (&provenance.pipeline, provenance.run), partitions).await
}

async fn statement(pool: &PgPool, provenance: &Provenance, round: &[Advance]) -> Result<Vec<TopicPartition>, sqlx::Error> {
    let total = round.iter().map(|advance| advance.records.len()).sum();
    let mut columns = Columns::with_capacity(total);
    for (number, advance) in round.iter().enumerate() {
        for record in advance.records.iter() {
            columns.push(number as i32 + 1, record);
        }
    }
    let with_states = round.iter().any(|advance| !advance.states.is_empty());
    let text = [
        DECIDE,
        if provenance.keeps_latest { latest::WITH_ROUND } else { ")" },
        if with_states { states::WITH_ROUND } else { "" },
        MOVED,
    ]
    .concat();
    let mut query = sqlx::query(&text)
        .bind(&*provenance.pipeline)
        .bind(provenance.run)
        .bind_moves(provenance, round)
        .bind(columns.advance)
        .bind(columns.offset)
        .bind(columns.n)
        .bind(columns.kind)
        .bind(columns.out_topic)
        .bind(columns.key)
        .bind(columns.headers)
        .bind(columns.value)
        .bind(columns.label)
        .bind(columns.score)
        .bind(&*provenance.function)
        .bind(&*provenance.model)
        .bind(&*provenance.config)
        .bind(columns.model)
        .bind(columns.config);
    if with_states {
        let numbered = round.iter().enumerate().map(|(number, advance)| (number as i32 + 1, advance));
        query = states::bind(query, numbered);
    }
    let mut connection = lease(pool).await?;
    let rows = query.fetch_all(&mut *connection).await?;
    rows.iter().map(moved).collect()
}

fn moved(row: &PgRow) -> Result<TopicPartition, sqlx::Error> {
    Ok(TopicPartition::new(row.try_get::<&str, _>(0)?, row.try_get(1)?))
}

/// The parameters of the compare-and-set, in their order.
trait Moves<'q> {
    fn bind_moves(self, provenance: &'q Provenance, round: &'q [Advance]) -> Self;
}

impl<'q> Moves<'q> for Query<'q, Postgres, PgArguments> {
    fn bind_moves(self, provenance: &'q Provenance, round: &'q [Advance]) -> Self {
        let of = |field: fn(&Advance) -> i64| round.iter().map(field).collect::<Vec<i64>>();
        self.bind(round.iter().map(|advance| &*advance.partition.topic).collect::<Vec<_>>())
            .bind(round.iter().map(|advance| advance.partition.partition).collect::<Vec<_>>())
            .bind(round.iter().map(|advance| advance.claim).collect::<Vec<_>>())
            .bind(of(|advance| advance.from))
            .bind(of(|advance| advance.to))
            .bind(of(|advance| advance.published_offset))
            .bind(round.iter().map(|advance| advance.event_time_ms).collect::<Vec<_>>())
            .bind(of(|advance| advance.events))
            .bind(of(|advance| advance.records.len() as i64))
            .bind(of(|advance| advance.skipped))
            .bind(of(|advance| advance.dead))
            .bind(of(|advance| advance.fold_from))
            .bind(provenance.fold.as_deref())
    }
}
/// The column `headers`.
fn headers(record: &Record) -> Option<String> {
    record.traceparent.as_deref().map(|trace| serde_json::json!({ "traceparent": trace }).to_string())
}

/// Records as columns, in the order of the parameters.
struct Columns<'a> {
    advance: Vec<i32>,
    offset: Vec<i64>,
    n: Vec<i16>,
    kind: Vec<&'static str>,
    out_topic: Vec<&'a str>,
    key: Vec<Option<&'a [u8]>>,
    headers: Vec<Option<String>>,
    value: Vec<&'a str>,
    label: Vec<Option<&'a str>>,
    score: Vec<Option<f64>>,
    /// `None` where it is the pipeline's.
    model: Vec<Option<&'a str>>,
    config: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn with_capacity(n: usize) -> Self {
        Self {
            advance: Vec::with_capacity(n),
            offset: Vec::with_capacity(n),
            n: Vec::with_capacity(n),
            kind: Vec::with_capacity(n),
            out_topic: Vec::with_capacity(n),
            key: Vec::with_capacity(n),
            headers: Vec::with_capacity(n),
            value: Vec::with_capacity(n),
            label: Vec::with_capacity(n),
            score: Vec::with_capacity(n),
            model: Vec::with_capacity(n),
            config: Vec::with_capacity(n),
        }
    }

    fn push(&mut self, advance: i32, record: &'a Record) {
        self.advance.push(advance);
        self.offset.push(record.offset);
        self.n.push(record.n);
        self.kind.push(record.kind.as_str());
        self.out_topic.push(&record.out_topic);
        self.key.push(record.key.as_deref());
        self.headers.push(headers(record));
        self.value.push(&record.value);
        self.label.push(record.label.as_deref());
        self.score.push(record.score);
        self.model.push(record.model.as_deref());
        self.config.push(record.config.as_deref());
    }
}
