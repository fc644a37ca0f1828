//! What people do with films, made up: visits, repeated, late and broken events, films that are hidden or expire.

use millrace::event::{Position, RawEvent};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::sync::Arc;

const START_MS: i64 = 1_760_000_000_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
const USERS: u64 = 45;
const FILMS: u64 = 110;
/// Users who are here at a time.
const AT_A_TIME: usize = 6;

/// The log of each partition. A user's events stand in one of them; each is told of every film. `written_ms` is the time of the first
/// record, which is not the event's: brokers delete what is old by it.
pub fn logs(topic: &str, partitions: i32, events: usize, written_ms: i64) -> Vec<Vec<RawEvent>> {
    let mut logs = Logs { topic: topic.into(), written_ms, partitions: vec![Vec::new(); partitions as usize] };
    let mut random = StdRng::seed_from_u64(7);
    for film in 0..FILMS {
        logs.tell_all(&describe(film, 0, START_MS));
    }
    let mut here: Vec<u64> = (0..AT_A_TIME as u64).collect();
    let mut now_ms = START_MS;
    for n in 0..events {
        now_ms += random.random_range(1_000..4 * MINUTE_MS);
        let place = random.random_range(0..AT_A_TIME);
        if random.random::<f64>() < 0.12 {
            here[place] = random.random_range(0..USERS);
        }
        let (user, film) = (here[place], taste(&mut random, here[place]));
        let event = |kind: &str, time_ms: i64| {
            // Names are texts, and whole numbers too.
            let user = if user.is_multiple_of(9) { json!(user) } else { json!(format!("user {user}")) };
            json!({ "id": format!("e-{n}"), "kind": kind, "user": user, "item": title(film), "time": time_ms })
        };
        let partition = (user % partitions as u64) as usize;
        match random.random_range(0..1_000) {
            0..15 => logs.put(partition, Some(broken(n, event("click", now_ms)))),
            15..40 => logs.again(partition, &mut random),
            40..70 => logs.tell(partition, &event("click", now_ms - random.random_range(1..180) * MINUTE_MS)),
            70..80 => logs.tell(partition, &event("rate", now_ms - 3 * DAY_MS)),
            80..100 => logs.tell_all(&describe(film, n as i64 + 1, now_ms)),
            100..110 => logs.tell_all(&describe(film, n as i64 + 1, now_ms - DAY_MS)),
            110..112 => logs.put(partition, None),
            112..140 => logs.tell(partition, &event("hide", now_ms)),
            140..250 => logs.tell(partition, &event("request", now_ms)),
            250..430 => logs.tell(partition, &event("impression", now_ms)),
            430..530 => logs.tell(partition, &event("purchase", now_ms)),
            530..650 => logs.tell(partition, &event("rate", now_ms)),
            _ => logs.tell(partition, &event("click", now_ms)),
        }
    }
    logs.partitions
}

struct Logs {
    topic: Arc<str>,
    written_ms: i64,
    partitions: Vec<Vec<RawEvent>>,
}

impl Logs {
    fn put(&mut self, partition: usize, payload: Option<String>) {
        let log = &mut self.partitions[partition];
        let position = Position { topic: self.topic.clone(), partition: partition as i32, offset: log.len() as i64 };
        let timestamp_ms = self.written_ms + position.offset;
        let payload = payload.map(|text| text.into_bytes().into());
        log.push(RawEvent { position, timestamp_ms, key: Some(b"k"[..].into()), payload, headers: Vec::new() });
    }

    fn tell(&mut self, partition: usize, event: &Value) {
        self.put(partition, Some(event.to_string()));
    }

    fn tell_all(&mut self, event: &Value) {
        for partition in 0..self.partitions.len() {
            self.tell(partition, event);
        }
    }

    /// Sends something of the last hundred events a second time.
    fn again(&mut self, partition: usize, random: &mut StdRng) {
        let log = &self.partitions[partition];
        let one = log[log.len() - random.random_range(1..100)].clone();
        self.put(partition, one.payload.map(|bytes| String::from_utf8_lossy(&bytes).into()));
    }
}

/// Half of what users take is near their own taste, half is what all take.
fn taste(random: &mut StdRng, user: u64) -> u64 {
    match random.random::<bool>() {
        true => (random.random::<f64>().powi(3) * FILMS as f64) as u64,
        false => (user * 13 + random.random_range(0..12)) % FILMS,
    }
}

fn title(film: u64) -> String {
    format!("film {film} \"é\"")
}

/// An item event; `turn` changes what it says.
fn describe(film: u64, turn: i64, time_ms: i64) -> Value {
    let kinds = ["Drama", "Comedy", "War", "Short", "Crime"];
    let mut event = json!({
        "id": format!("i-{film}-{turn}"), "kind": "item", "item": title(film), "time": time_ms, "title": format!("Film {film}, {turn}"),
        "categories": [kinds[film as usize % 5], kinds[(film as usize + turn as usize) % 5]],
    });
    if (film as i64 + turn) % 11 == 0 {
        event["hidden"] = json!(true);
    }
    if (film as i64 + turn) % 6 == 0 {
        event["ttl_s"] = json!(7_200 + film);
    }
    if film.is_multiple_of(2) {
        event["vector"] = json!([film as f64 - 50.5, (film % 7) as f64, 1.0 + turn as f64]);
        event["model"] = json!(if film.is_multiple_of(10) { "other@2" } else { "model@1" });
    }
    event
}

/// One of the ways in which an event is none.
fn broken(n: usize, mut event: Value) -> String {
    let (field, value) = match n % 7 {
        0 => ("kind", json!("steal")),
        1 => ("user", Value::Null),
        2 => ("item", json!("x".repeat(300))),
        3 => ("time", json!("yesterday")),
        4 => ("item", json!("\0")),
        5 => ("time", json!(5_000_000_000_000_i64)),
        _ => return event.to_string().replace('}', ""),
    };
    event[field] = value;
    event.to_string()
}
