//! States: the log alone decides, whatever is evicted, and their bytes say so.

use super::{ALL, World, encoded};
use crate::event::Event;
use crate::state::recommend::{RecommendFold, State};
use crate::state::{At, Fold, Stored};
use serde_json::json;
use std::collections::BTreeMap;

/// A log of every kind of event, with late ones, equal times and ones that come twice.
pub fn log(events: usize, world: &mut World) -> Vec<Event> {
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut log: Vec<Event> = Vec::new();
    for number in 0..events {
        let late = if random(10) == 0 { random(40) as f64 / 10.0 } else { 0.0 };
        let hours = (number / 2) as f64 * 0.1 - late;
        let (user, item) = (format!("u{}", random(9)), format!("an item with a longer name {}", random(30)));
        let payload = match random(12) {
            0 => json!({ "kind": "item", "item": item, "categories": ["a", format!("c{}", random(4))], "ttl_s": 90_000,
                "vector": [random(9), 1, random(5)], "model": "m@1", "hidden": random(6) == 0 }),
            1 => json!({ "kind": "impression", "user": user, "item": item }),
            2 => json!({ "kind": "hide", "user": user, "item": item }),
            3 => json!({ "kind": "request", "user": user }),
            4 => json!({ "kind": "like", "user": user, "item": item, "categories": ["b"] }),
            _ => json!({ "kind": "view", "user": user, "item": item }),
        };
        log.push(world.event(hours, payload));
        if random(15) == 0 {
            let again = log[random(log.len() as u64) as usize].clone();
            log.push(again);
        }
    }
    log
}

/// Folds with every state kept as bytes between events: a cache that holds nothing.
fn folded_through_bytes(fold: &RecommendFold, log: &[Event]) -> BTreeMap<String, Vec<u8>> {
    let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for event in log {
        let mut facts = fold.read(event).unwrap();
        let mut keys = fold.keys(&mut facts);
        let read = |key: &str| State::decode(stored.get(key).map_or(&[][..], |bytes| bytes)).unwrap();
        let mut states: Vec<State> = keys.iter().map(|key| read(key)).collect();
        let further = fold.link(&states.iter().collect::<Vec<_>>(), &mut facts);
        states.extend(further.iter().map(|key| read(key)));
        keys.extend(further);
        let at = At { time_ms: event.event_time_ms, offset: event.raw.position.offset };
        for (number, (key, state)) in keys.iter().zip(&mut states).enumerate() {
            fold.fold(number, state, &facts, at);
            stored.insert(key.to_string(), encoded(state));
        }
    }
    stored
}

/// Would catch a state that loses something when it is written, bytes that depend on a map's order or on the past of the memory,
/// and a key that stands twice among an event's keys.
#[test]
fn states_kept_in_memory_and_states_kept_as_bytes_are_the_same() {
    // Small caps, so that entries are cut while the log runs.
    for config in [ALL.to_owned(), format!("entries = 9\nhistory = {{ items = 8, seen = 6 }}\n{ALL}")] {
        let mut world = World::new(&config);
        let log = log(1_500, &mut world);
        for event in &log {
            let mut facts = world.states.fold().read(event).unwrap();
            let keys = world.states.fold().keys(&mut facts);
            assert!(keys.iter().all(|key| keys.iter().filter(|other| *other == key).count() == 1));
            world.states.apply(event).unwrap();
        }
        let (memory, stored) = (world.bytes(), folded_through_bytes(world.states.fold(), &log));
        assert_eq!(memory.len(), stored.len());
        for (key, bytes) in memory {
            assert_eq!(stored[&key], bytes, "{key}");
        }
    }
}

/// Would catch a ring two that names a key of ring one, or one twice: its state would be folded from a stale copy.
#[test]
fn no_key_stands_in_both_rings() {
    let mut world = World::new(ALL);
    for event in log(800, &mut world) {
        let seen = world.states.look(&event, &State::Empty).unwrap();
        let fold = world.states.fold();
        let mut facts = fold.read(&event).unwrap();
        let mut keys = fold.keys(&mut facts);
        keys.extend(fold.link(&seen.states[..keys.len()], &mut facts));
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count, "{keys:?}");
        world.states.apply(&event).unwrap();
    }
}

/// Would catch bytes that are read beyond their end, or trusted.
#[test]
fn bytes_that_are_no_state_are_refused() {
    let mut world = World::new(ALL);
    for event in log(300, &mut world) {
        world.states.apply(&event).unwrap();
    }
    for (key, bytes) in world.bytes() {
        for cut in 1..bytes.len().min(200) {
            assert!(State::decode(&bytes[..cut]).is_err(), "{key} cut at {cut}");
        }
        assert!(State::decode(&[&bytes[..], &[0]].concat()).is_err() || bytes.is_empty(), "{key}");
    }
    assert!(State::decode(&[9, 9]).is_err());
    assert!(State::decode(&[1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]).is_err());
}

/// Would catch a setting that changes states and keeps their digest.
#[test]
fn the_digest_follows_the_settings() {
    let digest = |config: &str| World::new(config).states.fold().digest().to_owned();
    let (one, other) = (digest(ALL), digest(&ALL.replace("gap = \"30m\"", "gap = \"31m\"")));
    assert!(one.len() == 12 && one != other && one == digest(ALL));
}
