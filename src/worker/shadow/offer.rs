//! The function that a challenger is compared with. It is built before anybody knows whether the challenger is: until then it offers nothing.

use super::compare::Answer;
use super::sample::Sample;
use crate::function::requests::Requests;
use crate::function::{CallError, Function, Input, Outcome, Spec};
use crate::telemetry::ShadowTally;
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Bytes of events that wait for one challenger at most.
const WAITING_BYTES: usize = 32 << 20;

/// An event that waits for the challenger, with what the champion said.
pub struct Offered {
    pub input: Input,
    pub champion: Answer,
    /// Given back when it is dropped.
    _place: Place,
}

/// Bytes of an event that waits.
struct Place {
    bytes: usize,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Where answers are offered.
pub struct Offers {
    sample: Sample,
    queue: mpsc::Sender<Offered>,
    waiting: Arc<AtomicUsize>,
    tally: Arc<ShadowTally>,
}

impl Offers {
    pub fn new(sample: Sample, queue: mpsc::Sender<Offered>, tally: Arc<ShadowTally>) -> Self {
        Self { sample, queue, waiting: Arc::default(), tally }
    }

    /// Never waits: what finds no place is dropped and counted.
    fn offer(&self, slice: &[Input], outcomes: &[Outcome]) {
        if self.queue.is_closed() {
            return;
        }
        for (input, outcome) in slice.iter().zip(outcomes).filter(|(input, _)| self.sample.chooses(&input.event.id)) {
            let Ok(permit) = self.queue.try_reserve() else {
                self.tally.dropped(1);
                continue;
            };
            let bytes = input.event.raw.cost_bytes();
            if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES {
                self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                self.tally.dropped(1);
                continue;
            }
            let place = Place { bytes, waiting: self.waiting.clone() };
            permit.send(Offered { input: input.clone(), champion: Answer::of(outcome), _place: place });
        }
    }
}

/// The pipeline's own function, which offers what it has answered. It stands inside the pipeline's ladder, around the top: what another rung
/// says is not the champion's.
pub struct Champion {
    function: Arc<dyn Function>,
    offers: OnceLock<Offers>,
}

impl Champion {
    pub fn new(function: Arc<dyn Function>) -> Arc<Self> {
        Arc::new(Self { function, offers: OnceLock::new() })
    }

    /// From now on it offers; once.
    pub(super) fn offers_to(&self, offers: Offers) {
        self.offers.get_or_init(|| offers);
    }
}

impl Function for Champion {
    fn spec(&self) -> &Spec {
        self.function.spec()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            let outcomes = self.function.call(slice).await?;
            if let Some(offers) = self.offers.get() {
                offers.offer(slice, &outcomes);
            }
            Ok(outcomes)
        })
    }

    fn labels(&self) -> Vec<String> {
        self.function.labels()
    }

    fn gives_up(&self) -> bool {
        self.function.gives_up()
    }

    fn requests(&self) -> Option<&dyn Requests> {
        self.function.requests()
    }
}
