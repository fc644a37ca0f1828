//! A pipeline's function with a ladder: under overload a cheaper model, cheaper options or a skip take its place, rung by rung, and each
//! answer says which.
//!
//! `descent` decides · this file asks it before each slice, and calls the function of the rung.

mod descent;
#[cfg(test)]
mod tests;

use super::Own;
use crate::config::{Config, Ladder, Pipeline};
use crate::function::requests::Requests;
use crate::function::{CallError, Function, Input, Outcome, Spec};
use crate::inference::{Memory, Registry};
use crate::telemetry::{RungTally, Tally};
use anyhow::{Context, bail};
use descent::{Descent, Terms};
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The field of a record that names the rung that made it. At the top there is none.
pub const FIELD: &str = "rung";

/// One rung below the top.
enum Rung {
    Scores(Arc<dyn Function>, Arc<str>),
    /// The reason; what is not too old is scored by the rung above.
    Skips(&'static str),
}

/// See the module.
pub struct Laddered {
    pipeline: String,
    /// The pipeline's own.
    top: Arc<dyn Function>,
    rungs: Vec<Rung>,
    names: Vec<Arc<str>>,
    spec: Spec,
    terms: Terms,
    descent: Mutex<Descent>,
    tally: Arc<RungTally>,
    started: Instant,
    /// Milliseconds since 1970.
    clock: fn() -> i64,
}

/// The pipeline's function with its ladder, of which every rung is loaded now: when it is wanted, nothing is left to load with. The function
/// itself where there is no ladder.
pub fn laddered(
    function: Arc<dyn Function>,
    config: &Config,
    pipeline: &Pipeline,
    (own, registry): (&Own, &Registry),
    tally: &Tally,
) -> anyhow::Result<Arc<dyn Function>> {
    let Some(ladder) = &pipeline.ladder else { return Ok(function) };
    let build = |of: &Pipeline| own.function(config, of, registry);
    let laddered = Laddered::new(function, pipeline, ladder, build)?;
    tally.follow_rungs(laddered.tally.clone());
    Ok(Arc::new(laddered))
}

/// Whether all models that are built fit beside each other, where a pipeline has a ladder. To be asked once everything is built.
pub fn fit(config: &Config, memory: &Memory) -> anyhow::Result<()> {
    let ladders: Vec<&str> = config.pipeline.iter().filter(|of| of.ladder.is_some()).map(|of| of.name.as_str()).collect();
    let taken: usize = memory.held().iter().map(|held| held.bytes).sum();
    match memory.limit() {
        Some(limit) if taken > limit && !ladders.is_empty() => bail!(
            "with the rungs of ladders (pipeline {}) all models take {} MB, and memory_budget_mb under [models] is {}: they would put each \
             other out under overload. Raise it, or take smaller models",
            ladders.join(", "),
            taken.div_ceil(1 << 20),
            limit >> 20
        ),
        _ => Ok(()),
    }
}

impl Laddered {
    fn new(
        top: Arc<dyn Function>,
        pipeline: &Pipeline,
        ladder: &Ladder,
        build: impl Fn(&Pipeline) -> anyhow::Result<Arc<dyn Function>>,
    ) -> anyhow::Result<Self> {
        let mut rungs = Vec::with_capacity(ladder.rung.len());
        for (above, rung) in ladder.rung.iter().enumerate() {
            let name = ladder.name(above + 1);
            rungs.push(match (&rung.skip, rung.of(pipeline)) {
                // A few bytes for the life of the process: reasons are words of a program, else.
                (Some(reason), _) => Rung::Skips(reason.clone().leak()),
                (None, Some(varied)) => {
                    let function = build(&varied).with_context(|| format!("the rung `{name}` of its ladder"))?;
                    let model = function.spec().model.as_str().into();
                    Rung::Scores(function, model)
                }
                (None, None) => bail!("the rung `{name}` of its ladder neither scores nor skips"),
            });
        }
        let names: Vec<Arc<str>> = (0..=rungs.len()).map(|place| ladder.name(place).into()).collect();
        let mut spec = top.spec().clone();
        for rung in &rungs {
            if let Rung::Scores(function, _) = rung {
                spec.limits.timeout = spec.limits.timeout.max(function.spec().limits.timeout);
            }
        }
        let span = |span: crate::config::Span| Duration::from_millis(span.ms().unsigned_abs());
        let terms = Terms {
            objective: span(ladder.event_age_objective),
            hold: span(ladder.hold),
            recover: span(ladder.recover),
            history_after: span(ladder.history_after),
            lowest: rungs.len(),
        };
        Ok(Self {
            pipeline: pipeline.name.clone(),
            top,
            tally: Arc::new(RungTally::new(names.iter().map(|name| name.to_string()).collect())),
            rungs,
            names,
            spec,
            terms,
            descent: Mutex::new(Descent::new(terms)),
            started: Instant::now(),
            clock: || jiff::Timestamp::now().as_millisecond(),
        })
    }

    /// Time since the record's own timestamp, as the metric of ages has it; `None` where the producer gave none.
    fn age(now_ms: i64, input: &Input) -> Option<Duration> {
        let at = Some(input.event.raw.timestamp_ms).filter(|at| *at >= 0)?;
        Some(Duration::from_millis(now_ms.saturating_sub(at).max(0).unsigned_abs()))
    }

    /// The rung for a slice. Slices go by the oldest event, so that one behind its time is about as old everywhere; its median is taken, for
    /// one odd timestamp says nothing.
    fn rung(&self, now_ms: i64, slice: &[Input]) -> usize {
        let mut ages: Vec<Duration> = slice.iter().filter_map(|input| Self::age(now_ms, input)).collect();
        ages.sort_unstable();
        let mut descent = self.descent.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.tally.in_force().0;
        let Some(median) = ages.get(ages.len() / 2).copied() else { return before };
        let rung = descent.see(self.started.elapsed(), median);
        self.tally.stands_on(rung);
        drop(descent);
        let (from, to) = (&*self.names[before], &*self.names[rung]);
        let seconds = median.as_secs_f64();
        if rung > before {
            tracing::warn!(
                pipeline = self.pipeline,
                from,
                to,
                age_seconds = seconds,
                "Events get too old: the ladder goes down a rung."
            );
        } else if rung < before {
            tracing::info!(
                pipeline = self.pipeline,
                from,
                to,
                age_seconds = seconds,
                "Events are young again: the ladder goes up a rung."
            );
        }
        rung
    }

    /// What a scoring rung says of a slice, in pieces that it takes.
    async fn score(&self, rung: usize, slice: &[Input]) -> Result<Vec<Outcome>, CallError> {
        let below = rung.checked_sub(1).and_then(|below| self.rungs.get(below));
        let (function, model) = match below {
            Some(Rung::Scores(function, model)) => (function, Some(model)),
            _ => (&self.top, None),
        };
        let mut outcomes = Vec::with_capacity(slice.len());
        for piece in slice.chunks(function.spec().limits.slice.clamp(1, slice.len().max(1))) {
            let said = function.call(piece).await?;
            if said.len() != piece.len() {
                let (said, given) = (said.len(), piece.len());
                return Err(CallError::Fatal(format!("the rung {} gave {said} outcomes for {given} events", self.names[rung])));
            }
            outcomes.extend(said);
        }
        for outcome in &mut outcomes {
            if let Outcome::Emit(predictions) = outcome {
                for prediction in predictions {
                    prediction.fields.remove(FIELD);
                    if let Some(model) = model {
                        prediction.fields.insert(FIELD.to_owned(), Value::from(&*self.names[rung]));
                        prediction.model.get_or_insert_with(|| model.clone());
                    }
                }
            }
        }
        self.tally.ended(rung, outcomes.len() as u64);
        Ok(outcomes)
    }

    /// Skips what is older than the objective and no history; the rung above scores the others.
    async fn shed(&self, now_ms: i64, rung: usize, reason: &'static str, slice: &[Input]) -> Result<Vec<Outcome>, CallError> {
        let late = |input: &Input| {
            Self::age(now_ms, input).is_some_and(|age| age > self.terms.objective && age <= self.terms.history_after)
        };
        let kept: Vec<Input> = slice.iter().filter(|input| !late(input)).cloned().collect();
        let mut scored = match kept.is_empty() {
            true => Vec::new(),
            false => self.score(rung.saturating_sub(1), &kept).await?,
        }
        .into_iter();
        let lost = || CallError::Fatal("a rung gave fewer outcomes than it was given events".to_owned());
        let outcomes: Result<Vec<Outcome>, CallError> = slice
            .iter()
            .map(|input| if late(input) { Ok(Outcome::Skip(reason)) } else { scored.next().ok_or_else(lost) })
            .collect();
        self.tally.ended(rung, (slice.len() - kept.len()) as u64);
        outcomes
    }
}

impl Function for Laddered {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            let now_ms = (self.clock)();
            let rung = self.rung(now_ms, slice);
            match rung.checked_sub(1).and_then(|below| self.rungs.get(below)) {
                Some(Rung::Skips(reason)) => self.shed(now_ms, rung, reason, slice).await,
                _ => self.score(rung, slice).await,
            }
        })
    }

    /// Those of all rungs.
    fn labels(&self) -> Vec<String> {
        let of_rungs = self.rungs.iter().filter_map(|rung| match rung {
            Rung::Scores(function, _) => Some(function.labels()),
            Rung::Skips(_) => None,
        });
        let all: BTreeSet<String> = self.top.labels().into_iter().chain(of_rungs.flatten()).collect();
        all.into_iter().collect()
    }

    fn gives_up(&self) -> bool {
        self.top.gives_up()
    }

    fn requests(&self) -> Option<&dyn Requests> {
        self.top.requests()
    }
}
