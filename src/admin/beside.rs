//! What `/status` says of shadows and ladders, by pipeline.

use crate::telemetry::{Tallies, Tally, psi};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of the pipelines that have one.
pub fn shadows(tallies: &Tallies) -> BTreeMap<String, Value> {
    let one = |(pipeline, tally): (String, Arc<Tally>)| {
        let shadow = tally.shadow()?;
        let (state, counts) = shadow.now();
        let told = json!({
            "state": state.word(), "reason": state.reason(), "model": shadow.model(),
            "compared": counts.compared, "agreement": counts.agreement(), "flipped": counts.flipped(),
            "dropped": counts.dropped, "failed": counts.failed,
            "mean_difference": counts.differences.mean(), "psi": psi(&counts.champion, &counts.challenger),
        });
        Some((pipeline, told))
    };
    tallies.all().into_iter().filter_map(one).collect()
}

/// Of the pipelines that have one.
pub fn ladders(tallies: &Tallies) -> BTreeMap<String, Value> {
    let one = |(pipeline, tally): (String, Arc<Tally>)| {
        let rungs = tally.rungs()?;
        let (rung, name) = rungs.in_force();
        let events: BTreeMap<&str, u64> = rungs.events().collect();
        let told = json!({ "rung": rung, "name": name, "events": events });
        Some((pipeline, told))
    };
    tallies.all().into_iter().filter_map(one).collect()
}
