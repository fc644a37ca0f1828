//! The folds that are shipped: their states and answers are those of one pass, whatever the cache does.

use super::super::Rule;
use super::harness::{Cuts, Outcome, Whole, interrupted};
use crate::config::Config;
use crate::event::{Event, Position, RawEvent};
use crate::state::dialogue::DialogueFold;
use crate::state::dialogue::tests::{fold as dialogue, message};
use crate::state::recommend::RecommendFold;
use crate::state::recommend::tests::{ALL, World, exact};
use crate::state::risk::RiskFold;
use crate::state::{Fold, Forgetting};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const EVENTS: usize = 200;

/// A fold, and the log of a seed.
trait Case {
    type Fold: Fold;
    fn fold(&self) -> Self::Fold;
    fn log(&self, seed: u64) -> Vec<Event>;
    fn forget_after_ms(&self) -> Option<i64> {
        None
    }
}

fn run(case: &impl Case, seed: u64, without: Option<Rule>) -> (Outcome, usize) {
    let log = case.log(seed);
    let whole = Whole::of(case.fold(), &log);
    assert!(whole.rejected() > 0, "a log without a bad event");
    let mut rng = StdRng::seed_from_u64(seed);
    // A third of the runs keeps nothing that is written, and writes at once; the others keep a part.
    let (flush_after, budget_bytes) =
        if seed.is_multiple_of(3) { (1, 0) } else { (rng.random_range(1..40), rng.random_range(0..60_000)) };
    let cuts =
        Cuts { flush_after, flush_keys: rng.random_range(1..20), budget_bytes, without, forget_after_ms: case.forget_after_ms() };
    (interrupted(case.fold(), &log, &whole, cuts, &mut rng), whole.keys())
}

fn hold(case: &impl Case, seeds: std::ops::Range<u64>) {
    let (mut deaths, mut reads, mut share) = (0, 0, 1.0f64);
    for seed in seeds {
        let (outcome, keys) = run(case, seed, None);
        assert!(outcome.same, "seed {seed}");
        deaths += outcome.deaths;
        reads += outcome.reads;
        share = share.min(outcome.fewest as f64 / keys as f64);
    }
    assert!(deaths > 20 && reads > 1_000 && share <= 0.01, "{deaths} deaths, {reads} reads, {share} of the keys at fewest");
}

fn miss(case: &impl Case, rules: &[Rule]) {
    for rule in rules {
        assert!((0..60).any(|seed| !run(case, seed, Some(*rule)).0.same), "{rule:?}");
    }
}

struct Recommend(String);

impl Case for Recommend {
    type Fold = RecommendFold;
    fn fold(&self) -> RecommendFold {
        RecommendFold::new(&toml::from_str(&self.0).unwrap())
    }
    /// A stretch of the log of every kind of event.
    fn log(&self, seed: u64) -> Vec<Event> {
        let all = exact::log(EVENTS + 60 * 11, &mut World::new(ALL));
        let mut log: Vec<Event> = all.into_iter().skip(seed as usize % 60 * 11).take(EVENTS).collect();
        for (offset, event) in log.iter_mut().enumerate() {
            event.raw.position.offset = offset as i64;
            if offset % 23 == 11 {
                event.raw.payload = Some(br#"{"kind":"view","user":"u1"}"#[..].into());
            }
        }
        log
    }
}

struct Risk(String);

impl Case for Risk {
    type Fold = RiskFold;
    fn fold(&self) -> RiskFold {
        let config = Config::parse(&self.0, "test.toml", &BTreeMap::new()).unwrap();
        RiskFold::new(&config.risk.unwrap())
    }
    /// Payments of few cards at many terminals; labels for some, late ones, ones that come twice, bad ones.
    fn log(&self, seed: u64) -> Vec<Event> {
        let mut rng = StdRng::seed_from_u64(!seed);
        let mut log: Vec<Event> = Vec::with_capacity(EVENTS);
        for offset in 0..EVENTS as i64 {
            let again = rng.random_bool(0.05).then(|| log.last().cloned()).flatten();
            let event = again.unwrap_or_else(|| {
                let (card, terminal) = (rng.random_range(0..12), rng.random_range(0..150));
                let late = if rng.random_bool(0.1) { rng.random_range(0..200) } else { 0 };
                let payload = match rng.random_range(0..20) {
                    0 => json!({ "card": card, "amount": -1 }),
                    1..4 => {
                        let of = rng.random_range((offset - 20).max(0)..=offset);
                        json!({ "kind": "label", "of": of.to_string(), "fraud": true, "card": card, "terminal": terminal })
                    }
                    _ => json!({ "card": card, "terminal": terminal, "amount": rng.random_range(1..900) as f64 / 7.0 }),
                };
                payment(offset, (offset * 10 - late) * 60_000, &payload)
            });
            log.push(event);
        }
        for (offset, event) in log.iter_mut().enumerate() {
            event.raw.position.offset = offset as i64;
        }
        log
    }
}

fn payment(id: i64, time_ms: i64, payload: &Value) -> Event {
    let position = Position { topic: "t".into(), partition: 0, offset: id };
    let time_ms = 1_700_000_000_000 + time_ms;
    let payload = Some(payload.to_string().into_bytes().into());
    let raw = RawEvent { position, timestamp_ms: time_ms, key: None, payload, headers: vec![] };
    Event { body: None, raw, id: id.to_string().into(), key: None, event_time_ms: time_ms, text: None }
}

struct Dialogue(&'static str);

impl Case for Dialogue {
    type Fold = DialogueFold;
    fn fold(&self) -> DialogueFold {
        dialogue(self.0)
    }
    /// Many conversations at a time; late messages, ones that come twice, long ones, notes, and bad ones.
    fn log(&self, seed: u64) -> Vec<Event> {
        let mut rng = StdRng::seed_from_u64(!seed);
        let mut log: Vec<Event> = Vec::with_capacity(EVENTS);
        for offset in 0..EVENTS as i64 {
            let again = rng.random_bool(0.05).then(|| log.last().cloned()).flatten();
            let mut event = again.unwrap_or_else(|| {
                let conversation = if rng.random_bool(0.5) { rng.random_range(0..5) } else { rng.random_range(5..150) };
                let late = if rng.random_bool(0.2) { rng.random_range(0..90) } else { 0 };
                let role = match rng.random_range(0..20) {
                    0 => json!("nobody"),
                    1 => json!("system"),
                    2..8 => json!("agent"),
                    _ => json!(null),
                };
                let text = format!("{} ", rng.random_range(0..9)).repeat(rng.random_range(1..30));
                message(
                    &offset.to_string(),
                    &conversation.to_string(),
                    offset - late,
                    &json!({ "text": text, "role": role, "source": text.len() % 4 }),
                )
            });
            event.raw.position.offset = offset;
            log.push(event);
        }
        log
    }
}

/// The same, whose rows are deleted meanwhile.
struct Forgotten(Dialogue);

impl Case for Forgotten {
    type Fold = Forgetting<DialogueFold>;
    fn fold(&self) -> Forgetting<DialogueFold> {
        Forgetting::new(self.0.fold(), FORGET_AFTER_MS)
    }
    fn log(&self, seed: u64) -> Vec<Event> {
        self.0.log(seed)
    }
    fn forget_after_ms(&self) -> Option<i64> {
        Some(FORGET_AFTER_MS)
    }
}

/// Some messages come as late as 90 minutes.
const FORGET_AFTER_MS: i64 = 60 * 60_000;

const RISK: &str = r#"
[risk]
max_late = "2h"
entries = 6
non_negative = ["amount"]
labels = { when = "kind == 'label'", event_id = "of", value = "fraud" }
feature = [
  { name = "n", entity = "card", aggregate = "count", window = "1d" },
  { name = "sum", entity = "card", aggregate = "sum", field = "amount", window = "6h" },
  { name = "mean", entity = "terminal", aggregate = "mean", field = "amount", window = "2d" },
  { name = "terminals", entity = "card", aggregate = "distinct", field = "terminal", window = "1d" },
  { name = "since", entity = "card", aggregate = "time_since", window = "1d" },
  { name = "share", entity = "terminal", aggregate = "share", field = "fraud", window = "1d" },
]
"#;

/// Would catch: a state that is not what the log says after an eviction, a crash or a lost reply, and an answer that differs.
#[test]
fn recommendations_are_those_of_one_pass() {
    hold(&Recommend(ALL.to_owned()), 0..16);
    // Small caps, so that entries are cut while the log runs.
    hold(&Recommend(format!("entries = 9\nhistory = {{ items = 8, seen = 6 }}\n{ALL}")), 16..32);
}

/// Would catch the same of risk features, whose keys are written one by one.
#[test]
fn risk_features_are_those_of_one_pass() {
    hold(&Risk(RISK.to_owned()), 0..40);
}

/// Would catch the same of conversations.
#[test]
fn conversations_are_those_of_one_pass() {
    hold(&Dialogue("gap = '30m'\nmessages = 4"), 0..26);
    hold(&Dialogue("bytes = 64"), 26..52);
}

/// Would catch: an answer or a state that depends on when a row is deleted, and on who has it in memory then.
#[test]
fn conversations_that_are_forgotten_are_those_of_one_pass() {
    // Sessions go on for a day, so that what is forgotten, and what is not, shows in each answer.
    let case = || Forgotten(Dialogue("messages = 4"));
    hold(&case(), 0..40);
    let deleted: usize = (0..40).map(|seed| run(&case(), seed, None).0.deleted).sum();
    assert!(deleted > 1_000, "{deleted}");
    // A fold that does not forget what is deleted, for one that does.
    struct Remembers(Dialogue);
    impl Case for Remembers {
        type Fold = Forgetting<DialogueFold>;
        fn fold(&self) -> Forgetting<DialogueFold> {
            Forgetting::new(self.0.fold(), 24 * FORGET_AFTER_MS)
        }
        fn log(&self, seed: u64) -> Vec<Event> {
            self.0.log(seed)
        }
        fn forget_after_ms(&self) -> Option<i64> {
            Some(FORGET_AFTER_MS)
        }
    }
    let remembers = Remembers(case().0);
    assert!((0..40).any(|seed| !run(&remembers, seed, None).0.same));
    miss(&case(), &[Rule::FoldFrom, Rule::Boundary, Rule::Committed, Rule::TogetherWithRingTwo]);
}

/// Would catch: a test above that cannot fail. `AsOf` is not seen here: what is written together never needs it, and risk knows an
/// event that comes again by its id.
#[test]
fn each_rule_is_missed_by_the_shipped_folds() {
    let common = [Rule::FoldFrom, Rule::Boundary, Rule::Committed];
    miss(&Recommend(ALL.to_owned()), &[&common[..], &[Rule::TogetherWithRingTwo]].concat());
    miss(&Risk(RISK.to_owned()), &common);
    miss(&Dialogue("gap = '30m'\nmessages = 4"), &common);
}
