//! Which rung of its pipeline's ladder scored an event: the record says so, and nothing else of the record is read for it.

use crate::cli::common::Usage;
use crate::config::{FULL, Pipeline};
use crate::record::{Kind, Record};
use crate::worker::ladder::FIELD;
use serde_json::Value;

/// A rung, and the pipeline as it runs it.
pub struct Rung {
    pub name: String,
    pub pipeline: Pipeline,
}

/// `None` where the pipeline's own model scored it, or where nobody did.
pub fn of(records: &[Record], pipeline: &Pipeline) -> Result<Option<Rung>, Usage> {
    let Some(ladder) = &pipeline.ladder else { return Ok(None) };
    let named = records.iter().filter(|record| record.kind == Kind::Prediction).find_map(|record| {
        let value: Value = serde_json::from_str(&record.value).ok()?;
        Some(value.get(FIELD)?.as_str()?.to_owned())
    });
    let Some(name) = named.filter(|name| name != FULL) else { return Ok(None) };
    match ladder.at(&name, pipeline) {
        Some(pipeline) => Ok(Some(Rung { name, pipeline })),
        None => Err(Usage(format!(
            "the rung {name:?} scored it, and the ladder of `{}` in this config has no such rung that scores: give the config of that time \
             with --config",
            pipeline.name
        ))),
    }
}
