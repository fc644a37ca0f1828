//! A connection of the pool that goes back within a bound, or not at all.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// How long a connection that comes back may take to show that it still answers.
const RETURN: Duration = Duration::from_secs(5);

/// On its way back the pool asks a connection whether it answers, and waits for that as long as TCP does: one that was dropped without
/// a word keeps its place meanwhile. With every place taken so, nothing works, though new connections would.
pub struct Leased(PoolConnection<Postgres>);

pub async fn lease(pool: &PgPool) -> Result<Leased, sqlx::Error> {
    pool.acquire().await.map(Leased)
}

impl Deref for Leased {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Leased {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        // Given up here, the connection is closed and its place is free.
        tokio::spawn(tokio::time::timeout(RETURN, self.0.return_to_pool()));
    }
}
