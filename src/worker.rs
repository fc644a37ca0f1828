//! Composition root: builds the rooms from the config, owns the tasks, says how it all ended.

mod all_halted;
pub(crate) mod build;
mod declared;
mod doors;
mod exits;
pub(crate) mod folds;
mod forget;
mod functions;
mod hindrance;
pub(crate) mod ladder;
mod limited;
mod logs;
pub(crate) mod look;
mod metered;
pub(crate) mod models;
mod neighbours;
pub(crate) mod operators;
mod own;
mod reference;
mod refused;
pub(crate) mod replay;
mod schemas;
mod secrets;
pub(crate) mod shadow;
mod spare;
mod status;
mod stay;
mod supervised;
pub(crate) mod swapped;
mod versions;
mod watch;

pub use doors::serve_doors;
pub use own::{Own, Refused};
pub use versions::Trial;

use crate::admin::{self, AdminState, AdminToken, Liveness, Readiness, StatusBoard};
use crate::config::Config;
use crate::flow::Budget;
use crate::function::Function;
use crate::inference::{Meter, Options, Registry, Results};
use crate::lifecycle::{Exit, Stop, Supervisor};
use crate::pipeline::{self, Observer};
use crate::store::postgres::{PostgresSettings, PostgresStore, ShadowStore};
use crate::telemetry::{Instruments, Limits};
use anyhow::Context;
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "database and schema";
const MODELS: &str = "models";

/// Whom a worker has to do with in its own process and beside it.
#[derive(Default)]
pub struct Parties {
    /// Functions that the program brings along.
    pub own: Own,
    /// Hears how the worker is.
    pub supervisor: Supervisor,
    /// Tries versions that have cases before they serve; without it none is tried.
    pub trial: Option<Trial>,
}

/// Runs every pipeline of the config until it is told to stop, or until one of them ends by itself.
///
/// `also`, by the names of pipelines, see what these do, beside metrics and status.
pub async fn run(
    config: Config,
    telemetry: Instruments,
    stop: Stop,
    also: BTreeMap<String, Arc<dyn Observer>>,
    parties: Parties,
) -> anyhow::Result<Exit> {
    let Parties { own, supervisor, trial } = parties;
    let config = Arc::new(config);
    // Taken before anything else: without a handler SIGHUP ends the process.
    let hangup = signal(SignalKind::hangup())?;
    let latch = |pipeline: &str| format!("the first assignment of {pipeline}");
    let latches = config.pipeline.iter().map(|pipeline| latch(&pipeline.name));
    let latches: Vec<String> = [DATABASE.to_owned(), MODELS.to_owned()].into_iter().chain(latches).collect();
    let readiness = Arc::new(Readiness::new(latches.iter().map(String::as_str)));
    let (liveness, board) = (Arc::new(Liveness::default()), Arc::new(StatusBoard::default()));
    telemetry.metrics.follow_partitions(Arc::new({
        let board = board.clone();
        move || status::gauges(&board)
    }));
    telemetry.metrics.follow_readiness(Arc::new({
        let readiness = readiness.clone();
        move || readiness.missing().is_empty()
    }));
    let results = Results::new(config.models.result_cache_mb << 20);
    let memory = models::memory(&config);
    let options = Options { results: results.clone(), memory: memory.clone(), ..Options::default() };
    let registry = Arc::new(Registry::new(options.clone()));
    let models = memory.clone();
    telemetry.metrics.follow_models(Arc::new({
        let registry = registry.clone();
        move || status::models(&results, &memory, &registry)
    }));
    let functions = Arc::new(functions::Functions::new(Duration::from_millis(config.admin.call_timeout_ms)));
    functions.expect(config.pipeline.iter().map(|pipeline| (pipeline.name.as_str(), pipeline.function.as_str())));
    let operators = Arc::new(operators::Operators {
        pipelines: config.pipeline.iter().map(|pipeline| (pipeline.name.clone(), pipeline.topic.clone())).collect(),
        versions: config.pipeline.iter().map(|pipeline| (pipeline.name.clone(), owned(pipeline.versions()))).collect(),
        ..operators::Operators::default()
    });
    let token = Arc::new(AdminToken::new(config.admin.token.as_ref().map(|token| token.expose_secret())));
    let listener = tokio::net::TcpListener::bind(config.admin.listen)
        .await
        .with_context(|| format!("cannot listen on {} (`listen` under [admin])", config.admin.listen))?;
    tracing::info!(address = %listener.local_addr()?, "The admin server listens.");
    let stay = stay::Stay::after(stop.drain.clone(), Duration::from_millis(config.admin.drain_stay_ms));
    let (mut running, mut watching) = (JoinSet::new(), JoinSet::new());
    let closing = CancellationToken::new();
    let health = (liveness.clone(), readiness.clone());
    watching.spawn(supervised::follow(supervisor, health, (stop.drain.clone(), closing.clone())));
    let url = config.postgres.url.as_ref().context("no database is named: set `url` under [postgres], or DATABASE_URL")?;
    let records = Arc::new(look::Records::new(&config, url.expose_secret())?);
    let state = AdminState {
        liveness: liveness.clone(),
        readiness: readiness.clone(),
        status: board.clone(),
        metrics: telemetry.metrics.clone(),
        functions: functions.clone(),
        operators: operators.clone(),
        token: token.clone(),
        records: records.clone(),
        hosts: config.admin.hosts.iter().cloned().collect(),
        body_bytes: config.admin.body_bytes,
        body_timeout: Duration::from_millis(config.admin.body_timeout_ms),
        connections: doors::connections(&config.admin),
    };
    let server = tokio::spawn(admin::serve(listener, state, closing.clone()));

    let settings = PostgresSettings {
        max_connections: config.postgres.connections(config.pipeline.len()),
        statement_timeout_ms: config.postgres.statement_timeout_ms,
        acquire_timeout_ms: config.postgres.acquire_timeout_ms,
    };
    let store = Arc::new(PostgresStore::connect(url.expose_secret(), &settings).await?);
    readiness.release(DATABASE);
    operators.store.get_or_init(|| store.clone());
    let (mut built, mut champions, lent) = (Vec::new(), BTreeMap::new(), Arc::new(versions::Lent::default()));
    watching.spawn(lent.clone().tidy(closing.clone()));
    for of_pipeline in &config.pipeline {
        let function =
            own.function(&config, of_pipeline, &registry).with_context(|| format!("pipeline `{}`", of_pipeline.name))?;
        let shelf = Arc::new(versions::Shelf::new(&config, of_pipeline, lent.clone()));
        functions.add(&of_pipeline.name, function.clone(), folds::offline(&config, of_pipeline), shelf);
        let champion = shadow::Champion::new(function);
        let (with, tally) = ((&own, &*registry), telemetry.metrics.tally(&of_pipeline.name));
        let function = ladder::laddered(champion.clone(), &config, of_pipeline, with, &tally)
            .with_context(|| format!("pipeline `{}`", of_pipeline.name))?;
        champions.insert(of_pipeline.name.clone(), champion);
        records.declare(&of_pipeline.name, &*function);
        built.push((of_pipeline, function));
    }
    ladder::fit(&config, &models)?;
    // After everything that the pipelines need: challengers make do with what is left.
    let shadow_store = Arc::new(ShadowStore::new(url.expose_secret())?);
    let loaded = shadow::Loaded::all(&config, &own, &registry, &models).await;
    let mut shadows = shadow::Shadows::new(loaded, shadow_store.clone());
    readiness.release(MODELS);

    // Groups are joined only now, with every model loaded and every pipeline built.
    let budget = Budget::shared(config.memory.budget_bytes, config.pipeline.len());
    telemetry.metrics.budget_limit(config.memory.budget_bytes);
    let mut prepared = Vec::new();
    for (of_pipeline, function) in built {
        let function = limited::limited(function, of_pipeline);
        let one = build::pipeline(&config, of_pipeline, function, store.clone(), budget.clone()).await;
        prepared.push(one.with_context(|| format!("pipeline `{}`", of_pipeline.name))?);
    }
    for one in prepared {
        let name = one.settings.provenance.pipeline.clone();
        let of_name = config.pipeline.iter().find(|pipeline| *pipeline.name == *name);
        let configured = of_name.map_or("", |pipeline| pipeline.function.as_str());
        let (logs, tally) = (Arc::new(logs::Logs::default()), telemetry.metrics.tally(&name));
        let watch = watch::Watch {
            pipeline: name.to_string(),
            telemetry: telemetry.clone(),
            board: board.clone(),
            readiness: readiness.clone(),
            logs: logs.clone(),
            also: also.get(&*name).cloned(),
            hindrance: Mutex::new(hindrance::Hindrance::new(config.pipeline.len() > 1)),
            tally: tally.clone(),
            owner: one.settings.owner.clone(),
            labels: Arc::new({
                let (records, name) = (records.clone(), name.clone());
                move || records.labels_of(&name)
            }),
            words: match configured {
                "copy" => watch::Words::Copied,
                own if !declared::is_known(own) => watch::Words::Unknown,
                _ => watch::Words::Known,
            },
        };
        watching.spawn(reference::read(name.to_string(), store.clone(), tally.clone(), closing.clone()));
        if let Some(schemas) = one.schemas.clone() {
            watching.spawn(schemas::follow(name.clone(), schemas, readiness.clone(), closing.clone()));
        }
        let (settings, mut parts) = one.spawn(Arc::new(watch)).with_context(|| format!("pipeline `{name}`"))?;
        let spec = parts.function.spec();
        tally.limit(Limits {
            function: configured.to_owned(),
            model: spec.model.clone(),
            slice: spec.limits.slice,
            calls_in_flight: spec.limits.calls_in_flight,
        });
        if let Some((of_name, champion)) = of_name.zip(champions.get(&*name)) {
            let beside = shadow::Beside {
                pipeline: of_name,
                champion,
                provenance: &settings.provenance,
                tally: &tally,
                labels: &records.labels_of(&name),
                drain: &stop.drain,
                closing: &closing,
            };
            parts.function = shadows.beside(parts.function, &beside, &mut watching);
        }
        parts.function = Arc::new(metered::Metered { function: parts.function, meter: Meter::on(tally.tokens()) });
        if let Some((pipeline, shelf)) = of_name.zip(functions.shelf(&name)) {
            let (config, pipeline, own, options) = (config.clone(), pipeline.clone(), own.clone(), options.clone());
            let (trial, work) = (trial.clone(), shadows.work().clone());
            let declare: versions::Declare = Arc::new({
                let (records, name) = (records.clone(), name.clone());
                move |function: &dyn Function| records.declare(&name, function)
            });
            let meter = Meter::on(tally.tokens());
            let loader = versions::Loader { config, pipeline, own, options, meter, work, trial, declare, shelf: shelf.clone() };
            let loader = Arc::new(loader);
            shelf.loads_by(&loader);
            parts.versions = loader;
        }
        let (stop, polled, lease) = (stop.clone(), parts.source.polled_at_ms.clone(), parts.source.lease.clone());
        watching.spawn(watch::follow_poll_thread(name.clone(), polled, liveness.clone(), closing.clone()));
        let looked_at = (board.clone(), readiness.clone());
        watching.spawn(watch::first_assignment(name.clone(), latch(&name), lease.clone(), looked_at, closing.clone()));
        watching.spawn(logs::follow((lease, parts.source.read_to.clone()), parts.publisher.clone(), logs, closing.clone()));
        let told = neighbours::Told { readiness: readiness.clone(), metrics: telemetry.metrics.clone() };
        watching.spawn(neighbours::follow_kafka(settings.clone(), parts.publisher.clone(), told.clone(), closing.clone()));
        watching.spawn(neighbours::follow_postgres(settings.clone(), parts.store.clone(), told, closing.clone()));
        running.spawn(async move { (name, pipeline::run(settings, parts, stop.drain, stop.abort).await) });
    }
    for forget in config.pipeline.iter().filter_map(|pipeline| forget::Forget::of(&config, pipeline)) {
        watching.spawn(forget.follow(store.clone(), closing.clone()));
    }
    let (files, shadows) = (config.secret_files.clone(), shadow_store);
    let secrets = secrets::Secrets { files, store: store.clone(), records, shadows, settings, token };
    watching.spawn(secrets.follow(hangup, closing.clone()));
    let refused = refused::Cause::default();
    if !config.secret_files.url_may_change() {
        watching.spawn(refused::follow(store.clone(), refused.clone(), stop.drain.clone(), closing.clone()));
    }
    if config.pipeline.len() > 1 {
        let names = config.pipeline.iter().map(|pipeline| pipeline.name.clone()).collect();
        let stay = Duration::from_millis(config.admin.halted_stay_ms);
        let told = (board.clone(), readiness.clone());
        watching.spawn(all_halted::follow(told, names, stay, stop.drain.clone(), closing.clone()));
    }
    watching.spawn({
        let (drain, readiness, closing) = (stop.drain.clone(), readiness.clone(), closing.clone());
        async move {
            tokio::select! {
                () = drain.cancelled() => readiness.block("this worker", "it drains and will end"),
                () = closing.cancelled() => {}
            }
        }
    });
    let (mut exit, mut by_itself) = (Exit::Done, false);
    while let Some(ended) = running.join_next().await {
        let (name, ended) = ended.context("a pipeline's task ended badly")?;
        let of_pipeline = exits::report(&name, ended);
        if of_pipeline != Exit::Done {
            // One pipeline that ended by itself ends the worker, so that whoever runs it notices.
            by_itself |= !stop.drain.is_cancelled();
            stop.drain.cancel();
        }
        exit = exits::worse(exit, of_pipeline);
    }
    if refused.get().is_some() {
        (exit, by_itself) = (exits::worse(exit, Exit::Failed), true);
    }
    if stop.drain.is_cancelled() && !by_itself {
        stay.over(&stop.abort).await;
    }
    closing.cancel();
    while watching.join_next().await.is_some() {}
    last_answers(server, &stop.abort).await?;
    Ok(exit)
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// How long requests that are under way when all pipelines have ended may still take.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Waits for the last requests, but not for a client that stands still: it would keep the worker, and its exit code, for as long as it likes.
async fn last_answers(mut server: JoinHandle<()>, abort: &CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        ended = &mut server => {
            return ended.context("the admin server's task ended badly");
        }
        () = abort.cancelled() => {}
        () = tokio::time::sleep(LAST_ANSWERS) => tracing::warn!("Some requests over HTTP are not over; they are cut off."),
    }
    server.abort();
    Ok(())
}
