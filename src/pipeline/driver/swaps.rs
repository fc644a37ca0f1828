//! Swaps: a partition goes over to another version of the pipeline's settings, from a recorded offset on.
//!
//! What operators want is asked for every second, as pauses are. The versions that are wanted, or that partitions need, are built beside the one
//! that serves. Once they are there, each partition records under its claim from which offset on it works by the wish, and puts nothing from there on
//! to work before that stands in Postgres. Whoever owns the partition next reads it with its claim. So the version of an event depends on its
//! offset, its key and what is recorded alone, and no event that is decided was scored by another.

mod load;
mod take;

pub(super) use load::LoadDone;
pub(super) use take::TakeDone;

use super::Driver;
use crate::config::BASE;
use crate::event::TopicPartition;
use crate::pipeline::partition::versions::Ready;
use crate::pipeline::partition::{Partition, Running};
use crate::pipeline::version::Version;
use crate::store::{StoreError, Swap};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use load::Absent;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the wish is asked for.
const OFTEN: Duration = Duration::from_secs(1);

/// What is known of the versions.
pub(super) struct Swaps {
    wish: Option<Arc<Swap>>,
    /// Whether there was an answer.
    asked: bool,
    pub(super) asking: Option<BoxFuture<'static, Result<Option<Swap>, StoreError>>>,
    not_before: Option<Instant>,
    trouble: bool,
    /// Whether it was told that going over cannot be recorded.
    take_trouble: bool,
    /// What is in force: the version of the last wish of which all was in memory.
    serves: Option<Arc<str>>,
    pub(super) ready: Ready,
    absent: BTreeMap<Arc<str>, Absent>,
    pub(super) loads: FuturesUnordered<BoxFuture<'static, LoadDone>>,
    pub(super) takes: FuturesUnordered<BoxFuture<'static, TakeDone>>,
}

impl Swaps {
    pub(super) fn new(base: Arc<Version>) -> Self {
        Self {
            wish: None,
            asked: false,
            asking: None,
            not_before: None,
            trouble: false,
            take_trouble: false,
            serves: None,
            ready: Ready { base, others: BTreeMap::new() },
            absent: BTreeMap::new(),
            loads: FuturesUnordered::new(),
            takes: FuturesUnordered::new(),
        }
    }

    /// What is wanted, as far as is known.
    pub(super) fn wish(&self) -> Option<Arc<Swap>> {
        self.wish.clone()
    }

    /// Why a version is not in memory.
    fn why(&self, name: &str) -> Option<String> {
        Some(match &self.absent.get(name)?.failed {
            Some(why) => format!("version {name} cannot be used: {why}"),
            None => format!("version {name} is being loaded"),
        })
    }

    /// The first of these names that is not in memory, and why.
    fn missing<'a>(&self, mut names: impl Iterator<Item = &'a Arc<str>>) -> Option<String> {
        names
            .find(|name| self.ready.get(name).is_none())
            .map(|name| self.why(name).unwrap_or_else(|| format!("version {name} is not loaded yet")))
    }

    /// Why a partition stands, or will at its next event: what it has taken over names a version that is not in memory.
    pub(super) fn held(&self, running: &Running) -> Option<String> {
        self.missing(running.taking.names(running.decided))
    }

    /// What is in force, or why there is nothing. While what is wanted is being loaded, or cannot be, that is what was before.
    fn in_force(&mut self) -> Result<Arc<str>, String> {
        match self.wish.as_ref().and_then(|wish| self.missing(wish.names())) {
            None => {
                let version = self.wish.as_ref().map_or_else(|| BASE.into(), |wish| wish.version.clone());
                Ok(self.serves.insert(version).clone())
            }
            Some(why) => self.serves.clone().filter(|name| self.ready.get(name).is_some()).ok_or(why),
        }
    }

    /// What holds a partition, or its going over to what is wanted.
    pub(super) fn waits_for(&self, running: &Running) -> Option<String> {
        self.held(running).or_else(|| {
            let wish = self.wish.as_ref().filter(|wish| running.taking.number().is_none_or(|number| number < wish.number))?;
            Some(self.missing(wish.names()).unwrap_or_else(|| "it is about to go over".to_owned()))
        })
    }
}

impl Driver {
    /// Asks, now and then.
    pub(super) fn ask_for_swaps(&mut self) {
        let swaps = &mut self.swaps;
        if swaps.asking.is_some() || swaps.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let (store, pipeline) = (self.parts.store.clone(), self.settings.provenance.pipeline.clone());
        swaps.asking = Some(async move { store.wish(&pipeline).await }.boxed());
    }

    /// Asks without waiting for the next time.
    pub(super) fn ask_for_swaps_now(&mut self) {
        self.swaps.not_before = None;
    }

    pub(super) fn on_wish(&mut self, answer: Result<Option<Swap>, StoreError>) {
        let pipeline = &*self.settings.provenance.pipeline;
        self.swaps.not_before = Some(Instant::now() + OFTEN);
        match answer {
            Ok(found) => {
                (self.swaps.asked, self.swaps.trouble) = (true, false);
                // A number that is lower comes of a database that went back; what partitions have taken over stands.
                if let Some(wish) = found
                    && self.swaps.wish.as_deref() != Some(&wish)
                {
                    let (number, what, by, reason) = (wish.number, wish.what(), &*wish.by, &*wish.reason);
                    tracing::info!(pipeline, number, what, by, reason, "An operator wants a version of the pipeline.");
                    let wish = Arc::new(wish);
                    self.swaps.wish = Some(wish.clone());
                    // What could not be loaded may have been mended.
                    self.swaps.absent.values_mut().for_each(Absent::forget_waiting);
                    if self.draining.is_some() {
                        self.leave_failing(&wish);
                    }
                }
                self.follow_swaps();
            }
            Err(error) if !self.swaps.trouble => {
                self.swaps.trouble = true;
                tracing::warn!(pipeline, %error, "Which version an operator wants cannot be read; what partitions have taken over stands.");
            }
            Err(error) => tracing::debug!(%error, "Which version an operator wants could not be asked."),
        }
    }

    /// A version whose calls fail for now, again and again, is wanted no more, and what is wanted is there. What it has in work in partitions that have
    /// not gone over yet is not waited for: those are claimed anew, and go over where they stand decided. Else they would go over behind what is in
    /// work, which may never end. While draining it is given up at once.
    fn leave_failing(&mut self, wish: &Swap) {
        let draining = self.draining.is_some();
        let in_work = |(partition, state): (&TopicPartition, &mut Partition)| {
            let running = state.running()?;
            let goes_over = running.taking.number().is_none_or(|number| number < wish.number);
            (running.in_call > 0 && (goes_over || draining)).then(|| partition.clone())
        };
        let in_work: Vec<_> = self.partitions.iter_mut().filter_map(in_work).collect();
        if in_work.is_empty() {
            return;
        }
        let is_left = |version: &Version| version.strain.is_failing() && !wish.names().any(|wanted| *wanted == version.name);
        let ready = &mut self.swaps.ready;
        let mut left: Vec<Arc<Version>> =
            ready.others.extract_if(.., |_, version| is_left(version)).map(|(_, version)| version).collect();
        if is_left(&ready.base) {
            // It stays in memory, for whoever wants it again: without the calls that are given up.
            let afresh = Arc::new(Version::base(ready.base.function.clone()));
            left.push(std::mem::replace(&mut ready.base, afresh));
        }
        let Some(first) = left.first().map(|version| version.name.clone()) else { return };
        left.iter().for_each(|version| version.strain.give_up());
        if draining {
            return;
        }
        for partition in in_work {
            tracing::warn!(%partition, version = &*first, "Calls of a version that is wanted no more fail; what it has in work is scored by another.");
            self.reclaim(partition, self.settings.backoff);
        }
    }

    /// Loads what is needed, lets go of what is not, and has partitions go over.
    pub(super) fn follow_swaps(&mut self) {
        let mut needed: BTreeSet<Arc<str>> = self.swaps.wish.iter().flat_map(|wish| wish.names().cloned()).collect();
        for running in self.partitions.values_mut().filter_map(Partition::running) {
            needed.extend(running.taking.names(running.decided).cloned());
        }
        self.load(&needed);
        if self.swaps.asked {
            self.parts.versions.serves(self.swaps.in_force());
        }
        if self.draining.is_some() {
            return;
        }
        let ready = &self.swaps.ready;
        let Some(wish) = self.swaps.wish.clone().filter(|wish| wish.names().all(|name| ready.get(name).is_some())) else {
            return;
        };
        self.leave_failing(&wish);
        let partitions = &mut self.partitions;
        let mut sends = Vec::new();
        for (partition, state) in partitions.iter_mut() {
            let incarnation = state.incarnation;
            let Some(running) = state.running() else { continue };
            let decided = running.deciding.as_ref().map_or(running.decided, |prefix| prefix.to);
            if let Some(sent) = running.taking.begin(&wish, decided) {
                sends.push((partition.clone(), incarnation, sent));
            }
        }
        for (partition, incarnation, sent) in sends {
            self.send_take(partition, incarnation, sent, Duration::ZERO);
        }
    }
}
