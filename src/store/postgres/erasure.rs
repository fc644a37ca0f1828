//! Erases what is kept of one key: the payload of its records, its newest record, and states. The rows stay, with their ids and places, so that
//! every count still adds up; what may still have to be published is left alone.

use super::PostgresStore;
use super::errors::{Need, error_of};
use crate::store::StoreError;

/// Rows that one transaction rewrites.
const AT_A_TIME: i64 = 2_000;

/// What is meant.
#[derive(Debug, Clone)]
pub struct Erase {
    pub pipeline: String,
    /// Key of the records.
    pub key: Vec<u8>,
    /// Keys of states, as the view `millrace.states` has them.
    pub state_keys: Vec<String>,
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

/// Rows of the key that have not been erased yet. $1 pipeline, $2 key.
const FOUND: &str = "FROM millrace.record r JOIN millrace.stream_partition p USING (stream) WHERE r.pipeline = $1 AND r.key = $2";
const BELOW_Q: &str = "r.\"offset\" < p.published_offset";

fn map(error: sqlx::Error) -> StoreError {
    error_of(Need::Owner, &error)
}

impl PostgresStore {
    /// What [`erase`](Self::erase) would find. Reads all rows of the pipeline: a key has no index.
    pub async fn erasable(&self, erase: &Erase) -> Result<Erased, StoreError> {
        let text = format!(
            "SELECT count(*) FILTER (WHERE {BELOW_Q}), count(*) FILTER (WHERE r.\"offset\" >= p.published_offset) {FOUND}"
        );
        let (rows, waiting) =
            sqlx::query_as(&text).bind(&erase.pipeline).bind(&erase.key).fetch_one(&self.pool).await.map_err(map)?;
        let latest = sqlx::query_scalar("SELECT count(*) FROM millrace.latest WHERE pipeline = $1 AND key = $2")
            .bind(&erase.pipeline)
            .bind(&erase.key)
            .fetch_one(&self.pool)
            .await
            .map_err(map)?;
        let states = sqlx::query_scalar(
            "SELECT count(*) FROM millrace.state s JOIN millrace.stream_partition p USING (stream) WHERE p.pipeline = $1 AND s.key = ANY ($2)",
        )
        .bind(&erase.pipeline)
        .bind(&erase.state_keys)
        .fetch_one(&self.pool)
        .await
        .map_err(map)?;
        Ok(Erased { rows, waiting, latest, states })
    }

    /// Erases it. States must be nobody's at this moment: the caller has seen that no worker is in the group.
    pub async fn erase(&self, erase: &Erase) -> Result<Erased, StoreError> {
        let mut done = Erased::default();
        done.states = self
            .deleted(
                "DELETE FROM millrace.state s USING millrace.stream_partition p WHERE p.stream = s.stream AND p.pipeline = $1 \
                 AND s.key = ANY ($2)",
                erase,
            )
            .await?;
        loop {
            let rows = self.rewrite(erase).await?;
            done.rows += rows;
            if rows < AT_A_TIME {
                break;
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
        done.waiting = self.erasable(erase).await?.waiting;
        Ok(done)
    }

    async fn deleted(&self, statement: &str, erase: &Erase) -> Result<i64, StoreError> {
        if erase.state_keys.is_empty() {
            return Ok(0);
        }
        let done = sqlx::query(statement).bind(&erase.pipeline).bind(&erase.state_keys).execute(&self.pool).await.map_err(map)?;
        Ok(done.rows_affected().cast_signed())
    }

    /// Rewrites some rows: what names the event and who scored it stays, and of a dead letter the reason's code. Open dead letters are
    /// discarded, since their event is gone.
    async fn rewrite(&self, erase: &Erase) -> Result<i64, StoreError> {
        let text = format!(
            "WITH found AS MATERIALIZED (SELECT r.stream, r.\"offset\", r.n, millrace.leaf(r) AS leaf {FOUND} AND {BELOW_Q} LIMIT $3), \
             noted AS (INSERT INTO millrace.erased (stream, \"offset\", n, leaf) SELECT stream, \"offset\", n, leaf FROM found ON CONFLICT DO NOTHING), \
             gone AS (UPDATE millrace.record r SET key = NULL, headers = NULL, value = (SELECT json_object_agg(part, content) FROM \
                 (VALUES ('id', r.value -> 'id'), ('pipeline', r.value -> 'pipeline'), ('function', r.value -> 'function'), \
                 ('model', r.value -> 'model'), ('event_time', r.value -> 'event_time'), ('source', r.value -> 'source'), \
                 ('reason', CASE WHEN r.kind = 'dead_letter' THEN json_build_object('code', r.value #> '{{reason,code}}', 'detail', 'erased') END), \
                 ('erased', to_json(now()))) AS kept (part, content) WHERE content IS NOT NULL) \
                 FROM found f WHERE r.stream = f.stream AND r.\"offset\" = f.\"offset\" AND r.n = f.n \
                 RETURNING r.pipeline, r.run, r.topic, r.partition, r.\"offset\", r.n, r.kind), \
             marked AS (INSERT INTO millrace.dead_letter_mark (pipeline, run, topic, partition, \"offset\", n, action, note) \
                 SELECT pipeline, run, topic, partition, \"offset\", n, 'discarded', 'erased' FROM gone WHERE kind = 'dead_letter' \
                 ON CONFLICT (pipeline, run, topic, partition, \"offset\", n) DO UPDATE SET action = 'discarded', note = 'erased', at = now(), \
                 by = session_user WHERE dead_letter_mark.action <> 'redriven') \
             SELECT count(*) FROM gone"
        );
        sqlx::query_scalar(&text).bind(&erase.pipeline).bind(&erase.key).bind(AT_A_TIME).fetch_one(&self.pool).await.map_err(map)
    }
}
