//! Indexes on tables that may be large, built beside the workers: outside of a transaction, and under a lock that lets rows be written.

use sqlx::{Connection, PgConnection};

/// An index that a migration makes with `CREATE INDEX CONCURRENTLY`, as the only statement of its text.
#[derive(Debug)]
pub struct Index {
    pub version: i32,
    /// Both with their schema.
    pub table: &'static str,
    pub name: &'static str,
}

pub const INDEXES: &[Index] = &[Index { version: 10, table: "millrace.record", name: "millrace.record_decided_at" }];

impl Index {
    pub fn of(version: i32) -> Option<&'static Index> {
        INDEXES.iter().find(|index| index.version == version)
    }

    /// Runs the text of the migration. What an interrupted build left behind is dropped first: `IF NOT EXISTS` would take it for the index.
    pub async fn build(&self, connection: &mut PgConnection, text: &str) -> Result<(), sqlx::Error> {
        tracing::info!(
            index = self.name,
            table = self.table,
            "Building an index while rows go on being written. It takes as long as reading the table twice, and waits for every transaction of this \
             database that began before it."
        );
        // Nothing waits behind this one while it waits, so the bounds that a login has for migrations do not hold here.
        sqlx::raw_sql("SET lock_timeout = 0; SET statement_timeout = 0").execute(&mut *connection).await?;
        if self.was_left(connection).await? {
            tracing::warn!(index = self.name, "An earlier build of the index was interrupted; what it left is dropped.");
            sqlx::raw_sql(&format!("DROP INDEX CONCURRENTLY IF EXISTS {}", self.name)).execute(&mut *connection).await?;
        }
        sqlx::raw_sql(text).execute(&mut *connection).await?;
        sqlx::raw_sql("RESET lock_timeout; RESET statement_timeout").execute(&mut *connection).await?;
        Ok(())
    }

    /// Whether it is there, cannot be used, and nobody is about to finish it: a build holds this lock of the table to its end.
    async fn was_left(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let lock = format!("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE", self.table);
        sqlx::raw_sql(&lock).execute(&mut *transaction).await?;
        let left = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT (indisvalid AND indisready))",
        )
        .bind(self.name)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(left)
    }
}
