//! A shadow: a second model, the challenger, that answers a share of a pipeline's events after the pipeline has, in spare time, and is
//! compared with it. Records, rows and offsets know nothing of it.
//!
//! `load` builds challengers at the start · `sample` chooses events, which `offer` puts before them · `challenger` calls, on the thread of
//! `lane` · `compare` holds answers against each other · `keep` writes counts and flips to Postgres, `rows` says how.

mod challenger;
mod compare;
mod keep;
mod lane;
mod load;
mod offer;
pub(crate) mod rows;
mod sample;
#[cfg(test)]
mod tests;

pub use load::Loaded;
pub use offer::Champion;

use super::spare::{Counted, Work};
use crate::config::{Pipeline, Shadow};
use crate::function::Function;
use crate::record::Provenance;
use crate::store::postgres::ShadowStore;
use crate::telemetry::{ShadowState, ShadowTally, Tally};
use challenger::{Bounds, Challenger};
use compare::Rule;
use keep::Keep;
use lane::Lane;
use offer::Offers;
use sample::Sample;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Flips on their way to Postgres.
const FLIPS: usize = 256;

/// The challengers of a worker, as they were loaded.
pub struct Shadows {
    loaded: BTreeMap<String, Loaded>,
    work: Work,
    store: Arc<ShadowStore>,
}

/// What a pipeline's shadow has to do with.
pub struct Beside<'a> {
    pub pipeline: &'a Pipeline,
    /// The pipeline's own function, somewhere inside the one that is called.
    pub champion: &'a Champion,
    pub provenance: &'a Provenance,
    pub tally: &'a Tally,
    /// Labels of the pipeline's function that may be shown by name.
    pub labels: &'a std::collections::BTreeSet<String>,
    /// From then on the challenger is not called any more.
    pub drain: &'a CancellationToken,
    pub closing: &'a CancellationToken,
}

impl Shadows {
    pub fn new(loaded: BTreeMap<String, Loaded>, store: Arc<ShadowStore>) -> Self {
        Self { loaded, work: Work::default(), store }
    }

    /// Calls of the worker's streams.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Puts a shadow beside the champion, with tasks that are added to `tasks`, and gives the function back so that its calls count as work.
    /// Without any shadow in this worker it is the function itself.
    pub fn beside(&mut self, function: Arc<dyn Function>, of: &Beside<'_>, tasks: &mut JoinSet<()>) -> Arc<dyn Function> {
        if self.loaded.values().all(|loaded| loaded.challenger.is_err()) {
            self.tell_of_those_not_loaded(of);
            return function;
        }
        match of.pipeline.shadow.as_ref().zip(self.loaded.get(&of.pipeline.name)) {
            Some((shadow, Loaded { challenger: Ok(challenger), settings })) => {
                self.shadowed(of, shadow, (challenger.clone(), settings), tasks);
            }
            _ => self.tell_of_those_not_loaded(of),
        }
        Arc::new(Counted { function, work: self.work.clone() })
    }

    fn tell_of_those_not_loaded(&self, of: &Beside<'_>) {
        if let Some(Loaded { challenger: Err(reason), .. }) = self.loaded.get(&of.pipeline.name) {
            tracing::warn!(pipeline = of.pipeline.name, reason, "The shadow is not loaded; the pipeline goes on without it.");
            of.tally.follow_shadow(Arc::new(ShadowTally::new("", ShadowState::NotLoaded(reason.clone()))));
        }
    }

    fn shadowed(
        &self,
        of: &Beside<'_>,
        shadow: &Shadow,
        (challenger, settings): (Arc<dyn Function>, &str),
        tasks: &mut JoinSet<()>,
    ) {
        let spec = challenger.spec();
        let tally = Arc::new(ShadowTally::new(&spec.model, ShadowState::Running));
        of.tally.follow_shadow(tally.clone());
        let labels = of.labels.iter().cloned().chain(challenger.labels()).collect();
        let (offers, offered) = mpsc::channel(shadow.queue);
        let (flips, kept) = mpsc::channel(FLIPS);
        let lane = match Lane::start(&of.pipeline.name, challenger.clone()) {
            Ok(lane) => lane,
            Err(error) => {
                tally.becomes(ShadowState::NotLoaded(format!("its thread cannot be started: {error}")));
                return;
            }
        };
        let versus = keep::Versus {
            pipeline: of.pipeline.name.clone(),
            champion: of.provenance.model.to_string(),
            champion_config: of.provenance.config.to_string(),
            challenger: spec.model.clone(),
            challenger_config: settings.to_owned(),
        };
        tracing::info!(
            pipeline = of.pipeline.name,
            challenger = spec.model,
            share = shadow.share,
            "A shadow answers a share of the events in spare time."
        );
        let follows = Challenger {
            pipeline: of.pipeline.name.as_str().into(),
            run: of.provenance.run,
            lane,
            offered,
            work: self.work.clone(),
            rule: Rule { threshold: shadow.threshold, labels },
            bounds: Bounds {
                slice: shadow.slice.min(spec.limits.slice).max(1),
                timeout: Duration::from_millis(shadow.call_timeout_ms),
                failures: shadow.failures,
            },
            tally: tally.clone(),
            flips: shadow.store.then_some(flips),
        };
        tasks.spawn(follows.follow(of.drain.clone()));
        if shadow.store {
            let keep = Keep { store: self.store.clone(), versus, tally: tally.clone(), flips: kept, keep_ms: shadow.keep.ms() };
            tasks.spawn(keep.follow(of.closing.clone()));
        }
        let sample = Sample::new(&of.pipeline.name, shadow.share);
        of.champion.offers_to(Offers::new(sample, offers, tally));
    }
}
