//! What the caller does next, from what Postgres said.

use crate::store::StoreError;

/// Maps by SQLSTATE class. The texts of Postgres about data may quote it, so only their code goes on.
pub fn store_error(error: &sqlx::Error) -> StoreError {
    let sqlx::Error::Database(database) = error else {
        return match error {
            sqlx::Error::Configuration(cause) => {
                StoreError::Fatal(format!("the connection to Postgres cannot be configured: {cause}"))
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
                StoreError::Fatal(format!("the schema is not the one expected: {error}; run `millrace migrate`"))
            }
            other => StoreError::Transient(other.to_string()),
        };
    };
    let code = database.code().unwrap_or_default();
    match code.get(..2) {
        // Connection, resources, operator intervention, rollback (deadlock, serialisation), time-outs, read-only after a fail-over.
        Some("08" | "53" | "57" | "58" | "40" | "55" | "25") => {
            StoreError::Transient(format!("{} (SQLSTATE {code})", database.message()))
        }
        Some("22") => StoreError::Data(format!("SQLSTATE {code}")),
        Some("28" | "3D") => {
            StoreError::Fatal(format!("Postgres refuses the login: {}. Check user, password and database.", database.message()))
        }
        Some("42" | "3F") => StoreError::Fatal(format!(
            "Postgres refuses the statement: {} (SQLSTATE {code}). Run `millrace migrate`, and check that the user has the role millrace_worker.",
            database.message()
        )),
        _ => StoreError::Fatal(format!("Postgres: SQLSTATE {code} {}", database.message())),
    }
}
