//! Postgres' part in memory, for simulation: every statement is atomic, may arrive late, and may lose its reply.

use super::{Advance, Head, Heads, PartitionKey, PartitionRow, Pause, Rows, StateRow, Store, StoreError, Swap, Taken};
use crate::event::TopicPartition;
use crate::record::{Kind, Mode, Provenance, Record};
use crate::twin::{Chance, Process};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Percent of the statements that lose their reply, before or after they were carried out.
const TROUBLE: u32 = 3;
/// A record with this label is refused, as a text that Postgres cannot hold.
pub const REFUSED_LABEL: &str = "refused";
/// So is a dead letter that holds the event `stubborn`.
const REFUSED_BYTES: &str = "\"c3R1YmJvcm4=\"";

/// The tables.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    pub rows: BTreeMap<TopicPartition, PartitionRow>,
    pub records: BTreeMap<(TopicPartition, i64, i16), Record>,
    /// Heads, and when they were told.
    pub heads: BTreeMap<TopicPartition, (i64, Instant)>,
    pub states: BTreeMap<(TopicPartition, Box<str>), StateRow>,
    pub pauses: Vec<Pause>,
    pub wish: Option<Swap>,
    pub taken: BTreeMap<TopicPartition, Vec<Taken>>,
    /// Events that an owner left named when another one claimed, and that owner: those that may be condemned.
    pub deaths: BTreeSet<(TopicPartition, i64, String)>,
    /// The most states that a decide has brought which stood still.
    pub most_states: usize,
    /// A breach of the primary key, which Postgres would refuse: the protocol must never come to it.
    pub doubled: Option<String>,
}

/// A row that nobody has claimed: P and Q are `start`, S is `fold_from`.
pub fn opened(start: i64, fold_from: i64, mode: Mode) -> PartitionRow {
    PartitionRow {
        claim: Uuid::nil(),
        epoch: 0,
        owner: String::new(),
        next_offset: start,
        published_offset: start,
        fold_from,
        events: 0,
        records: 0,
        skipped: 0,
        dead: 0,
        idle_claims: 0,
        suspect_offset: None,
        mode,
        fold: None,
    }
}

/// As in Postgres.
const CAUGHT_UP_FOR: Duration = Duration::from_secs(5);

/// A database, shared by the workers of one pipeline.
#[derive(Debug)]
pub struct Database {
    tables: Mutex<Tables>,
    pub chance: Chance,
    /// No statement is answered while it is away.
    pub away: Mutex<bool>,
    /// How long the name of a suspect waits for a connection.
    pub names_wait: Mutex<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            tables: Mutex::default(),
            chance: Chance::new(seed),
            away: Mutex::new(false),
            names_wait: Mutex::default(),
        })
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        lock(&self.tables)
    }
}

/// The connection of one process.
pub struct MemoryStore {
    pub database: Arc<Database>,
    pub process: Arc<Process>,
}

impl MemoryStore {
    /// Carries a statement out, late, whatever becomes of the client meanwhile.
    async fn statement<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database.clone();
        let never_sent = database.chance.percent(TROUBLE) || *lock(&database.away);
        if never_sent {
            tokio::time::sleep(database.chance.delay()).await;
            self.process.awake().await;
            return Err(StoreError::Transient("the connection was lost before".into()));
        }
        let arrival = database.chance.delay();
        let running = tokio::spawn(async move {
            tokio::time::sleep(arrival).await;
            let result = work(&mut database.tables());
            tokio::time::sleep(database.chance.delay()).await;
            result
        });
        let patience = if self.database.chance.percent(TROUBLE) { self.database.chance.delay() } else { Duration::from_secs(30) };
        let reply = tokio::time::timeout(patience, running).await;
        self.process.awake().await;
        match reply {
            Ok(Ok(result)) if !self.database.chance.percent(TROUBLE) => result,
            _ => Err(StoreError::Transient("no reply".into())),
        }
    }
}

impl Tables {
    fn decide(&mut self, fold: Option<&str>, round: &[Advance]) -> Result<Vec<TopicPartition>, StoreError> {
        let refused = |record: &Record| {
            record.label.as_deref() == Some(REFUSED_LABEL)
                || record.kind == Kind::DeadLetter && record.value.contains(REFUSED_BYTES)
        };
        if round.iter().any(|advance| advance.records.iter().any(refused)) {
            return Err(StoreError::Data("SQLSTATE 22021".into()));
        }
        let mut moved = Vec::new();
        for advance in round {
            let Some(row) = self.rows.get_mut(&advance.partition) else { continue };
            if row.claim != advance.claim || row.next_offset != advance.from {
                continue;
            }
            if advance.from == advance.to && row.fold_from == row.next_offset {
                continue;
            }
            if advance.from == advance.to {
                self.most_states = self.most_states.max(advance.states.len());
            }
            // As the table's CHECK says.
            if row.published_offset.max(advance.published_offset) > advance.to {
                return Err(StoreError::Fatal("Q would stand above P".into()));
            }
            row.next_offset = advance.to;
            row.fold_from = row.fold_from.max(advance.fold_from);
            row.fold = fold.map(str::to_owned);
            row.published_offset = row.published_offset.max(advance.published_offset);
            row.events += advance.events;
            row.records += advance.records.len() as i64;
            row.skipped += advance.skipped;
            row.dead += advance.dead;
            // A suspect above the stretch is still in work.
            row.suspect_offset = row.suspect_offset.filter(|suspect| *suspect >= advance.to);
            if row.suspect_offset.is_none() {
                row.idle_claims = 0;
            }
            for record in advance.records.iter() {
                let id = (advance.partition.clone(), record.offset, record.n);
                if self.records.insert(id.clone(), record.clone()).is_some() {
                    self.doubled = Some(format!("{id:?} was inserted twice"));
                }
            }
            for (key, state) in &advance.states {
                let kept = self.states.entry((advance.partition.clone(), key.clone())).or_insert_with(|| state.clone());
                if kept.as_of <= state.as_of {
                    *kept = state.clone();
                }
            }
            moved.push(advance.partition.clone());
        }
        Ok(moved)
    }

    /// Rows of a partition in [from, to).
    pub fn records_of(&self, partition: &TopicPartition, from: i64, to: i64) -> Vec<Record> {
        let records = self.records.iter().filter(|((of, offset, _), _)| of == partition && (from..to).contains(offset));
        records.map(|(_, record)| record.clone()).collect()
    }
}

impl Store for MemoryStore {
    fn current_run<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<i32>, StoreError>> {
        async { Ok(Some(1)) }.boxed()
    }

    fn open<'a>(
        &'a self,
        _: &'a str,
        _: i32,
        mode: Mode,
        starts: &'a [(TopicPartition, i64)],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let starts = starts.to_vec();
        self.statement(move |tables| {
            for (partition, start) in starts {
                tables.rows.entry(partition).or_insert_with(|| opened(start, start, mode));
            }
            Ok(())
        })
        .boxed()
    }

    fn partitions<'a>(
        &'a self,
        _: &'a str,
        _: i32,
        topic: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(i32, PartitionRow)>, StoreError>> {
        let topic = topic.to_owned();
        self.statement(move |tables| {
            let of_topic = tables.rows.iter().filter(|(of, _)| *of.topic == *topic);
            Ok(of_topic.map(|(of, row)| (of.partition, row.clone())).collect())
        })
        .boxed()
    }

    fn claim<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        owner: &'a str,
    ) -> BoxFuture<'a, Result<Option<PartitionRow>, StoreError>> {
        let (partition, owner) = (key.partition.clone(), owner.to_owned());
        self.statement(move |tables| {
            let deaths = &mut tables.deaths;
            if let Some(head) = tables.heads.get_mut(&partition).filter(|head| head.0 == i64::MAX) {
                head.0 = i64::MIN;
            }
            Ok(tables.rows.get_mut(&partition).map(|row| {
                row.claim = claim;
                row.epoch += 1;
                if let Some(suspect) = row.suspect_offset.filter(|_| row.owner != owner) {
                    deaths.insert((partition.clone(), suspect, row.owner.clone()));
                }
                row.idle_claims += i32::from(row.suspect_offset.is_none() && row.owner != owner);
                row.owner = owner;
                row.clone()
            }))
        })
        .boxed()
    }

    fn folds_from<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, from: i64) -> BoxFuture<'a, Result<(), StoreError>> {
        let partition = key.partition.clone();
        self.statement(move |tables| {
            let is_new = |row: &&mut PartitionRow| row.claim == claim && row.events == 0 && row.fold.is_none();
            if let Some(row) = tables.rows.get_mut(&partition).filter(is_new) {
                row.fold_from = row.fold_from.max(from);
            }
            Ok(())
        })
        .boxed()
    }

    fn read_all<'a>(
        &'a self,
        _: &'a str,
        _: i32,
        partitions: &'a [TopicPartition],
        _: bool,
    ) -> BoxFuture<'a, Result<Rows, StoreError>> {
        let partitions = partitions.to_vec();
        self.statement(move |tables| {
            let row = |partition: TopicPartition| tables.rows.get(&partition).cloned().map(|row| (partition, row));
            Ok(partitions.into_iter().filter_map(row).collect())
        })
        .boxed()
    }

    fn suspect<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        offset: i64,
        times: i32,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (partition, wait) = (key.partition.clone(), *lock(&self.database.names_wait));
        let named = self.statement(move |tables| {
            let row = tables.rows.get_mut(&partition).filter(|row| row.claim == claim);
            Ok(row.is_some_and(|row| {
                row.idle_claims = times;
                row.suspect_offset = Some(offset);
                true
            }))
        });
        async move {
            tokio::time::sleep(wait).await;
            named.await
        }
        .boxed()
    }

    fn decide<'a>(&'a self, by: &'a Provenance, round: &'a [Advance]) -> BoxFuture<'a, Result<Vec<TopicPartition>, StoreError>> {
        let (fold, round) = (by.fold.as_deref().map(str::to_owned), round.to_vec());
        self.statement(move |tables| tables.decide(fold.as_deref(), &round)).boxed()
    }

    fn published<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        published_offset: i64,
        handover: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let partition = key.partition.clone();
        self.statement(move |tables| {
            if let Some(row) = tables.rows.get_mut(&partition).filter(|row| row.claim == claim) {
                row.published_offset = row.published_offset.max(published_offset.min(row.next_offset));
                if handover || row.suspect_offset.is_none_or(|suspect| suspect < published_offset) {
                    row.idle_claims = 0;
                    row.suspect_offset = None;
                }
            }
            Ok(())
        })
        .boxed()
    }

    fn records<'a>(
        &'a self,
        key: &'a PartitionKey,
        from: i64,
        to: i64,
        after: Option<(i64, i16)>,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        let partition = key.partition.clone();
        self.statement(move |tables| {
            let mut records = tables.records_of(&partition, from, to);
            records.retain(|record| after.is_none_or(|after| (record.offset, record.n) > after));
            records.truncate(limit as usize);
            Ok(records)
        })
        .boxed()
    }

    fn heads<'a>(
        &'a self,
        _: &'a str,
        _: i32,
        topics: &'a [String],
        mine: &'a [Head],
    ) -> BoxFuture<'a, Result<Heads, StoreError>> {
        let (topics, mine) = (topics.to_vec(), mine.to_vec());
        self.statement(move |tables| {
            let mut held = Vec::new();
            for head in &mine {
                if tables.rows.get(&head.partition).is_some_and(|row| row.claim == head.claim) {
                    tables.heads.insert(head.partition.clone(), (head.head_ms, Instant::now()));
                    held.push(head.partition.clone());
                }
            }
            if !topics.iter().all(|topic| tables.rows.keys().any(|of| *of.topic == **topic)) {
                return Ok(Heads { others: Some(i64::MIN), held });
            }
            let others = tables.rows.keys().filter(|of| topics.iter().any(|topic| **topic == *of.topic) && !held.contains(of));
            let stands = |of: &TopicPartition| match tables.heads.get(of) {
                Some((i64::MAX, told)) if told.elapsed() > CAUGHT_UP_FOR => i64::MIN,
                Some((head_ms, _)) => *head_ms,
                None => i64::MIN,
            };
            Ok(Heads { others: others.map(stands).min(), held })
        })
        .boxed()
    }

    fn pauses<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Pause>, StoreError>> {
        self.statement(|tables| Ok(tables.pauses.clone())).boxed()
    }

    fn wish<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Swap>, StoreError>> {
        self.statement(|tables| Ok(tables.wish.clone())).boxed()
    }

    fn all_taken<'a>(&'a self, key: &'a PartitionKey) -> BoxFuture<'a, Result<Vec<Taken>, StoreError>> {
        let partition = key.partition.clone();
        self.statement(move |tables| Ok(tables.taken.get(&partition).cloned().unwrap_or_default())).boxed()
    }

    fn take<'a>(
        &'a self,
        key: &'a PartitionKey,
        claim: Uuid,
        new: &'a Taken,
    ) -> BoxFuture<'a, Result<Option<Vec<Taken>>, StoreError>> {
        let (partition, new) = (key.partition.clone(), new.clone());
        self.statement(move |tables| {
            if tables.rows.get(&partition).is_none_or(|row| row.claim != claim) {
                return Ok(None);
            }
            let all = tables.taken.entry(partition).or_default();
            if !all.iter().any(|taken| taken.number == new.number) {
                all.push(new);
                all.sort_by_key(|taken| taken.number);
            }
            Ok(Some(all.clone()))
        })
        .boxed()
    }

    fn roll_back<'a>(&'a self, _: &'a str, number: i64, reason: &'a str, by: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (reason, by) = (reason.to_owned(), by.to_owned());
        self.statement(move |tables| {
            let Some(wish) = tables.wish.as_mut().filter(|wish| wish.number == number && wish.canary.is_some()) else {
                return Ok(false);
            };
            (wish.number, wish.canary, wish.reason, wish.by) = (number + 1, None, reason, by);
            Ok(true)
        })
        .boxed()
    }

    fn states<'a>(
        &'a self,
        key: &'a PartitionKey,
        keys: &'a [Box<str>],
    ) -> BoxFuture<'a, Result<Vec<(Box<str>, StateRow)>, StoreError>> {
        let (partition, keys) = (key.partition.clone(), keys.to_vec());
        self.statement(move |tables| {
            let row = |key: Box<str>| Some((key.clone(), tables.states.get(&(partition.clone(), key))?.clone()));
            Ok(keys.into_iter().filter_map(row).collect())
        })
        .boxed()
    }
}
