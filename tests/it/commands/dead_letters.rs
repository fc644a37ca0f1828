//! `millrace dead-letters`: events end again after a redrive, each once, and marks hold.

use super::stage::{Ended, Stage};
use crate::support::{read_committed, store};
use millrace::record::RecordId;
use millrace::store::postgres::Mark;
use serde_json::Value;
use std::str::FromStr;

fn letters(stage: &Stage, args: &[&str]) -> Ended {
    stage.millrace(&[&["dead-letters"], args].concat())
}

fn lines(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Would catch: an event that is written in other bytes, under another key or elsewhere; a redrive that does it twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_event_ends_again_and_only_once() {
    let stage = Stage::drained(100).await;
    let listed = letters(&stage, &["list", "--json", "--reason", "missing_field", "--limit", "3"]);
    assert_eq!((listed.code, lines(&listed).len()), (Some(0), 3), "{listed:?}");
    assert!(!listed.out.contains("EUR"), "a payload shows: {}", listed.out);
    assert!(lines(&letters(&stage, &["list", "--json", "--reason", "other"])).is_empty());
    assert!(lines(&letters(&stage, &["list", "--json", "--until", "2020-01-01"])).is_empty());
    assert_eq!(lines(&letters(&stage, &["list", "--json", "--since", "2020-01-01"])).len(), 10);
    assert_eq!(letters(&stage, &["list", "--since", "yesterday"]).code, Some(2));

    let id = format!("{name}/1/{name}/1/3/0", name = stage.name);
    let shown = letters(&stage, &["show", &id, "--json"]);
    assert!(shown.json()["key"] == "a-7" && shown.json().get("payload").is_none(), "{shown:?}");
    assert!(letters(&stage, &["show", &id, "--json", "--payload"]).json()["payload"].as_str().unwrap().contains("t-7"));

    let before = read_committed(&stage.name);
    assert_eq!(letters(&stage, &["redrive", &id]).code, Some(0));
    let again = letters(&stage, &["redrive", &id, "--again"]);
    assert!(again.code == Some(1) && again.err.contains("redriven already"), "{again:?}");
    let after = read_committed(&stage.name);
    let new: Vec<_> = after.iter().filter(|seen| !before.contains(seen)).collect();
    let original = before.iter().find(|seen| seen.partition == 1 && seen.offset == 3).unwrap();
    assert_eq!(new.len(), 1, "written once");
    assert_eq!((&new[0].key, &new[0].payload, new[0].partition), (&original.key, &original.payload, original.partition));
    let marks =
        [("millrace-redriven-from".to_owned(), id.clone().into_bytes()), ("millrace-redrive-count".to_owned(), b"1".to_vec())];
    assert_eq!(new[0].headers, marks);

    stage.run_until(101).await;
    let second = format!("{name}/1/{name}/1/{}/0", new[0].offset, name = stage.name);
    let shown = letters(&stage, &["show", &second, "--json"]);
    assert_eq!((shown.json()["reason"].as_str(), shown.json()["handling"].as_str()), (Some("missing_field"), Some("open")));
    assert_eq!(letters(&stage, &["redrive", &second]).code, Some(0));
    let last = read_committed(&stage.name).into_iter().max_by_key(|seen| (seen.partition, seen.offset)).unwrap();
    let marks =
        [("millrace-redriven-from".to_owned(), second.into_bytes()), ("millrace-redrive-count".to_owned(), b"2".to_vec())];
    assert_eq!(last.headers, marks, "counted, and the older mark is gone");

    let rest = letters(&stage, &["redrive", "--reason", "missing_field", "--json"]);
    assert_eq!((rest.code, lines(&rest).len()), (Some(0), 9), "{rest:?}");
    assert_eq!(stage.number("SELECT count(*) FROM millrace.dead_letters WHERE handling = 'redriven'").await, 11);
}

/// Would catch: a redrive that was cut off and is done again without a word, and bytes that are not the event's.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_truncated_or_discarded_is_not_written() {
    let stage = Stage::drained(100).await;
    let id = |offset: i64| format!("{name}/1/{name}/1/{offset}/0", name = stage.name);
    let (half, cut, dropped) = (id(3), id(8), id(13));
    let key = "pipeline, run, topic, partition, \"offset\", n";
    stage.sql(&format!("INSERT INTO millrace.dead_letter_mark ({key}, action) SELECT {key}, 'redriving' FROM millrace.record WHERE partition = 1 AND \"offset\" = 3")).await;
    stage.sql("UPDATE millrace.record SET value = (left(value::text, -1) || ',\"payload_truncated\":true}')::json WHERE partition = 1 AND \"offset\" = 8").await;
    let discarded = letters(&stage, &["discard", &dropped, "--note", "a test"]);
    assert_eq!(discarded.code, Some(0), "{discarded:?}");
    let shown = letters(&stage, &["show", &dropped, "--json"]).json();
    assert_eq!(
        (shown["handling"].as_str(), shown["note"].as_str(), shown["handled_by"].as_str()),
        (Some("discarded"), Some("a test"), Some("postgres"))
    );

    let before = read_committed(&stage.name).len();
    for (id, why) in [(&half, "cut off"), (&cut, "cut to fit"), (&dropped, "discarded already")] {
        let refused = letters(&stage, &["redrive", id]);
        assert!(refused.code == Some(1) && refused.err.contains(why), "{refused:?}");
    }
    assert_eq!(letters(&stage, &["discard", &dropped]).code, Some(1));
    assert_eq!(letters(&stage, &["redrive", "another/1/in/0/0/0"]).code, Some(2));
    assert_eq!(letters(&stage, &["redrive"]).code, Some(2));
    assert_eq!(read_committed(&stage.name).len(), before);
    assert_eq!(letters(&stage, &["redrive", &half, "--again"]).code, Some(0));
    assert_eq!(read_committed(&stage.name).len(), before + 1);
}

/// Would catch: two operators who both write the same event.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_gets_the_mark() {
    let stage = Stage::new().await;
    let store = store(&stage.url).await;
    let ids = vec![RecordId::from_str("p/1/in/0/5/0").unwrap()];
    let mark = |over: &'static [Mark]| store.mark("p", &ids, Mark::Redriving, over, None);
    let (first, second) = tokio::join!(mark(&[]), mark(&[]));
    assert_eq!(first.unwrap().len() + second.unwrap().len(), 1);
    assert_eq!(mark(&[Mark::Redriving]).await.unwrap(), ids);
}

/// Would catch: a worker that can hide what it could not score.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_may_read_marks_and_not_write_them() {
    let stage = Stage::new().await;
    for (role, privilege, may) in [
        ("millrace_worker", "SELECT", true),
        ("millrace_worker", "INSERT", false),
        ("millrace_worker", "UPDATE", false),
        ("millrace_worker", "DELETE", false),
        ("millrace_reader", "SELECT", true),
        ("millrace_reader", "INSERT", false),
        ("millrace_owner", "INSERT", true),
    ] {
        let query = format!("SELECT has_table_privilege('{role}', 'millrace.dead_letter_mark', '{privilege}')::int::bigint");
        assert_eq!(stage.number(&query).await == 1, may, "{role} {privilege}");
    }
}
