use super::*;
use crate::config::{Config, EventKind};
use crate::event::{Decoder, Position, RawEvent};
use crate::state::in_memory::InMemory;
use crate::state::risk::RiskFold;
use std::collections::HashMap;
use std::path::Path;

fn of_days(seed: u64, days: u32) -> Vec<Event> {
    until_day(&mut Transactions::new(seed).peekable(), days).collect()
}

fn scenario(event: &Event) -> Option<Scenario> {
    match event.what {
        What::Payment { fraud, .. } => fraud,
        What::Label => None,
    }
}

/// Would catch: events that depend on anything but the seed, or that are out of order.
#[test]
fn a_seed_is_a_stream() {
    let (one, again, other) = (of_days(3, 8), of_days(3, 8), of_days(4, 8));
    assert!(one == again && one != other);
    assert_eq!(of_days(3, 5)[..], one[..of_days(3, 5).len()]);
    assert!(one.is_sorted_by_key(|event| event.time_ms), "a log is in the order of its times");
}

/// Would catch: a generator that drifts away from what the top of its file states.
#[test]
fn fraud_has_the_share_that_is_stated() {
    let mut by_scenario: BTreeMap<Scenario, f64> = BTreeMap::new();
    let (mut payments, mut labels, days, seeds) = (0.0, 0.0, 60, 8);
    for seed in 1..=seeds {
        for event in of_days(seed, days) {
            match event.what {
                What::Payment { .. } => payments += 1.0,
                What::Label => labels += 1.0,
            }
            if let Some(scenario) = scenario(&event) {
                *by_scenario.entry(scenario).or_default() += 1.0;
            }
        }
    }
    let frauds: f64 = by_scenario.values().sum();
    let share = frauds / payments;
    assert!((0.012..0.016).contains(&share), "{share}");
    // One card day in 240; one card in 600 a day, 6.5 payments each.
    let card_days = f64::from(days) * seeds as f64 * CARDS as f64;
    for (scenario, expected) in [(Scenario::Large, card_days / 240.0), (Scenario::Stolen, card_days / 600.0 * 6.5)] {
        let found = by_scenario[&scenario];
        assert!((found / expected - 1.0).abs() < 0.15, "{scenario:?}: {found}, stated {expected}");
    }
    assert!(by_scenario[&Scenario::Terminal] > 0.2 * frauds, "{by_scenario:?}");
    // Those of the last days are not reported yet.
    assert!((0.93..1.0).contains(&(labels / frauds)), "{labels} labels of {frauds} frauds");
}

/// Would catch: a report before its payment or too late after it, of no fraud, or one that never comes.
#[test]
fn every_fraud_is_reported_within_five_days() {
    let events = of_days(5, 40);
    let paid: HashMap<&str, &Event> = (events.iter())
        .filter_map(|event| match &event.what {
            What::Payment { id, fraud: Some(_) } => Some((&**id, event)),
            _ => None,
        })
        .collect();
    let mut reported = 0;
    for label in events.iter().filter(|event| event.what == What::Label) {
        let body: serde_json::Value = serde_json::from_str(&label.body).unwrap();
        let payment = paid[body["event_id"].as_str().unwrap()];
        assert!(
            (6 * HOUR_MS - 1_000..=5 * DAY_MS).contains(&(label.time_ms - payment.time_ms)),
            "{} {}",
            payment.body,
            label.body
        );
        assert_eq!(body["scenario"].as_str(), scenario(payment).map(Scenario::as_str));
        reported += 1;
    }
    let due = paid.values().filter(|event| event.time_ms < BEGIN_MS + 35 * DAY_MS).count();
    assert!(reported >= due && due > 0, "{reported} of {due}");
}

/// Would catch: events that the demo's own pipeline refuses, and bad ones that it takes.
#[test]
fn the_pipeline_takes_all_but_the_bad_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/demo.toml");
    let config = Config::load(&path, &BTreeMap::new()).unwrap();
    let pipeline = config.pipeline.iter().find(|pipeline| pipeline.function == "risk").unwrap();
    assert_eq!(pipeline.event, EventKind::Json);
    let decoder = Decoder::new(pipeline.event, pipeline.fields.clone(), config.limits_of(pipeline).clone());
    let mut states = InMemory::new(RiskFold::new(config.risk_of(pipeline).unwrap()));
    let mut take = |offset: usize, body: &str| {
        let raw = RawEvent {
            position: Position { topic: "t".into(), partition: 0, offset: offset as i64 },
            timestamp_ms: jiff::Timestamp::now().as_millisecond(),
            key: None,
            payload: Some(body.as_bytes().into()),
            headers: Vec::new(),
        };
        let event = decoder.decode(raw).map_err(|(_, rejection)| rejection.code)?;
        let features = states.apply(&event).map_err(|rejection| rejection.code)?;
        Ok::<_, &str>((event, features))
    };
    let events = of_days(6, 12);
    for (offset, event) in events.iter().enumerate() {
        let (decoded, features) = take(offset, &event.body).unwrap();
        assert!(!features.late && decoded.event_time_ms == event.time_ms, "{}", event.body);
        assert_eq!(decoded.key.as_deref(), Some(event.card.as_str()));
        let said = features.document.map(|document| document["label"].clone());
        assert_eq!(said, (event.what == What::Label).then(|| "marked".into()), "{}", event.body);
    }
    let refusals = BAD.map(|(_, body)| match take(events.len(), body) {
        // A label of an unknown event is refused by the function.
        Ok((_, features)) => features.document.map_or("taken".to_owned(), |document| document["label"].to_string()),
        Err(code) => code.to_owned(),
    });
    assert_eq!(refusals, ["invalid_json", "missing_field", "negative", "wrong_type", "\"unknown_id\""]);
}
