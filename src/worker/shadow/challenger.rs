//! Calls a challenger in spare time, a few events at once, and counts what comes. Whatever the challenger does, nobody waits for it.

use super::compare::{Answer, Rule};
use super::lane::{Failed, Lane};
use super::offer::Offered;
use crate::store::postgres::ShadowFlip;
use crate::telemetry::{ShadowState, ShadowTally};
use crate::worker::spare::Work;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bounds on a challenger.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub slice: usize,
    pub timeout: Duration,
    /// In a row.
    pub failures: u32,
}

/// See the module.
pub struct Challenger {
    pub pipeline: Arc<str>,
    pub run: i32,
    pub lane: Lane,
    pub offered: mpsc::Receiver<Offered>,
    pub work: Work,
    pub rule: Rule,
    pub bounds: Bounds,
    pub tally: Arc<ShadowTally>,
    /// Where flips go that are kept.
    pub flips: Option<mpsc::Sender<ShadowFlip>>,
}

/// What a call came to, and how many time limits have passed meanwhile.
struct Called {
    answer: Result<Vec<Answer>, Failed>,
    overdue: u32,
}

impl Challenger {
    /// Until the worker ends, or the challenger has failed too often.
    pub async fn follow(self, ends: CancellationToken) {
        let (pipeline, tally) = (self.pipeline.clone(), self.tally.clone());
        let cut_off = tokio::select! {
            () = ends.cancelled() => return,
            reason = self.work_on() => reason,
        };
        if let Some(reason) = cut_off {
            tracing::warn!(
                pipeline = &*pipeline,
                reason,
                "The shadow is cut off until the worker starts again; the pipeline goes on."
            );
            tally.becomes(ShadowState::CutOff(reason));
        }
    }

    /// Why it is cut off.
    async fn work_on(mut self) -> Option<String> {
        let (mut todo, mut in_a_row) = (VecDeque::<Vec<Offered>>::new(), 0);
        loop {
            let events = match todo.pop_front() {
                Some(events) => events,
                None => self.next().await?,
            };
            self.work.spare().await;
            let called = match self.call(&events, in_a_row).await {
                Ok(called) => called,
                Err(reason) => return Some(reason),
            };
            in_a_row += called.overdue;
            match called.answer {
                Ok(answers) if called.overdue == 0 => {
                    in_a_row = 0;
                    events.iter().zip(&answers).for_each(|(event, answer)| self.compare(event, answer));
                }
                // Late answers are none: they may have come with the worker's own work in the way.
                Ok(_) => self.tally.failed(events.len() as u64),
                Err(Failed::Together(_)) => todo.extend(events.into_iter().map(|event| vec![event])),
                Err(Failed::Alone(cause)) => {
                    in_a_row += 1;
                    self.tally.failed(events.len() as u64);
                    if in_a_row >= self.bounds.failures {
                        return Some(format!("it has failed {in_a_row} times in a row, at last: {cause}"));
                    }
                }
            }
        }
    }

    /// Events that wait, a slice at most; `None` when the pipeline has ended.
    async fn next(&mut self) -> Option<Vec<Offered>> {
        let mut events = Vec::with_capacity(self.bounds.slice);
        (self.offered.recv_many(&mut events, self.bounds.slice).await > 0).then_some(events)
    }

    /// One call. No other is made before it has come back; the error says that it does not.
    async fn call(&self, events: &[Offered], in_a_row: u32) -> Result<Called, String> {
        let mut answer = self.lane.call(events.iter().map(|event| event.input.clone()).collect());
        let mut overdue = 0;
        loop {
            tokio::select! {
                answer = &mut answer => {
                    if overdue > 0 {
                        self.tally.becomes(ShadowState::Running);
                    }
                    let answer = answer.map_err(|_| "its thread has ended".to_owned())?;
                    let answer = answer.map(|outcomes| outcomes.iter().map(Answer::of).collect());
                    return Ok(Called { answer, overdue });
                }
                () = tokio::time::sleep(self.bounds.timeout) => {
                    overdue += 1;
                    self.tally.becomes(ShadowState::Overdue);
                    if in_a_row + overdue >= self.bounds.failures {
                        self.tally.failed(events.len() as u64);
                        let (events, limit) = (events.len(), self.bounds.timeout);
                        return Err(format!("a call with {events} events has not come back within {overdue} times its limit of {limit:?}"));
                    }
                }
            }
        }
    }

    fn compare(&self, event: &Offered, challenger: &Answer) {
        let flip = self.rule.flip(&event.champion, challenger);
        self.tally
            .compared(flip.as_ref().map(|flip| (flip.champion.0, flip.challenger.0)), &Rule::scores(&event.champion, challenger));
        let (Some(flip), Some(flips)) = (flip, &self.flips) else { return };
        let position = &event.input.event.raw.position;
        let label = |side: (&str, Option<&super::compare::Said>)| match side.1.and_then(|said| said.label.as_deref()) {
            Some(label) => label.to_owned(),
            None => side.0.to_owned(),
        };
        let kept = ShadowFlip {
            run: self.run,
            topic: position.topic.to_string(),
            partition: position.partition,
            offset: position.offset,
            champion_label: label(flip.champion),
            champion_score: flip.champion.1.and_then(|said| said.score),
            challenger_label: label(flip.challenger),
            challenger_score: flip.challenger.1.and_then(|said| said.score),
        };
        // What finds no place is counted all the same.
        flips.try_send(kept).ok();
    }
}
