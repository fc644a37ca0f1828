//! Migrations: applied in order, once, each in a transaction of its own, under an advisory lock.

use super::errors::{Need, error_of, store_error};
use crate::store::StoreError;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, PgPool};

const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "streams and records", include_str!("../../../migrations/0001_streams_and_records.sql")),
    (2, "roles", include_str!("../../../migrations/0002_roles.sql")),
    (3, "dead letter marks", include_str!("../../../migrations/0003_dead_letter_marks.sql")),
    (4, "start offset", include_str!("../../../migrations/0004_start_offset.sql")),
];

/// The version this program writes.
pub const SCHEMA_VERSION: i32 = 4;

/// Any number, as long as all migrations take the same.
const LOCK: i64 = 0x6d69_6c6c_7261_6365;

/// Applies what is new, and returns how many that were.
pub async fn migrate(url: &str) -> Result<usize, StoreError> {
    let mut connection = PgConnection::connect(url).await.map_err(|error| store_error(&error))?;
    let applied = apply(&mut connection).await;
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "A connection did not close in good order.");
    }
    applied
}

async fn apply(connection: &mut PgConnection) -> Result<usize, StoreError> {
    let map = |error: sqlx::Error| error_of(Need::Migrate, &error);
    // The lock goes with the connection.
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *connection).await.map_err(map)?;
    for statement in [
        "CREATE SCHEMA IF NOT EXISTS millrace",
        "CREATE TABLE IF NOT EXISTS millrace.migration (version integer PRIMARY KEY, name text NOT NULL, digest text NOT NULL, \
         applied_at timestamptz NOT NULL DEFAULT now())",
    ] {
        sqlx::query(statement).execute(&mut *connection).await.map_err(map)?;
    }
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
        let mut transaction = connection.begin().await.map_err(map)?;
        sqlx::raw_sql(*text).execute(&mut *transaction).await.map_err(map)?;
        sqlx::query("INSERT INTO millrace.migration (version, name, digest) VALUES ($1, $2, $3)")
            .bind(version)
            .bind(name)
            .bind(&digest)
            .execute(&mut *transaction)
            .await
            .map_err(map)?;
        transaction.commit().await.map_err(map)?;
        applied += 1;
    }
    Ok(applied)
}

/// Version of the schema that is there; 0 without one.
pub async fn version(pool: &PgPool) -> Result<i32, StoreError> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('millrace.migration') IS NOT NULL")
        .fetch_one(pool)
        .await
        .map_err(|error| store_error(&error))?;
    if !there {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM millrace.migration")
        .fetch_one(pool)
        .await
        .map_err(|error| store_error(&error))
}
