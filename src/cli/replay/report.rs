//! The diff report: the replay's records beside those of the live run, of the same offsets.

use super::diff::{Diff, Moves, count};
use super::plan::{Plan, Stretch};
use super::versions::Names;
use crate::event::TopicPartition;
use crate::record::Record;
use crate::store::postgres::{PostgresStore, ScoredBy};
use crate::store::{PartitionKey, Store};
use crate::worker::replay::RUN;
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};

/// Rows read at a time.
const CHUNK: i64 = 2_000;

pub struct Report {
    pub name: String,
    pub pipeline: String,
    /// The live run; `None` for a pipeline that has none.
    pub live_run: Option<i32>,
    pub live: Vec<ScoredBy>,
    pub replay: Vec<ScoredBy>,
    /// Endings of the replay.
    pub events: i64,
    pub records: i64,
    pub skipped: i64,
    pub dead: i64,
    /// Offsets that the live run has not decided, or did not begin at, or whose rows retention has removed.
    pub not_compared: i64,
    /// Events of which one side was erased: what they said is gone.
    pub erased: u64,
    pub diff: Diff,
    /// The versions of the config that is given.
    names: Names,
}

impl Report {
    /// `run`: the live run; its newest one without.
    pub async fn make(
        store: &PostgresStore,
        pipeline: &str,
        name: &str,
        plan: &Plan,
        run: Option<i32>,
        names: Names,
    ) -> anyhow::Result<Self> {
        let live_run = match run {
            Some(run) => Some(run),
            None => store.current_run(pipeline).await?,
        };
        let mut report = Self {
            name: name.to_owned(),
            pipeline: pipeline.to_owned(),
            live_run,
            live: Vec::new(),
            replay: Vec::new(),
            events: 0,
            records: 0,
            skipped: 0,
            dead: 0,
            not_compared: 0,
            erased: 0,
            diff: Diff::default(),
            names,
        };
        for stretch in plan.work() {
            report.add(store, stretch).await.with_context(|| format!("comparing {}", stretch.of()))?;
        }
        Ok(report)
    }

    async fn add(&mut self, store: &PostgresStore, stretch: &Stretch) -> anyhow::Result<()> {
        let key = |pipeline: &str, run: i32| PartitionKey { pipeline: pipeline.into(), run, partition: stretch.of() };
        let ours = key(&self.name, RUN);
        let rows = store.partitions(&self.name, RUN, &stretch.topic).await?;
        let row = rows.into_iter().find_map(|(number, row)| (number == stretch.partition).then_some(row));
        let row = row.context("its row is gone: the replay was removed")?;
        self.events += row.events;
        self.records += row.records;
        self.skipped += row.skipped;
        self.dead += row.dead;
        merge(&mut self.replay, store.scored_by(&ours, stretch.from, stretch.until).await?);
        let runs = store.runs(&self.pipeline, &stretch.of()).await?;
        let Some(live) = runs.into_iter().find(|run| Some(run.run) == self.live_run) else {
            self.not_compared += stretch.len();
            return Ok(());
        };
        let theirs = key(&self.pipeline, live.run);
        let mut from = stretch.from.max(live.start_offset.unwrap_or_default());
        let mut erased = BTreeSet::new();
        for side in [&theirs, &ours] {
            from = from.max(store.removed_below(side).await?.unwrap_or_default());
        }
        let until = stretch.until.min(live.next_offset).max(from);
        for side in [&theirs, &ours] {
            erased.extend(store.erased_offsets(side, from, until).await?);
        }
        self.not_compared += stretch.len() - (until - from);
        merge(&mut self.live, store.scored_by(&theirs, from, until).await?);
        let (live, replay) = (Rows::new(store, theirs, from, until), Rows::new(store, ours, from, until));
        self.compare(&stretch.of(), &erased, live, replay).await
    }

    /// Goes along both in the order of the log.
    async fn compare(
        &mut self,
        partition: &TopicPartition,
        erased: &BTreeSet<i64>,
        mut live: Rows<'_>,
        mut replay: Rows<'_>,
    ) -> anyhow::Result<()> {
        loop {
            let (was, is) = (live.offset().await?, replay.offset().await?);
            let Some(offset) = [was, is].into_iter().flatten().min() else { return Ok(()) };
            let before = if was == Some(offset) { live.take(offset).await? } else { Vec::new() };
            let after = if is == Some(offset) { replay.take(offset).await? } else { Vec::new() };
            match erased.contains(&offset) {
                true => self.erased += 1,
                false => self.diff.event(&format!("{partition}/{offset}"), &before, &after)?,
            }
        }
    }

    pub fn json(&self, plan: &Plan) -> Value {
        let diff = &self.diff;
        let mean = if diff.shift.count() == 0 { 0.0 } else { diff.shift_sum / diff.shift.count() as f64 };
        json!({
            "replay": { "name": self.name, "plan": plan, "scored_by": self.names.told(&self.replay), "events": self.events, "records": self.records,
                        "skipped": self.skipped, "dead": self.dead },
            "live": { "pipeline": self.pipeline, "run": self.live_run, "scored_by": self.names.told(&self.live) },
            "offsets_not_compared": self.not_compared,
            "events_erased": self.erased,
            "events_compared": diff.events,
            "events_equal": diff.equal,
            "events_changed": diff.changed_events(),
            "fields_changed": diff.fields,
            "labels_changed": count(&diff.labels),
            "labels": diff.labels,
            "decisions_changed": count(&diff.decisions),
            "decisions": diff.decisions,
            "score_shift": { "predictions": diff.shift.count(), "mean": mean, "mean_absolute": diff.shift.mean(),
                             "p50": diff.shift.quantile(0.5), "p95": diff.shift.quantile(0.95), "p99": diff.shift.quantile(0.99),
                             "largest": diff.shift.largest() },
            "largest_shifts": diff.largest,
            "only_live": diff.only_live,
            "only_replay": diff.only_replay,
            "dead_letters_gained": diff.dead_gained,
            "dead_letters_lost": diff.dead_lost,
            "dead_letters_changed": diff.dead_changed,
            "first_changed": diff.changed,
        })
    }
}

fn merge(all: &mut Vec<ScoredBy>, more: Vec<ScoredBy>) {
    for by in more {
        let same =
            |other: &&mut ScoredBy| (&other.function, &other.model, &other.config) == (&by.function, &by.model, &by.config);
        match all.iter_mut().find(same) {
            Some(other) => other.records += by.records,
            None => all.push(by),
        }
    }
}

/// The records of one partition, an event at a time.
struct Rows<'a> {
    store: &'a PostgresStore,
    key: PartitionKey,
    from: i64,
    until: i64,
    after: Option<(i64, i16)>,
    waiting: VecDeque<Record>,
    is_over: bool,
}

impl<'a> Rows<'a> {
    fn new(store: &'a PostgresStore, key: PartitionKey, from: i64, until: i64) -> Self {
        Self { store, key, from, until, after: None, waiting: VecDeque::new(), is_over: from >= until }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let rows = self.store.records(&self.key, self.from, self.until, self.after, CHUNK).await?;
        self.is_over = (rows.len() as i64) < CHUNK;
        self.after = rows.last().map(|last| (last.offset, last.n)).or(self.after);
        self.waiting.extend(rows);
        Ok(())
    }

    /// Of the next event.
    async fn offset(&mut self) -> anyhow::Result<Option<i64>> {
        while self.waiting.is_empty() && !self.is_over {
            self.read().await?;
        }
        Ok(self.waiting.front().map(|record| record.offset))
    }

    /// All records of the event there.
    async fn take(&mut self, offset: i64) -> anyhow::Result<Vec<Record>> {
        while !self.is_over && self.waiting.back().is_none_or(|last| last.offset == offset) {
            self.read().await?;
        }
        let mut records = Vec::new();
        while let Some(record) = self.waiting.pop_front_if(|record| record.offset == offset) {
            records.push(record);
        }
        Ok(records)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let diff = &self.diff;
        let (events, skipped, dead) = (self.events, self.skipped, self.dead);
        writeln!(
            f,
            "replay {}: {events} events, {} emitted, {skipped} skipped, {dead} dead letters",
            self.name,
            events - skipped - dead
        )?;
        for (side, all) in [("live", &self.live), ("replay", &self.replay)] {
            for by in all {
                writeln!(f, "  {side:7} {}", self.names.said(by)?)?;
            }
        }
        let Some(run) = self.live_run else {
            return writeln!(f, "  the pipeline {} has no run to compare with", self.pipeline);
        };
        if self.not_compared > 0 {
            writeln!(
                f,
                "  {} offsets are not compared: run {run} of {} has not decided them, or retention has removed their rows",
                self.not_compared, self.pipeline
            )?;
        }
        if self.erased > 0 {
            writeln!(f, "  {} events are not compared: they were erased", self.erased)?;
        }
        writeln!(f, "  compared {} events with run {run}: {} equal, {} changed", diff.events, diff.equal, diff.changed_events())?;
        if !diff.fields.is_empty() {
            let fields: Vec<String> = diff.fields.iter().map(|(name, count)| format!("{name} {count}")).collect();
            writeln!(f, "  fields that differ: {}", fields.join(", "))?;
        }
        moves(f, "labels", &diff.labels)?;
        moves(f, "decisions", &diff.decisions)?;
        if diff.shift.count() > 0 {
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| diff.shift.quantile(share));
            let (mean, most) = (diff.shift.mean(), diff.shift.largest());
            writeln!(
                f,
                "  score shift of {} predictions: mean {mean:.6}, p50 {p50:.6}, p95 {p95:.6}, p99 {p99:.6}, largest {most:.6}",
                diff.shift.count()
            )?;
        }
        for one in &diff.largest {
            writeln!(f, "    {} {} -> {}", one.id, one.live, one.replay)?;
        }
        for (what, number) in [("live", diff.only_live), ("replay", diff.only_replay)] {
            if number > 0 {
                writeln!(f, "  {number} predictions are in the {what} run alone")?;
            }
        }
        for (what, all) in [("gained", &diff.dead_gained), ("lost", &diff.dead_lost)] {
            for (code, number) in all {
                writeln!(f, "  {number} dead letters {what}: {code}")?;
            }
        }
        moves(f, "reasons of dead letters", &diff.dead_changed)?;
        if !diff.changed.is_empty() {
            writeln!(f, "  first changed: {}", diff.changed.join(", "))?;
        }
        Ok(())
    }
}

fn moves(f: &mut std::fmt::Formatter<'_>, what: &str, all: &Moves) -> std::fmt::Result {
    let each = |(from, to): (&String, &std::collections::BTreeMap<String, u64>)| {
        to.iter().map(|(to, number)| format!("{from} -> {to} {number}")).collect::<Vec<_>>()
    };
    if all.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {} {what} changed: {}", count(all), all.iter().flat_map(each).collect::<Vec<_>>().join(", "))
}
