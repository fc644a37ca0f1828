//! Swaps of versions, as the command line and HTTP ask for them.

use crate::config::unknown_version;
use crate::store::Swap;
use crate::store::postgres::Standing;
use serde_json::{Value, json};

/// Whether a wish can be meant so, or what is wrong with it.
pub fn checked(known: &[&str], pipeline: &str, to: &str, share: Option<f64>, wish: Option<&Swap>) -> Result<(), String> {
    if !known.contains(&to) {
        let what = unknown_version(pipeline, to, known);
        return Err(format!("{what} (versions stand in the config as [pipeline.version.NAME], on every worker)"));
    }
    let Some(share) = share else { return Ok(()) };
    if !(share > 0.0 && share < 1.0) {
        return Err(format!(
            "a canary of {share}: write a share of the keys between 0 and 1, or leave it out to go over with all"
        ));
    }
    let in_force = wish.map_or(crate::config::BASE, |wish| &*wish.version);
    if in_force == to {
        return Err(format!("{to} scores all keys of the pipeline {pipeline} already; a canary is of another version"));
    }
    Ok(())
}

/// One wish as JSON.
pub fn swap_told(pipeline: &str, wish: &Swap) -> Value {
    json!({
        "pipeline": pipeline, "number": wish.number, "version": &*wish.version,
        "canary": wish.canary.as_ref().map(|canary| json!({ "version": &*canary.version, "share": canary.share })),
        "reason": wish.reason, "by": wish.by, "since": wish.since,
    })
}

/// Where one partition stands, as JSON.
pub fn standing_told(one: &Standing, wish: &Swap) -> Value {
    let last = one.taken.last();
    json!({
        "topic": one.topic, "partition": one.partition, "next_offset": one.next_offset,
        "version": last.map_or(crate::config::BASE, |last| &*last.version),
        "canary": last.and_then(|last| last.canary.as_ref()).map(|canary| &*canary.version),
        "from_offset": last.map(|last| last.from_offset),
        "waits": last.is_none_or(|last| last.number < wish.number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a version that no worker has, a share that is a percentage, a canary of what is in force.
    #[test]
    fn a_wish_names_a_version_and_a_share_that_make_sense() {
        let of = |to, share| checked(&["base", "v2"], "p", to, share, None).err();
        assert_eq!((of("v2", None), of("v2", Some(0.05)), of("base", None)), (None, None, None));
        assert!(of("v3", None).is_some_and(|why| why.contains("did you mean \"v2\"?")));
        assert!(of("zebra", None).is_some_and(|why| why.contains("it has base, v2")));
        for wrong in [0.0, 1.0, 5.0, -0.1, f64::NAN] {
            assert!(of("v2", Some(wrong)).is_some_and(|why| why.contains("share")), "{wrong}");
        }
        assert!(of("base", Some(0.1)).is_some_and(|why| why.contains("already")));
    }
}
