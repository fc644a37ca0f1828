//! Schema and grants.

use super::{Findings, Level};
use crate::cli::common;
use crate::config::Config;
use crate::store::postgres::SCHEMA_VERSION;
use anyhow::Context;

const ABOUT: &str = "postgres";

pub async fn check(config: &Config, findings: &mut Findings) {
    let store = common::store(config, config.postgres.statement_timeout_ms).await.context("the database cannot be used");
    let Some(store) = findings.take(ABOUT, store) else { return };
    findings.add(Level::Good, ABOUT, format!("the schema `millrace` is at version {SCHEMA_VERSION}"));
    let Some(grants) = findings.take(ABOUT, store.grants().await.context("the grants cannot be read")) else { return };
    let mut good = true;
    for grant in &grants {
        let (user, table, privilege) = (&grant.user, &grant.table, &grant.privilege);
        match (grant.needed, grant.granted) {
            (true, false) => {
                good = false;
                let text = format!("the user {user} may not {privilege} on {table}: grant it the role millrace_worker");
                findings.add(Level::Wrong, ABOUT, text);
            }
            (false, true) => {
                let text = format!(
                    "the user {user} may {privilege} on {table}, which no worker needs: use one that has the role millrace_worker alone"
                );
                findings.add(Level::Warning, ABOUT, text);
            }
            _ => {}
        }
    }
    if good {
        let user = grants.first().map_or("", |grant| grant.user.as_str());
        findings.add(Level::Good, ABOUT, format!("the user {user} may do what a worker does"));
    }
}
