//! `millrace demo`: the whole path in one process, without Java. librdkafka's mock cluster stands in for Kafka; Postgres
//! is real, a private one or the one that `DATABASE_URL` names.

mod answers;
mod chat;
mod clicks;
mod postgres;
mod pump;
mod screen;
mod streams;
mod summary;
mod transactions;
mod view;

use crate::config::{Config, Delivery};
use crate::lifecycle::{Exit, Stop};
use crate::pipeline::Observer;
use crate::telemetry::Instruments;
use crate::worker;
use anyhow::Context;
use postgres::PrivatePostgres;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use streams::Stream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const CANNOT_SHOW: &str = "\
What this cannot show: the mock has no transactions, no fencing, no real log and
no second worker, so publishing is at least once here. Exactly-once publishing,
rebalances and recovery need a real Kafka; `make test` runs them against one.";

/// Plays payments, chat messages and clicks through the whole path for some seconds, and checks that each event has exactly one ending.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace demo --seconds 20 --rate 200\n  millrace demo --print-transactions 7 --seed 1 > transactions.jsonl"
)]
pub struct Args {
    /// How long events are sent.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Events a second of each of the three streams; fewer where the machine cannot keep up.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=5000))]
    rate: u64,
    /// Leave the private Postgres up at the end, and print how to look at it.
    #[arg(long)]
    keep: bool,
    /// The pipelines: one each of the functions risk, sentiment and recommend.
    #[arg(long, short, default_value = "deploy/samples/demo.toml")]
    config: PathBuf,
    /// Folder of the sentiment model. Default: the config's.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Seed of the generated payments.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Print the generated payments of so many days, with the reports of fraud among them, and play nothing.
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["keep", "seconds", "rate", "model", "config"])]
    print_transactions: Option<u32>,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    if let Some(days) = args.print_transactions {
        return print_transactions(args.seed, days);
    }
    let stop = Stop::on_signals().context("signals cannot be heard")?;
    let mut closed = signal(SignalKind::hangup()).context("signals cannot be heard")?;
    let drain = stop.drain.clone();
    tokio::spawn(async move {
        closed.recv().await;
        drain.cancel();
    });
    println!("Millrace demo: Kafka (a mock in this process) -> functions -> Postgres, topics");
    println!("Payments get a risk score, chat messages a sentiment, clicks recommendations,");
    println!("up to {} events/s each for {} s; every {}th is bad on purpose.", args.rate, args.seconds, pump::BAD_EVERY);
    let (private, url) = match env.get("DATABASE_URL") {
        Some(url) => {
            println!("DATABASE_URL is set: its database gets the schema `millrace` and keeps what the demo writes.");
            (None, url.clone())
        }
        None => {
            println!("Starting a private PostgreSQL ...");
            let env = env.clone();
            let server =
                tokio::task::spawn_blocking(move || PrivatePostgres::start(&env)).await.context("its start ended badly")??;
            let url = server.url();
            (Some(server), url)
        }
    };
    let result = play(&args, &url, &stop).await;
    match private {
        Some(server) if args.keep => println!("\n{}", server.keep()),
        Some(server) => server.stop()?,
        None => {}
    }
    result
}

async fn play(args: &Args, url: &str, stop: &Stop) -> anyhow::Result<Exit> {
    let cluster = MockCluster::new(1).context("the mock cluster did not start")?;
    let brokers = cluster.bootstrap_servers();
    let config = config(args, &brokers, url)?;
    let sample = Arc::new(clicks::Sample::read()?);
    let (streams, feeds) = streams::streams(&config, args.seed, &sample)?;
    let streams: Arc<[Stream]> = streams.into();
    make_topics(&cluster, &config, &streams)?;
    crate::store::postgres::migrate(url).await?;
    println!("Loading the models ...");
    let watching = |stream: &Stream| (stream.pipeline.clone(), stream.view.clone() as Arc<dyn Observer>);
    let also = streams.iter().map(watching).collect();
    let instruments = Instruments::local()?;
    let worker = worker::run(config, instruments, stop.clone(), also, worker::Parties::default());
    let worker = tokio::spawn(worker);
    println!("Joining the groups: the mock gives its partitions after some seconds ...");
    let gone = || worker.is_finished() || stop.drain.is_cancelled();
    while streams.iter().any(|stream| stream.view.running() < stream.partitions as usize) && !gone() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut pump = pump::Pump::new(&brokers, &streams, feeds)?;
    let sending = send(args, &mut pump, (&streams, &sample), gone).await;
    let interrupted = stop.drain.is_cancelled();
    stop.drain.cancel();
    let exit = worker.await.context("the worker ended badly")??;
    sending?;
    if interrupted {
        let sent: u64 = streams.iter().map(|stream| stream.sent.all()).sum();
        let work = match exit {
            Exit::NotDrained => "not all that was in work could be finished in time",
            _ => "what was in work is finished",
        };
        println!("\nStopped by a signal after {sent} events; {work}. There is no summary of a part.");
        println!("{CANNOT_SHOW}");
        return Ok(exit);
    }
    summary::print(url, args.seed, &streams, &sample).await.map(|complete| if complete { exit } else { Exit::Failed })
}

/// The history, then the show.
async fn send(
    args: &Args,
    pump: &mut pump::Pump<'_>,
    (streams, sample): (&Arc<[Stream]>, &Arc<clicks::Sample>),
    gone: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let history: usize = streams.iter().map(|stream| stream.history).sum();
    println!("Catching up on {} days of payments and {} ratings ...", streams::HISTORY_DAYS, clicks::HISTORY);
    let started = Instant::now();
    pump.history(&gone).await?;
    if gone() {
        return Ok(());
    }
    println!("... {history} events in {:.1} s.\n", started.elapsed().as_secs_f64());
    streams.iter().for_each(|stream| stream.view.go_live());
    let shown = CancellationToken::new();
    let drawing = tokio::spawn({
        let (streams, sample, shown, seconds) = (streams.clone(), sample.clone(), shown.clone(), args.seconds);
        async move { screen::show(&streams, &sample, seconds, shown).await }
    });
    let sent = pump.live(args.rate, args.seconds, &gone).await;
    shown.cancel();
    drawing.await.context("the view ended badly")?;
    sent
}

/// The config file, with this demo's neighbours.
fn config(args: &Args, brokers: &str, url: &str) -> anyhow::Result<Config> {
    let neighbours = [
        ("MILLRACE_KAFKA__BROKERS", brokers),
        ("MILLRACE_KAFKA__PROPERTIES__FETCH_WAIT_MAX_MS", "20"),
        ("MILLRACE_POSTGRES__URL", url),
        ("MILLRACE_ADMIN__LISTEN", "127.0.0.1:0"),
    ];
    let neighbours = neighbours.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut config = Config::load(&args.config, &neighbours).map_err(|cause| {
        anyhow::Error::new(cause).context("the demo runs in the repository's folder, or with --config deploy/samples/demo.toml")
    })?;
    // Names of their own each time: the mock forgets its log, so offsets in a database that is kept would not fit.
    let now_ms = jiff::Timestamp::now().as_millisecond();
    for pipeline in &mut config.pipeline {
        pipeline.name = format!("demo-{}-{now_ms}", pipeline.function);
        pipeline.delivery = Delivery::AtLeastOnce;
        if let (Some(folder), Some(name), "sentiment") = (&args.model, &pipeline.model, pipeline.function.as_str())
            && let Some(model) = config.models.get_mut(name)
        {
            model.path = folder.clone();
        }
    }
    Ok(config)
}

fn make_topics(cluster: &MockCluster<'_, DefaultProducerContext>, config: &Config, streams: &[Stream]) -> anyhow::Result<()> {
    for stream in streams {
        let of = |pipeline: &&crate::config::Pipeline| pipeline.name == stream.pipeline;
        let outputs = config.pipeline.iter().find(of).map(|pipeline| [pipeline.output_topic(), pipeline.dead_letter_topic()]);
        for topic in [stream.topic.clone()].into_iter().chain(outputs.into_iter().flatten()) {
            cluster
                .create_topic(&topic, stream.partitions, 1)
                .with_context(|| format!("the mock topic {topic} cannot be made"))?;
        }
    }
    Ok(())
}

fn print_transactions(seed: u64, days: u32) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let mut events = transactions::Transactions::new(seed).peekable();
    for event in transactions::until_day(&mut events, days) {
        writeln!(out, "{}", event.body).context("standard output is closed")?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
