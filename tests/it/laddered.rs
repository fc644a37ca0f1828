//! A pipeline with a ladder, on a real Kafka and a real Postgres.

use crate::support::http::get;
use crate::support::stage::{Plan, SOON, Stage};
use futures_util::future::BoxFuture;
use millrace::config::{Config, Pipeline};
use millrace::function::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use millrace::lifecycle::{Exit, Stop};
use millrace::telemetry::Instruments;
use millrace::worker::{self, Own, Parties};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Takes so many milliseconds an event, and says so.
struct Slow {
    spec: Spec,
    cost: Duration,
}

impl Slow {
    fn new(pipeline: &Pipeline) -> Self {
        let cost = pipeline.options.get("cost_ms").and_then(Value::as_u64).unwrap_or(100);
        let limits = Limits { slice: 4, calls_in_flight: 1, timeout: Duration::from_secs(30) };
        let spec = Spec { name: "slow", version: 1, model: format!("slow-{cost}@0"), limits };
        Self { spec, cost: Duration::from_millis(cost) }
    }
}

impl Function for Slow {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            tokio::time::sleep(self.cost * slice.len() as u32).await;
            let fields = Map::from_iter([("cost".to_owned(), (self.cost.as_millis() as u64).into())]);
            let said = Prediction { key: None, fields, label: None, score: Some(0.5), model: None };
            Ok(slice.iter().map(|_| Outcome::Emit(vec![said.clone()])).collect())
        })
    }
}

fn send(stage: &Stage, ids: std::ops::Range<u64>, behind_seconds: i64) {
    let producer = stage.producer();
    for n in ids {
        let now = jiff::Timestamp::now().as_millisecond();
        let body =
            json!({ "id": format!("e-{n}"), "account": "a", "amount": n, "time": 1_760_000_000_000i64 + n as i64 }).to_string();
        let record = BaseRecord::<str, str>::to(&stage.name).partition(0).payload(&body).timestamp(now - behind_seconds * 1_000);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

const JSON: &str = "event = \"json\"\nfields = { id = \"id\", key = \"account\", time = \"time\" }\n";

/// Would catch: an age that grows as long as the load stays, rows that do not name the rung or the model that made them, rungs that are not
/// counted, a pipeline that stays degraded when the load has gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_load_is_taken_by_a_rung_and_left_again() {
    let function = format!("{JSON}function = \"own:slow\"");
    let options = "[pipeline.ladder]\nevent_age_objective = \"4s\"\nhold = \"1s\"\nrecover = \"1s\"\n\
                   [[pipeline.ladder.rung]]\nname = \"quick\"\noptions = { cost_ms = 0 }";
    let stage = Stage::of(Plan { partitions: 1, function: &function, options, ..Plan::default() }).await;
    let config = Config::load(&stage.config(), &BTreeMap::new()).unwrap();
    let (instruments, stop) = (Instruments::local().unwrap(), Stop::default());
    let parties = Parties { own: Own::new().with("slow", |pipeline| Ok(Slow::new(pipeline))), ..Parties::default() };
    let metrics = instruments.metrics.clone();
    let worker = tokio::spawn(worker::run(config, instruments, stop.clone(), BTreeMap::new(), parties));
    send(&stage, 0..4, 0);
    stage.decided(4).await;
    let tally = metrics.tally(&stage.name);
    let rungs = tally.rungs().unwrap();
    let of = |name: &str| rungs.events().find(|(rung, _)| *rung == name).unwrap().1;
    assert_eq!((rungs.in_force().1, of("full"), of("quick")), ("full", 4, 0));

    // Many times what the top can take, until the rung has taken most of it.
    let (mut sent, deadline) = (4, Instant::now() + SOON * 2);
    while of("quick") < 100 {
        send(&stage, sent..sent + 10, 0);
        sent += 10;
        assert!(Instant::now() < deadline, "{:?} after {sent} events", rungs.events().collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A trickle, until it has left it: after so many attempts each waits for up to 16 s.
    let deadline = Instant::now() + SOON * 2;
    while rungs.in_force().0 > 0 {
        send(&stage, sent..sent + 1, 0);
        sent += 1;
        assert!(Instant::now() < deadline, "it stays degraded: {:?}", tally.counts(Instant::now()).age);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    send(&stage, sent..sent + 1, 0);
    sent += 1;
    stage.decided(sent as i64).await;
    let (_, rows) = stage.published().await;
    let mut found = BTreeMap::<(String, String, i64), u64>::new();
    for (_, value) in rows.values() {
        let value: Value = serde_json::from_str(value).unwrap();
        let (rung, model) = (value["rung"].as_str().unwrap_or("full"), value["model"].as_str().unwrap());
        *found.entry((rung.to_owned(), model.to_owned(), value["cost"].as_i64().unwrap())).or_default() += 1;
    }
    let wanted = [("full", "slow-100@0", 100), ("quick", "slow-0@0", 0)]
        .map(|(rung, model, cost)| ((rung.to_owned(), model.to_owned(), cost), of(rung)));
    assert_eq!(found, wanted.into(), "rows, and what was counted");
    let rows_of = "SELECT count(*) FROM millrace.record WHERE model = 'slow-0@0' AND value->>'rung' = 'quick'";
    assert_eq!(stage.number(rows_of).await as u64, of("quick"));
    let scraped = metrics.render().unwrap();
    let line = format!("millrace_rung_events_total{{pipeline=\"{}\",rung=\"quick\"}} {}", stage.name, of("quick"));
    assert!(scraped.contains(&line), "{scraped}");
    let oldest = tally.counts(Instant::now()).age.ends().unwrap().1;
    assert!(oldest < sent as f64 * 0.1 / 2.0, "{oldest} s after {sent} events: the top alone would take as long");
    stop.drain.cancel();
    assert_eq!(worker.await.unwrap().unwrap(), Exit::Done);
}

const RISK: &str = r#"function = "risk"
[pipeline.risk]
feature = [{ name = "n", entity = "account", aggregate = "count", window = "1d" }]
[pipeline.ladder]
event_age_objective = "5s"
hold = "1s"
[[pipeline.ladder.rung]]
name = "whole"
options = { pass_event = true }
"#;

/// Would catch: an event of a rung that is explained by the pipeline's own options, a rung that is gone and of which nobody is told.
#[tokio::test(flavor = "multi_thread")]
async fn explain_scores_with_the_rung_that_the_record_names() {
    let stage = Stage::of(Plan { partitions: 1, function: &format!("{JSON}{RISK}"), ..Plan::default() }).await;
    let mut worker = stage.worker();
    send(&stage, 0..1, 0);
    stage.decided(1).await;
    let (mut sent, deadline) = (1, Instant::now() + SOON);
    let degraded = "SELECT count(*) FROM millrace.record WHERE value->>'rung' = 'whole'";
    while stage.number(degraded).await == 0 {
        assert!(Instant::now() < deadline, "it never goes down; log:\n{}", stage.log());
        // As old as it can be without being history, and it does not fall.
        send(&stage, sent..sent + 1, 60);
        sent += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    stage.decided(sent as i64).await;
    let (_, status) = get(&worker.admin(), "/status").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["ladders"][&stage.name]["name"], "whole", "{status}");
    worker.drain();
    for (id, rung) in [("e-0".to_owned(), Value::Null), (format!("e-{}", sent - 1), "whole".into())] {
        let told = stage.millrace(&["explain", "--json", "--event", &id]);
        assert_eq!((told.code, &told.json()["verdict"], &told.json()["rung"]), (Some(0), &json!("same"), &rung), "{told:?}");
    }
    stage.reconfigure("name = \"whole\"", "name = \"other\"");
    let told = stage.millrace(&["explain", "--event", &format!("e-{}", sent - 1)]);
    assert!(told.code == Some(2) && told.err.contains("the rung \"whole\" scored it"), "{told:?}");
}
