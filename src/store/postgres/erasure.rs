//! Erases what is kept of one key: the payload of its records, its newest record, and states. The rows stay, with their ids and places, so that
//! every count still adds up; what may still have to be published is left alone.

use super::PostgresStore;
use super::errors::{Need, error_of};
use crate::store::StoreError;

/// What is meant.
#[derive(Debug, Clone)]
pub struct Erase {
    pub pipeline: String,
    /// Key of the records.
    pub key: Vec<u8>,
    /// Keys of states, as the view `millrace.states` has them.
    pub state_keys: Vec<String>,
    /// The topics that the pipeline reads: workers write states of no other.
    pub topics: Vec<String>,
}

/// What there is, or what went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rows that are published.
    pub rows: i64,
    /// Rows at or above Q: they may still have to be published.
    pub waiting: i64,
    /// Rows of `latest`.
    pub latest: i64,
    pub states: i64,
}

/// Names under which the pipeline's rows stand: its own, and those of its replays. $1 the pipeline.
const NAMES: &str = "(SELECT $1::text UNION ALL SELECT name FROM millrace.replay WHERE pipeline = $1)";
/// Partitions of which the states may still be written: those of the run that is in force, in topics that are read; and those of replays that are under way,
/// which hold their lock ([`lock_replay`](PostgresStore::lock_replay)). $1 the pipeline, $3 its topics.
const WRITTEN: &str = "(p.pipeline = $1 AND p.run = (SELECT max(run) FROM millrace.stream_partition WHERE pipeline = $1) AND p.topic = ANY ($3) \
     OR p.pipeline <> $1 AND EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database() \
         WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = hashtext('millrace.replay')::oid AND l.objid = hashtext(p.pipeline)::oid))";
/// Rows that nobody will publish any more: below Q, of a run that is over, or without their partition's row.
const SETTLED: &str = "(p.stream IS NULL OR r.\"offset\" < p.published_offset \
     OR p.run < (SELECT max(n.run) FROM millrace.stream_partition n WHERE n.pipeline = p.pipeline))";
/// Rows that one statement looks at.
const SLICE: i64 = 50_000;

fn map(error: sqlx::Error) -> StoreError {
    error_of(Need::Owner, &error)
}

impl PostgresStore {
    /// What [`erase`](Self::erase) would find. Reads all rows of the pipeline: a key has no index.
    pub async fn erasable(&self, erase: &Erase) -> Result<Erased, StoreError> {
        let text = format!(
            "SELECT count(*) FILTER (WHERE {SETTLED}), count(*) FILTER (WHERE NOT {SETTLED}) FROM millrace.record r \
             LEFT JOIN millrace.stream_partition p USING (stream) WHERE r.pipeline IN {NAMES} AND r.key = $2"
        );
        let (rows, waiting) =
            sqlx::query_as(&text).bind(&erase.pipeline).bind(&erase.key).fetch_one(&self.pool).await.map_err(map)?;
        let latest = sqlx::query_scalar("SELECT count(*) FROM millrace.latest WHERE pipeline = $1 AND key = $2")
            .bind(&erase.pipeline)
            .bind(&erase.key)
            .fetch_one(&self.pool)
            .await
            .map_err(map)?;
        let text = format!(
            "SELECT count(*) FROM millrace.state s JOIN millrace.stream_partition p USING (stream) WHERE p.pipeline IN {NAMES} AND s.key = ANY ($2)"
        );
        let states =
            sqlx::query_scalar(&text).bind(&erase.pipeline).bind(&erase.state_keys).fetch_one(&self.pool).await.map_err(map)?;
        Ok(Erased { rows, waiting, latest, states })
    }

    /// Erases it. States must be nobody's at this moment: the caller has seen that no worker is in the group.
    pub async fn erase(&self, erase: &Erase) -> Result<Erased, StoreError> {
        let mut done = Erased { states: self.states(erase).await?, ..Erased::default() };
        for stream in self.streams_of(erase).await? {
            let mut from = Some(i64::MIN);
            while let Some(at) = from {
                let (rows, waiting, next) = self.slice(erase, stream, at).await?;
                done.rows += rows;
                done.waiting += waiting;
                from = next;
            }
        }
        done.latest = sqlx::query("DELETE FROM millrace.latest WHERE pipeline = $1 AND key = $2")
            .bind(&erase.pipeline)
            .bind(&erase.key)
            .execute(&self.pool)
            .await
            .map_err(map)?
            .rows_affected()
            .cast_signed();
        Ok(done)
    }

    /// Deletes states, where no event is left that would be folded again into an empty one; takes the claim away from whoever may have them in
    /// memory. Those of an earlier run nobody folds any more; a replay that was cut off may go on.
    async fn states(&self, erase: &Erase) -> Result<i64, StoreError> {
        if erase.state_keys.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.pool.begin().await.map_err(map)?;
        let text = format!(
            "WITH meant AS MATERIALIZED (SELECT p.pipeline, p.topic, p.partition, p.fold_from, p.next_offset FROM millrace.stream_partition p \
                 WHERE p.pipeline IN {NAMES} AND ({WRITTEN} \
                     OR p.pipeline <> $1 AND EXISTS (SELECT FROM millrace.state s WHERE s.stream = p.stream AND s.key = ANY ($2))) FOR UPDATE) \
             SELECT topic || '/' || partition || ' of ' || pipeline FROM meant WHERE fold_from < next_offset ORDER BY 1 LIMIT 1"
        );
        let behind: Option<String> = sqlx::query_scalar(&text)
            .bind(&erase.pipeline)
            .bind(&erase.state_keys)
            .bind(&erase.topics)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(map)?;
        if let Some(at) = behind {
            return Err(StoreError::Fatal(format!(
                "states of {at} are not written to the end: events that were decided would be folded into the erased one again, or make it anew. Let a \
                 worker fold them to the end (until fold_from is next_offset in millrace.stream_partition) and drain (SIGTERM), or end or remove the replay, then \
                 run this again"
            )));
        }
        let text = format!(
            "UPDATE millrace.stream_partition p SET claim = gen_random_uuid(), epoch = p.epoch + 1 WHERE p.pipeline IN {NAMES} \
             AND EXISTS (SELECT FROM millrace.state s WHERE s.stream = p.stream AND s.key = ANY ($2))"
        );
        sqlx::query(&text).bind(&erase.pipeline).bind(&erase.state_keys).execute(&mut *transaction).await.map_err(map)?;
        let text = format!(
            "DELETE FROM millrace.state s USING millrace.stream_partition p WHERE p.stream = s.stream AND p.pipeline IN {NAMES} \
             AND s.key = ANY ($2)"
        );
        let gone =
            sqlx::query(&text).bind(&erase.pipeline).bind(&erase.state_keys).execute(&mut *transaction).await.map_err(map)?;
        transaction.commit().await.map_err(map)?;
        Ok(gone.rows_affected().cast_signed())
    }

    /// The numbers of the partitions that have rows of the pipeline or of its replays, those of which the partition's own row is gone too.
    async fn streams_of(&self, erase: &Erase) -> Result<Vec<i32>, StoreError> {
        let text = format!(
            "SELECT stream FROM millrace.stream_partition WHERE pipeline IN {NAMES} UNION \
             SELECT r.stream FROM millrace.record r WHERE r.pipeline IN {NAMES} \
             AND NOT EXISTS (SELECT FROM millrace.stream_partition p WHERE p.stream = r.stream) ORDER BY 1"
        );
        sqlx::query_scalar(&text).bind(&erase.pipeline).fetch_all(&self.pool).await.map_err(map)
    }

    /// Rewrites what the key has in the next rows of one partition: rows, those that wait, and where to go on. What names the event and who scored
    /// it stays, and of a dead letter the reason's code. Open dead letters are discarded, since their event is gone.
    async fn slice(&self, erase: &Erase, stream: i32, from: i64) -> Result<(i64, i64, Option<i64>), StoreError> {
        let text = format!(
            "WITH slice AS MATERIALIZED (SELECT r.\"offset\", r.n, r.key FROM millrace.record r WHERE r.stream = $1 AND r.\"offset\" >= $2 \
                 ORDER BY r.\"offset\" FETCH FIRST ($4::bigint) ROWS WITH TIES), \
             found AS MATERIALIZED (SELECT r.stream, r.\"offset\", r.n, millrace.payload_digest(r) AS payload, {SETTLED} AS settled \
                 FROM slice s JOIN millrace.record r ON r.stream = $1 AND r.\"offset\" = s.\"offset\" AND r.n = s.n \
                 LEFT JOIN millrace.stream_partition p ON p.stream = r.stream WHERE s.key = $3), \
             noted AS (INSERT INTO millrace.erased (stream, \"offset\", n, payload) SELECT stream, \"offset\", n, payload FROM found WHERE settled \
                 ON CONFLICT DO NOTHING), \
             gone AS (UPDATE millrace.record r SET key = NULL, headers = NULL, value = (SELECT json_object_agg(part, content) FROM \
                 (VALUES ('id', r.value -> 'id'), ('pipeline', r.value -> 'pipeline'), ('function', r.value -> 'function'), \
                 ('model', r.value -> 'model'), ('event_time', r.value -> 'event_time'), ('source', r.value -> 'source'), \
                 ('reason', CASE WHEN r.kind = 'dead_letter' THEN json_build_object('code', r.value #> '{{reason,code}}', 'detail', 'erased') END), \
                 ('erased', to_json(now()))) AS kept (part, content) WHERE content IS NOT NULL) \
                 FROM found f WHERE f.settled AND r.stream = f.stream AND r.\"offset\" = f.\"offset\" AND r.n = f.n \
                 RETURNING r.pipeline, r.run, r.topic, r.partition, r.\"offset\", r.n, r.kind), \
             marked AS (INSERT INTO millrace.dead_letter_mark (pipeline, run, topic, partition, \"offset\", n, action, note) \
                 SELECT pipeline, run, topic, partition, \"offset\", n, 'discarded', 'erased' FROM gone WHERE kind = 'dead_letter' \
                 ON CONFLICT (pipeline, run, topic, partition, \"offset\", n) DO UPDATE SET action = 'discarded', note = 'erased', at = now(), \
                 by = session_user WHERE dead_letter_mark.action <> 'redriven') \
             SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM found WHERE NOT settled), (SELECT max(\"offset\") + 1 FROM slice)"
        );
        sqlx::query_as(&text).bind(stream).bind(from).bind(&erase.key).bind(SLICE).fetch_one(&self.pool).await.map_err(map)
    }
}
