//! `millrace seal`: a change of what was sealed shows, and nothing else does.

use crate::support::command::Ended;
use crate::support::stage::Stage;
use std::path::Path;

fn check(stage: &Stage, file: &Path) -> Ended {
    stage.millrace(&["seal", "--check", file.to_str().unwrap()])
}

/// A pipeline whose first 100 events are old and sealed, and 100 more sealed after them; the lines that were kept.
async fn sealed(folder: &Path) -> (Stage, std::path::PathBuf) {
    let stage = Stage::drained(100).await;
    let nothing = stage.millrace(&["retention", "--older-than", "300d", "--yes"]);
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    stage.execute("UPDATE millrace.record SET decided_at = decided_at - interval '40 days'").await;
    let first = stage.millrace(&["seal"]);
    assert_eq!((first.code, first.out.lines().count()), (Some(0), 2), "{first:?}");
    assert_eq!(stage.millrace(&["seal"]).out, first.out, "nothing new");
    stage.send(100, 200);
    stage.run_until(200).await;
    let second = stage.millrace(&["seal"]);
    assert!(second.code == Some(0) && second.out != first.out, "{second:?}");
    let kept = folder.join("seals.jsonl");
    std::fs::write(&kept, first.out + &second.out).unwrap();
    let fits = check(&stage, &kept);
    assert!(fits.code == Some(0) && fits.out.contains("4 seals fit their rows, 4 seals are"), "{fits:?}");
    (stage, kept)
}

/// Would catch: a change, a row that was added or taken away, a seal that was written anew to fit, and that nobody notices; a note of an erasure
/// or of a removal that hides a change; a retention that removes nothing and ends the checking.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_was_sealed_shows() {
    let folder = tempfile::tempdir().unwrap();
    let (stage, kept) = sealed(folder.path()).await;
    let broken = |what: &str| {
        let ended = check(&stage, &kept);
        assert_eq!(ended.code, Some(3), "{what}: {ended:?}");
        ended
    };
    let at = "partition = 0 AND \"offset\" = 10";
    stage.execute(&format!("CREATE TABLE public.was AS SELECT * FROM millrace.record WHERE {at}")).await;
    let back = || async {
        stage
            .execute(&format!("DELETE FROM millrace.record WHERE {at}; INSERT INTO millrace.record SELECT * FROM public.was"))
            .await;
        let ended = check(&stage, &kept);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    };
    for change in [
        "score = score * 2",
        "label = 'x'",
        "key = 'other'",
        "pipeline = 'another'",
        "topic = 'another'",
        "value = (left(value::text, -1) || ' }')::json",
        "decided_at = decided_at + interval '1 second'",
    ] {
        assert_eq!(stage.execute(&format!("UPDATE millrace.record SET {change} WHERE {at}")).await, 1);
        assert!(broken(change).err.contains("below offset 50 are not those that were sealed"));
        back().await;
    }
    stage.execute(&format!("DELETE FROM millrace.record WHERE {at}")).await;
    broken("a row that is gone");
    back().await;
    // Noted as erased, and it still holds something.
    let stream = "(SELECT stream FROM millrace.stream_partition WHERE partition = 0)";
    stage.execute(&format!("INSERT INTO millrace.erased (stream, \"offset\", n, payload) SELECT stream, \"offset\", n, millrace.payload_digest(r) FROM millrace.record r WHERE {at}")).await;
    stage.execute(&format!("UPDATE millrace.record SET value = '{{\"amount\": 1}}' WHERE {at}")).await;
    broken("a false note of an erasure");
    stage.execute("DELETE FROM millrace.erased").await;
    back().await;
    // Noted as removed by retention.
    stage
        .execute(&format!("INSERT INTO millrace.removed (stream, below, rows, dead, events) VALUES ({stream}, 1000000, 0, 0, 0)"))
        .await;
    broken("a false note of a removal");
    stage.execute("DELETE FROM millrace.removed").await;
    // Somebody who owns the database seals anew, so that it fits: the lines that were kept tell.
    stage.execute(&format!("UPDATE millrace.record SET score = 7 WHERE {at}; DELETE FROM millrace.seal")).await;
    assert_eq!(stage.millrace(&["seal"]).code, Some(0));
    assert_eq!(stage.millrace(&["seal", "--check"]).code, Some(0));
    assert!(
        broken("sealed anew").err.contains("is not the one that was kept")
            || broken("sealed anew").err.contains("none that fits")
    );
    assert_eq!(check(&stage, &folder.path().join("none")).code, Some(1));
}

/// Would catch: an erasure or a retention that is taken for a change; a retention that cuts a seal in two, so that what is above it cannot be
/// checked any more; a change of an erased row's score, or of a row above what was removed, that nobody notices; a worker that may seal.
#[tokio::test(flavor = "multi_thread")]
async fn erasure_and_retention_are_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let (stage, kept) = sealed(folder.path()).await;
    assert_eq!(stage.millrace(&["erase", "--key", "a-120", "--yes"]).code, Some(0));
    let erased = check(&stage, &kept);
    assert!(erased.code == Some(0) && erased.out.contains("1 rows were erased"), "{erased:?}");

    stage.execute("UPDATE millrace.stream_partition SET published_offset = 100").await;
    let removed = stage.millrace(&["retention", "--older-than", "30d", "--yes", "--json"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(stage.number("SELECT count(*) FROM millrace.record WHERE kind = 'prediction' AND \"offset\" < 50").await, 0);
    let fits = check(&stage, &kept);
    assert!(fits.code == Some(0) && fits.out.contains("2 seals fit their rows, 4 seals are those"), "{fits:?}");
    assert!(fits.out.contains("2 seals are of rows that retention has removed"), "{fits:?}");
    // 60 is the row that was erased: its score is still held.
    for offset in [60, 70] {
        let at = format!("partition = 0 AND \"offset\" = {offset}");
        stage.execute(&format!("UPDATE millrace.record SET score = score * 2 WHERE {at}")).await;
        assert_eq!(check(&stage, &kept).code, Some(3), "{offset}");
        stage.execute(&format!("UPDATE millrace.record SET score = score / 2 WHERE {at}")).await;
    }
    assert_eq!(check(&stage, &kept).code, Some(0));

    let user = format!("{}_s", stage.name);
    stage
        .execute(&format!(
            "CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}; DELETE FROM millrace.seal WHERE upto = 100"
        ))
        .await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    let refused = stage.millrace(&["seal"]);
    assert!(refused.code == Some(1) && refused.err.contains("needs the role millrace_owner"), "{refused:?}");
    stage.execute(&format!("REVOKE millrace_worker FROM {user}; DROP ROLE {user}")).await;
}
