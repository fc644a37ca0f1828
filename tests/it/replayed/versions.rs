//! A version of the config over the past, before a swap to it.

use super::{paid, replay, send};
use crate::support::command::PARTITIONS;
use crate::support::stage::{Plan, Stage};
use serde_json::{Value, json};

/// `v2` says something else of events with a fee.
const VERSIONS: &str = r#"
[pipeline.version.v2]
options = { score = "amount / 100 - fee" }
[pipeline.version.v3]
options = { score = "amount / 50" }
"#;

/// Names and counts of what scored one side.
fn scored_by(side: &Value) -> Vec<(&str, i64)> {
    let by = side["scored_by"].as_array().unwrap().iter();
    let mut by: Vec<_> = by.map(|by| (by["version"].as_str().unwrap_or("?"), by["records"].as_i64().unwrap())).collect();
    by.sort_unstable();
    by
}

/// Would catch: a version that is not the one that a swap brings, a report that does not name it, a replay that goes on with another version than it
/// was begun with, an unknown version that is replayed as the pipeline's own settings; a live pipeline that is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_replayed_before_the_swap_and_says_what_the_swap_then_says() {
    let stage = Stage::of(Plan { partitions: PARTITIONS, options: VERSIONS, ..Plan::default() }).await;
    let both = |from: i64, to: i64| {
        send(&stage, 0, (from..to).filter(|n| n % 2 == 0).map(paid));
        send(&stage, 1, (from..to).filter(|n| n % 2 == 1).map(paid));
    };
    both(0, 200);
    stage.run_until(200).await;
    let config = stage.config().display().to_string();

    let unknown = replay(&stage, &config, &["--version", "v9", "--from", "earliest", "--yes"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("no version \"v9\", it has base, v2, v3"), "{unknown:?}");
    let shown = stage.millrace(&["replay", "--version", "v2", "--from", "earliest"]);
    assert!(shown.code == Some(0) && shown.out.contains(", version v2"), "{shown:?}");
    assert_eq!(stage.number("SELECT count(*) FROM millrace.replay").await, 0, "nothing is written without --yes");

    let done = replay(&stage, &config, &["--version", "v2", "--from", "earliest", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let told = done.json();
    let changed = (100..200).filter(|n| n % 10 != 7).count();
    assert_eq!((&told["events_compared"], &told["events_changed"]), (&json!(200), &json!(changed)), "{told}");
    assert_eq!((scored_by(&told["live"]), scored_by(&told["replay"])), (vec![("base", 200)], vec![("v2", 200)]), "{told}");
    assert_eq!(told["replay"]["plan"]["told"]["version"], "v2", "{told}");

    for other in ["v3", "base"] {
        let other = replay(&stage, &config, &["--id", "1", "--version", other, "--yes"]);
        assert!(other.code == Some(2) && other.err.contains("was begun with version v2"), "{other:?}");
    }
    let again = replay(&stage, &config, &["--id", "1", "--yes"]);
    assert_eq!((again.code, scored_by(&again.json()["replay"])), (Some(0), vec![("v2", 200)]), "{again:?}");
    let own = replay(&stage, &config, &["--version", "base", "--from", "earliest", "--yes"]).json();
    assert_eq!((&own["events_changed"], scored_by(&own["replay"])), (&json!(0), vec![("base", 200)]), "{own}");

    // What comes after the swap is what the replay says of it.
    let mut worker = stage.worker();
    let swapped = stage.millrace(&["swap", "--to", "v2", "--reason", "the replay was good", "--wait", "60"]);
    assert_eq!(swapped.code, Some(0), "{swapped:?}");
    both(200, 300);
    let of_live = format!("SELECT sum(events)::bigint FROM millrace.stream_partition WHERE pipeline = '{}'", stage.name);
    stage.wait_for(&of_live, 300).await;
    worker.drain();
    let after = replay(&stage, &config, &["--version", "v2", "--from", "earliest", "--yes"]).json();
    assert_eq!((&after["events_compared"], &after["events_changed"]), (&json!(300), &json!(changed)), "{after}");
    assert_eq!(
        scored_by(&after["live"]),
        [("base", 210), ("v2", 90)],
        "dead letters that no function saw name the pipeline's own settings: {after}"
    );
    let listed = stage.millrace(&["replay", "list"]);
    let lines: Vec<bool> = listed.out.lines().map(|line| line.contains(" version v2 ")).collect();
    assert_eq!(lines, [true, false, true], "{listed:?}");
    let words = stage.millrace(&["replay", "--id", "1", "--yes"]);
    assert!(
        words.out.contains("replay  200 records by copy, no model, config") && words.out.contains(", version v2\n"),
        "{words:?}"
    );

    stage.reconfigure("[pipeline.version.v2]", "[pipeline.version.v4]");
    let gone = stage.millrace(&["replay", "--id", "1", "--yes"]);
    assert!(
        gone.code == Some(2) && gone.err.contains("this config does not have") && gone.err.contains("base, v3, v4"),
        "{gone:?}"
    );
}
