//! What the report leaves out.

use super::replay;
use crate::support::stage::Stage;
use serde_json::{Value, json};

fn counts(told: &Value) -> [&Value; 4] {
    ["offsets_not_compared", "events_erased", "events_compared", "events_changed"].map(|name| &told[name])
}

/// Would catch: rows that retention has removed, or payloads that were erased, told as changes of the model.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_or_erased_is_no_difference() {
    let stage = Stage::drained(200).await;
    let config = stage.config().display().to_string();
    stage.execute("UPDATE millrace.record SET decided_at = decided_at - interval '40 days' WHERE \"offset\" < 60").await;
    let gone = stage.millrace(&["retention", "--older-than", "30d", "--yes"]);
    assert_eq!(gone.code, Some(0), "{gone:?}");
    let erased = stage.millrace(&["erase", "--key", "a-180", "--yes"]);
    assert_eq!(erased.code, Some(0), "{erased:?}");
    let told = replay(&stage, &config, &["--from", "earliest", "--yes"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(counts(&told.json()), [&json!(120), &json!(1), &json!(79), &json!(0)], "{told:?}");
    let words = stage.without_config(&["replay", "--config", &config, "--id", "1", "--yes"]);
    assert!(words.out.contains("retention has removed") && words.out.contains("1 events are not compared"), "{words:?}");
}
