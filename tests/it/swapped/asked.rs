//! Versions that calls over HTTP name, and the one that answers where they name none.

use super::{COPY_VERSION, all_partitions};
use crate::support::http::{get, headed};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Who has answered a call and with which settings, and its score; or the status and what is said.
async fn call(stage: &Stage, worker: &Worker, query: &str) -> Result<(String, String, f64), (u16, String)> {
    let body =
        json!({ "inputs": { "id": "t", "account": "a", "amount": 100, "currency": "EUR", "time": 1_760_000_000_000_i64 } });
    let (status, head, answer) = headed(&worker.admin(), &format!("/v1/functions/{}{query}", stage.name), &body).await;
    if status != 200 {
        return Err((status, answer["error"]["message"].as_str().unwrap().to_owned()));
    }
    let of = |name: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
    };
    Ok((of("x-millrace-version"), of("x-millrace-config"), answer["outputs"][0]["score"].as_f64().unwrap()))
}

/// The same, when it must be answered.
async fn answered(stage: &Stage, worker: &Worker, query: &str) -> (String, f64) {
    let (version, _, score) = call(stage, worker, query).await.unwrap();
    (version, score)
}

/// Asks until the call is answered so.
async fn answered_at_last(stage: &Stage, worker: &Worker, wanted: (&str, f64)) {
    let deadline = Instant::now() + SOON;
    loop {
        let found = call(stage, worker, "").await;
        if found.as_ref().is_ok_and(|(version, _, score)| (version.as_str(), *score) == wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}; log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn swap(stage: &Stage, args: &[&str]) {
    let ended = stage.millrace(&[&["swap", "--reason", "try", "--wait", "60"], args].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

const BASE: (&str, f64) = ("base", 1.0);
const V2: (&str, f64) = ("v2", 2.0);

/// Would catch: a call that is answered by other settings than it names, or by the pipeline's own though another version is in force; an answer
/// that does not say by which; settings that are not those of the records; a canary that answers for all; an unknown version that is answered by whatever
/// there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_by_the_version_that_it_names_or_that_is_in_force() {
    let stage = Stage::of(Plan { options: COPY_VERSION, ..Plan::default() }).await;
    let mut worker = stage.worker();
    stage.send(0, 40);
    stage.decided(40).await;
    answered_at_last(&stage, &worker, BASE).await;
    // Not wanted by any swap, and loaded for the call.
    let named = |query: &'static str| answered(&stage, &worker, query);
    assert_eq!((named("?version=v2").await, named("?version=base").await), ((V2.0.into(), V2.1), (BASE.0.into(), BASE.1)));
    let (status, why) = call(&stage, &worker, "?version=v3").await.unwrap_err();
    assert!(status == 404 && why.contains("no version \"v3\", it has base, v2"), "{status} {why}");
    let (status, why) = call(&stage, &worker, "?version=").await.unwrap_err();
    assert!(status == 404 && why.contains("it has base, v2"), "{status} {why}");
    let (_, listed) = get(&worker.admin(), "/v1/functions").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["versions"], &listed[0]["in_force"]), (&json!(["base", "v2"]), &json!("base")), "{listed}");
    let (_, document) = get(&worker.admin(), "/openapi.json").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    let parameter = &document["paths"][format!("/v1/functions/{}", stage.name)]["post"]["parameters"][0];
    assert_eq!((&parameter["name"], &parameter["schema"]["enum"]), (&json!("version"), &json!(["base", "v2"])), "{parameter}");

    swap(&stage, &["--to", "v2", "--canary", "0.5"]);
    assert_eq!((named("").await, named("?version=v2").await), ((BASE.0.into(), BASE.1), (V2.0.into(), V2.1)));
    swap(&stage, &["--to", "v2"]);
    assert_eq!((named("").await, named("?version=base").await), ((V2.0.into(), V2.1), (BASE.0.into(), BASE.1)));
    stage.send(40, 80);
    stage.decided(80).await;
    let (_, config, _) = call(&stage, &worker, "").await.unwrap();
    let of =
        format!("SELECT count(*) FROM millrace.record WHERE kind = 'prediction' AND \"offset\" >= 10 AND config = '{config}'");
    assert_eq!(stage.number(&of).await, 36, "{config}");
    swap(&stage, &["--back"]);
    assert_eq!((named("").await, named("?version=v2").await), ((BASE.0.into(), BASE.1), (V2.0.into(), V2.1)));
    worker.drain();
}

/// Would catch: a version that cannot be used and has calls answered by another under its name, or ends what answered before; a worker that answers by
/// its own settings, and does not say so, where the rows of its stream name a version that it does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_used_says_why_and_no_other_answers_for_it() {
    let broken = "[pipeline.version.broken]\noptions = { score = \"amount / 10\" }\ncases = \"broken.cases.jsonl\"\n";
    let stage = Stage::of(Plan { options: &format!("{COPY_VERSION}{broken}"), ..Plan::default() }).await;
    let event = r#"{"id": "t", "account": "a", "amount": 100, "currency": "EUR", "time": 1760000000000}"#;
    let case = format!("{{\"name\": \"dear\", \"event\": {event}, \"expect\": {{\"amount\": 7}}}}\n");
    std::fs::write(stage.config().with_file_name("broken.cases.jsonl"), case).unwrap();
    let mut worker = stage.worker();
    stage.send(0, 40);
    stage.decided(40).await;
    answered_at_last(&stage, &worker, BASE).await;
    let (status, why) = call(&stage, &worker, "?version=broken").await.unwrap_err();
    assert!(status == 503 && why.contains("cannot be used: case dear at"), "{status} {why}");
    swap(&stage, &["--to", "v2"]);
    let wish = stage.millrace(&["swap", "--to", "broken", "--reason", "try"]);
    assert_eq!(wish.code, Some(0), "{wish:?}");
    all_partitions(&stage, &worker, |one| one["waits_for"].as_str().is_some_and(|why| why.contains("case dear"))).await;
    assert_eq!(answered(&stage, &worker, "").await, (V2.0.into(), V2.1), "what is in force goes on");
    swap(&stage, &["--to", "v2"]);
    worker.drain();

    stage.reconfigure("[pipeline.version.v2]", "[pipeline.version.v3]");
    let mut heir = stage.worker();
    all_partitions(&stage, &heir, |one| one["waits_for"].as_str().is_some_and(|why| why.contains("has no version \"v2\""))).await;
    let (status, why) = call(&stage, &heir, "").await.unwrap_err();
    assert!(
        status == 503 && why.contains("has no version \"v2\"") && why.contains("?version=: base, broken, v3"),
        "{status} {why}"
    );
    assert_eq!(answered(&stage, &heir, "?version=base").await, (BASE.0.into(), BASE.1));
    heir.drain();
}
