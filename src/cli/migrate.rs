//! `millrace migrate`: brings the schema up to this program.

use super::common;
use crate::config::Config;
use crate::store::postgres;
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
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let config = Config::load(&args.config, env)?;
    let done = postgres::migrate(common::database_url(&config)?.expose_secret()).await?;
    println!("schema millrace is at version {} ({} applied now)", done.version, done.applied);
    Ok(())
}
