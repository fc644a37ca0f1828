//! What stands in Postgres, beside what one pass over the log gives.

use super::OnePass;
use futures_util::TryStreamExt;
use futures_util::future::ready;
use millrace::event::RawEvent;
use millrace::record::{Kind, Record};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use std::collections::{BTreeMap, HashMap};

/// How many were compared, how many of them differ, and how the first of those does.
#[derive(Debug, Default)]
pub struct Count {
    pub of: usize,
    pub differ: usize,
    pub first: Option<String>,
}

impl Count {
    fn take(&mut self, same: bool, how: impl FnOnce() -> String) {
        self.of += 1;
        if !same {
            self.differ += 1;
            self.first.get_or_insert_with(how);
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} differ", self.differ, self.of)?;
        self.first.iter().try_for_each(|first| write!(f, "; the first: {first}"))
    }
}

/// What was compared of one pipeline.
#[derive(Debug, Default)]
pub struct Compared {
    /// Events, each by all of its records: key, value, label, score, topic.
    pub answers: Count,
    /// Events that are dead letters.
    pub dead: usize,
    /// Keys of the partitions, each by the bytes of its state and the time of its newest event.
    pub states: Count,
    /// Keys in the table `latest`.
    pub latest: Count,
    /// By key, then by partition.
    newest: BTreeMap<Box<[u8]>, BTreeMap<i32, Record>>,
}

impl Compared {
    /// Compares one partition. `pass` has seen nothing of it, `log` is all of it.
    pub async fn partition(
        &mut self,
        connection: &mut PgConnection,
        pass: &mut OnePass,
        partition: i32,
        log: impl IntoIterator<Item = RawEvent>,
    ) -> sqlx::Result<()> {
        let end = self.answers_of(connection, pass, partition, log).await?;
        self.states_of(connection, pass, partition, end).await
    }

    /// Returns the offset after the last event.
    async fn answers_of(
        &mut self,
        connection: &mut PgConnection,
        pass: &mut OnePass,
        partition: i32,
        log: impl IntoIterator<Item = RawEvent>,
    ) -> sqlx::Result<i64> {
        let text = "SELECT partition, \"offset\", n, kind, out_topic, key, value::text, label, score FROM millrace.record \
                    WHERE pipeline = $1 AND partition = $2 ORDER BY \"offset\", n";
        let rows = sqlx::query(text).bind(pass.pipeline().to_owned()).bind(partition).fetch(connection);
        let mut rows = rows.and_then(|row| ready(record(&row)));
        let mut next = rows.try_next().await?;
        let mut end = 0;
        for raw in log {
            end = raw.position.offset + 1;
            let expected = pass.records(raw);
            let mut found = Vec::with_capacity(expected.len());
            while let Some(one) = next.take_if(|one| one.offset < end) {
                found.push(one);
                next = rows.try_next().await?;
            }
            self.answers.take(found == expected, || format!("{found:#?}\ninstead of {expected:#?}"));
            self.dead += usize::from(expected.iter().any(|one| one.kind == Kind::DeadLetter));
            for one in expected.into_iter().filter(|one| one.kind == Kind::Prediction) {
                if let Some(key) = one.key.clone() {
                    self.newest.entry(key).or_default().insert(partition, one);
                }
            }
        }
        if let Some(more) = next {
            self.answers.take(false, || format!("{more:#?} is of no event"));
        }
        Ok(end)
    }

    /// `as_of` is how far the log was folded when the bytes were taken, which depends on the rounds: at least to the key's newest event.
    async fn states_of(&mut self, connection: &mut PgConnection, pass: &OnePass, partition: i32, end: i64) -> sqlx::Result<()> {
        let text = "SELECT key, as_of, newest, bytes FROM millrace.state JOIN millrace.stream_partition USING (stream) \
                    WHERE pipeline = $1 AND partition = $2";
        let rows = sqlx::query(text).bind(pass.pipeline()).bind(partition).fetch_all(connection).await?;
        let mut found: HashMap<&str, &PgRow> = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert(row.try_get(0)?, row);
        }
        for (key, expected) in pass.states() {
            let (newest_ms, bytes) = (expected.newest_ms.unwrap_or(i64::MIN), expected.bytes());
            let same = match found.remove(key) {
                Some(row) => {
                    let (as_of, newest, of_row): (i64, i64, &[u8]) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                    (expected.after..=end).contains(&as_of) && newest == newest_ms && of_row == bytes
                }
                None => false,
            };
            self.states.take(same, || format!("{key} of partition {partition}"));
        }
        for key in found.into_keys() {
            self.states.take(false, || format!("{key} of partition {partition} is of no event"));
        }
        Ok(())
    }

    /// Compares the table `latest`, after all partitions. A key that records of several partitions have holds the newest of one of them.
    pub async fn latest(&mut self, connection: &mut PgConnection, pipeline: &str) -> sqlx::Result<()> {
        let text = "SELECT partition, \"offset\", n, 'prediction', out_topic, key, value::text, label, score FROM millrace.latest \
                    WHERE pipeline = $1";
        let mut rows = sqlx::query(text).bind(pipeline.to_owned()).fetch(connection);
        let mut newest = std::mem::take(&mut self.newest);
        while let Some(row) = rows.try_next().await? {
            let found = record(&row)?;
            let expected = found.key.as_ref().and_then(|key| newest.remove(key)).unwrap_or_default();
            let same = expected.get(&found.partition) == Some(&found);
            self.latest.take(same, || format!("{found:#?}\ninstead of one of {expected:#?}"));
        }
        for key in newest.into_keys() {
            self.latest.take(false, || format!("nothing of {}", String::from_utf8_lossy(&key)));
        }
        Ok(())
    }
}

/// A row of the table `record` or `latest`.
fn record(row: &PgRow) -> sqlx::Result<Record> {
    Ok(Record {
        partition: row.try_get(0)?,
        offset: row.try_get(1)?,
        n: row.try_get(2)?,
        kind: match row.try_get::<&str, _>(3)? {
            "prediction" => Kind::Prediction,
            _ => Kind::DeadLetter,
        },
        out_topic: row.try_get::<&str, _>(4)?.into(),
        key: row.try_get::<Option<&[u8]>, _>(5)?.map(Into::into),
        // Events of these logs carry no trace.
        traceparent: None,
        value: row.try_get::<&str, _>(6)?.into(),
        label: row.try_get::<Option<&str>, _>(7)?.map(Into::into),
        score: row.try_get(8)?,
        // Of one version, the pipeline's own.
        model: None,
        config: None,
    })
}
