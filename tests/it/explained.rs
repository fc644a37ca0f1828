//! `millrace explain` on real neighbours: a past score comes out again, and what does not is named.

use crate::support::command::Ended;
use crate::support::stage::{Plan, SOON, Stage};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::{Value, json};

const RISK: &str = r#"
event = "json"
fields = { id = "id", key = "account", time = "time" }
function = "risk"
[pipeline.risk]
non_negative = ["amount"]
feature = [
  { name = "n", entity = "account", aggregate = "count", window = "1d" },
  { name = "sum", entity = "account", aggregate = "sum", field = "amount", window = "1d" },
  { name = "before", entity = "account", aggregate = "last", field = "amount", window = "1d" },
]
"#;

const RECOMMEND: &str = r#"
event = "click"
function = "recommend"
[pipeline.recommend.history]
items = 5
[[pipeline.recommend.popularity]]
name = "day"
half_life = "1d"
[[pipeline.recommend.covisit]]
name = "next"
window = 5
last = 5
[pipeline.recommend.blend]
weights = { day = 0.5, next = 1.0 }
items = 5
"#;

fn send(stage: &Stage, partition: i32, events: impl Iterator<Item = Value>) {
    let producer = stage.producer();
    for event in events {
        let body = event.to_string();
        producer.send(BaseRecord::<str, str>::to(&stage.name).partition(partition).payload(&body)).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Event `n` is of account `n % 3`, a minute after the one before, with an amount of `n`.
fn payment(n: i64) -> Value {
    json!({ "id": format!("e-{n}"), "account": format!("a-{}", n % 3), "amount": n, "time": 1_760_000_000_000i64 + n * 60_000 })
}

fn explain(stage: &Stage, args: &[&str]) -> Ended {
    stage.millrace(&[&["explain", "--json", "--event"], args].concat())
}

/// Would catch: features of another event or of a later moment, a record that is compared with itself, keys that are left out, a
/// changed record or a changed fold that nobody is told of, an event that is not scored yet and fails, payloads that show.
#[tokio::test(flavor = "multi_thread")]
async fn a_past_score_is_folded_again() {
    let stage = Stage::of(Plan { function: RISK, partitions: 2, ..Plan::default() }).await;
    send(&stage, 0, (0..7).map(payment));
    send(
        &stage,
        1,
        (7..60).map(payment).chain([json!({ "id": "bad", "account": "a-0", "amount": -1, "time": 1_760_000_000_000i64 })]),
    );
    stage.run_until(61).await;

    // Of account 2 in partition 1: 8, 11, ..., 29.
    let by_id = explain(&stage, &["e-29"]);
    let told = by_id.json();
    assert_eq!((by_id.code, &told["verdict"]), (Some(0), &json!("same")), "{by_id:?}");
    assert_eq!(told["features"], json!({ "n": 8.0, "sum": 148.0, "before": 26.0 }));
    assert_eq!(told["source"], json!({ "topic": stage.name, "partition": 1, "offset": 22 }));
    assert_eq!((&told["history"]["events"], &told["history"]["folded"]), (&json!(22), &json!(7)));
    assert_eq!(told["history"]["keys"].as_array().map(Vec::len), Some(1));
    for same in [format!("{}/1/22", stage.name), format!("{name}/1/{name}/1/22/0", name = stage.name)] {
        assert_eq!(explain(&stage, &[&same]).json(), told, "{same}");
    }
    let first = explain(&stage, &["e-2", "--partition", "0"]).json();
    assert_eq!(first["features"], json!({ "n": 1.0, "sum": 2.0, "before": null }));
    let elsewhere = explain(&stage, &["e-2", "--partition", "1"]);
    assert!(elsewhere.code == Some(1) && elsewhere.err.contains("no event \"e-2\""), "{elsewhere:?}");
    let text = stage.millrace(&["explain", "--event", "e-29"]);
    assert!(text.code == Some(0) && text.out.contains("sum") && text.out.contains("148.0"), "{text:?}");
    assert!(text.out.contains("the record says the same") && !text.out.contains("differs"), "{text:?}");

    let dead = explain(&stage, &["bad"]);
    assert_eq!((dead.code, &dead.json()["verdict"]), (Some(0), &json!("same")), "{dead:?}");
    assert_eq!(dead.json()["rejected"]["field"], "amount");
    assert!(!dead.out.contains("payload"), "{dead:?}");

    stage.execute("UPDATE millrace.record SET value = replace(value::text, '148.0', '149.0')::json WHERE \"offset\" = 22").await;
    let changed = explain(&stage, &["e-29"]);
    assert_eq!((changed.code, &changed.json()["verdict"]), (Some(1), &json!("differs")), "{changed:?}");
    let difference = &changed.json()["differences"][0];
    assert_eq!((&difference["field"], &difference["in_record"]["sum"]), (&json!("features"), &json!(149.0)));
    assert!(stage.millrace(&["explain", "--event", "e-29"]).out.contains("149.0  differs"));

    // Sent again, and scored again: nobody can say which of the two is meant.
    send(&stage, 1, [payment(29), json!({ "account": "a-1" })].into_iter());
    stage.run_until(63).await;
    let twice = explain(&stage, &["e-29"]);
    assert!(twice.code == Some(2) && twice.err.contains("/1/22, ") && twice.err.contains("/1/54: name one"), "{twice:?}");
    let again = explain(&stage, &[&format!("{}/1/54", stage.name)]);
    assert_eq!(
        (again.code, &again.json()["verdict"], &again.json()["late"]),
        (Some(0), &json!("same"), &json!(true)),
        "{again:?}"
    );
    let undecodable = explain(&stage, &[&format!("{}/1/55", stage.name)]);
    assert_eq!(
        (undecodable.code, &undecodable.json()["rejected"]["code"]),
        (Some(0), &json!("missing_field")),
        "{undecodable:?}"
    );
    stage.execute("UPDATE millrace.record SET kind = 'dead_letter', value = '{\"reason\": {\"code\": \"kills_process\"}}' WHERE \"offset\" = 21").await;
    assert_eq!(explain(&stage, &["e-28"]).json()["verdict"], "ended_by_worker");

    send(&stage, 0, [payment(60)].into_iter());
    let open = explain(&stage, &["e-60"]);
    assert_eq!((open.code, &open.json()["verdict"]), (Some(0), &json!("not_decided")), "{open:?}");
    assert_eq!(open.json()["features"]["n"], 4.0);

    let gone = explain(&stage, &[&format!("{}/1/900", stage.name)]);
    assert!(gone.code == Some(1) && gone.err.contains("which holds [0, 56)"), "{gone:?}");
    assert_eq!(explain(&stage, &["e-1", "--partition", "9"]).code, Some(1));
    assert_eq!(explain(&stage, &[&format!("{}/1/22", stage.name), "--partition", "1"]).code, Some(2));
    stage.reconfigure("window = \"1d\"", "window = \"2d\"");
    let other = explain(&stage, &["e-30"]);
    assert!(other.code == Some(2) && other.err.contains("was folded by other settings"), "{other:?}");
}

/// Would catch: an event that is explained by the settings of another version than the one that scored it.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_scored_an_event_explains_it() {
    let version = "[pipeline.version.v2]\noptions = { pass_event = true }";
    let stage = Stage::of(Plan { function: RISK, options: version, partitions: 1, ..Plan::default() }).await;
    send(&stage, 0, (0..9).map(payment));
    stage.run_until(9).await;
    let mut worker = stage.worker();
    let swapped = stage.millrace(&["swap", "--to", "v2", "--reason", "try", "--wait", "60"]);
    assert_eq!(swapped.code, Some(0), "{swapped:?}");
    send(&stage, 0, (9..18).map(payment));
    stage.decided(18).await;
    worker.drain();
    assert_eq!(stage.number("SELECT count(*) FROM millrace.record WHERE value -> 'event' IS NOT NULL").await, 9);
    for event in ["e-5", "e-12"] {
        let told = explain(&stage, &[event]);
        assert_eq!((told.code, &told.json()["verdict"]), (Some(0), &json!("same")), "{told:?}");
    }
    stage.reconfigure("[pipeline.version.v2]", "[pipeline.version.v3]");
    let unknown = explain(&stage, &["e-12"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("version \"v2\""), "{unknown:?}");
}

/// Would catch: a list that is folded from the user's own events alone, lists of a later moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_past_list_is_folded_again() {
    let stage = Stage::of(Plan { function: RECOMMEND, partitions: 1, ..Plan::default() }).await;
    let click = |n: i64| {
        let (user, item) = (n % 7, n * 5 % 23);
        json!({ "id": format!("c-{n}"), "user": format!("u-{user}"), "item": format!("i-{item}"), "kind": "view", "time": 1_760_000_000_000i64 + n * 1_000 })
    };
    send(&stage, 0, (0..80).map(click));
    stage.run_until(80).await;
    for n in [3, 40, 79] {
        let told = explain(&stage, &[&format!("c-{n}")]);
        assert_eq!((told.code, &told.json()["verdict"]), (Some(0), &json!("same")), "{told:?}");
        assert_eq!(told.json()["history"]["folded"], n, "all events count");
    }
    let items = |n: &str| explain(&stage, &[n]).json()["answers"][0]["items"].clone();
    assert!(items("c-79").as_array().is_some_and(|items| !items.is_empty()) && items("c-79") != items("c-9"));
}

/// Would catch: a function without a memory that is folded all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_remembers_nothing_is_not_explained() {
    let stage = Stage::small().await;
    let told = explain(&stage, &["t-1"]);
    assert!(told.code == Some(2) && told.err.contains("remembers nothing"), "{told:?}");
}
