//! What the caller does next, from what Postgres said.

use crate::store::StoreError;

/// Whose work a statement is: it decides which role is missing when Postgres refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Opens, claims and decides.
    Worker,
    /// Looks.
    Reader,
    /// Marks dead letters, removes replays.
    Owner,
    /// Pauses and resumes.
    Operator,
    /// Makes the schema and its roles.
    Migrate,
}

impl Need {
    fn text(self) -> &'static str {
        match self {
            Need::Worker => "The user needs the role millrace_worker",
            Need::Reader => "The user needs the role millrace_reader, or millrace_worker",
            Need::Owner => {
                "The user needs the role millrace_owner, which marks dead letters, removes old rows and replays, and erases; a worker's may not"
            }
            Need::Operator => "The user needs the role millrace_worker or millrace_owner",
            Need::Migrate => {
                "`millrace migrate` needs the owner of the database, or of the schema `millrace` where there is one; and CREATEROLE, unless \
                 somebody makes the roles millrace_owner, millrace_worker and millrace_reader before"
            }
        }
    }
}

/// What a worker's statement met.
pub fn store_error(error: &sqlx::Error) -> StoreError {
    error_of(Need::Worker, error)
}

/// What who connects for the first time met: a login that is refused then does not become right by waiting.
pub fn first_error(error: &sqlx::Error) -> StoreError {
    refused_login(error).map_or_else(|| store_error(error), StoreError::Fatal)
}

/// Class 28: a wrong or expired password, a role that is gone or may not log in, a host that is not let in.
pub fn refused_login(error: &sqlx::Error) -> Option<String> {
    let database = error.as_database_error()?;
    let is_login = database.code().is_some_and(|code| code.starts_with("28"));
    is_login.then(|| format!("Postgres refuses the login: {}. Check user and password.", database.message()))
}

/// Maps by SQLSTATE class. The texts of Postgres about data may quote it, so only their code goes on.
pub fn error_of(need: Need, error: &sqlx::Error) -> StoreError {
    match (refused_login(error), need) {
        // Theirs is a store that has connected before: the rotation of its login may be under way.
        (Some(refused), Need::Worker | Need::Operator) => {
            return StoreError::Transient(format!(
                "{refused} A new login in `url_file` is taken within 10 s; where the login comes from elsewhere, or from a file that is copied at the \
                 start, the worker ends after five minutes, to be started again."
            ));
        }
        (Some(refused), _) => return StoreError::Fatal(refused),
        (None, _) => {}
    }
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
        Some("3D") => StoreError::Fatal(format!("Postgres has no such database: {}. Check the URL.", database.message())),
        Some("42") if code == "42501" => {
            StoreError::Fatal(format!("Postgres refuses it: {} (SQLSTATE {code}). {}.", database.message(), need.text()))
        }
        Some("42" | "3F") => StoreError::Fatal(format!(
            "Postgres does not know the statement: {} (SQLSTATE {code}). Run `millrace migrate`.",
            database.message()
        )),
        _ => StoreError::Fatal(format!("Postgres: SQLSTATE {code} {}", database.message())),
    }
}
