//! Stages: events handed on, keys, labels; two stages beside one fold.

use super::*;
use crate::config::{Config, Pipeline};
use crate::event::Decoder;
use crate::function::offline::{Folding, Offline, Sitting};
use crate::record::{self, Provenance};
use crate::state::risk::RiskFold;
use std::collections::BTreeMap;
use std::path::Path;

fn stage(options: Value) -> Risk {
    risk(options, Loaded::default())
}

fn label(said: &str) -> Features {
    Features { document: Some(json!({ "label": said })), ..Features::default() }
}

/// Would catch: a stage that decides, an event that is changed on its way, a key of another field, null or missing keys let through.
#[test]
fn a_stage_hands_on_features_and_event_under_a_new_key() {
    let plain = emitted(&stage(json!({})), input(json!({"x": 1}), numbers([1.5, f64::NAN])));
    assert_eq!(Value::from(plain.fields), json!({"event_id": "7", "status": "ok", "features": {"a": 1.5, "b": null}}));
    assert_eq!((plain.key, plain.label, plain.score), (None, None, None));
    let chained = stage(json!({"pass_event": true, "output_key": "card.id"}));
    let payload = json!({"card": {"id": 4711}, "amount": 0.1, "text": "é"});
    let found = emitted(&chained, input(payload.clone(), numbers([1.0, 2.0])));
    assert_eq!((found.key.as_deref(), &found.fields["event"]), (Some("4711"), &payload));
    for (payload, code) in [
        (json!({"card": {}}), "missing_field"),
        (json!({"card": {"id": null}}), "missing_field"),
        (json!({"card": {"id": 1.5}}), "wrong_type"),
        (json!({"card": {"id": "a"}, "x": "\0"}), "nul_character"),
        (json!({"card": {"id": "a\0"}}), "nul_character"),
        (json!("no object"), "not_an_object"),
    ] {
        assert_eq!(rejected(&chained, input(payload.clone(), numbers([0.0, 0.0]))), code, "{payload}");
    }
    let keyed = stage(json!({"output_key": "card.id"}));
    assert_eq!(
        rejected(&keyed, input(json!({"card": {"id": "a\0"}}), numbers([0.0, 0.0]))),
        "nul_character",
        "Postgres cannot store it"
    );
    let scored = risk(json!({"pass_event": true}), scoring());
    assert_eq!(emitted(&scored, input(payload.clone(), numbers([0.0, 0.0]))).fields["event"], payload);
}

/// Would catch: a label that is scored, one that does not reach the next stage, also when this one has forgotten its event, one of an
/// unknown event that is lost in silence.
#[test]
fn labels_are_skipped_at_the_end_and_handed_on_before() {
    let payload = || json!({"kind": "label", "card": "c", "of": "7"});
    let skipped = |risk: &Risk, payload| matches!(outcome(risk, input(payload, label("marked"))), Outcome::Skip("label"));
    assert!(skipped(&risk(json!({}), scoring()), payload()));
    assert!(skipped(&risk(json!({"pass_event": true}), scoring()), payload()), "what scores is no stage");
    assert!(skipped(&stage(json!({})), payload()));
    let chained = stage(json!({"pass_event": true, "output_key": "card"}));
    let found = emitted(&chained, input(payload(), label("marked")));
    assert_eq!(found.key.as_deref(), Some("c"));
    assert_eq!(Value::from(found.fields), json!({"event_id": "7", "status": "ok", "label": "marked", "event": payload()}));
    assert_eq!(emitted(&chained, input(payload(), label("passed_by"))).fields["label"], "passed_by");
    assert!(skipped(&chained, json!({"kind": "label"})), "no key for the next stage");
    let forgotten = emitted(&chained, input(payload(), label("unknown_id")));
    assert_eq!((&forgotten.fields["label"], &forgotten.fields["event"]), (&"unknown_id".into(), &payload()));
    for (risk, payload) in [(chained, json!({"kind": "label"})), (risk(json!({}), scoring()), payload())] {
        let Outcome::Reject(rejection) = outcome(&risk, input(payload, label("unknown_id"))) else { panic!() };
        assert!(rejection.code == "unknown_event" && rejection.detail.contains("[risk.labels]"), "{rejection}");
    }
}

fn sample(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples").join(name);
    Config::load(&path, &BTreeMap::new()).unwrap()
}

/// The two pipelines of a config, the second reading what the first writes.
struct Chain {
    first: Risk,
    one: Box<dyn Sitting>,
    two: Box<dyn Sitting>,
}

impl Chain {
    fn new(config: &Config) -> Self {
        let [one, two] = &config.pipeline[..] else { panic!("two stages") };
        let declared = config.risk_of(one).unwrap();
        let first = Risk::load(declared, &one.options, None, &config.models, &config.base).unwrap();
        let sitting = |pipeline| offline(config, pipeline).sitting();
        Self { first, one: sitting(one), two: sitting(two) }
    }

    /// What the first stage reads, and what the second makes of its record.
    fn pass(&mut self, number: usize, payload: &Value) -> (Input, Input) {
        let by = Provenance {
            pipeline: "one".into(),
            run: 1,
            function: "risk".into(),
            model: "".into(),
            config: "".into(),
            fold: None,
            keeps_latest: false,
        };
        let input = self.one.input(number, payload).unwrap();
        let found = emitted(&self.first, input.clone());
        assert_eq!(found.key.as_deref(), Some(&*payload["TERMINAL_ID"].to_string()));
        let key = found.key.as_deref();
        let record = record::prediction(
            &by,
            &input.event,
            0,
            &"t".into(),
            key,
            &found.fields,
            found.label,
            found.score,
            found.model.as_ref(),
        );
        let second = self.two.input(number, &serde_json::from_str(&record.value).unwrap()).unwrap();
        (input, second)
    }
}

fn offline(config: &Config, pipeline: &Pipeline) -> Folding<impl Fn() -> RiskFold + Send + Sync + 'static> {
    let declared = config.risk_of(pipeline).unwrap().clone();
    let decoder = Decoder::new(pipeline.event, pipeline.fields.clone(), config.limits_of(pipeline).clone());
    Folding::new(decoder, move || RiskFold::new(&declared))
}

/// Payments of 6 cards at 4 terminals over 60 days, most of them several a day, some in the same second; some are fraud.
fn log() -> Vec<Value> {
    let (mut seed, mut second) = (7_u64, 1_522_540_800_u64);
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let payment = |number: u64| {
        second += draw(4) * draw(7_200);
        let time = jiff::Timestamp::from_second(second as i64).unwrap().to_string();
        json!({
            "TRANSACTION_ID": number, "TX_DATETIME": time, "CUSTOMER_ID": draw(6), "TERMINAL_ID": draw(4),
            "TX_AMOUNT": draw(100_000) as f64 / 300.0, "TX_FRAUD": u8::from(draw(5) == 0),
        })
    };
    (0..900).map(payment).collect()
}

/// Would catch: names that do not meet between the stages, numbers that change on the way, a delay or window that is another one.
#[test]
fn two_stages_say_what_one_fold_says() {
    let mut chain = Chain::new(&sample("risk-chain.toml"));
    let mut whole = sample("risk-chain.toml");
    whole.pipeline[0].risk = sample("risk-handbook.toml").risk;
    let mut whole = offline(&whole, &whole.pipeline[0]).sitting();
    let (mut shares, mut counts) = (0, 0.0_f64);
    for (number, payload) in log().iter().enumerate() {
        let (first, second) = chain.pass(number, payload);
        assert_eq!((&second.event.id, second.event.event_time_ms), (&first.event.id, first.event.event_time_ms));
        let chained = second.features.unwrap();
        assert_eq!(chained, whole.input(number, payload).unwrap().features.unwrap(), "row {number}");
        assert_eq!(chained.numbers.len(), 15);
        shares += usize::from(chained.numbers[14] > 0.0);
        counts = counts.max(chained.numbers[7]);
    }
    assert!(shares > 500 && counts > 30.0, "the log has to fill the windows: {shares}, {counts}");
}

const LABELLED: &str = r#"
[[pipeline]]
name = "customers"
topic = "payments"
event = "json"
fields = { id = "id", time = "time" }
function = "risk"
output_topic = "by-terminal"
options = { pass_event = true, output_key = "TERMINAL_ID" }
[pipeline.risk]
labels = { when = "kind == 'label'", event_id = "of", value = "fraud" }
feature = [{ name = "n", entity = "card", aggregate = "count", window = "1d" }]
[[pipeline]]
name = "terminals"
topic = "by-terminal"
event = "json"
fields = { id = "event_id", time = "event_time" }
function = "risk"
[pipeline.risk]
labels = { when = "event.kind == 'label'", event_id = "event.of", value = "event.fraud" }
feature = [
  { name = "n", field = "features.n" },
  { name = "share", entity = "event.TERMINAL_ID", aggregate = "share", field = "event.fraud", window = "1d", include_current = false },
]
"#;

/// Would catch: a label that the first stage counts as a payment, refuses for what it lacks, or keeps from the next stage.
#[test]
fn a_label_of_its_own_reaches_the_next_stage() {
    let config = Config::parse(LABELLED, "test.toml", &BTreeMap::new()).unwrap();
    assert_eq!(config.findings(), [""; 0]);
    let mut chain = Chain::new(&config);
    let pay = |id: &str| json!({"id": id, "time": 60_000, "card": "A", "TERMINAL_ID": 9});
    chain.pass(0, &pay("a"));
    let label = json!({"id": "l", "time": 60_000, "kind": "label", "of": "a", "fraud": true, "TERMINAL_ID": 9});
    let (first, second) = chain.pass(1, &label);
    let of = |input: Input| input.features.unwrap().document;
    assert_eq!((of(first), of(second)), (Some(json!({"label": "passed_by"})), Some(json!({"label": "marked"}))));
    let (_, second) = chain.pass(2, &pay("b"));
    assert_eq!(*second.features.unwrap().numbers, [2.0, 1.0], "two payments of the card, one of one before it was fraud");
}

/// Would catch: a label that ends in the first stage because its own windows are shorter than those of the next.
#[test]
fn a_label_that_comes_after_the_first_stage_has_forgotten_reaches_the_next() {
    let own = "{ name = \"n\", entity = \"card\", aggregate = \"share\", field = \"fraud\", window = \"1h\", delay = \"1h\" }";
    let text = LABELLED.replace(
        "feature = [{ name = \"n\", entity = \"card\", aggregate = \"count\", window = \"1d\" }]",
        &format!("max_late = \"1s\"\nfeature = [{own}]"),
    );
    let config = Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap();
    assert_eq!(config.findings(), [""; 0]);
    let mut chain = Chain::new(&config);
    let pay = |id: &str, hours: i64| json!({"id": id, "time": hours * 3_600_000, "card": "A", "TERMINAL_ID": 9});
    chain.pass(0, &pay("a", 1));
    chain.pass(1, &pay("b", 5));
    let label = json!({"id": "l", "time": 18_000_000, "kind": "label", "of": "a", "fraud": true, "card": "A", "TERMINAL_ID": 9});
    let (first, second) = chain.pass(2, &label);
    let of = |input: Input| input.features.unwrap().document;
    assert_eq!((of(first), of(second)), (Some(json!({"label": "unknown_id"})), Some(json!({"label": "marked"}))));
    let (_, second) = chain.pass(3, &pay("c", 6));
    assert_eq!(second.features.unwrap().numbers[1], 0.5, "one of the two payments before it was fraud");
}

/// Would catch: a null of the first stage that ends as a dead letter in the next.
#[test]
fn no_value_of_one_stage_is_no_value_in_the_next() {
    let text = LABELLED
        .replace("aggregate = \"count\", window", "aggregate = \"stddev\", field = \"amount\", window")
        .replace("field = \"features.n\"", "field = \"features.n\", empty = nan");
    let config = Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap();
    assert_eq!(config.findings(), [""; 0]);
    let mut chain = Chain::new(&config);
    let mut pay = |number: usize, amount: f64| {
        let event = json!({"id": number.to_string(), "time": 60_000, "card": "A", "TERMINAL_ID": 9, "amount": amount});
        chain.pass(number, &event).1.features.unwrap().numbers[0]
    };
    assert!(pay(0, 1.0).is_nan());
    assert_eq!(pay(1, 3.0), 2.0_f64.sqrt());
}
