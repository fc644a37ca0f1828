//! The fold as a whole, over small logs.

pub mod exact;
mod lists;
mod refused;
mod signals;
mod windows;

use super::RecommendFold;
use crate::config::recommend::Recommend;
use crate::event::{Event, Position, RawEvent, Rejection};
use crate::state::in_memory::InMemory;
use crate::state::{Features, Stored};
use serde_json::{Value, json};

pub const HOUR: i64 = 3_600_000;
/// Where the logs of the tests begin.
pub const START: i64 = 1_700_000_000_000;

/// Every signal at once.
pub const ALL: &str = r#"
    kinds = { view = 1.0, like = 2.5 }
    session = { gap = "30m" }
    popularity = [
        { name = "popular", half_life = "1d" },
        { name = "window", window = "6h" },
        { name = "ever" },
        { name = "of_kind", half_life = "2d", scope = "category" },
    ]
    trending = { short = "1h", long = "1d" }
    ctr = { prior = 10.0 }
    affinity = { half_life = "7d" }
    covisit = [
        { name = "next", window = 5, last = 5 },
        { name = "with", direction = "both", window = 5, distance_power = 0.0, row_power = 0.5, popularity_power = 0.5, half_life = "30d", last = 5 },
    ]
    session_neighbours = { sessions = 20, neighbours = 10, length = 8 }
    interest = { model = "m@1", dimensions = 3, half_life = "7d" }
    blend = { items = 5, weights = { next = 1.0, with = 0.5, session_neighbours = 1.0, interest = 0.5, popular = 0.2, of_kind = 0.1, trending = 0.1 } }
"#;

/// A fold and its states, fed with small events.
pub struct World {
    pub states: InMemory<RecommendFold>,
    offset: i64,
}

impl World {
    pub fn new(config: &str) -> Self {
        let config: Recommend = toml::from_str(config).unwrap();
        assert_eq!(config.findings(), Vec::<String>::new());
        Self { states: InMemory::new(RecommendFold::new(&config)), offset: 0 }
    }

    pub fn event(&mut self, hours: f64, payload: Value) -> Event {
        self.offset += 1;
        event(self.offset, START + (hours * HOUR as f64) as i64, &payload)
    }

    pub fn send(&mut self, hours: f64, payload: Value) -> Result<Features, Rejection> {
        let event = self.event(hours, payload);
        self.states.apply(&event)
    }

    pub fn take(&mut self, hours: f64, user: &str, item: &str) -> Features {
        self.send(hours, json!({ "kind": "view", "user": user, "item": item })).unwrap()
    }

    /// The answer to a request.
    pub fn ask(&mut self, hours: f64, user: &str) -> Value {
        self.send(hours, json!({ "kind": "request", "user": user })).unwrap().document.unwrap()
    }

    /// The list that a user is shown.
    pub fn list(&mut self, hours: f64, user: &str) -> Vec<String> {
        let answer = self.ask(hours, user);
        let items = answer["recommend"]["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect()
    }

    /// Every key with its bytes.
    pub fn bytes(&self) -> Vec<(String, Vec<u8>)> {
        self.states.all().into_iter().map(|(key, state)| (key.to_owned(), encoded(state))).collect()
    }
}

pub fn event(offset: i64, event_time_ms: i64, payload: &Value) -> Event {
    let position = Position { topic: "t".into(), partition: 0, offset };
    let payload = Some(payload.to_string().into_bytes().into());
    let raw = RawEvent { position, timestamp_ms: event_time_ms, key: None, payload, headers: vec![] };
    let id = payload_id(&raw).unwrap_or_else(|| offset.to_string());
    Event { body: None, raw, id: id.into(), key: None, event_time_ms, text: None }
}

fn payload_id(raw: &RawEvent) -> Option<String> {
    let payload: Value = serde_json::from_slice(raw.payload.as_deref()?).ok()?;
    payload["id"].as_str().map(str::to_owned)
}

pub fn encoded(state: &impl Stored) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}
