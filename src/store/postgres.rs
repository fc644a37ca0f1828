//! Postgres as the place where outcomes are decided. All of sqlx lives in this folder.

pub mod answers;
mod begin;
mod dead_letters;
mod decide;
mod erasure;
mod errors;
mod forget;
mod frozen;
mod grants;
mod heads;
mod keyed;
mod lease;
mod look;
mod migrate;
mod operations;
mod past_scores;
mod pauses;
mod replays;
mod retention;
mod review;
mod rows;
mod seal;
mod shadow;
mod versions;

pub use begin::Begin;
pub use dead_letters::{DeadLetter, Filter, Mark, Marked};
pub use erasure::{Erase, Erased};
pub use grants::Grant;
pub use look::{Found, Letter, LetterCount, LetterFilter, Look, Looked, Place, Reached, Search, Wanted};
pub use migrate::{Beside, Migrated, Pending, SCHEMA_VERSION, migrate, migrate_beside, plan};
pub use operations::NewRun;
pub use pauses::{NAME_CHARS, Operator, REASON_CHARS, Scope};
pub use replays::{Replay, ReplayLock, ScoredBy};
pub use retention::{Retain, Retained};
pub use review::{Counted, Endings, Removed, Row, Run, endings};
pub use seal::{Link, Seal};
pub use shadow::{AddError, ShadowCount, ShadowFlip, ShadowStore, Versus};
pub use versions::{Standing, Step};

use super::{Advance, Head, Heads, PartitionKey, PartitionRow, Pause, Rows, StateRow, Store, StoreError, Swap, Taken};
use crate::event::TopicPartition;
use crate::record::{Mode, Provenance, Record};
use errors::{first_error, store_error};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// A pool of connections; its options make one that is certainly new.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
}

/// How connections are made.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    pub max_connections: u32,
    /// Longest statement, milliseconds.
    pub statement_timeout_ms: u64,
    /// Longest wait for a connection, milliseconds.
    pub acquire_timeout_ms: u64,
}

/// Options of every connection: a name, and bounds on what a session may hold. They do not bound a COPY whose client stands still
/// (`frozen.rs`). A host that is gone without a word is noticed by TCP within 15 s.
fn connect_options(url: &str, settings: &PostgresSettings) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StoreError::Fatal(format!("the database URL cannot be read: {error}")))?;
    Ok(options
        .application_name("millrace")
        .options([
            ("statement_timeout", settings.statement_timeout_ms.to_string()),
            ("lock_timeout", "5000".into()),
            ("idle_in_transaction_session_timeout", "10000".into()),
            ("tcp_keepalives_idle", "5".into()),
            ("tcp_keepalives_interval", "2".into()),
            ("tcp_keepalives_count", "3".into()),
            ("tcp_user_timeout", "15000".into()),
        ])
        .log_statements(tracing::log::LevelFilter::Trace))
}

/// Where a URL leads: server and database. A socket takes the place of the host.
fn place(of: &PgConnectOptions) -> (Option<PathBuf>, String, u16, Option<String>) {
    (of.get_socket().cloned(), of.get_host().to_owned(), of.get_port(), of.get_database().map(str::to_owned))
}

impl PostgresStore {
    /// Connects and checks that the schema is one this program can work with.
    pub async fn connect(url: &str, settings: &PostgresSettings) -> Result<Self, StoreError> {
        let options = connect_options(url, settings)?;
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
            .connect_with(options)
            .await
            .map_err(|error| first_error(&error))?;
        migrate::check(&pool).await?;
        Ok(Self { pool })
    }

    /// Why Postgres refuses this login, if it does. One that has a connection to spare, which works, is not refused.
    pub async fn refused_login(&self) -> Result<Option<String>, StoreError> {
        match lease::lease(&self.pool).await {
            Ok(_) => Ok(None),
            Err(error) => errors::refused_login(&error).map(Some).ok_or_else(|| store_error(&error)),
        }
    }

    /// From now on connections are made with this URL, whose user and password may be new. One that leads elsewhere is refused: claims and
    /// what is decided stand in the database that this worker began with.
    pub fn renew(&self, url: &str, settings: &PostgresSettings) -> Result<(), StoreError> {
        let (new, old) = (connect_options(url, settings)?, self.pool.connect_options());
        if place(&new) != place(&old) {
            return Err(StoreError::Fatal(
                "it names another server or database than this worker was started with; start it again to move".into(),
            ));
        }
        self.pool.set_connect_options(new);
        Ok(())
    }
}

impl Store for PostgresStore {
    fn current_run<'a>(&'a self, pipeline: &'a str) -> BoxFuture<'a, Result<Option<i32>, StoreError>> {
        rows::current_run(&self.pool, pipeline).boxed()
    }

    fn open<'a>(
        &'a self,
        pipeline: &'a str,
        run: i32,
        mode: Mode,
        starts: &'a [(TopicPartition, i64)],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        rows::open(&self.pool, pipeline, run, mode, starts).boxed()
    }

    fn partitions<'a>(
        &'a self,
        pipeline: &'a str,
        run: i32,
        topic: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(i32, PartitionRow)>, StoreError>> {
        rows::partitions(&self.pool, pipeline, run, topic).boxed()
    }

    fn claim<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        owner: &'a str,
    ) -> BoxFuture<'a, Result<Option<PartitionRow>, StoreError>> {
        rows::claim(&self.pool, key, claim, owner).boxed()
    }

    fn folds_from<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, from: i64) -> BoxFuture<'a, Result<(), StoreError>> {
        rows::folds_from(&self.pool, key, claim, from).boxed()
    }

    fn read_all<'a>(
        &'a self,
        pipeline: &'a str,
        run: i32,
        partitions: &'a [TopicPartition],
        fresh: bool,
    ) -> BoxFuture<'a, Result<Rows, StoreError>> {
        async move {
            if !fresh {
                let mut connection = lease::lease(&self.pool).await.map_err(|error| store_error(&error))?;
                return rows::read(&mut *connection, (pipeline, run), partitions).await;
            }
            // A connection of the pool may be the one whose reply was lost, or lead to a server that is gone.
            let mut connection = self.pool.connect_options().connect().await.map_err(|error| store_error(&error))?;
            let rows = rows::read(&mut connection, (pipeline, run), partitions).await;
            if let Err(error) = sqlx::Connection::close(connection).await {
                tracing::debug!(%error, "A connection did not close in good order.");
            }
            rows
        }
        .boxed()
    }

    fn suspect<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        offset: i64,
        times: i32,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        rows::suspect(&self.pool, key, claim, offset, times).boxed()
    }

    fn decide<'a>(
        &'a self,
        provenance: &'a Provenance,
        round: &'a [Advance],
    ) -> BoxFuture<'a, Result<Vec<TopicPartition>, StoreError>> {
        decide::decide(&self.pool, provenance, round).boxed()
    }

    fn published<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        published_offset: i64,
        handover: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        rows::published(&self.pool, key, claim, published_offset, handover).boxed()
    }

    fn records<'a>(
        &'a self,
        key: &'a PartitionKey,
        from: i64,
        to: i64,
        after: Option<(i64, i16)>,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        rows::records(&self.pool, key, from, to, after, limit).boxed()
    }

    fn heads<'a>(
        &'a self,
        pipeline: &'a str,
        run: i32,
        topics: &'a [String],
        mine: &'a [Head],
    ) -> BoxFuture<'a, Result<Heads, StoreError>> {
        heads::exchange(&self.pool, pipeline, run, topics, mine).boxed()
    }

    fn pauses<'a>(&'a self, pipeline: &'a str) -> BoxFuture<'a, Result<Vec<Pause>, StoreError>> {
        pauses::of_pipeline(&self.pool, pipeline).boxed()
    }

    fn wish<'a>(&'a self, pipeline: &'a str) -> BoxFuture<'a, Result<Option<Swap>, StoreError>> {
        versions::wish(&self.pool, pipeline).boxed()
    }

    fn all_taken<'a>(&'a self, key: &'a PartitionKey) -> BoxFuture<'a, Result<Vec<Taken>, StoreError>> {
        async move {
            let mut connection = lease::lease(&self.pool).await.map_err(|error| store_error(&error))?;
            versions::all_taken(&mut *connection, key).await
        }
        .boxed()
    }

    fn take<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        new: &'a Taken,
    ) -> BoxFuture<'a, Result<Option<Vec<Taken>>, StoreError>> {
        versions::take(&self.pool, key, claim, new).boxed()
    }

    fn roll_back<'a>(
        &'a self,
        pipeline: &'a str,
        number: i64,
        reason: &'a str,
        by: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move {
            let operator = Operator { by, reason: Some(reason), through: "worker" };
            Ok(self.wish_for(pipeline, Step::Back(Some(number)), operator).await?.is_some())
        }
        .boxed()
    }

    fn states<'a>(
        &'a self,
        key: &'a PartitionKey,
        keys: &'a [Box<str>],
    ) -> BoxFuture<'a, Result<Vec<(Box<str>, StateRow)>, StoreError>> {
        decide::states::read(&self.pool, key, keys).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a rotated URL that leads to the server of another socket, host, port or database, and is taken.
    #[test]
    fn a_place_is_socket_host_port_and_database() {
        let of = |url: &str| place(&PgConnectOptions::from_str(url).unwrap());
        let old = of("postgres://one:secret@db:5432/d");
        assert_eq!(of("postgres://two:other@db:5432/d"), old);
        for other in [
            "postgres://one@db2:5432/d",
            "postgres://one@db:5433/d",
            "postgres://one@db:5432/e",
            "postgres://one@db:5432/d?host=/run/a",
        ] {
            assert_ne!(of(other), old, "{other}");
        }
        let socket = |folder: &str| of(&format!("postgres://one@localhost:5432/d?host={folder}"));
        assert_eq!(socket("/run/a"), socket("/run/a"));
        assert_ne!(socket("/run/a"), socket("/run/b"));
    }
}
