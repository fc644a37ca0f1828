//! Rows of `millrace.state`, as folds read them back: whatever stands in one, a fold reads it or says that it cannot, and folds on.

use super::targets::decoded;
use millrace::config::{Config, EventKind};
use millrace::event::Event;
use millrace::state::dialogue::DialogueFold;
use millrace::state::recommend::RecommendFold;
use millrace::state::risk::RiskFold;
use millrace::state::{Amount, At, Cache, Forgetting, States, Step, StoredRow};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembers {
    Risk,
    Recommend,
    Dialogue,
}

/// Events before the rows are written, and after.
const EVENTS: i64 = 60;
const MORE: i64 = 6;
const START_MS: i64 = 1_760_000_000_000;
/// What a state may cost in memory whose row has some thousand bytes.
const MOST_BYTES: usize = 8 << 20;

impl Remembers {
    fn config(self) -> Config {
        let (event, function, declared) = match self {
            Self::Risk => ("json", "risk", RISK),
            Self::Recommend => ("click", "recommend", RECOMMEND),
            Self::Dialogue => ("chat_message", "reply", DIALOGUE),
        };
        let time = if event == "json" { "fields = { time = \"time\" }\n" } else { "" };
        let text =
            format!("[[pipeline]]\nname = \"p\"\ntopic = \"t\"\nevent = {event:?}\nfunction = {function:?}\n{time}{declared}");
        Config::parse(&text, "fuzz.toml", &BTreeMap::new()).unwrap()
    }

    fn states(self) -> Box<dyn States> {
        let config = self.config();
        let pipeline = &config.pipeline[0];
        match self {
            Self::Risk => Box::new(Cache::new(Arc::new(RiskFold::new(config.risk_of(pipeline).unwrap())), i64::MAX)),
            Self::Recommend => {
                Box::new(Cache::new(Arc::new(RecommendFold::new(config.recommend_of(pipeline).unwrap())), i64::MAX))
            }
            Self::Dialogue => {
                let fold = DialogueFold::new(config.dialogue_of(pipeline).unwrap(), pipeline.event, &pipeline.fields);
                Box::new(Cache::new(Arc::new(Forgetting::new(fold, 3_600_000)), i64::MAX))
            }
        }
    }

    fn event(self, n: i64) -> Event {
        let time = START_MS + n * 60_000;
        let (kind, body): (EventKind, Value) = match self {
            Self::Risk => (
                EventKind::Json,
                json!({ "time": time, "card": format!("c-{}", n % 3), "amount": n as f64 / 3.0, "fraud": n % 7 == 0, "city": format!("x{}", n % 5) }),
            ),
            Self::Recommend => (
                EventKind::Click,
                json!({ "id": n.to_string(), "user": format!("u-{}", n % 3), "item": format!("i-{}", n % 7), "kind": "view", "time": time }),
            ),
            Self::Dialogue => (
                EventKind::ChatMessage,
                json!({ "id": n.to_string(), "conversation": format!("c-{}", n % 3), "text": "where is it? é", "time": time }),
            ),
        };
        decoded(kind, &body, n)
    }

    /// The rows of some events by their keys.
    pub fn rows(self) -> BTreeMap<String, Vec<u8>> {
        let mut states = self.states();
        for n in 0..EVENTS {
            advanced(&mut *states, &self.event(n), &BTreeMap::new()).unwrap();
        }
        written(&mut *states, EVENTS).into_iter().map(|(key, row)| (as_file(&key), row.bytes.to_vec())).collect()
    }

    /// Folds on from these rows, and says how far it came.
    pub fn fold_on(self, rows: &BTreeMap<String, Vec<u8>>) -> String {
        let mut states = self.states();
        let mut features = 0;
        for n in EVENTS..EVENTS + MORE {
            match advanced(&mut *states, &self.event(n), rows) {
                Ok(count) => features = count,
                Err(cause) => return cause,
            }
            let cost = states.cost_bytes();
            assert!(cost < MOST_BYTES, "states of rows of some thousand bytes take {cost} bytes");
        }
        let again = written(&mut *states, EVENTS + MORE);
        let mut other = self.states();
        // Where what was read of a damaged row is written, the next owner may be the first to refuse it.
        let read = again.into_iter().try_for_each(|(key, row)| other.load(&key, Some(row)));
        format!("{features} features, {}", read.map_or_else(|error| format!("then {error}"), |()| "and read again".to_owned()))
    }
}

/// A key as the name of a file: a colon stands in none everywhere.
fn as_file(key: &str) -> String {
    key.replace(':', "=")
}

/// All that is held, as it is written.
fn written(states: &mut dyn States, to: i64) -> Vec<(Box<str>, StoredRow)> {
    states.flush(usize::MAX);
    states.rows(states.due(to, Amount::ALL))
}

/// One event, with the rows of the keys that it asks for. The number of its features.
fn advanced(states: &mut dyn States, event: &Event, rows: &BTreeMap<String, Vec<u8>>) -> Result<usize, String> {
    let mut facts = states.read(event).map_err(|rejection| rejection.detail.to_string())?;
    let at = At { time_ms: event.event_time_ms, offset: event.raw.position.offset };
    for _ in 0..3 {
        let keys = match states.advance(&mut facts, at).map_err(|error| error.to_string())? {
            Step::Ready(features) => return Ok(features.numbers.len()),
            Step::Missing(keys) => keys,
        };
        for key in keys {
            let row = rows.get(&as_file(&key)).map(|bytes| StoredRow {
                as_of: EVENTS,
                newest_ms: START_MS,
                bytes: bytes.as_slice().into(),
            });
            states.load(&key, row).map_err(|error| error.to_string())?;
        }
    }
    Err("it asks for the same keys again".into())
}

const RISK: &str = r#"[pipeline.risk]
feature = [
  { name = "amount", field = "amount" },
  { name = "n", entity = "card", aggregate = "count", window = "1d" },
  { name = "sum", entity = "card", aggregate = "sum", field = "amount", window = "1h" },
  { name = "sd", entity = "card", aggregate = "stddev", field = "amount", window = "30d" },
  { name = "max", entity = "card", aggregate = "max", field = "amount", window = "7d", delay = "10m" },
  { name = "cities", entity = "card", aggregate = "distinct", field = "city", window = "7d" },
  { name = "before", entity = "card", aggregate = "last", field = "amount", window = "30d" },
  { name = "since", entity = "card", aggregate = "time_since", window = "30d" },
  { name = "share", entity = "card", aggregate = "share", field = "fraud", window = "1d" },
]
"#;

const RECOMMEND: &str = r#"options = { emit = ["recommend", "signals"] }
[pipeline.recommend.history]
items = 20
[[pipeline.recommend.popularity]]
name = "day"
half_life = "1d"
[[pipeline.recommend.covisit]]
name = "next"
window = 10
last = 20
recency_events = 2.0
shrink = 5.0
popularity_power = 0.3
power = 0.5
[pipeline.recommend.affinity]
half_life = "30d"
[pipeline.recommend.blend]
items = 20
weights = { next = 1.0, day = 10.0 }
earned = true
fallback = ["day"]
"#;

const DIALOGUE: &str = r#"[pipeline.dialogue]
messages = 6
gap = "30m"
"#;
