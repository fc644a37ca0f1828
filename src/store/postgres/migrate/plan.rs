//! What a migration would do, before it is done.

use super::{CONTRACTING, Index, MIGRATIONS, check_server, version};
use crate::store::StoreError;
use crate::store::postgres::errors::first_error;
use sqlx::{Connection, PgConnection};

/// A migration that is still to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    pub version: i32,
    pub name: &'static str,
    /// Takes away what workers of the version before use: they must be stopped. Not of a database without a schema, on which none can run.
    pub contracts: bool,
    /// Builds an index over all records, beside the workers.
    pub indexes: bool,
}

/// The version that is there, 0 without a schema, and the steps that `migrate` would apply. Changes nothing.
pub async fn plan(url: &str) -> Result<(i32, Vec<Pending>), StoreError> {
    let mut connection = PgConnection::connect(url).await.map_err(|error| first_error(&error))?;
    check_server(&mut connection).await?;
    let found = version(&mut connection).await?;
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "A connection did not close in good order.");
    }
    Ok((found, after(found)))
}

fn after(found: i32) -> Vec<Pending> {
    let contracts = |version: i32| found > 0 && CONTRACTING.iter().any(|(of, _)| *of == version);
    let step = |(version, name, _): &(i32, &'static str, &str)| Pending {
        version: *version,
        name,
        contracts: contracts(*version),
        indexes: Index::of(*version).is_some(),
    };
    MIGRATIONS.iter().filter(|(version, ..)| *version > found).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a migration that takes away what workers use and is told as harmless; one that is done and told as still to come; a first
    /// installation that is told to stop workers which it does not have.
    #[test]
    fn steps_that_contract_are_marked_while_workers_may_run() {
        let contracting =
            |found: i32| after(found).iter().filter(|step| step.contracts).map(|step| step.version).collect::<Vec<_>>();
        assert_eq!(contracting(4), [5]);
        assert_eq!((contracting(0), contracting(5)), (vec![], vec![]));
        assert_eq!(after(0).len(), MIGRATIONS.len());
        assert_eq!(after(super::super::SCHEMA_VERSION), []);
        assert_eq!(after(1000), []);
        assert!(after(9)[0].indexes);
    }
}
