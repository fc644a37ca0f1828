//! Composition root: builds the rooms from the config, owns the tasks, says how it all ended.

pub(crate) mod build;
mod watch;

use crate::admin::{self, AdminState, Liveness, Readiness, StatusBoard};
use crate::config::Config;
use crate::flow::Budget;
use crate::inference::{Options, Registry};
use crate::lifecycle::{Exit, Stop};
use crate::pipeline::{self, Ended, Observer};
use crate::store::postgres::{PostgresSettings, PostgresStore};
use crate::telemetry::Instruments;
use anyhow::Context;
use secrecy::ExposeSecret;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "database and schema";
const MODELS: &str = "models";

/// Runs every pipeline of the config until it is told to stop, or until one of them ends by itself.
///
/// `also` sees what the pipelines do, beside metrics and status.
pub async fn run(config: Config, telemetry: Instruments, stop: Stop, also: Option<Arc<dyn Observer>>) -> anyhow::Result<Exit> {
    let (liveness, readiness, board) =
        (Arc::new(Liveness::default()), Arc::new(Readiness::new([DATABASE, MODELS])), Arc::new(StatusBoard::default()));
    let registry = Registry::new(Options::default());
    let functions = Arc::new(build::Functions::default());
    let listener = tokio::net::TcpListener::bind(config.admin.listen)
        .await
        .with_context(|| format!("cannot listen on {} (`listen` under [admin])", config.admin.listen))?;
    tracing::info!(address = %listener.local_addr()?, "The admin server listens.");
    let closing = CancellationToken::new();
    let state = AdminState {
        liveness: liveness.clone(),
        readiness: readiness.clone(),
        status: board.clone(),
        metrics: telemetry.metrics.clone(),
        functions: functions.clone(),
        body_bytes: config.admin.body_bytes,
    };
    let server = tokio::spawn(admin::serve(listener, state, closing.clone()));

    let url = config.postgres.url.as_ref().context("no database is named: set `url` under [postgres], or DATABASE_URL")?;
    let settings = PostgresSettings {
        max_connections: config.postgres.max_connections,
        statement_timeout_ms: config.postgres.statement_timeout_ms,
        acquire_timeout_ms: config.postgres.acquire_timeout_ms,
    };
    let store = Arc::new(PostgresStore::connect(url.expose_secret(), &settings).await?);
    readiness.release(DATABASE);
    let mut built = Vec::new();
    for of_pipeline in &config.pipeline {
        let function =
            build::function(&config, of_pipeline, &registry).with_context(|| format!("pipeline `{}`", of_pipeline.name))?;
        functions.add(function.clone());
        built.push((of_pipeline, function));
    }
    readiness.release(MODELS);

    // Groups are joined only now, with every model loaded.
    let budget = Budget::new(config.memory.budget_bytes);
    let mut running = JoinSet::new();
    for (of_pipeline, function) in built {
        let watch = watch::Watch::new(&of_pipeline.name, telemetry.clone(), board.clone(), also.clone());
        let (settings, parts) = build::pipeline(&config, of_pipeline, function, store.clone(), budget.clone(), Arc::new(watch))
            .await
            .with_context(|| format!("pipeline `{}`", of_pipeline.name))?;
        let (name, stop) = (settings.provenance.pipeline.clone(), stop.clone());
        let polled = parts.source.polled_at_ms.clone();
        tokio::spawn(watch::follow_poll_thread(name.clone(), polled, liveness.clone(), closing.clone()));
        running.spawn(async move { (name, pipeline::run(settings, parts, stop.drain, stop.abort).await) });
    }
    let mut exit = Exit::Done;
    while let Some(ended) = running.join_next().await {
        let (name, ended) = ended.context("a pipeline's task ended badly")?;
        let of_pipeline = report(&name, ended);
        if of_pipeline != Exit::Done {
            // One pipeline that ended by itself ends the worker, so that whoever runs it notices.
            stop.drain.cancel();
            exit = if exit == Exit::Done { of_pipeline } else { exit };
        }
    }
    closing.cancel();
    server.await.context("the admin server's task ended badly")?.context("the admin server failed")?;
    Ok(exit)
}

fn report(name: &str, ended: Ended) -> Exit {
    match ended {
        Ended::Drained => {
            tracing::info!(pipeline = name, "Drained.");
            Exit::Done
        }
        Ended::Abandoned => {
            tracing::warn!(pipeline = name, "Stopped before it was drained; nothing is lost, the next owner goes on.");
            Exit::NotDrained
        }
        Ended::Halted(reason) => {
            tracing::error!(pipeline = name, reason, "Halted for safety.");
            Exit::Halted
        }
        Ended::Failed(reason) => {
            tracing::error!(pipeline = name, reason, "Failed.");
            Exit::Failed
        }
    }
}
