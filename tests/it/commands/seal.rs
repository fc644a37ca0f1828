//! `millrace seal`: a change of what was sealed shows, and nothing else does.

use crate::support::command::Ended;
use crate::support::stage::Stage;

fn check(stage: &Stage, file: &std::path::Path) -> Ended {
    stage.millrace(&["seal", "--check", file.to_str().unwrap()])
}

/// Would catch: a change, a row that was added or taken away, a seal that was written anew to fit, and that nobody notices; an erasure, a
/// retention or a later row that is taken for a change.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_was_sealed_shows() {
    let stage = Stage::drained(100).await;
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("seals.jsonl");
    let first = stage.millrace(&["seal"]);
    assert_eq!((first.code, first.out.lines().count()), (Some(0), 2), "{first:?}");
    assert_eq!(stage.millrace(&["seal"]).out, first.out, "nothing new");
    stage.send(100, 200);
    stage.run_until(200).await;
    let second = stage.millrace(&["seal"]);
    assert!(second.code == Some(0) && second.out != first.out, "{second:?}");
    std::fs::write(&kept, first.out + &second.out).unwrap();
    let fits = check(&stage, &kept);
    assert!(fits.code == Some(0) && fits.out.contains("4 seals fit their rows, 4 of them"), "{fits:?}");

    // Each of them alone, and back again.
    let at = "partition = 0 AND \"offset\" = 60";
    for (change, back) in [
        ("score = score * 2", "score = score / 2"),
        ("label = 'x'", "label = NULL"),
        ("key = 'other'", "key = 'a-120'"),
        ("decided_at = decided_at + interval '1 second'", "decided_at = decided_at - interval '1 second'"),
    ] {
        assert_eq!(stage.execute(&format!("UPDATE millrace.record SET {change} WHERE {at}")).await, 1);
        let broken = check(&stage, &kept);
        assert!(broken.code == Some(3) && broken.err.contains("below offset 100 are not those that were sealed"), "{broken:?}");
        stage.execute(&format!("UPDATE millrace.record SET {back} WHERE {at}")).await;
        assert_eq!(check(&stage, &kept).code, Some(0), "{back}");
    }
    stage.execute("CREATE TABLE public.away AS SELECT * FROM millrace.record WHERE partition = 0 AND \"offset\" = 60").await;
    stage.execute(&format!("DELETE FROM millrace.record WHERE {at}")).await;
    assert_eq!(check(&stage, &kept).code, Some(3));
    // Somebody who owns the database seals anew, so that it fits: the lines that were kept tell.
    stage.execute("DELETE FROM millrace.seal WHERE upto = 100").await;
    stage.millrace(&["seal"]);
    let forged = check(&stage, &kept);
    assert!(forged.code == Some(3) && forged.err.contains("is not the one that was kept"), "{forged:?}");
    assert_eq!(stage.millrace(&["seal", "--check"]).code, Some(0));

    stage.execute("INSERT INTO millrace.record SELECT * FROM public.away; DELETE FROM millrace.seal WHERE upto = 100").await;
    stage.millrace(&["seal"]);
    assert_eq!(check(&stage, &kept).code, Some(0));
    assert_eq!(stage.millrace(&["erase", "--key", "a-120", "--yes"]).code, Some(0));
    let erased = check(&stage, &kept);
    assert!(erased.code == Some(0) && erased.out.contains("1 rows were erased"), "{erased:?}");
    stage.execute("UPDATE millrace.record SET decided_at = decided_at - interval '40 days' WHERE \"offset\" < 30").await;
    assert_eq!(check(&stage, &kept).code, Some(3));
    assert_eq!(stage.millrace(&["retention", "--older-than", "30d", "--yes"]).code, Some(0));
    let removed = check(&stage, &kept);
    assert!(removed.code == Some(0) && removed.out.contains("2 seals fit"), "{removed:?}");
    assert_eq!(check(&stage, &folder.path().join("none")).code, Some(1));
}
