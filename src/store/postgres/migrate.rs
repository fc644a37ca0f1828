//! Migrations: applied in order, once, each in a transaction of its own, under an advisory lock. An index on a table that may be large is built
//! outside of one (`concurrent`).

mod beside;
mod concurrent;
mod plan;

use super::errors::{Need, error_of, first_error};
use crate::store::StoreError;
pub use beside::Beside;
use concurrent::Index;
pub use plan::{Pending, plan};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, PgPool};
use std::time::Duration;

/// Version, name, text. A migration that contracts also goes into [`CONTRACTING`].
const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "streams and records", include_str!("../../../migrations/0001_streams_and_records.sql")),
    (2, "roles", include_str!("../../../migrations/0002_roles.sql")),
    (3, "dead letter marks", include_str!("../../../migrations/0003_dead_letter_marks.sql")),
    (4, "start offset", include_str!("../../../migrations/0004_start_offset.sql")),
    (5, "narrow key", include_str!("../../../migrations/0005_narrow_key.sql")),
    (6, "state", include_str!("../../../migrations/0006_state.sql")),
    (7, "heads grow old", include_str!("../../../migrations/0007_heads_grow_old.sql")),
    (8, "forgetting", include_str!("../../../migrations/0008_forgetting.sql")),
    (9, "pauses", include_str!("../../../migrations/0009_pauses.sql")),
    (10, "record by time", include_str!("../../../migrations/0010_record_by_time.sql")),
    (11, "retention", include_str!("../../../migrations/0011_retention.sql")),
    (12, "erasure", include_str!("../../../migrations/0012_erasure.sql")),
    (13, "seals", include_str!("../../../migrations/0013_seals.sql")),
    (14, "replays", include_str!("../../../migrations/0014_replays.sql")),
    (15, "swaps", include_str!("../../../migrations/0015_swaps.sql")),
    (16, "shadow", include_str!("../../../migrations/0016_shadow.sql")),
    (17, "fold start", include_str!("../../../migrations/0017_fold_start.sql")),
];

/// The version this program writes.
pub const SCHEMA_VERSION: i32 = 17;

/// Migrations that drop or change what older programs use, and the oldest version of a program that can go on.
const CONTRACTING: &[(i32, i32)] = &[(5, 5)];

/// Any number, as long as all migrations take the same.
const LOCK: i64 = 0x6d69_6c6c_7261_6365;

/// What a migration came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// Migrations applied now.
    pub applied: usize,
    /// Version of the schema that is there now; a newer program may have raised it above this one's.
    pub version: i32,
}

/// Applies what is new, and refuses what contracts while workers are there.
pub async fn migrate(url: &str) -> Result<Migrated, StoreError> {
    migrate_beside(url, Beside::Nobody).await
}

/// Applies what is new.
pub async fn migrate_beside(url: &str, beside: Beside) -> Result<Migrated, StoreError> {
    let mut connection = PgConnection::connect(url).await.map_err(|error| first_error(&error))?;
    let applied = apply(&mut connection, beside).await;
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "A connection did not close in good order.");
    }
    applied
}

async fn apply(connection: &mut PgConnection, beside: Beside) -> Result<Migrated, StoreError> {
    check_server(&mut *connection).await?;
    let map = |error: sqlx::Error| error_of(Need::Migrate, &error);
    lock(&mut *connection).await.map_err(map)?;
    for statement in [
        "CREATE SCHEMA IF NOT EXISTS millrace",
        "CREATE TABLE IF NOT EXISTS millrace.migration (version integer PRIMARY KEY, name text NOT NULL, digest text NOT NULL, \
         applied_at timestamptz NOT NULL DEFAULT now())",
        "ALTER TABLE millrace.migration ADD COLUMN IF NOT EXISTS min_compatible integer NOT NULL DEFAULT 1",
    ] {
        sqlx::query(statement).execute(&mut *connection).await.map_err(map)?;
    }
    let found = version(&mut *connection).await?;
    beside.allows(&mut *connection, found).await?;
    let mut applied = 0;
    for (version, name, text) in MIGRATIONS {
        let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let known: Option<String> = sqlx::query_scalar("SELECT digest FROM millrace.migration WHERE version = $1")
            .bind(version)
            .fetch_optional(&mut *connection)
            .await
            .map_err(map)?;
        match known {
            Some(known) if known == digest => continue,
            Some(_) => {
                return Err(StoreError::Fatal(format!(
                    "migration {version} ({name}) was applied with another text than this program has: the database belongs to another build."
                )));
            }
            None => {}
        }
        if let Some(index) = Index::of(*version) {
            index.build(&mut *connection, text).await.map_err(map)?;
        }
        let mut transaction = connection.begin().await.map_err(map)?;
        if Index::of(*version).is_none() {
            sqlx::raw_sql(text).execute(&mut *transaction).await.map_err(map)?;
        }
        sqlx::query("INSERT INTO millrace.migration (version, name, digest, min_compatible) VALUES ($1, $2, $3, $4)")
            .bind(version)
            .bind(name)
            .bind(&digest)
            .bind(CONTRACTING.iter().find(|(of, _)| of == version).map_or(1, |(_, oldest)| *oldest))
            .execute(&mut *transaction)
            .await
            .map_err(map)?;
        transaction.commit().await.map_err(map)?;
        applied += 1;
    }
    Ok(Migrated { applied, version: version(&mut *connection).await? })
}

/// How often the lock is asked for while another migration has it.
const OFTEN: Duration = Duration::from_millis(200);

/// Takes the lock, which goes with the connection. It is asked for again and again: a statement that waits for it would be an old transaction, and
/// an index that the other builds concurrently would wait for that one in turn.
async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut told = false;
    while !sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *connection).await? {
        if !told {
            tracing::info!("Another migration of this database is running; this one waits for its end.");
        }
        told = true;
        tokio::time::sleep(OFTEN).await;
    }
    Ok(())
}

/// Refuses a schema that this program cannot work with. A newer one is fine until a migration has taken away what this program
/// uses: so workers that restart in a rolling deploy go on beside those that are newer.
pub async fn check(pool: &PgPool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.map_err(|error| first_error(&error))?;
    check_server(&mut connection).await?;
    let found = version(&mut connection).await?;
    let unfit = |what: String| StoreError::Fatal(format!("the schema `millrace` has version {found} and {what}."));
    if found < SCHEMA_VERSION {
        return Err(unfit(format!("this program needs {SCHEMA_VERSION}: run `millrace migrate`")));
    }
    if found > SCHEMA_VERSION {
        let oldest: i32 = sqlx::query_scalar("SELECT coalesce(max(min_compatible), 1) FROM millrace.migration")
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| first_error(&error))?;
        if oldest > SCHEMA_VERSION {
            return Err(unfit(format!(
                "works with programs from version {oldest} on, this one has {SCHEMA_VERSION}: run a newer millrace"
            )));
        }
        tracing::warn!(found, ours = SCHEMA_VERSION, "The schema is newer than this program, and still works with it.");
    }
    Ok(())
}

/// The oldest Postgres, as `server_version_num`: transactions have numbers of 64 bits from it on.
const OLDEST_SERVER: i32 = 130_000;

/// Refuses a server or a database that cannot hold what a decide writes: else the first large round would tell, or the first text.
async fn check_server(connection: &mut PgConnection) -> Result<(), StoreError> {
    let (version, encoding): (i32, String) =
        sqlx::query_as("SELECT current_setting('server_version_num')::int, current_setting('server_encoding')")
            .fetch_one(connection)
            .await
            .map_err(|error| first_error(&error))?;
    unfit_server(version, &encoding).map_or(Ok(()), |why| Err(StoreError::Fatal(why)))
}

fn unfit_server(version: i32, encoding: &str) -> Option<String> {
    if version < OLDEST_SERVER {
        let (major, oldest) = (version / 10_000, OLDEST_SERVER / 10_000);
        return Some(format!(
            "the server is Postgres {major}, Millrace needs {oldest} or newer: upgrade it, or name another database."
        ));
    }
    (encoding != "UTF8").then(|| {
        format!(
            "the database has the encoding {encoding}, which cannot hold every text: make one with CREATE DATABASE … TEMPLATE template0 \
             ENCODING 'UTF8', and name that."
        )
    })
}

/// Version of the schema that is there; 0 without one.
async fn version(connection: &mut PgConnection) -> Result<i32, StoreError> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('millrace.migration') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| first_error(&error))?;
    if !there {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM millrace.migration")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| first_error(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a server without `pg_current_xact_id` that is taken, and a number in the text that nobody calls it by.
    #[test]
    fn servers_before_13_and_encodings_but_utf8_are_refused() {
        assert_eq!(unfit_server(130_000, "UTF8"), None);
        assert_eq!(unfit_server(150_018, "UTF8"), None);
        assert!(unfit_server(129_999, "UTF8").is_some_and(|why| why.contains("Postgres 12") && why.contains("13 or newer")));
        assert!(unfit_server(150_018, "SQL_ASCII").is_some_and(|why| why.contains("SQL_ASCII") && why.contains("UTF8")));
    }
}
