//! Who is at a database while a migration takes away what programs of before use.

use super::{CONTRACTING, MIGRATIONS, Need, error_of};
use crate::store::StoreError;
use sqlx::PgConnection;

/// What a migration that contracts does while sessions of workers are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// It is refused, and changes nothing.
    Nobody,
    /// It is applied all the same: a pooler keeps sessions of workers that have ended.
    Anybody,
}

impl Beside {
    /// Refuses a way from version `found` on which a migration contracts, while this program's sessions are open. Of a database without a schema, on which
    /// none can work, nothing is asked.
    pub async fn allows(self, connection: &mut PgConnection, found: i32) -> Result<(), StoreError> {
        let contracts = |version: i32| version > found && CONTRACTING.iter().any(|(of, _)| *of == version);
        let Some((version, name, _)) = MIGRATIONS.iter().find(|(version, ..)| found > 0 && contracts(*version)) else {
            return Ok(());
        };
        if self == Self::Anybody {
            return Ok(());
        }
        // Any login may see that; addresses and statements of others it may not.
        let (sessions, logins): (i64, Option<String>) = sqlx::query_as(
            "SELECT count(*), string_agg(DISTINCT usesysid::regrole::text, ', ') FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name IN ('millrace', 'millrace look-up', 'millrace shadow')",
        )
        .fetch_one(connection)
        .await
        .map_err(|error| error_of(Need::Migrate, &error))?;
        if sessions == 0 {
            return Ok(());
        }
        Err(StoreError::Fatal(format!(
            "migration {version} ({name}) takes away what running workers use, and sessions of millrace are open here: {sessions}, of {}. Stop all \
             workers, and commands that run, then migrate again. The schema is as it was. Where a pooler keeps sessions of programs that have \
             ended, --force migrates all the same.",
            logins.unwrap_or_default()
        )))
    }
}
