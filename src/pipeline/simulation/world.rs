//! A cluster, a database, and some workers that run the real driver.

use super::fold;
use super::function::{KINDS, Moody, decode};
use super::swapped::Moods;
use crate::config::{OnLostCommits, Start};
use crate::event::TopicPartition;
use crate::flow::Budget;
use crate::pipeline::{Align, Ended, Observer, PartitionView, Parts, Settings, run};
use crate::publisher::memory::MemoryPublisher;
use crate::record::{Mode, Provenance};
use crate::source::memory::Cluster;
use crate::store::memory::{Database, MemoryStore};
use crate::twin::{Chance, Process};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Partitions of the two topics.
const PARTITIONS: [(&str, i32); 3] = [("in", 0), ("in", 1), ("more", 0)];

/// One worker of the world.
pub struct Worker {
    pub process: Arc<Process>,
    stop: CancellationToken,
    task: JoinHandle<Ended>,
    budget: Budget,
}

/// Remembers why partitions were halted, and what was told of them last.
#[derive(Default)]
struct Halts(Mutex<Vec<String>>, Mutex<Vec<PartitionView>>);

impl Observer for Halts {
    fn halted(&self, partition: &TopicPartition, reason: &str) {
        self.0.lock().unwrap().push(format!("{partition}: {reason}"));
    }

    fn status(&self, partitions: Vec<PartitionView>, _: usize) {
        *self.1.lock().unwrap() = partitions;
    }
}

pub struct World {
    pub cluster: Arc<Cluster>,
    pub database: Arc<Database>,
    pub partitions: Vec<TopicPartition>,
    pub workers: Vec<Worker>,
    /// What the harness itself does by chance.
    pub chance: Chance,
    /// Workers that ended in a way of their own.
    pub ends: Vec<String>,
    /// What the workers are told about lost commits.
    pub on_lost_commits: OnLostCommits,
    pub mode: Mode,
    /// Whether the pipeline has a fold, and which.
    pub folds: bool,
    pub chain: fold::Chain,
    /// How far ahead of the slowest partition an event may be, when the pipeline is aligned.
    pub align_ms: Option<i64>,
    /// Whether an operator pauses and resumes meanwhile.
    pub pauses: bool,
    /// Whether an operator swaps versions meanwhile.
    pub swaps: bool,
    /// Every call of the pipeline's own settings fails for now.
    pub base_fails: bool,
    halts: Arc<Halts>,
    processes: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let partitions: Vec<TopicPartition> = PARTITIONS.map(|(topic, number)| TopicPartition::new(topic, number)).into();
        Self {
            cluster: Cluster::new(seed, &partitions),
            database: Database::new(seed.wrapping_add(1)),
            partitions,
            workers: Vec::new(),
            chance: Chance::new(seed.wrapping_add(2)),
            ends: Vec::new(),
            on_lost_commits: OnLostCommits::Halt,
            mode: Mode::Both,
            folds: false,
            chain: fold::Chain::default(),
            align_ms: None,
            pauses: false,
            swaps: false,
            base_fails: false,
            halts: Arc::default(),
            processes: 0,
        }
    }

    /// Appends some events, mostly good ones, to random partitions.
    pub fn append(&self, events: usize) {
        for _ in 0..events {
            // All kinds but the one that kills.
            let kind = if self.chance.percent(85) { self.chance.below(4) } else { self.chance.below(KINDS.len() - 1) };
            self.cluster.append(&self.partitions[self.chance.below(self.partitions.len())], KINDS[kind].0);
        }
    }

    pub fn start_worker(&mut self) {
        self.processes += 1;
        let process = Arc::new(Process { id: self.processes, ..Process::default() });
        let handle = Arc::new(OnceLock::new());
        let little = if self.align_ms.is_some() { 2 << 10 } else { 8 << 10 };
        let budget = Budget::new(if self.chance.percent(30) { little } else { 1 << 20 });
        let moody = Arc::new(Moody::new(self.cluster.clone(), process.clone(), handle.clone()));
        let function = if self.base_fails { Arc::new(moody.failing()) } else { moody.clone() };
        let parts = Parts {
            source: self.cluster.join(process.clone()),
            store: Arc::new(MemoryStore { database: self.database.clone(), process: process.clone() }),
            publisher: Arc::new(MemoryPublisher { cluster: self.cluster.clone(), process: process.clone() }),
            versions: Arc::new(Moods(moody)),
            function,
            folding: self.folds.then(|| fold::folding(self.chain)),
            decode: Arc::new(decode),
            budget: budget.clone(),
            observer: self.halts.clone(),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(Arc::new(self.settings(process.id)), parts, stop.clone(), CancellationToken::new()));
        handle.set(task.abort_handle()).unwrap();
        self.workers.push(Worker { process, stop, task, budget });
    }

    fn settings(&self, process: u64) -> Settings {
        let mut settings = Settings { mode: self.mode, ..settings(process, self.on_lost_commits) };
        settings.align = self.align_ms.map(|bound_ms| {
            let topics: BTreeSet<String> = self.partitions.iter().map(|partition| partition.topic.to_string()).collect();
            Align { bound_ms, topics: topics.into_iter().collect() }
        });
        settings.provenance.fold = self.folds.then(|| self.chain.digest.into());
        settings
    }

    /// kill -9: what it had sent may still arrive.
    pub fn kill(&mut self, index: usize) {
        let worker = self.workers.swap_remove(index);
        worker.process.kill();
        worker.task.abort();
    }

    /// Asks a worker to drain, and waits for its end.
    pub async fn drain(&mut self, index: usize) -> Result<Ended, String> {
        let worker = self.workers.swap_remove(index);
        worker.stop.cancel();
        let ended = worker.task.await.map_err(|error| format!("a worker ended badly: {error}"))?;
        if worker.budget.used() != 0 {
            return Err(format!("a worker that ended as {ended:?} still holds {} bytes of its budget", worker.budget.used()));
        }
        Ok(ended)
    }

    /// Takes workers out that have ended by themselves.
    pub async fn reap(&mut self) {
        for index in (0..self.workers.len()).rev() {
            if self.workers[index].task.is_finished() {
                let worker = self.workers.swap_remove(index);
                match worker.task.await {
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => self.ends.push(format!("{error}")),
                    Ok(ended) => self.ends.push(format!("{ended:?}")),
                }
            }
        }
    }

    /// What the budgets of all workers hold.
    pub fn held_bytes(&self) -> usize {
        self.workers.iter().map(|worker| worker.budget.used()).sum()
    }

    /// Events of a partition that the worker that told last holds undecided.
    pub fn held_of(&self, partition: &TopicPartition) -> usize {
        let views = self.halts.1.lock().unwrap();
        let of = views.iter().find(|view| *view.topic == *partition.topic && view.partition == partition.partition);
        let view = of.expect("it is told of");
        assert!(view.held, "{view:?}");
        view.undecided
    }

    /// Memory of states, as the worker that told last has it.
    pub fn state_bytes(&self) -> usize {
        self.halts.1.lock().unwrap().iter().filter_map(|view| view.state_bytes).sum()
    }

    pub fn halts(&self) -> Vec<String> {
        self.halts.0.lock().unwrap().clone()
    }

    /// Whether everything that was appended is decided and published.
    pub fn is_settled(&self) -> bool {
        self.partitions.iter().all(|partition| {
            let end = self.cluster.bounds(partition).high;
            let decided = self.database.tables().rows.get(partition).map(|row| row.next_offset.min(row.fold_from));
            let published = self.cluster.state().offsets.get(partition).map(|stored| stored.offset);
            decided == Some(end) && (published == Some(end) || self.mode == Mode::Postgres)
        })
    }

    /// Waits until everything is settled or `enough` says so; an error after ten minutes of the world's time.
    pub async fn settle(&mut self, enough: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..6_000 {
            self.reap().await;
            if self.is_settled() || enough(self) {
                return Ok(());
            }
            if self.workers.is_empty() {
                self.start_worker();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let tables = self.database.tables();
        let state = self.cluster.state();
        Err(format!("nothing moves any more: rows {:?}, offsets {:?}, open {:?}", tables.rows, state.offsets, state.pending))
    }

    /// Drains every worker.
    pub async fn stop(&mut self) -> Result<Vec<Ended>, String> {
        let mut ends = Vec::new();
        while !self.workers.is_empty() {
            ends.push(self.drain(0).await?);
        }
        Ok(ends)
    }
}

pub fn settings(process: u64, on_lost_commits: OnLostCommits) -> Settings {
    Settings {
        provenance: Provenance {
            pipeline: "p".into(),
            run: 1,
            function: "moody/1".into(),
            model: "".into(),
            config: "c".into(),
            fold: None,
            keeps_latest: false,
        },
        mode: Mode::Both,
        output_topic: "out".into(),
        dead_letter_topic: "dead".into(),
        start: Start::Earliest,
        on_lost_commits,
        owner: process.to_string().into(),
        window: 20,
        decide_events: 9,
        record_bytes: 10_000,
        max_dead_share: 1.0,
        align: None,
        drain: Duration::from_secs(60),
        store_patience: Duration::from_secs(20),
        ends_halted_after: Some(Duration::ZERO),
        backoff: Duration::from_millis(50),
    }
}
