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

/// Would catch: a dry run that claims, joins or writes, one that reads no event, one that passes what would halt, or halts what goes on.
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

    assert_eq!(stage.millrace(&["pause", "--reason", "by hand", "--by", "ann"]).code, Some(0));
    let paused = dry_run(&stage);
    assert!(paused.code == Some(0) && paused.out.contains("the whole pipeline is paused by ann"), "{paused:?}");
    assert!(paused.out.contains("it is paused, so nothing of it is begun"), "{paused:?}");
    assert_eq!(stage.millrace(&["resume"]).code, Some(0));

    let all = "UPDATE millrace.stream_partition SET";
    stage.execute(&format!("{all} records = records + 1, events = events + 1")).await;
    let missing = dry_run(&stage);
    assert!(missing.code == Some(2) && missing.out.contains("should hold 1 records and Postgres has 0"), "{missing:?}");
    stage.execute(&format!("{all} records = records - 1, events = events - 1")).await;
    stage
        .execute(&format!(
            "{all} published_offset = published_offset - 1, next_offset = next_offset - 1, fold_from = fold_from - 1"
        ))
        .await;
    let behind = dry_run(&stage);
    assert!(behind.code == Some(2) && behind.out.contains("the database lost commits"), "{behind:?}");
    stage.reconfigure("[[pipeline]]", "[[pipeline]]\non_lost_commits = \"reprocess\"");
    let again = dry_run(&stage);
    assert!(again.code == Some(0) && again.out.contains("[19, 20) again without publishing it"), "{again:?}");
    stage.reconfigure("\non_lost_commits = \"reprocess\"", "");
    stage
        .execute(&format!(
            "{all} published_offset = published_offset + 1, next_offset = next_offset + 1, fold_from = fold_from + 1"
        ))
        .await;

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
