//! Composition root: builds the rooms from the config, owns the tasks, says how it all ended.

mod build;

use crate::config::Config;
use crate::flow::Budget;
use crate::inference::{Options, Registry};
use crate::lifecycle::{Exit, Stop};
use crate::pipeline::{self, Ended, Observer};
use crate::store::postgres::PostgresStore;
use anyhow::Context;
use secrecy::ExposeSecret;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Runs every pipeline of the config until it is told to stop, or until one of them ends by itself.
///
/// `watch` sees what the first pipeline does, beside metrics and status.
pub async fn run(config: Config, stop: Stop, watch: Option<Arc<dyn Observer>>) -> anyhow::Result<Exit> {
    let url = config.postgres.url.as_ref().context("no database is named: set `url` under [postgres], or DATABASE_URL")?;
    let store = Arc::new(PostgresStore::connect(url.expose_secret(), &config.postgres).await?);
    let registry = Registry::new(Options::default());
    let budget = Budget::new(config.memory.budget_bytes);
    let mut running = JoinSet::new();
    for settings in &config.pipeline {
        // The group is joined only after the model is loaded.
        let function = build::function(&config, settings, &registry).await.with_context(|| format!("pipeline `{}`", settings.name))?;
        let (settings, parts) = build::pipeline(&config, settings, function, store.clone(), budget.clone(), watch.clone())
            .await
            .with_context(|| format!("pipeline `{}`", settings.name))?;
        let (name, stop) = (settings.provenance.pipeline.clone(), stop.clone());
        running.spawn(async move { (name, pipeline::run(settings, parts, stop.drain, stop.abort).await) });
    }
    let mut exit = Exit::Done;
    while let Some(ended) = running.join_next().await {
        let (name, ended) = ended.context("a pipeline's task ended badly")?;
        let of_pipeline = match ended {
            Ended::Drained => {
                tracing::info!(pipeline = %name, "Drained.");
                Exit::Done
            }
            Ended::Abandoned => {
                tracing::warn!(pipeline = %name, "Stopped before it was drained; nothing is lost, the next owner goes on.");
                Exit::NotDrained
            }
            Ended::Halted(reason) => {
                tracing::error!(pipeline = %name, reason, "Halted for safety.");
                Exit::Halted
            }
            Ended::Failed(reason) => {
                tracing::error!(pipeline = %name, reason, "Failed.");
                Exit::Failed
            }
        };
        if of_pipeline != Exit::Done {
            // One pipeline that ended by itself ends the worker, so that whoever runs it notices.
            stop.drain.cancel();
            exit = if exit == Exit::Done { of_pipeline } else { exit };
        }
    }
    Ok(exit)
}
