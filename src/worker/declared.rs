//! Which labels may be shown by name: those that a pipeline's function had before any event came. Others may be what an event said.

use crate::config::OWN;
use crate::function::Function;
use crate::record::Record;
use crate::telemetry::OTHER;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// The labels of one pipeline's function.
pub type Labels = Arc<BTreeSet<String>>;

/// The name that a record's label is counted by.
pub fn counted<'a>(labels: &BTreeSet<String>, record: &'a Record) -> Option<&'a str> {
    record.label.as_deref().map(|label| if labels.contains(label) { label } else { OTHER })
}

/// Whether a function is of this crate, so that what its fields are called tells what they hold.
pub fn is_known(function: &str) -> bool {
    !function.starts_with(OWN)
}

/// The labels of all pipelines, each from when its function is built; those of other versions come to them when these are.
#[derive(Debug, Default)]
pub struct Declared(RwLock<BTreeMap<String, Labels>>);

impl Declared {
    pub fn add(&self, pipeline: &str, function: &dyn Function) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let labels = Arc::make_mut(all.entry(pipeline.to_owned()).or_default());
        labels.extend(function.labels());
    }

    /// None of a pipeline that is not built.
    pub fn of(&self, pipeline: &str) -> Labels {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(pipeline).cloned().unwrap_or_default()
    }
}
