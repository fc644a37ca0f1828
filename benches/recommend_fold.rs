//! `cargo bench --locked --bench recommend_fold`: events a second that one core reads and folds into recommendation signals, and
//! lists a second that it makes. The log is made here: 200 people at a time, each for some eight events; items of which few are taken by
//! many, and favourites. Once with all states in a plain map, once through the erased cache as the driver calls it. `recovery` is the time
//! to load a million stored keys.

#[path = "fold/recovery.rs"]
mod recovery;

use millrace::config::Config;
use millrace::config::recommend::Recommend;
use millrace::event::{Event, Position, RawEvent};
use millrace::state::in_memory::InMemory;
use millrace::state::recommend::RecommendFold;
use millrace::state::{Amount, At, Cache, Fold, States, Step, Stored};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// As in the worker.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As the driver takes them.
const SLICE: usize = 1_000;
/// The default of `flush_after`.
const FLUSH_AFTER: i64 = 20_000;

const EVENTS: usize = 500_000;
const USERS: u64 = 50_000;
const ITEMS: f64 = 10_000.0;
const AT_A_TIME: u64 = 200;
const EVENTS_A_VISIT: f64 = 8.0;
const LISTS: usize = 2_000;

fn main() -> anyhow::Result<()> {
    let events: Vec<Event> = log();
    println!("{EVENTS} events of {USERS} users on {ITEMS} items, one core\n");
    println!(
        "| settings | read and folded in a map: events/s | µs an event | read alone: µs | through the cache, with features: events/s | µs an \
         event | lists/s | keys | bytes a key in memory | stored |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for sample in ["recommend-fresh", "recommend-sequence", "recommend-sessions"] {
        let mut config = settings(sample)?;
        config.blend.on_request = true;
        measure(sample, &config, &events)?;
    }
    Ok(())
}

fn settings(sample: &str) -> anyhow::Result<Recommend> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples").join(sample).with_extension("toml");
    Config::load(&path, &BTreeMap::new())?.recommend.ok_or_else(|| anyhow::anyhow!("{} has no [recommend]", path.display()))
}

fn measure(name: &str, config: &Recommend, events: &[Event]) -> anyhow::Result<()> {
    let mut states = InMemory::new(RecommendFold::new(config));
    let started = Instant::now();
    for event in events {
        black_box(states.fold().read(event)?);
    }
    let read = started.elapsed();
    let started = Instant::now();
    for event in events {
        states.fold_into(event, usize::MAX)?;
    }
    let folded = started.elapsed();
    let requests: Vec<Event> =
        (0..LISTS).map(|number| request(number as u64 * 7 % USERS, events[EVENTS - 1].event_time_ms)).collect();
    let started = Instant::now();
    for event in &requests {
        black_box(states.apply(event)?);
    }
    let lists = started.elapsed();
    let (mut memory, mut stored, mut bytes) = (0, 0, Vec::new());
    for (_, state) in states.all() {
        bytes.clear();
        state.encode(&mut bytes);
        (memory, stored) = (memory + state.cost_bytes(), stored + bytes.len());
    }
    let cached = through_cache(config, events)?;
    let (micros, rate) = (|s: f64| s * 1e6 / EVENTS as f64, |s: f64| EVENTS as f64 / s);
    println!(
        "| {name} | {:.0} | {:.2} | {:.2} | {:.0} | {:.2} | {:.0} | {} | {} | {} |",
        rate(folded.as_secs_f64()),
        micros(folded.as_secs_f64()),
        micros(read.as_secs_f64()),
        rate(cached),
        micros(cached),
        LISTS as f64 / lists.as_secs_f64(),
        states.keys(),
        memory / states.keys(),
        stored / states.keys(),
    );
    let all: Vec<_> = states.all().into_iter().map(|(_, state)| state).collect();
    let last = &events[EVENTS - 1];
    recovery::tell(RecommendFold::new(config), &all, At { time_ms: last.event_time_ms, offset: last.raw.position.offset })
}

/// Seconds for all events, read, loaded and folded, with what a click is answered, and the bytes for the store.
fn through_cache(config: &Recommend, events: &[Event]) -> anyhow::Result<f64> {
    let mut states = Cache::new(Arc::new(RecommendFold::new(config)), FLUSH_AFTER);
    let started = Instant::now();
    for slice in events.chunks(SLICE) {
        let mut facts = slice.iter().map(|event| states.read(event)).collect::<Result<Vec<_>, _>>()?;
        for facts in &facts {
            for key in states.prefetch_keys(facts)? {
                states.load(&key, None)?;
            }
        }
        for (event, facts) in slice.iter().zip(&mut facts) {
            let at = At { time_ms: event.event_time_ms, offset: event.raw.position.offset };
            while let Step::Missing(keys) = black_box(states.advance(facts, at)?) {
                keys.iter().try_for_each(|key| states.load(key, None))?;
            }
        }
        let to = slice[slice.len() - 1].raw.position.offset + 1;
        let due = states.due(to, Amount::ALL);
        black_box((states.rows(due), states.fold_from_after(to, due)));
        states.confirmed(due);
    }
    Ok(started.elapsed().as_secs_f64())
}

fn log() -> Vec<Event> {
    let mut random = StdRng::seed_from_u64(1);
    let mut here: Vec<u64> = (0..AT_A_TIME).collect();
    let one = |number: usize| {
        let place = random.random_range(0..here.len());
        if random.random::<f64>() < 1.0 / EVENTS_A_VISIT {
            here[place] = random.random_range(0..USERS);
        }
        let user = here[place];
        // Half of what a user takes lies near the user's own taste.
        let popular = (random.random::<f64>().powi(3) * ITEMS) as u64;
        let item = if random.random::<bool>() { popular } else { (user * 97 + random.random_range(0..50)) % ITEMS as u64 };
        event(
            number as i64,
            1_700_000_000_000 + number as i64 * 200,
            format!(r#"{{"kind":"click","user":"{user}","item":"{item}"}}"#),
        )
    };
    (0..EVENTS).map(one).collect()
}

fn request(user: u64, time_ms: i64) -> Event {
    event(EVENTS as i64, time_ms, format!(r#"{{"kind":"request","user":"{user}"}}"#))
}

fn event(offset: i64, event_time_ms: i64, payload: String) -> Event {
    let position = Position { topic: "bench".into(), partition: 0, offset };
    let payload = Some(payload.into_bytes().into());
    let raw = RawEvent { position, timestamp_ms: event_time_ms, key: None, payload, headers: Vec::new() };
    Event { body: None, raw, id: offset.to_string().into(), key: None, event_time_ms, text: None }
}
