//! One pass over a log in this process: the records that each event gives, and the states that are left. A stream must give the same.

pub mod compare;

use futures_util::FutureExt;
use millrace::config::{Config, Pipeline};
use millrace::event::{Decoder, Event, RawEvent, Rejection};
use millrace::function::recommend::Recommend;
use millrace::function::{Function, Input, Outcome};
use millrace::record::{Provenance, Record, dead_letter, prediction};
use millrace::state::in_memory::InMemory;
use millrace::state::recommend::{Facts, RecommendFold, State};
use millrace::state::{At, Features, Fold, Keys, Stored, StoredError};
use std::sync::Arc;

/// One partition of a pipeline of the function `recommend`, from the empty state on.
pub struct OnePass {
    by: Provenance,
    decoder: Decoder,
    states: InMemory<Noted>,
    function: Recommend,
    out_topic: Arc<str>,
    dead_letter_topic: Arc<str>,
    record_bytes: usize,
}

impl OnePass {
    /// The error says what the pipeline lacks.
    pub fn new(config: &Config, pipeline: &Pipeline) -> Result<Self, String> {
        let signals = config.recommend_of(pipeline).ok_or("it is no pipeline of the function `recommend`")?;
        let function = Recommend::new(signals, &pipeline.options)?;
        let by = Provenance {
            pipeline: pipeline.name.as_str().into(),
            run: 1,
            function: function.spec().name.into(),
            model: function.spec().model.as_str().into(),
            config: config.digest_of(pipeline).into(),
            fold: None,
            keeps_latest: false,
        };
        Ok(Self {
            by,
            decoder: Decoder::new(pipeline.event, pipeline.fields.clone(), config.limits_of(pipeline).clone()),
            states: InMemory::new(Noted(RecommendFold::new(signals))),
            function,
            out_topic: pipeline.output_topic().into(),
            dead_letter_topic: pipeline.dead_letter_topic().into(),
            record_bytes: pipeline.record_bytes,
        })
    }

    /// What the next event of the log gives: predictions, one dead letter, or nothing.
    pub fn records(&mut self, raw: RawEvent) -> Vec<Record> {
        let event = match self.decoder.decode(raw) {
            Ok(event) => event,
            Err((raw, why)) => return vec![self.dead(&raw, &why)],
        };
        let features = match self.states.apply(&event) {
            Ok(features) => Some(features),
            Err(why) => return vec![self.dead(&event.raw, &why)],
        };
        let slice = [Input { event, features }];
        // The function waits for nothing.
        let outcomes = self.function.call(&slice).now_or_never().expect("an answer at once").expect("an answer");
        let event = &slice[0].event;
        match outcomes.into_iter().next().expect("one outcome an event") {
            Outcome::Skip(_) => Vec::new(),
            Outcome::Reject(why) => vec![self.dead(&event.raw, &why)],
            Outcome::Emit(predictions) => {
                let record = |(n, one): (usize, millrace::function::Prediction)| {
                    prediction(
                        &self.by,
                        event,
                        n as i16,
                        &self.out_topic,
                        one.key.as_deref(),
                        &one.fields,
                        one.label,
                        one.score,
                        one.model.as_ref(),
                    )
                };
                predictions.into_iter().enumerate().map(record).collect()
            }
        }
    }

    fn dead(&self, raw: &RawEvent, why: &Rejection) -> Record {
        dead_letter(&self.by, raw, 0, &self.dead_letter_topic, why, self.record_bytes, None)
    }

    pub fn pipeline(&self) -> &str {
        &self.by.pipeline
    }

    /// Memory that the states would take on the stream, bytes, about.
    pub fn cost_bytes(&self) -> usize {
        self.states().iter().map(|(key, state)| key.len() + state.cost_bytes()).sum()
    }

    /// Every key with what its row must say.
    pub fn states(&self) -> Vec<(&str, &NotedState)> {
        self.states.all()
    }
}

/// The fold, with what a row says of a state beside its bytes.
struct Noted(RecommendFold);

/// A state, and the newest of the events that were folded into it.
#[derive(Default)]
pub struct NotedState {
    state: State,
    /// Offset after the last of them.
    pub after: i64,
    /// Event time of the newest of them, milliseconds.
    pub newest_ms: Option<i64>,
}

impl NotedState {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }
}

impl Stored for NotedState {
    fn encode(&self, into: &mut Vec<u8>) {
        self.state.encode(into);
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        Ok(Self { state: State::decode(bytes)?, ..Self::default() })
    }

    fn cost_bytes(&self) -> usize {
        self.state.cost_bytes()
    }
}

impl Fold for Noted {
    type Facts = Facts;
    type State = NotedState;

    fn digest(&self) -> &str {
        self.0.digest()
    }

    fn read(&self, event: &Event) -> Result<Facts, Rejection> {
        self.0.read(event)
    }

    fn keys(&self, facts: &mut Facts) -> Keys {
        self.0.keys(facts)
    }

    fn link(&self, ring_one: &[&NotedState], facts: &mut Facts) -> Keys {
        self.0.link(&bare(ring_one), facts)
    }

    fn fold(&self, key: usize, noted: &mut NotedState, facts: &Facts, at: At) {
        self.0.fold(key, &mut noted.state, facts, at);
        noted.after = at.offset + 1;
        noted.newest_ms = noted.newest_ms.max(Some(at.time_ms));
    }

    fn features(&self, states: &[&NotedState], facts: &Facts, at: At) -> Features {
        self.0.features(&bare(states), facts, at)
    }
}

fn bare<'a>(states: &[&'a NotedState]) -> Vec<&'a State> {
    states.iter().map(|noted| &noted.state).collect()
}
