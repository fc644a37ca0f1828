//! `millrace migrate`: brings the schema up to this program.

use super::common;
use crate::config::Config;
use crate::store::postgres::{self, Beside, Pending, SCHEMA_VERSION};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Applies the migrations that are new. Run it as the owner of the schema, before the workers of a new version start.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  DATABASE_URL=postgres://owner@127.0.0.1/millrace millrace migrate --config deploy/millrace.toml"
)]
pub struct Args {
    /// The config file that names the database.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// Only tell which migrations are still to come, and whether one of them wants the workers stopped.
    #[arg(long)]
    plan: bool,
    /// Apply a migration that contracts although sessions of millrace are open in the database.
    #[arg(long, conflicts_with = "plan")]
    force: bool,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let config = Config::load(&args.config, env)?;
    let url = common::database_url(&config)?;
    if args.plan {
        let (found, steps) = postgres::plan(url.expose_secret()).await?;
        print!("{}", told(found, &steps));
        return Ok(());
    }
    let beside = if args.force { Beside::Anybody } else { Beside::Nobody };
    let done = postgres::migrate_beside(url.expose_secret(), beside).await?;
    println!("schema millrace is at version {} ({} applied now)", done.version, done.applied);
    Ok(())
}

fn told(found: i32, steps: &[Pending]) -> String {
    let Some(last) = steps.last() else {
        return format!("schema millrace is at version {found}, this program is at {SCHEMA_VERSION}: nothing to migrate\n");
    };
    let mut text = format!("schema millrace is at version {found}, this program brings it to {}:\n", last.version);
    for step in steps {
        let mark = match step {
            Pending { contracts: true, .. } => "  CONTRACTS",
            Pending { indexes: true, .. } if found > 0 => {
                "  builds an index over all records beside the workers, which may take minutes"
            }
            _ => "",
        };
        text += &format!("  {:>4}  {}{mark}\n", step.version, step.name);
    }
    text += if steps.iter().any(|step| step.contracts) {
        "Stop all workers first, then migrate, then start those of this version: one of these steps takes away what the old ones use.\n"
    } else {
        "Workers may go on meanwhile.\n"
    };
    text
}
