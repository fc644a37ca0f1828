//! `cargo bench --locked --bench fold`: what one core spends on an event of the risk fold: decoding, reading, folding, the 15 features of
//! `deploy/samples/risk-handbook.toml`, and a forest of 100 full trees of depth 6 over them. No I/O.
//!
//! The log is made here as the Fraud Detection Handbook makes its own: 5,000 customers with 0 to 4 payments a day each at some 78 of 10,000
//! terminals over 180 days, about 1.8 million events in the order of time. The first 60 days fill the windows, the clock runs over the other
//! 120; there the 30 days of an event's customer hold some 80 entries. Slices of 512 events, as a driver takes them.
//!
//! The fold is run twice: with all states in a plain map ([`InMemory`]), and through the erased [`Cache`] as the driver calls it, the bytes
//! of the states taken and confirmed but not written. The mean is over all slices; on a machine that others use too, the median slice is what
//! the work itself costs. `recovery` is the time to load a million stored keys. `-- --days 75` takes a shorter log, for a quick look.

mod forest;
mod log;
mod recovery;

use millrace::config::Config;
use millrace::event::Event;
use millrace::scoring::Model;
use millrace::state::in_memory::InMemory;
use millrace::state::risk::RiskFold;
use millrace::state::{Amount, At, Cache, Facts, Features, Fold, States, Step, Stored};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// As in the worker.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SLICE: usize = 512;
const WARM_DAYS: usize = 60;
const DAYS: i64 = 180;
/// The default of `flush_after`.
const FLUSH_AFTER: i64 = 20_000;

struct Bench {
    events: Vec<Event>,
    /// Events before this one fill the windows.
    warm: usize,
    risk: millrace::config::risk::Risk,
    model: Model,
}

/// Nanoseconds an event, of each slice, by part.
type Parts = BTreeMap<&'static str, Vec<f64>>;

fn main() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/risk-handbook.toml");
    let risk = Config::load(&path, &BTreeMap::new())?.risk.ok_or_else(|| anyhow::anyhow!("{} has no [risk]", path.display()))?;
    let days = std::env::args().skip_while(|word| word != "--days").nth(1).map_or(Ok(DAYS), |days| days.parse())?;
    anyhow::ensure!(days > WARM_DAYS as i64, "--days must be above {WARM_DAYS}, the days that fill the windows");
    let (raw, days) = log::payments(days);
    let decoder = log::decoder();
    let events: Vec<Event> = raw.into_iter().map(|raw| log::decode(&decoder, raw)).collect::<anyhow::Result<_>>()?;
    let model = model(&risk, &events[..days[WARM_DAYS]])?;
    let bench = Bench { warm: days[WARM_DAYS], events, risk, model };
    println!("{} of {} events, one core\n", bench.events.len() - bench.warm, bench.events.len());
    println!("| part | ns an event: mean | median slice | events/s by the median |\n|---|---|---|---|");
    let decoding = Cost::of(&bench.decoding()?["decoding"]);
    decoding.tell("decoding, from bytes to events");
    bench.in_memory(decoding)?;
    bench.cache(decoding)?;
    bench.one_by_one()?;
    bench.sizes()
}

/// Nanoseconds an event.
#[derive(Clone, Copy, Default)]
struct Cost {
    mean: f64,
    median: f64,
}

impl Cost {
    fn of(slices: &[f64]) -> Self {
        let mut sorted = slices.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { mean: slices.iter().sum::<f64>() / slices.len() as f64, median: sorted[sorted.len() / 2] }
    }

    fn plus(self, other: Self) -> Self {
        Self { mean: self.mean + other.mean, median: self.median + other.median }
    }

    fn less(self, other: Self) -> Self {
        Self { mean: self.mean - other.mean, median: self.median - other.median }
    }

    fn tell(self, part: &str) {
        println!("| {part} | {:.0} | {:.0} | {:.0} |", self.mean, self.median, 1e9 / self.median);
    }
}

fn tell(way: &str, costs: &[(&str, Cost)], decoding: Cost) {
    costs.iter().for_each(|(part, cost)| cost.tell(&format!("{way}: {part}")));
    let folded = costs.iter().filter(|(part, _)| *part != "read").fold(Cost::default(), |all, (_, cost)| all.plus(*cost));
    folded.tell(&format!("**{way}: all of it, events read before**"));
    let all = costs.iter().fold(Cost::default(), |all, (_, cost)| all.plus(*cost));
    all.tell(&format!("**{way}: all of it, events decoded before**"));
    all.plus(decoding).tell(&format!("**{way}: all of it, with decoding**"));
}

/// A forest over rows that the fold makes of the days before the clock runs.
fn model(risk: &millrace::config::risk::Risk, events: &[Event]) -> anyhow::Result<Model> {
    let mut states = InMemory::new(RiskFold::new(risk));
    let mut rows = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let features = states.apply(event)?;
        if number % 100 == 0 {
            rows.push(features.numbers);
        }
    }
    forest::model(states.fold().names(), &rows)
}

fn timed<T>(parts: &mut Parts, part: &'static str, events: usize, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    parts.entry(part).or_default().push(started.elapsed().as_nanos() as f64 / events as f64);
    done
}

impl Bench {
    /// Runs over the log in slices; what the days that only fill the windows cost is forgotten.
    fn run(&self, mut slice: impl FnMut(&mut Parts, &[Event]) -> anyhow::Result<()>) -> anyhow::Result<Parts> {
        let mut parts = Parts::new();
        let (warm, measured) = self.events.split_at(self.warm);
        warm.chunks(SLICE).try_for_each(|events| slice(&mut Parts::new(), events))?;
        measured.chunks(SLICE).try_for_each(|events| slice(&mut parts, events))?;
        Ok(parts)
    }

    fn decoding(&self) -> anyhow::Result<Parts> {
        let decoder = log::decoder();
        self.run(|parts, events| {
            let raw: Vec<_> = events.iter().map(|event| event.raw.clone()).collect();
            let decode = || -> Vec<_> { raw.into_iter().map(|raw| log::decode(&decoder, raw)).collect() };
            timed(parts, "decoding", events.len(), decode).into_iter().try_for_each(|event| event.map(drop))
        })
    }

    /// Reading and folding are measured in runs of their own, and taken off the runs that hold them.
    fn in_memory(&self, decoding: Cost) -> anyhow::Result<()> {
        let fold = RiskFold::new(&self.risk);
        let read = self.run(|parts, events| {
            let read = || events.iter().try_for_each(|event| fold.read(event).map(|facts| drop(black_box(facts))));
            Ok(timed(parts, "read", events.len(), read)?)
        })?;
        let mut states = InMemory::new(RiskFold::new(&self.risk));
        let folded = self.run(|parts, events| {
            let fold = || events.iter().try_for_each(|event| states.fold_into(event, usize::MAX));
            Ok(timed(parts, "fold", events.len(), fold)?)
        })?;
        let mut states = InMemory::new(RiskFold::new(&self.risk));
        let all = self.run(|parts, events| {
            let apply = || events.iter().map(|event| states.apply(event)).collect::<Result<Vec<_>, _>>();
            let features = timed(parts, "all", events.len(), apply)?;
            self.score(parts, &features)
        })?;
        let [read, folded, all, trees] =
            [&read["read"], &folded["fold"], &all["all"], &all["trees"]].map(|slices| Cost::of(slices));
        let costs = [("read", read), ("fold", folded.less(read)), ("features", all.less(folded)), ("trees", trees)];
        tell("in a plain map", &costs, decoding);
        Ok(())
    }

    fn cache(&self, decoding: Cost) -> anyhow::Result<()> {
        let mut states: Box<dyn States> = Box::new(Cache::new(Arc::new(RiskFold::new(&self.risk)), FLUSH_AFTER));
        let parts = self.run(|parts, events| {
            let read = || events.iter().map(|event| states.read(event)).collect::<Result<Vec<_>, _>>();
            let mut facts = timed(parts, "read", events.len(), read)?;
            timed(parts, "prefetch and load", events.len(), || load(&mut *states, &facts))?;
            let advance = || -> anyhow::Result<Vec<Features>> {
                events.iter().zip(&mut facts).map(|(event, facts)| advanced(&mut *states, facts, event)).collect()
            };
            let features = timed(parts, "advance: fold and features", events.len(), advance)?;
            self.score(parts, &features)?;
            timed(parts, "bytes for the store", events.len(), || {
                let to = events[events.len() - 1].raw.position.offset + 1;
                let due = states.due(to, Amount::ALL);
                black_box((states.rows(due), states.fold_from_after(to, due)));
                states.confirmed(due);
            });
            Ok(())
        })?;
        let order = ["read", "prefetch and load", "advance: fold and features", "trees", "bytes for the store"];
        tell("through the cache", &order.map(|part| (part, Cost::of(&parts[part]))), decoding);
        Ok(())
    }

    fn score(&self, parts: &mut Parts, features: &[Features]) -> anyhow::Result<()> {
        let rows = features.iter().map(|features| &*features.numbers);
        for scored in timed(parts, "trees", features.len(), || self.model.score_all(rows)) {
            black_box(scored?);
        }
        Ok(())
    }

    /// The forest over rows one at a time, as a single call scores them.
    fn one_by_one(&self) -> anyhow::Result<()> {
        let mut states = InMemory::new(RiskFold::new(&self.risk));
        let mut parts = Parts::new();
        for events in self.events[..self.warm].chunks(SLICE) {
            let rows = events.iter().map(|event| states.apply(event)).collect::<Result<Vec<_>, _>>()?;
            let score = || rows.iter().map(|row| self.model.score(&row.numbers)).collect::<Result<Vec<_>, _>>();
            black_box(timed(&mut parts, "trees", events.len(), score)?);
        }
        Cost::of(&parts["trees"]).tell("trees, rows one at a time");
        Ok(())
    }

    fn sizes(&self) -> anyhow::Result<()> {
        let mut states = InMemory::new(RiskFold::new(&self.risk));
        self.events.iter().try_for_each(|event| states.fold_into(event, usize::MAX))?;
        println!("\n| keys | number | entries a key | bytes a key in memory | stored |\n|---|---|---|---|---|");
        let all = states.all();
        for entity in ["CUSTOMER_ID", "TERMINAL_ID"] {
            let of: Vec<_> = all.iter().filter(|(key, _)| key.starts_with(entity)).map(|(_, state)| *state).collect();
            let mut bytes = Vec::new();
            of.iter().for_each(|state| state.encode(&mut bytes));
            let entries: usize = of.iter().map(|state| state.len()).sum();
            let memory: usize = of.iter().map(|state| state.cost_bytes()).sum();
            println!("| {entity} | {} | {} | {} | {} |", of.len(), entries / of.len(), memory / of.len(), bytes.len() / of.len());
        }
        let states: Vec<_> = all.iter().map(|(_, state)| *state).collect();
        let last = &self.events[self.events.len() - 1];
        println!();
        recovery::tell(RiskFold::new(&self.risk), &states, At { time_ms: last.event_time_ms, offset: last.raw.position.offset })
    }
}

fn load(states: &mut dyn States, slice: &[Facts]) -> anyhow::Result<()> {
    for facts in slice {
        for key in states.prefetch_keys(facts)? {
            states.load(&key, None)?;
        }
    }
    Ok(())
}

fn advanced(states: &mut dyn States, facts: &mut Facts, event: &Event) -> anyhow::Result<Features> {
    let at = At { time_ms: event.event_time_ms, offset: event.raw.position.offset };
    match states.advance(facts, at)? {
        Step::Ready(features) => Ok(features),
        Step::Missing(keys) => anyhow::bail!("{} keys were not loaded", keys.len()),
    }
}
