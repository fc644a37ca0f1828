//! A worker's doors without its streams: what comes over HTTP meets the same functions and look-ups, and neither Kafka nor Postgres need be there.

use super::{build, folds, functions, look, operators, versions};
use crate::admin::{self, AdminState, Readiness};
use crate::config::{Admin, Config};
use crate::inference::Registry;
use crate::telemetry::Metrics;
use anyhow::Context;
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Serves the functions of a config's pipelines until the token is cancelled: for tests of what comes over HTTP. Look-ups ask the config's Postgres, and pauses
/// and swaps are refused.
pub async fn serve_doors(config: Config, listener: tokio::net::TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let url = config.postgres.url.as_ref().context("no database is named: set `url` under [postgres]")?;
    let functions = Arc::new(functions::Functions::new(Duration::from_millis(config.admin.call_timeout_ms)));
    let (registry, lent) = (Registry::default(), Arc::new(versions::Lent::default()));
    for pipeline in &config.pipeline {
        let function = build::function(&config, pipeline, &registry)?;
        let shelf = Arc::new(versions::Shelf::new(&config, pipeline, lent.clone()));
        functions.add(&pipeline.name, function, folds::offline(&config, pipeline), shelf);
    }
    let state = AdminState {
        liveness: Arc::default(),
        readiness: Arc::new(Readiness::new([])),
        status: Arc::default(),
        metrics: Arc::new(Metrics::new()?),
        functions,
        operators: Arc::new(operators::Operators::default()),
        token: Arc::default(),
        records: Arc::new(look::Records::new(&config, url.expose_secret())?),
        hosts: config.admin.hosts.iter().cloned().collect(),
        body_bytes: config.admin.body_bytes,
        body_timeout: Duration::from_millis(config.admin.body_timeout_ms),
        connections: connections(&config.admin),
    };
    admin::serve(listener, state, shutdown).await;
    Ok(())
}

/// How the server treats its connections, as the config says.
pub(super) fn connections(admin: &Admin) -> admin::Connections {
    admin::Connections {
        most: admin.connections,
        head_timeout: Duration::from_millis(admin.head_timeout_ms),
        keep_alive: Duration::from_millis(admin.keep_alive_ms),
        write_timeout: Duration::from_millis(admin.write_timeout_ms),
        head_bytes: admin.head_bytes,
    }
}
