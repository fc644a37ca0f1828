//! Stages: events handed on, keys, labels; two stages beside one fold.

use super::*;
use crate::config::Config;
use crate::event::{Decoder, Rejection};
use crate::function::offline::{Folding, Offline};
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
    assert_eq!(Value::from(plain.fields), json!({"status": "ok", "features": {"a": 1.5, "b": null}}));
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
        (json!("no object"), "not_an_object"),
    ] {
        assert_eq!(rejected(&chained, input(payload.clone(), numbers([0.0, 0.0]))), code, "{payload}");
    }
    let scored = risk(json!({"pass_event": true}), scoring());
    assert_eq!(emitted(&scored, input(payload.clone(), numbers([0.0, 0.0]))).fields["event"], payload);
}

/// Would catch: a label that is scored, one that does not reach the next stage, one of an unknown event that is lost in silence.
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
    assert_eq!(Value::from(found.fields), json!({"status": "ok", "label": "marked", "event": payload()}));
    assert!(skipped(&chained, json!({"kind": "label"})), "no key for the next stage");
    for risk in [chained, risk(json!({}), scoring())] {
        let Outcome::Reject(rejection) = outcome(&risk, input(payload(), label("unknown_id"))) else { panic!() };
        assert!(rejection.code == "unknown_event" && rejection.detail.contains("[risk.labels]"), "{rejection}");
    }
}

fn sample(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples").join(name);
    Config::load(&path, &BTreeMap::new()).unwrap()
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
    let chain = sample("risk-chain.toml");
    let decoder = |place: usize| {
        let pipeline = &chain.pipeline[place];
        Decoder::new(pipeline.event, pipeline.fields.clone(), chain.limits_of(pipeline).clone())
    };
    let declared = |place: usize| chain.risk_of(&chain.pipeline[place]).unwrap().clone();
    let names = |place: usize| declared(place).feature.into_iter().map(|feature| feature.name).collect::<Vec<_>>();
    let first = {
        let pipeline = &chain.pipeline[0];
        Risk::load(&declared(0), &pipeline.options, None, &chain.models, &chain.base).unwrap()
    };
    let of_stage = |place: usize| Folding::new(decoder(place), move || RiskFold::new(&declared(place))).sitting();
    let (mut one, mut two) = (of_stage(0), of_stage(1));
    let whole = sample("risk-handbook.toml").risk.unwrap();
    let mut whole = Folding::new(decoder(0), move || RiskFold::new(&whole)).sitting();
    let by = Provenance { pipeline: "one".into(), run: 1, function: "risk".into(), model: "".into(), config: "".into() };
    let rows = |number: usize, payload: &Value| -> Result<_, Rejection> {
        let input = one.input(number, payload)?;
        let found = emitted(&first, input.clone());
        let (topic, key) = ("t".into(), found.key.as_deref());
        assert_eq!(key, Some(&*payload["TERMINAL_ID"].to_string()));
        let record = record::prediction(&by, &input.event, 0, &topic, key, &found.fields, found.label, found.score);
        let handed_on: Value = serde_json::from_str(&record.value).unwrap();
        let second = two.input(number, &handed_on)?;
        assert_eq!(second.event.id, input.event.id);
        Ok((second.features.unwrap(), whole.input(number, payload)?.features.unwrap()))
    };
    let mut rows = rows;
    let log = log();
    let (mut shares, mut counts) = (0, 0.0_f64);
    for (number, payload) in log.iter().enumerate() {
        let (chained, of_one) = rows(number, payload).unwrap();
        assert_eq!(chained.numbers, of_one.numbers, "row {number}");
        assert_eq!(chained.numbers.len(), 15);
        shares += usize::from(chained.numbers[14] > 0.0);
        counts = counts.max(chained.numbers[7]);
    }
    assert_eq!(names(1).len(), 15);
    assert!(shares > 500 && counts > 30.0, "the log has to fill the windows: {shares}, {counts}");
}
