//! What the connected user may do to the tables, and the functions that change what no worker may.

use super::PostgresStore;
use super::errors::{Need, error_of};
use crate::store::StoreError;
use sqlx::Row;

/// One privilege on one table.
#[derive(Debug, Clone)]
pub struct Grant {
    pub user: String,
    pub table: String,
    pub privilege: String,
    pub granted: bool,
    /// Whether a worker needs it; the others it is better without.
    pub needed: bool,
}

/// What a worker does, and what it never does.
const PRIVILEGES: &[(&str, &str, bool)] = &[
    ("millrace.stream_partition", "SELECT", true),
    ("millrace.stream_partition", "INSERT", true),
    ("millrace.stream_partition", "UPDATE", true),
    ("millrace.stream_partition", "DELETE", false),
    ("millrace.record", "SELECT", true),
    ("millrace.record", "INSERT", true),
    ("millrace.record", "UPDATE", false),
    ("millrace.record", "DELETE", false),
    ("millrace.record", "TRUNCATE", false),
    ("millrace.state", "SELECT", true),
    ("millrace.state", "INSERT", true),
    ("millrace.state", "UPDATE", true),
    ("millrace.state", "DELETE", false),
    ("millrace.head", "SELECT", true),
    ("millrace.head", "INSERT", true),
    ("millrace.head", "UPDATE", true),
    ("millrace.latest", "SELECT", true),
    ("millrace.latest", "INSERT", true),
    ("millrace.latest", "UPDATE", true),
    ("millrace.latest", "DELETE", false),
    ("millrace.migration", "SELECT", true),
    ("millrace.pause", "SELECT", true),
    ("millrace.shadow", "SELECT", true),
    ("millrace.shadow", "INSERT", true),
    ("millrace.shadow", "UPDATE", true),
    ("millrace.shadow", "DELETE", false),
    ("millrace.shadow_flip", "INSERT", true),
    ("millrace.shadow_flip", "UPDATE", false),
    ("millrace.shadow_flip", "DELETE", false),
    ("millrace.swap", "SELECT", true),
    ("millrace.swap", "UPDATE", false),
    ("millrace.version_from", "SELECT", true),
    ("millrace.version_from", "INSERT", true),
    ("millrace.version_from", "UPDATE", false),
    ("millrace.operation", "UPDATE", false),
    ("millrace.operation", "DELETE", false),
];

/// What it calls: without the first, conversations that have ended stay; without the next ones nobody pauses over HTTP or swaps versions, and no
/// canary is taken back; without the last, old counts of shadows stay.
const FUNCTIONS: &[&str] = &["forget", "set_pause", "lift_pause", "set_swap", "swap_back", "forget_shadow"];

impl PostgresStore {
    pub async fn grants(&self) -> Result<Vec<Grant>, StoreError> {
        let rows = sqlx::query(
            "SELECT current_user::text, g.number, has_table_privilege(g.name, g.privilege) \
             FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS g (name, privilege, number) ORDER BY g.number",
        )
        .bind(PRIVILEGES.iter().map(|(table, ..)| *table).collect::<Vec<_>>())
        .bind(PRIVILEGES.iter().map(|(_, privilege, _)| *privilege).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(|error| error_of(Need::Reader, &error))?;
        let grant =
            |(row, (table, privilege, needed)): (&sqlx::postgres::PgRow, &(&str, &str, bool))| -> Result<Grant, sqlx::Error> {
                Ok(Grant {
                    user: row.try_get(0)?,
                    table: (*table).to_owned(),
                    privilege: (*privilege).to_owned(),
                    granted: row.try_get(2)?,
                    needed: *needed,
                })
            };
        let mut all: Vec<Grant> =
            rows.iter().zip(PRIVILEGES).map(grant).collect::<Result<_, _>>().map_err(|error| error_of(Need::Reader, &error))?;
        for name in FUNCTIONS {
            let (user, granted): (String, bool) = sqlx::query_as(
                "SELECT current_user::text, coalesce(bool_or(has_function_privilege(p.oid, 'EXECUTE')), false) FROM pg_proc p \
                 WHERE p.pronamespace = to_regnamespace('millrace') AND p.proname = $1",
            )
            .bind(name)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| error_of(Need::Reader, &error))?;
            let table = format!("millrace.{name}");
            all.push(Grant { user, table, privilege: "EXECUTE".to_owned(), granted, needed: true });
        }
        Ok(all)
    }
}
