//! Predictions as the views for people show them.

use super::errors::first_error;
use crate::store::StoreError;
use sqlx::postgres::PgRow;
use sqlx::{Connection, FromRow, PgConnection};

/// A list of recommendations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub user: String,
    /// Of the event that asked for it.
    pub event_time_ms: i64,
    pub label: String,
    /// The best first.
    pub items: Vec<String>,
}

/// Event and decision of each risk score of a pipeline.
pub async fn decisions(url: &str, pipeline: &str) -> Result<Vec<(String, String)>, StoreError> {
    rows(url, pipeline, "SELECT event_id, decision FROM millrace.risk_scores WHERE pipeline = $1").await
}

/// Labels of a pipeline's texts, and how many have each.
pub async fn sentiments(url: &str, pipeline: &str) -> Result<Vec<(String, i64)>, StoreError> {
    rows(url, pipeline, "SELECT label, count(*) FROM millrace.sentiments WHERE pipeline = $1 GROUP BY label ORDER BY label").await
}

/// The lists of a pipeline.
pub async fn lists(url: &str, pipeline: &str) -> Result<Vec<List>, StoreError> {
    let select = "SELECT user_key AS \"user\", (extract(epoch FROM event_time) * 1000)::bigint AS event_time_ms, coalesce(label, '') AS label, \
                  ARRAY(SELECT item ->> 'item' FROM json_array_elements(items) WITH ORDINALITY AS list(item, place) ORDER BY place) AS items \
                  FROM millrace.recommendations WHERE pipeline = $1 AND items IS NOT NULL";
    let rows: Vec<(String, i64, String, Vec<String>)> = rows(url, pipeline, select).await?;
    Ok(rows.into_iter().map(|(user, event_time_ms, label, items)| List { user, event_time_ms, label, items }).collect())
}

/// Events of a pipeline about which there was nothing to say.
pub async fn skipped(url: &str, pipeline: &str) -> Result<i64, StoreError> {
    let select = "SELECT coalesce(sum(skipped), 0)::bigint FROM millrace.stream_partition WHERE pipeline = $1";
    let sums: Vec<(i64,)> = rows(url, pipeline, select).await?;
    Ok(sums.first().map_or(0, |(sum,)| *sum))
}

async fn rows<T>(url: &str, pipeline: &str, select: &'static str) -> Result<Vec<T>, StoreError>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let map = |error: sqlx::Error| first_error(&error);
    let mut connection = PgConnection::connect(url).await.map_err(map)?;
    let rows = sqlx::query_as(select).bind(pipeline).fetch_all(&mut connection).await.map_err(map)?;
    connection.close().await.map_err(map)?;
    Ok(rows)
}
