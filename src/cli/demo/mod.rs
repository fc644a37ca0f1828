//! `millrace demo`: the whole path in one process, without Java. librdkafka's mock cluster stands in for Kafka; Postgres
//! is real, a private one or the one that `DATABASE_URL` names.

mod postgres;
mod summary;
mod view;

use crate::config::Config;
use crate::lifecycle::{Exit, Stop};
use crate::telemetry::Instruments;
use crate::worker;
use anyhow::Context;
use postgres::PrivatePostgres;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use view::View;

const MESSAGES: &str = include_str!("messages.jsonl");
const PARTITIONS: i32 = 4;
/// Every so many messages one is bad on purpose.
const BAD_EVERY: u64 = 97;
/// The mock keeps 5 MiB a partition: far more than this many messages of the sample. The generator waits above it.
const MOST_AHEAD: u64 = 5_000;

const CANNOT_SHOW: &str = "\
What this cannot show: the mock has no transactions, no fencing, no real log and
no second worker, so publishing is at least once here. Exactly-once publishing,
rebalances and recovery need a real Kafka; `make test` runs them against one.";

/// What is sent that cannot be scored, in turn, and what it is.
const BAD: [(&str, &str); 4] = [
    ("half a JSON document", r#"{"id": "half a docum"#),
    ("no text", r#"{"id": "no-text", "conversation": "user-0", "time": "2026-01-01T00:00:00Z"}"#),
    ("a number as text", r#"{"id": "number", "conversation": "user-0", "text": 7, "time": "2026-01-01T00:00:00Z"}"#),
    ("lists 40 deep", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
];

/// Plays real chat messages through the whole path for some seconds, and checks that each has exactly one ending.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  millrace demo --seconds 20 --rate 200")]
pub struct Args {
    /// How long messages are sent.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=90))]
    seconds: u64,
    /// Messages a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=5000))]
    rate: u64,
    /// Leave the private Postgres up at the end, and print how to look at it.
    #[arg(long)]
    keep: bool,
    /// Folder of the sentiment model.
    #[arg(long, default_value = "models/sentiment-en")]
    model: String,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let stop = Stop::on_signals().context("signals cannot be heard")?;
    let mut closed = signal(SignalKind::hangup()).context("signals cannot be heard")?;
    let drain = stop.drain.clone();
    tokio::spawn(async move {
        closed.recv().await;
        drain.cancel();
    });
    println!("Millrace demo: Kafka (a mock in this process) -> sentiment model -> Postgres");
    println!(
        "and an output topic. {} chat messages are played again and again, for {} s;",
        MESSAGES.lines().count(),
        args.seconds
    );
    println!("every {BAD_EVERY}th event is bad on purpose.");
    let (private, url) = match env.get("DATABASE_URL") {
        Some(url) => (None, url.clone()),
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
    for topic in ["chat", "sentiments", "chat-dead"] {
        cluster.create_topic(topic, PARTITIONS, 1).with_context(|| format!("the mock topic {topic} cannot be made"))?;
    }
    let brokers = cluster.bootstrap_servers();
    // A name of its own each time: the mock forgets its log, so offsets in a database that is kept would not fit.
    let name = format!("demo-{}", jiff::Timestamp::now().as_millisecond());
    let text = format!(
        r#"
        [kafka]
        brokers = "{brokers}"
        properties = {{ "fetch.wait.max.ms" = "20" }}
        [postgres]
        url = "{url}"
        [admin]
        listen = "127.0.0.1:0"
        [models.sentiment]
        path = "{model}"
        [[pipeline]]
        name = "{name}"
        topic = "chat"
        event = "chat_message"
        function = "sentiment"
        model = "sentiment"
        output_topic = "sentiments"
        dead_letter_topic = "chat-dead"
        delivery = "at_least_once"
        start = "earliest"
        "#,
        model = args.model,
    );
    let config = Config::parse(&text, "the demo's config", &BTreeMap::new())?;
    crate::store::postgres::migrate(url).await?;
    println!("Loading the model ...");
    let (view, generated) = (Arc::new(View::default()), Arc::new(Generated::default()));
    let worker = tokio::spawn(worker::run(
        config,
        Instruments::local()?,
        stop.clone(),
        Some(view.clone() as Arc<dyn crate::pipeline::Observer>),
    ));
    println!("Joining the group: the mock gives its partitions after some seconds ...\n");
    while view.running() < PARTITIONS as usize && !worker.is_finished() && !stop.drain.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = CancellationToken::new();
    let drawing = tokio::spawn({
        let (view, generated, shown, seconds) = (view.clone(), generated.clone(), shown.clone(), args.seconds);
        async move { view.show(|| generated.sent.load(Ordering::Relaxed), seconds, shown).await }
    });
    let sending = generate(args, &brokers, (&view, &generated), &worker, &stop.drain).await;
    // All is sent: wait until all is decided and published, at most a minute.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let sent = generated.sent.load(Ordering::Relaxed);
    let waits = || !worker.is_finished() && !stop.drain.is_cancelled() && tokio::time::Instant::now() < deadline;
    while sending.is_ok() && view.published() < sent && waits() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shown.cancel();
    drawing.await.context("the view ended badly")?;
    let interrupted = stop.drain.is_cancelled();
    stop.drain.cancel();
    let exit = worker.await.context("the worker ended badly")??;
    sending?;
    if interrupted {
        println!("\nStopped by a signal after {sent} events; what was in work is finished. There is no summary of a part.");
        println!("{CANNOT_SHOW}");
        return Ok(exit);
    }
    summary::print(&name, url, &generated, &view).await.map(|complete| if complete { exit } else { Exit::Failed })
}

#[derive(Default)]
struct Generated {
    sent: AtomicU64,
    bad: AtomicU64,
}

/// Sends the sample round and round at a steady rate, with a bad event now and then. Never outruns the mock's retention.
async fn generate(
    args: &Args,
    brokers: &str,
    (view, generated): (&View, &Generated),
    worker: &tokio::task::JoinHandle<anyhow::Result<Exit>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let producer: BaseProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "5")
        .create()
        .context("cannot make the generator's producer")?;
    let lines: Vec<serde_json::Value> =
        MESSAGES.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("the sample is damaged")?;
    let total = args.seconds * args.rate;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let started = tokio::time::Instant::now();
    while generated.sent.load(Ordering::Relaxed) < total && !worker.is_finished() && !stop.is_cancelled() {
        tick.tick().await;
        producer.poll(Duration::ZERO);
        let due = ((started.elapsed().as_secs_f64() * args.rate as f64) as u64).min(total);
        while generated.sent.load(Ordering::Relaxed) < due {
            let n = generated.sent.load(Ordering::Relaxed);
            if n.saturating_sub(view.decided()) >= MOST_AHEAD {
                break;
            }
            let line = &lines[n as usize % lines.len()];
            let user = line["user"].as_str().unwrap_or("user-0");
            let bad = n % BAD_EVERY == BAD_EVERY - 1;
            let body = if bad {
                BAD[(n / BAD_EVERY) as usize % BAD.len()].1.to_owned()
            } else {
                message(n, user, line["text"].as_str().unwrap_or_default())
            };
            let record = BaseRecord::to("chat").key(user).payload(&body).timestamp(jiff::Timestamp::now().as_millisecond());
            if producer.send(record).is_err() {
                break; // The queue is full; the next tick goes on.
            }
            generated.sent.fetch_add(1, Ordering::Relaxed);
            generated.bad.fetch_add(u64::from(bad), Ordering::Relaxed);
        }
    }
    producer.flush(Duration::from_secs(10)).context("the generator could not deliver its last messages")
}

fn message(n: u64, user: &str, text: &str) -> String {
    serde_json::json!({ "id": format!("m-{n}"), "conversation": user, "user": user, "text": text, "time": jiff::Timestamp::now().to_string() }).to_string()
}
