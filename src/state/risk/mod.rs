//! Risk features: each entity's entries of the last weeks, and aggregates over exact sliding windows of them.
//!
//! An event becomes one entry in the state of each of its entities (`card:4711`, `terminal:12`). All windows of an entity look at
//! the same entries; each is found by binary search and gone over from the oldest entry to the newest, then the event itself. So a
//! feature is a function of what is in its window and of nothing that was there before: no running sums that drift, and the same
//! bits after any restart. It costs a few hundred additions an event; `entries` bounds it.

mod bytes;
mod calendar;
mod plan;
mod read;
mod rows;
mod values;
mod window;

pub use read::Facts;
pub use rows::Rows;
pub use values::holds;

use super::{At, Features, Fold, Keys};
use crate::config::risk::Risk;
use crate::event::{Event, Rejection};
use plan::{Made, Plan};
use read::{Reader, What};
use serde_json::json;
use sha2::{Digest, Sha256};

/// See the [module](self).
pub struct RiskFold {
    plan: Plan,
    reader: Reader,
    names: Vec<Box<str>>,
    entries: usize,
    max_late_ms: i64,
    digest: String,
}

impl RiskFold {
    /// For settings [without findings](Risk::findings).
    pub fn new(config: &Risk) -> Self {
        let plan = Plan::new(config);
        Self {
            reader: Reader::new(config, &plan),
            names: config.feature.iter().map(|feature| feature.name.as_str().into()).collect(),
            entries: config.entries.max(1),
            max_late_ms: config.max_late.ms(),
            digest: digest(config),
            plan,
        }
    }

    /// Names of the features, in the order of their numbers.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Whether the fold reads a number at that path, or a text.
    pub fn reads_number(&self, path: &str) -> bool {
        self.reader.reads_number(path)
    }

    fn takes_in(&self, state: &Rows, at: At) -> bool {
        state.newest_ms().is_none_or(|newest| at.time_ms >= newest - self.max_late_ms)
    }
}

impl Fold for RiskFold {
    type Facts = Facts;
    type State = Rows;

    fn digest(&self) -> &str {
        &self.digest
    }

    fn read(&self, event: &Event) -> Result<Facts, Rejection> {
        self.reader.read(&self.plan, event)
    }

    fn keys(&self, facts: &mut Facts) -> Keys {
        std::mem::take(&mut facts.keys)
    }

    fn links(&self) -> bool {
        false
    }

    fn fold(&self, key: usize, state: &mut Rows, facts: &Facts, at: At) {
        let plan = &self.plan.entities[facts.entity(key)];
        if let What::Label { value, .. } = facts.what {
            for column in plan.label_columns() {
                state.mark(facts.id, column, value.to_bits());
            }
            return;
        }
        if !self.takes_in(state, at) {
            return;
        }
        let now_ms = state.newest_ms().map_or(at.time_ms, |newest| newest.max(at.time_ms));
        state.forget_until(now_ms - plan.horizon_ms - self.max_late_ms);
        if state.find(facts.id).is_none() {
            state.insert(at.time_ms, plan.width(), plan.row(facts, at));
            state.cut_to(self.entries);
        }
    }

    fn features(&self, states: &[&Rows], facts: &Facts, at: At) -> Features {
        if let What::Label { .. } = facts.what {
            let label = match states {
                [] => "passed_by",
                _ if states.iter().any(|state| state.find(facts.id).is_some()) => "marked",
                _ => "unknown_id",
            };
            return Features { document: Some(json!({ "label": label })), ..Features::default() };
        }
        let mut currents = Vec::with_capacity(self.plan.width());
        self.plan.entities.iter().for_each(|entity| currents.extend(entity.row(facts, at)));
        let mut rest = &currents[..];
        let mut views = Vec::with_capacity(states.len());
        for (entity, state) in self.plan.entities.iter().zip(states) {
            let (current, others) = rest.split_at(entity.width());
            views.push(window::View::new(state, current, at.time_ms));
            rest = others;
        }
        let find = |range: &plan::Range| views[range.entity].find(range.window_ms, range.delay_ms);
        let ranges: Vec<window::Found> = self.plan.ranges.iter().map(find).collect();
        let number = |made: &Made| match made {
            Made::Field(slot, empty) => match f64::from_bits(facts.words[*slot]) {
                number if number.is_nan() => *empty,
                number => number,
            },
            Made::Calendar(value) => value.of(at.time_ms),
            Made::Aggregate(aggregate) => {
                let range = &self.plan.ranges[aggregate.range];
                aggregate.of(&views[range.entity], &ranges[aggregate.range])
            }
        };
        let folded = states.iter().all(|state| self.takes_in(state, at));
        Features {
            numbers: self.plan.features.iter().map(number).collect(),
            document: (!folded).then(|| json!({ "folded": false })),
            late: states.iter().any(|state| state.newest_ms().is_some_and(|newest| newest > at.time_ms)),
            truncated: ranges.iter().any(|range| range.truncated),
        }
    }
}

/// Raised when the same settings give other states.
const VERSION: &str = "risk 2";

/// How rows of a file are read changes no state.
fn digest(config: &Risk) -> String {
    let settings = Risk { file: Default::default(), ..config.clone() };
    let text = format!("{VERSION} {}", serde_json::to_string(&settings).unwrap_or_default());
    let mut hex: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(12);
    hex
}

#[cfg(test)]
mod tests;
