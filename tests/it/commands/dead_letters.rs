//! `millrace dead-letters`: events end again after a redrive, each once, and marks hold.

use crate::support::command::Ended;
use crate::support::stage::Stage;
use crate::support::{read_committed, store};
use millrace::record::RecordId;
use millrace::store::postgres::{Mark, Marked};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
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
    stage.execute(&format!("INSERT INTO millrace.dead_letter_mark ({key}, action, at) SELECT {key}, 'redriving', now() - interval '1 hour' FROM millrace.record WHERE partition = 1 AND \"offset\" = 3")).await;
    stage.execute("UPDATE millrace.record SET value = (left(value::text, -1) || ',\"payload_truncated\":true}')::json WHERE partition = 1 AND \"offset\" = 8").await;
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
    for narrowed in [["--since", "2020-01-01"], ["--until", "2020-01-01"], ["--limit", "1"], ["--reason", "missing_field"]] {
        let refused = letters(&stage, &[&["redrive", &half], &narrowed[..]].concat());
        assert!(refused.code == Some(2) && refused.err.contains("not both"), "{refused:?}");
    }
    assert_eq!(read_committed(&stage.name).len(), before);
    assert_eq!(letters(&stage, &["redrive", &half, "--again"]).code, Some(0));
    assert_eq!(read_committed(&stage.name).len(), before + 1);
}

/// Would catch: two operators who both write the same event, and a mark over one that was set after the look.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_replaces_the_one_that_was_read_and_no_other() {
    let stage = Stage::small().await;
    let store = store(&stage.url).await;
    let id = RecordId::from_str("p/1/in/0/5/0").unwrap();
    let mark = |read: Option<Marked>, mark| {
        let (store, id) = (&store, id.clone());
        async move {
            let marked = store.mark("p", &[(id, read)], mark, None).await.unwrap();
            marked.first().map(|(_, mark)| *mark)
        }
    };
    let (first, second) = tokio::join!(mark(None, Mark::Redriving), mark(None, Mark::Redriving));
    assert_eq!(first.iter().chain(&second).count(), 1);
    let read = first.or(second);
    let (again, too) = tokio::join!(mark(read, Mark::Redriving), mark(read, Mark::Redriving));
    assert_eq!(again.iter().chain(&too).count(), 1, "the second does not find the mark that it read");
    assert_eq!(mark(read, Mark::Redriven).await, None, "who was too late does not tell that it is done");
    let discarded = mark(again.or(too), Mark::Discarded).await;
    assert!(discarded.is_some());
    assert_eq!(mark(again.or(too), Mark::Redriven).await, None, "a discard holds");
}

/// Would catch: an event that two `--again` at once write twice, and one of them that says it has done what it has not.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_again_at_once_one_writes() {
    let stage = Stage::drained(20).await;
    let id = format!("{name}/1/{name}/1/3/0", name = stage.name);
    let key = "pipeline, run, topic, partition, \"offset\", n";
    stage.execute(&format!("INSERT INTO millrace.dead_letter_mark ({key}, action) SELECT {key}, 'redriving' FROM millrace.record WHERE partition = 1 AND \"offset\" = 3")).await;
    let early = letters(&stage, &["redrive", &id, "--again"]);
    assert!(early.code == Some(1) && early.err.contains("may be under way"), "{early:?}");
    stage.execute("UPDATE millrace.dead_letter_mark SET at = now() - interval '1 hour'").await;

    let before = read_committed(&stage.name).len();
    let mut holder = PgConnection::connect(&stage.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT 1 FROM millrace.dead_letter_mark FOR UPDATE").execute(&mut holder).await.unwrap();
    let both: Vec<_> = (0..2).map(|_| stage.start(&["dead-letters", "redrive", &id, "--again"])).collect();
    stage
        .wait_for("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", 2)
        .await;
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    let mut both: Vec<Ended> = both.into_iter().map(|child| Ended::from(child.wait_with_output().unwrap())).collect();
    both.sort_by_key(|ended| ended.code);
    assert_eq!((both[0].code, both[1].code), (Some(0), Some(1)), "{both:?}");
    assert!(both[0].out.contains("redriven") && !both[1].out.contains("redriven"), "{both:?}");
    assert_eq!(read_committed(&stage.name).len(), before + 1);
}

/// Would catch: a redrive by reason that takes the newest hundred without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_by_reason_takes_all() {
    let stage = Stage::drained(1_100).await;
    let listed = letters(&stage, &["list"]);
    assert!(listed.out.contains("100 dead letters, and there are more"), "{listed:?}");
    let some = letters(&stage, &["redrive", "--reason", "missing_field", "--limit", "3", "--json"]);
    assert_eq!((some.code, lines(&some).len()), (Some(0), 3), "{some:?}");
    assert_eq!(lines(&letters(&stage, &["list", "--open", "--limit", "1000", "--json"])).len(), 107);
    let all = letters(&stage, &["redrive", "--reason", "missing_field", "--json"]);
    assert_eq!((all.code, lines(&all).len()), (Some(0), 107), "{all:?}");
    assert!(lines(&letters(&stage, &["list", "--open", "--json"])).is_empty());
    assert_eq!(lines(&letters(&stage, &["list", "--json"])).len(), 100);
}

/// Would catch: a worker that can hide what it could not score.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_may_read_marks_and_not_write_them() {
    let stage = Stage::small().await;
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
