//! `page_server PIPELINES PARTITIONS`: the admin server's real routes over made-up counts, for tests in a browser. Prints its address; ends
//! with its standard input.

use futures_util::future::BoxFuture;
use millrace::admin::{
    AdminState, AdminToken, Answered, AnsweredBy, ApiError, Asked, By, Command, Connections, Events, FunctionApi, FunctionDoc,
    LetterEvent, LetterFound, LettersAsked, LettersCounted, LettersFound, Liveness, OperatorApi, PartitionStatus, Readiness,
    RecordApi, RecordFound, RecordsAsked, RecordsFound, Said, Shape, StatusBoard, SwapWish, Versioned, Wish, serve,
};
use millrace::telemetry::{Limits, LoadedModel, Metrics, ModelGauges, Tally};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// One function answers here, and nobody else does anything.
struct Nobody;

fn command(name: &'static str) -> Command {
    let line = format!(
        "millrace {name} --config /etc/millrace/millrace.toml --pipeline payments-risk 'payments-risk/1/events/0/4711/0'"
    );
    Command { name, about: "What it does, in a sentence.", line }
}

/// A record by its id, and dead letters with events; nothing else was recorded here.
impl RecordApi for Nobody {
    fn pipelines(&self) -> Vec<String> {
        vec![KINDS[0].0.to_owned(), KINDS[3].0.to_owned()]
    }
    fn records(&self, asked: RecordsAsked) -> BoxFuture<'_, Result<RecordsFound, ApiError>> {
        let record = |n: i64| RecordFound {
            id: format!("payments-risk/1/events/0/{n}/0"),
            kind: "prediction".to_owned(),
            pipeline: KINDS[0].0.to_owned(),
            topic: "events".to_owned(),
            offset: n,
            value: json!({ "decision": "review", "features": { "an_amount_of_which_the_name_is_rather_long": 0.5 } }),
            hidden_fields: 2,
            commands: vec![command("explain")],
            ..RecordFound::default()
        };
        let records = if matches!(asked.by, By::Id(_)) { [4_711, 4_712].map(record).into() } else { Vec::new() };
        let notes = vec!["Looked through the newest 20,000 records.".to_owned()];
        Box::pin(async { Ok(RecordsFound { records, complete: true, notes, payloads_shown: false }) })
    }
    fn dead_letters(&self, _: LettersAsked) -> BoxFuture<'_, Result<LettersFound, ApiError>> {
        let counted = |reason: &str| LettersCounted {
            pipeline: KINDS[0].0.to_owned(),
            reason: reason.to_owned(),
            open: 3,
            command: Some(command("redrive")),
            ..LettersCounted::default()
        };
        let letter = |n: i64| LetterFound {
            id: format!("payments-risk/1/events/0/{n}/0"),
            reason: "missing_field".to_owned(),
            field: Some("amount".to_owned()),
            handling: "open".to_owned(),
            event: Some(LetterEvent { key: "card 17".into(), payload: "{\"card\": \"card 17\"}".into(), cut: n == 1 }),
            commands: vec![command("redrive"), command("discard")],
            ..LetterFound::default()
        };
        let found = LettersFound {
            counts: ["missing_field", "bad_payload"].map(counted).into(),
            counts_complete: true,
            letters: [1, 2].map(letter).into(),
            ..LettersFound::default()
        };
        Box::pin(async { Ok(found) })
    }
}

/// Nothing can be paused here.
impl OperatorApi for Nobody {
    fn pause<'a>(&'a self, pipeline: &'a str, _: Wish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move { Err(unknown(pipeline)) })
    }
    fn resume<'a>(&'a self, pipeline: &'a str, _: Wish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move { Err(unknown(pipeline)) })
    }
    fn swap<'a>(&'a self, pipeline: &'a str, _: SwapWish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move { Err(unknown(pipeline)) })
    }
}

impl FunctionApi for Nobody {
    fn list(&self) -> Value {
        json!([])
    }
    fn documented(&self) -> Vec<Arc<FunctionDoc>> {
        vec![Arc::new(document())]
    }
    fn answer<'a>(&'a self, asked: Asked<'a>, _: Value, _: Shape) -> BoxFuture<'a, Result<Versioned<Answered>, ApiError>> {
        let by = AnsweredBy { version: asked.version.unwrap_or("base").to_owned(), config: "c0ffee".to_owned() };
        let labels = json!([{ "label": "positive", "score": 0.98 }, { "label": "negative", "score": 0.02 }]);
        let answer =
            Answered::from(json!({ "outputs": [{ "label": "positive", "labels": labels }], "model": "starter-sentiment" }));
        Box::pin(async move { Ok(Versioned { by, answer }) })
    }
    fn embeddings<'a>(&'a self, _: Option<&'a str>, _: Value) -> BoxFuture<'a, Result<Versioned<Answered>, ApiError>> {
        Box::pin(async { Err(unknown("embeddings")) })
    }
    fn chat<'a>(&'a self, _: Option<&'a str>, _: Value) -> BoxFuture<'a, Result<Versioned<Said>, ApiError>> {
        Box::pin(async { Err(unknown("chat")) })
    }
    fn models(&self) -> Value {
        json!({})
    }
    fn model(&self, name: &str) -> Result<Value, ApiError> {
        Err(unknown(name))
    }
    fn stream<'a>(&'a self, asked: Asked<'a>, _: Value, _: Shape) -> BoxFuture<'a, Result<Versioned<Events>, ApiError>> {
        Box::pin(async move { Err(unknown(asked.name)) })
    }
}

/// A function with a parameter of every kind.
fn document() -> FunctionDoc {
    let text = json!({ "type": "string" });
    let parameters = json!({ "type": "object", "properties": {
        "top_k": { "type": ["integer", "null"], "minimum": 1, "default": 3, "description": "Answers at most." },
        "way": { "enum": ["near", "far"], "default": "near" },
        "whole": { "type": "boolean", "default": false },
        "stop": { "type": "array", "items": text },
        "schema": { "default": null },
    } });
    FunctionDoc {
        pipeline: KINDS[1].0.to_owned(),
        function: KINDS[1].1.to_owned(),
        model: KINDS[1].2.to_owned(),
        version: 1,
        versions: vec!["base".to_owned(), "v2".to_owned()],
        most: 8,
        input: json!({ "type": "object", "required": ["text"], "properties": { "text": text } }),
        parameters,
        output: json!({ "type": "object" }),
        bare: json!({ "type": "array" }),
        example: json!({ "text": "I love it." }),
        pieces: false,
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError { status: 404, kind: "not_found", message: name.to_owned(), param: None }
}

/// The same numbers in each run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

const KINDS: [(&str, &str, &str, &[&str]); 4] = [
    ("payments-risk", "risk", "handbook@3f9a61c07d2e", &["approve", "review", "decline"]),
    ("chat-sentiment", "sentiment", "starter-sentiment@b81d04a7f3c9", &["positive", "neutral", "negative"]),
    ("clicks-recommend", "recommend", "", &["personal", "new_user", "cold"]),
    // Names are texts, whatever stands in them.
    ("<b onmouseover=alert(1)>odd</b>", "classify", "one@000000000000", &["<i>yes</i>", "no"]),
];

/// One step of a pipeline's work, `seconds` long.
fn work(tally: &Tally, kind: usize, chance: &mut Chance, seconds: f64) {
    let events = (seconds * (180.0 + 60.0 * chance.next())) as usize;
    let labels = KINDS[kind].3;
    let now = Instant::now();
    tally.consumed(events as u64);
    let busy = seconds * (0.2 + 0.3 * chance.next());
    tally.call_begins(now);
    tally.call_ends(events.min(64), busy, now + Duration::from_secs_f64(busy));
    tally.tokens().fetch_add(events as u64 * 21, std::sync::atomic::Ordering::Relaxed);
    let ages: Vec<f64> = (0..events).map(|_| 0.012 + 0.05 * chance.next().powi(6)).collect();
    let said: Vec<(&str, f64)> = (0..events)
        .map(|_| {
            let score = (chance.next() * chance.next()).clamp(0.0, 1.0);
            (labels[(score * 1.2 * labels.len() as f64) as usize % labels.len()], score)
        })
        .collect();
    tally.decided(events, ages.into_iter(), said.iter().map(|(label, score)| (Some(*label), Some(*score))));
    tally.published(events as u64);
    if chance.next() > 0.9 {
        tally.dead("bad_payload");
        if KINDS[kind].1 == "recommend" {
            tally.fell_back("new_user");
        }
        tally.skipped("agent");
    }
}

fn held(number: i32, steps: i64, wrong: bool) -> PartitionStatus {
    let end = 84_000 + steps * 24 + i64::from(number) * 97;
    let halted =
        (wrong && number == 5).then(|| "the database lost commits: compare with `millrace verify`, then start again".to_owned());
    let behind = if halted.is_some() { 5_000 } else { i64::from(number % 3) };
    PartitionStatus {
        state: if halted.is_some() { "halted" } else { "running" }.to_owned(),
        next_offset: Some(end - behind),
        committed_offset: Some(end - behind - 1),
        end_offset: Some(end),
        lag_undecided: Some(behind),
        lag_unpublished: Some(1),
        lag_seconds: Some(behind as f64 * 0.02),
        epoch: Some(4),
        owner: "worker-1/17/8c2f51aa".to_owned(),
        waits: number == 7,
        halted,
        ..PartitionStatus::default()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |place: usize, usual: usize| std::env::args().nth(place).map_or(Ok(usual), |text| text.parse());
    let (pipelines, partitions) = (number(1, 4)?, number(2, 6)?);
    let board = Arc::new(StatusBoard::default());
    let metrics = Arc::new(Metrics::new()?);
    metrics.follow_models(Arc::new(|| ModelGauges {
        loaded: [
            ("handbook".to_owned(), LoadedModel { bytes: 1_200_000, unloads: 0 }),
            ("starter-sentiment".to_owned(), LoadedModel { bytes: 91_000_000, unloads: 2 }),
        ]
        .into(),
        ..ModelGauges::default()
    }));
    let mut chance = Chance(7);
    let name = |n: usize| match n / KINDS.len() {
        0 => KINDS[n % KINDS.len()].0.to_owned(),
        again => format!("{}-{again}", KINDS[n % KINDS.len()].0),
    };
    for n in 0..pipelines {
        let (_, function, model, _) = KINDS[n % KINDS.len()];
        let limits = Limits { function: function.to_owned(), model: model.to_owned(), slice: 64, calls_in_flight: 2 };
        metrics.tally(&name(n)).limit(limits);
    }
    let readiness = Arc::new(Readiness::new([]));
    readiness.block("payments-risk", "publish fails and is tried again");
    if pipelines > KINDS.len() {
        readiness.block("Postgres for payments-risk", "does not answer");
    }
    let second = Duration::from_secs(60);
    let state = AdminState {
        liveness: Arc::new(Liveness::default()),
        readiness,
        status: board.clone(),
        metrics: metrics.clone(),
        functions: Arc::new(Nobody),
        records: Arc::new(Nobody),
        operators: Arc::new(Nobody),
        token: Arc::new(AdminToken::default()),
        hosts: Arc::default(),
        body_bytes: 100_000,
        body_timeout: second,
        connections: Connections {
            most: 64,
            head_timeout: second,
            keep_alive: second,
            write_timeout: second,
            head_bytes: 65_536,
        },
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, state, stop.clone()));
    let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        end.send(()).ok();
    });
    for steps in 0.. {
        for n in 0..pipelines {
            work(&metrics.tally(&name(n)), n % KINDS.len(), &mut chance, 0.25);
            let all = (0..partitions as i32).map(|number| (format!("events/{number}"), held(number, steps, n == 0)));
            board.replace(&name(n), all.collect());
        }
        if tokio::time::timeout(Duration::from_millis(250), &mut ended).await.is_ok() {
            break;
        }
    }
    stop.cancel();
    server.await?;
    Ok(())
}
