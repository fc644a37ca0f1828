//! What an operator writes, outside of any claim: the rows of a new run. It takes a worker's rights, and no more.

use super::PostgresStore;
use super::begin::{self, Begin, IfThere};
use super::errors::store_error;
use crate::record::Mode;
use crate::store::StoreError;
use sqlx::{Postgres, Transaction};

/// A run whose rows are written and not committed yet.
pub struct NewRun {
    transaction: Transaction<'static, Postgres>,
}

impl PostgresStore {
    /// Opens every partition of a new run where it begins (P = Q), with the states that it keeps, in a transaction that the caller ends. Fails when the run
    /// is there.
    pub async fn new_run(&self, pipeline: &str, run: i32, mode: Mode, begins: &[Begin]) -> Result<NewRun, StoreError> {
        let map = |error: sqlx::Error| store_error(&error);
        let mut transaction = self.pool.begin().await.map_err(map)?;
        // Kafka is asked before the commit.
        sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '60s'").execute(&mut *transaction).await.map_err(map)?;
        if !begin::hold(&mut transaction, pipeline, begins).await.map_err(map)? {
            return Err(StoreError::Fatal(
                "a partition whose states the new run goes on with has moved since it was looked at: run the same command again"
                    .into(),
            ));
        }
        begin::open(&mut *transaction, (pipeline, run), mode, begins, IfThere::Fails).await.map_err(map)?;
        begin::keep_states(&mut transaction, (pipeline, run), begins).await.map_err(map)?;
        Ok(NewRun { transaction })
    }
}

impl NewRun {
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(|error| store_error(&error))
    }
}
