//! States of keys: written with the round whose P has reached them, read for a slice.

use crate::store::postgres::errors::store_error;
use crate::store::postgres::keyed::{BindKey, stream};
use crate::store::postgres::lease::lease;
use crate::store::{Advance, PartitionKey, StateRow, StoreError};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};

// A row never goes back: a decide that was given up and is carried out late may bring one that a later decide has brought further on.
macro_rules! upsert {
    ($from:expr) => {
        concat!(
            "INSERT INTO millrace.state (stream, key, as_of, newest, bytes) SELECT s.stream, s.key, s.as_of, s.newest, s.bytes FROM ",
            $from,
            " ON CONFLICT (stream, key) DO UPDATE SET as_of = excluded.as_of, newest = excluded.newest, bytes = excluded.bytes \
             WHERE state.as_of <= excluded.as_of"
        )
    };
}

/// Joins the statement of a round; its parameters come last.
pub const WITH_ROUND: &str = concat!(
    ", kept AS (",
    upsert!(
        "(SELECT named.stream, s.* FROM unnest($31::int[], $32::text[], $33::bigint[], $34::bigint[], $35::bytea[]) \
          AS s (advance, key, as_of, newest, bytes) JOIN named ON named.number = s.advance) AS s"
    ),
    ")\n"
);

/// A statement of its own, with the numbers of the partitions in place of those of the advances.
pub const ALONE: &str =
    upsert!("unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[], $5::bytea[]) AS s (stream, key, as_of, newest, bytes)");

/// Binds the states of advances, each with the number that stands for its partition.
pub fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    advances: impl Iterator<Item = (i32, &'q Advance)>,
) -> Query<'q, Postgres, PgArguments> {
    let (mut numbers, mut keys, mut as_of, mut newest, mut bytes) = (vec![], vec![], vec![], vec![], vec![]);
    for (number, advance) in advances {
        for (key, row) in &advance.states {
            numbers.push(number);
            keys.push(&**key);
            as_of.push(row.as_of);
            newest.push(row.newest_ms);
            bytes.push(&*row.bytes);
        }
    }
    query.bind(numbers).bind(keys).bind(as_of).bind(newest).bind(bytes)
}

/// The states of these keys; a key without one is not in the answer.
pub async fn read(pool: &PgPool, key: &PartitionKey, keys: &[Box<str>]) -> Result<Vec<(Box<str>, StateRow)>, StoreError> {
    let map = |error: sqlx::Error| store_error(&error);
    let mut connection = lease(pool).await.map_err(map)?;
    let rows =
        sqlx::query(concat!("SELECT key, as_of, newest, bytes FROM millrace.state WHERE key = ANY($5) AND stream = ", stream!()))
            .bind_key(key)
            .bind(keys.iter().map(|key| &**key).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await
            .map_err(map)?;
    let read = |row: &sqlx::postgres::PgRow| -> Result<(Box<str>, StateRow), sqlx::Error> {
        let bytes: &[u8] = row.try_get(3)?;
        Ok((
            row.try_get::<&str, _>(0)?.into(),
            StateRow { as_of: row.try_get(1)?, newest_ms: row.try_get(2)?, bytes: bytes.into() },
        ))
    };
    rows.iter().map(read).collect::<Result<_, _>>().map_err(map)
}
