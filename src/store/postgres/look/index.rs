//! An index that an operator may have made, and what it is good for.

use super::map;
use super::scan::{AT, Found, Search, Wanted, fetch};
use crate::store::StoreError;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

/// What stands second in an index that answers at once.
fn expression(wanted: &Wanted) -> Option<&'static str> {
    match wanted {
        Wanted::Key(_) => Some("key"),
        Wanted::Field { paths, .. } => paths.iter().all(|path| *path == ["event_id"]).then_some("(value ->> 'event_id'::text)"),
    }
}

impl Wanted {
    /// The statement that makes an index by which this is found at once. It costs each record that is written.
    pub fn index(&self) -> Option<String> {
        let column = expression(self)?.replace("::text", "");
        Some(format!("CREATE INDEX CONCURRENTLY ON millrace.record (stream, {column}, \"offset\")"))
    }
}

/// Whether somebody made one.
pub async fn indexed(connection: &mut PgConnection, wanted: &Wanted) -> Result<bool, StoreError> {
    let Some(expression) = expression(wanted) else { return Ok(false) };
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = 'millrace.record'::regclass AND i.indisvalid AND i.indpred IS NULL \
         AND pg_get_indexdef(i.indexrelid, 1, true) = 'stream' AND pg_get_indexdef(i.indexrelid, 2, true) IN ($1, trim($1, '()')))",
    )
    .bind(expression)
    .fetch_one(connection)
    .await
    .map_err(map)
}

/// The condition of a record; `$2` is what is wanted, `path` says where the statement has its path.
pub fn condition(wanted: &Wanted, path: &str) -> String {
    match wanted {
        Wanted::Key(_) => "r.key = $2".to_owned(),
        Wanted::Field { .. } if expression(wanted).is_some() => "r.value ->> 'event_id' = $2".to_owned(),
        Wanted::Field { .. } => format!("r.value #>> {path}::text[] = $2"),
    }
}

/// Asks the index for all partitions at once.
pub async fn by_index(connection: &mut PgConnection, search: &Search<'_>) -> Result<Found, StoreError> {
    let text = format!(
        "SELECT p.stream, t.\"offset\", t.n FROM millrace.stream_partition p CROSS JOIN LATERAL (SELECT r.\"offset\", r.n::bigint AS n \
         FROM millrace.record r WHERE r.stream = p.stream AND {} AND ($3::bigint IS NULL OR {AT} >= $3) \
         AND ($4::bigint IS NULL OR {AT} < $4) ORDER BY r.\"offset\" DESC, r.n LIMIT $5) t WHERE p.pipeline = ANY($1)",
        condition(&search.wanted, "")
    );
    let query = sqlx::query(&text).bind(search.pipelines);
    let query = match &search.wanted {
        Wanted::Key(key) => query.bind(key.as_slice()),
        Wanted::Field { value, .. } => query.bind(value.as_str()),
    };
    let rows = query
        .bind(search.since)
        .bind(search.until)
        .bind(i64::try_from(search.limit).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(&mut *connection)
        .await
        .map_err(map)?;
    let hit = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let hits: Vec<(i32, i64, i64)> = rows.iter().map(hit).collect::<Result<_, _>>().map_err(map)?;
    let records = fetch(connection, &hits, search).await?;
    Ok(Found { more: hits.len() > records.len(), records, looked_at: None, reached: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a proposed index that the look-up does not know again.
    #[test]
    fn an_index_is_proposed_where_it_would_be_used() {
        let field = |path: &[&str]| Wanted::Field {
            paths: vec![path.iter().map(|name| (*name).to_owned()).collect()],
            value: "x".to_owned(),
        };
        assert!(Wanted::Key(vec![1]).index().is_some_and(|text| text.ends_with("(stream, key, \"offset\")")));
        assert!(field(&["event_id"]).index().is_some_and(|text| text.ends_with("(stream, (value ->> 'event_id'), \"offset\")")));
        assert_eq!(field(&["event", "id"]).index(), None);
    }
}
