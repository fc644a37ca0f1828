//! Large rounds: the compare-and-set and a binary COPY in one short transaction.
//!
//! The row of a partition stays locked from its compare-and-set to the commit, so nobody claims it in between, and only what moved
//! is copied. Whoever waits for such a row meanwhile may end this connection, when its worker stands still (`frozen.rs`).

use super::{Moves, latest, states};
use crate::event::TopicPartition;
use crate::record::{Provenance, Record};
use crate::store::Advance;
use crate::store::postgres::lease::lease;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Row, Transaction};

/// `xid` tells later whether the transaction was committed.
const MOVE: &str = concat!(compare_and_set!(), "RETURNING p.topic, p.partition, p.stream, pg_current_xact_id()::text AS xid");

const COPY: &str = r#"
COPY millrace.record
    (pipeline, run, topic, partition, "offset", n, kind, out_topic, key, headers, value, function, model, config, label, score, stream)
FROM STDIN (FORMAT binary)
"#;
const COLUMNS: i16 = 17;

/// Bytes gathered before they are sent: a round is never in memory a second time.
const CHUNK_BYTES: usize = 64 << 10;

/// Runs the round. The outcome is checked after the commit, since a COMMIT that the server turns into a rollback is no error.
pub async fn decide(pool: &PgPool, provenance: &Provenance, round: &[Advance]) -> Result<Vec<TopicPartition>, sqlx::Error> {
    let mut connection = lease(pool).await?;
    let mut transaction = connection.begin().await?;
    let rows = sqlx::query(MOVE)
        .bind(&*provenance.pipeline)
        .bind(provenance.run)
        .bind_moves(provenance, round)
        .fetch_all(&mut *transaction)
        .await?;
    let Some(first) = rows.first() else {
        transaction.rollback().await?;
        return Ok(Vec::new());
    };
    let xid: String = first.try_get("xid")?;
    let moved: Vec<TopicPartition> = rows.iter().map(super::moved).collect::<Result<_, _>>()?;
    let streams: Vec<i32> = rows.iter().map(|row| row.try_get("stream")).collect::<Result<_, _>>()?;
    let mut advances: Vec<(&Advance, i32)> = Vec::with_capacity(moved.len());
    for advance in round {
        if let Some(at) = moved.iter().position(|partition| *partition == advance.partition) {
            advances.push((advance, streams[at]));
        }
    }
    if advances.iter().any(|(advance, _)| !advance.states.is_empty()) {
        let numbered = advances.iter().map(|(advance, stream)| (*stream, *advance));
        states::bind(sqlx::query(states::ALONE), numbered).execute(&mut *transaction).await?;
    }
    write(&mut transaction, provenance, &advances).await?;
    for (advance, stream) in advances.iter().filter(|_| provenance.keeps_latest) {
        sqlx::query(latest::ALONE).bind(stream).bind(advance.from).bind(advance.to).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    is_committed(&mut connection, &xid).await?;
    Ok(moved)
}

async fn is_committed(connection: &mut PgConnection, xid: &str) -> Result<(), sqlx::Error> {
    let status: Option<String> =
        sqlx::query_scalar("SELECT pg_xact_status($1::text::xid8)").bind(xid).fetch_one(connection).await?;
    match status.as_deref() {
        Some("committed") => Ok(()),
        other => Err(sqlx::Error::Protocol(format!("the transaction of a decide round ended as {other:?}, not as committed"))),
    }
}

async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    provenance: &Provenance,
    advances: &[(&Advance, i32)],
) -> Result<(), sqlx::Error> {
    let expected: u64 = advances.iter().map(|(advance, _)| advance.records.len() as u64).sum();
    let mut sink = transaction.copy_in_raw(COPY).await?;
    let mut rows = Rows::new(provenance);
    for (advance, stream) in advances {
        rows.start(provenance, &advance.partition, *stream);
        for record in advance.records.iter() {
            rows.push(record);
            if rows.buffer.len() >= CHUNK_BYTES {
                sink.send(rows.buffer.as_slice()).await?;
                rows.buffer.clear();
            }
        }
    }
    rows.end();
    sink.send(rows.buffer.as_slice()).await?;
    let written = sink.finish().await?;
    if written != expected {
        return Err(sqlx::Error::Protocol(format!("COPY wrote {written} rows of {expected}")));
    }
    Ok(())
}

/// The binary format of COPY. What is the same in many rows is encoded once.
struct Rows {
    buffer: Vec<u8>,
    /// Number of columns, pipeline, run, topic and partition of the advance in hand.
    head: Vec<u8>,
    function: Vec<u8>,
    /// The pipeline's, for records that name no other.
    model: Vec<u8>,
    config: Vec<u8>,
    /// Number of the partition of the advance in hand.
    stream: i32,
}

impl Rows {
    fn new(provenance: &Provenance) -> Self {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 3));
        buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        buffer.extend_from_slice(&[0; 8]); // No flags, no extension.
        let [function, model, config] = [&provenance.function, &provenance.model, &provenance.config].map(|text| {
            let mut out = Vec::new();
            field(&mut out, text.as_bytes());
            out
        });
        Self { buffer, head: Vec::new(), function, model, config, stream: 0 }
    }

    fn start(&mut self, provenance: &Provenance, partition: &TopicPartition, stream: i32) {
        self.stream = stream;
        self.head.clear();
        self.head.extend_from_slice(&COLUMNS.to_be_bytes());
        field(&mut self.head, provenance.pipeline.as_bytes());
        field(&mut self.head, &provenance.run.to_be_bytes());
        field(&mut self.head, partition.topic.as_bytes());
        field(&mut self.head, &partition.partition.to_be_bytes());
    }

    fn push(&mut self, record: &Record) {
        let out = &mut self.buffer;
        out.extend_from_slice(&self.head);
        field(out, &record.offset.to_be_bytes());
        field(out, &record.n.to_be_bytes());
        field(out, record.kind.as_str().as_bytes());
        field(out, record.out_topic.as_bytes());
        optional(out, record.key.as_deref());
        optional(out, super::headers(record).as_deref().map(str::as_bytes));
        field(out, record.value.as_bytes());
        out.extend_from_slice(&self.function);
        for (named, own) in [(&record.model, &self.model), (&record.config, &self.config)] {
            match named {
                Some(named) => field(out, named.as_bytes()),
                None => out.extend_from_slice(own),
            }
        }
        optional(out, record.label.as_deref().map(str::as_bytes));
        optional(out, record.score.map(f64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        field(out, &self.stream.to_be_bytes());
    }

    fn end(&mut self) {
        self.buffer.extend_from_slice(&(-1i16).to_be_bytes());
    }
}

/// A field's length is an `i32` in the format; what is longer than Postgres takes is refused by it, as data.
fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => field(out, bytes),
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
    }
}
