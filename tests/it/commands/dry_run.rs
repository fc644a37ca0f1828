//! `millrace run --dry-run` tells what a worker would find, and touches nothing.

use crate::support::command::Ended;
use crate::support::delete_group;
use crate::support::stage::Stage;

fn dry_run(stage: &Stage) -> Ended {
    stage.millrace(&["run", "--dry-run", "--json"])
}

async fn standing(stage: &Stage) -> String {
    stage.text("SELECT coalesce(string_agg(one::text, E'\\n' ORDER BY one::text), '') FROM (SELECT * FROM millrace.stream_partition) one").await
}

/// Would catch: a dry run that claims, joins or writes, one that reads no event, one that passes what would halt.
#[tokio::test(flavor = "multi_thread")]
async fn it_scores_the_last_events_and_changes_nothing() {
    let stage = Stage::small().await;
    stage.send(0, 40);
    let fresh = dry_run(&stage);
    assert_eq!(fresh.code, Some(0), "{fresh:?}");
    for text in [
        "new, would begin at offset 0, the log's start, with 20 offsets to go",
        "of the last 5 events 5 would be scored",
        "1 dead letters (missing_field)",
    ] {
        assert!(fresh.out.contains(text), "{text}: {fresh:?}");
    }
    assert_eq!(standing(&stage).await, "");
    stage.run_until(40).await;
    stage.send(40, 50);
    let before = standing(&stage).await;
    let later = dry_run(&stage);
    assert!(later.code == Some(0) && later.out.contains("would go on at offset 20, with 5 offsets to go"), "{later:?}");
    assert_eq!(standing(&stage).await, before);

    stage.reconfigure("[[pipeline]]", "[[pipeline]]\nmode = \"postgres\"");
    let halts = dry_run(&stage);
    assert!(halts.code == Some(2) && halts.out.contains("was running in mode both"), "{halts:?}");
    stage.reconfigure("\nmode = \"postgres\"", "");
    stage.execute("UPDATE millrace.stream_partition SET published_offset = published_offset - 1").await;
    delete_group(&stage.name).await;
    let lost = dry_run(&stage);
    assert!(lost.code == Some(2) && lost.out.contains("may or may not have been published"), "{lost:?}");
    let usage = stage.millrace(&["run", "--json"]);
    assert_eq!(usage.code, Some(2), "{usage:?}");
}
