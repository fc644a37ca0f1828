//! Swaps to another version of a pipeline's settings, on a real Kafka and a real Postgres.

use crate::support::http::{get, post, post_with};
use crate::support::load::Load;
use crate::support::stage::{Plan, SOON, Stage, Worker};
use millrace::store::postgres::{PostgresSettings, PostgresStore};
use millrace::store::{Taken, taken_at};
use serde_json::Value;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod asked;

/// Each text is scored, by the model of the version. The text is the same in all events: what differs is who scores it.
const SENTIMENT: &str = r#"
event = "json"
fields = { id = "id", key = "account", text = "currency" }
function = "sentiment"
model = "en"
"#;

const COPY_VERSION: &str = r#"
[pipeline.version.v2]
options = { score = "amount / 50" }
"#;

fn models() -> String {
    let folder = |name: &str| format!("[models.{name}]\npath = \"{}/models/sentiment-{name}\"\n", env!("CARGO_MANIFEST_DIR"));
    folder("en") + &folder("zh")
}

/// What each partition has taken over.
async fn taken(stage: &Stage) -> BTreeMap<i32, Vec<Taken>> {
    let settings = PostgresSettings { max_connections: 1, statement_timeout_ms: 10_000, acquire_timeout_ms: 10_000 };
    let store = PostgresStore::connect(&stage.url, &settings).await.unwrap();
    store.standing(&stage.name).await.unwrap().into_iter().map(|one| (one.partition, one.taken)).collect()
}

/// Waits until every partition has taken over the wish of this number.
async fn gone_over(stage: &Stage, number: i64) {
    let all = format!("SELECT count(*) FROM millrace.version_from WHERE number = {number}");
    let partitions = stage.number("SELECT count(*) FROM millrace.stream_partition").await;
    stage.wait_for(&all, partitions).await;
}

/// Every event that was scored was scored by the version that the rows name for its offset and its key; `by` says how a record shows its version.
/// Returns how many were scored by which.
async fn assert_scored_by_what_the_rows_say(stage: &Stage, by: impl Fn(&str, &str) -> String) -> BTreeMap<String, usize> {
    let taken = taken(stage).await;
    let rows = sqlx::query(
        "SELECT partition, \"offset\", convert_from(key, 'UTF8'), model, config, value ->> 'model' FROM millrace.record WHERE kind = 'prediction'",
    )
    .fetch_all(&mut stage.connect().await)
    .await
    .unwrap();
    let mut counts = BTreeMap::new();
    for row in &rows {
        let (partition, offset, key): (i32, i64, String) = (row.get(0), row.get(1), row.get(2));
        let (model, config, told): (String, String, String) = (row.get(3), row.get(4), row.get(5));
        let found = by(&model, &config);
        let named = taken_at(&taken[&partition], offset).map_or("base", |taken| taken.version_of(&stage.name, &key));
        assert_eq!(found, named, "{partition}/{offset} of {key}: {:?}", taken[&partition]);
        assert_eq!(told, model, "row and value name two models");
        *counts.entry(found).or_insert(0) += 1;
    }
    counts
}

fn of_model(model: &str, _: &str) -> String {
    match model.split('@').next() {
        Some("en") => "base".to_owned(),
        Some("zh") => "v2".to_owned(),
        other => panic!("nobody has the model {other:?}"),
    }
}

/// Waits until a worker says so of each partition.
async fn all_partitions(stage: &Stage, worker: &Worker, so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let (_, status) = get(&worker.admin(), "/status").await;
        let status: Value = serde_json::from_str(&status).unwrap();
        let partitions = status["pipelines"][&stage.name].as_object().cloned().unwrap_or_default();
        if !partitions.is_empty() && partitions.values().all(&so) {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stop(stage: &Stage, load: Load) -> i64 {
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.published().await;
    sent
}

/// Would catch: an event that is scored by a version other than the recorded one, or by two, whoever dies in the middle; a swap that one worker
/// does not follow; one that a restart forgets; a journal without lines.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_swapped_under_load_while_workers_die_and_back() {
    let (sections, version) = (models(), "[pipeline.version.v2]\nmodel = \"zh\"\n");
    let plan = Plan { sections: &sections, function: SENTIMENT, options: version, ..Plan::default() };
    let stage = Arc::new(Stage::of(plan).await);
    let mut workers = [stage.worker(), stage.worker()];
    let load = Load::start(&stage, 0, 150);
    stage.decided_at_least(150).await;
    let wrong = stage.millrace(&["swap", "--to", "v3", "--reason", "x"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("did you mean \"v2\"?"), "{wrong:?}");
    let nothing = stage.millrace(&["swap", "--back", "--reason", "x"]);
    assert!(nothing.code == Some(1) && nothing.out.contains("never been swapped"), "{nothing:?}");

    let swapped = stage.millrace(&["swap", "--to", "v2", "--reason", "trained on May", "--by", "ann"]);
    assert!(swapped.code == Some(0) && swapped.out.contains("at v2, by ann since"), "{swapped:?}");
    // Somewhere in loading and recording.
    workers[0].kill();
    workers[0] = stage.worker();
    gone_over(&stage, 1).await;
    let progress = stage.events().await;
    stage.decided_at_least(progress + 100).await;
    workers[1].kill();
    workers[1] = stage.worker();
    stage.decided_at_least(progress + 300).await;
    let back = stage.millrace(&["swap", "--back", "--wait", "60", "--reason", "worse", "--by", "bob"]);
    assert!(back.code == Some(0) && back.out.contains("Every partition has gone over"), "{back:?}");
    let progress = stage.events().await;
    stage.decided_at_least(progress + 100).await;

    let sent = stop(&stage, load).await;
    let counts = assert_scored_by_what_the_rows_say(&stage, of_model).await;
    assert!(counts["base"] > 100 && counts["v2"] > 100, "{counts:?}");
    assert_eq!(stage.rows().await.len() as i64, sent, "every event has one ending");
    let again = stage.millrace(&["swap", "--back", "--reason", "x"]);
    assert!(again.code == Some(1) && again.out.contains("nothing to go back from"), "{again:?}");
    let words = "action || ' ' || by || ' ' || through || ' ' || reason || ' ' || what";
    let journal = stage.text(&format!("SELECT string_agg({words}, ', ' ORDER BY id) FROM millrace.operation")).await;
    assert_eq!(journal, "swap ann cli trained on May v2, swap back bob cli worse from v2 to base");
    let verify = stage.millrace(&["verify", "--deep"]);
    assert_eq!(verify.code, Some(0), "{verify:?}");
    workers.iter_mut().for_each(Worker::drain);
}

/// Would catch: a key that flips between versions, another share than was asked for, a canary that grows over other keys, promotion that leaves
/// keys behind, one that two workers see differently.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_has_its_share_of_the_keys_and_no_key_flips() {
    let stage = Stage::of(Plan { options: COPY_VERSION, ..Plan::default() }).await;
    let mut workers = [stage.worker(), stage.worker()];
    let swap = |args: &[&str]| {
        let ended = stage.millrace(&[&["swap", "--reason", "try", "--wait", "60"], args].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
    };
    // The same keys come again and again.
    stage.send(0, 1_000);
    stage.decided(1_000).await;
    for share in ["0.1", "0.4"] {
        swap(&["--to", "v2", "--canary", share]);
        stage.send(0, 1_000);
        stage.decided(if share == "0.1" { 2_000 } else { 3_000 }).await;
    }
    swap(&["--to", "v2"]);
    stage.send(0, 1_000);
    stage.decided(4_000).await;
    stage.published().await;
    let base =
        stage.text("SELECT config FROM millrace.record WHERE kind = 'prediction' ORDER BY decided_at, \"offset\" LIMIT 1").await;
    let by = |_: &str, config: &str| if config == base { "base".to_owned() } else { "v2".to_owned() };
    assert_scored_by_what_the_rows_say(&stage, by).await;
    let mut rounds: Vec<BTreeSet<String>> = Vec::new();
    let taken = taken(&stage).await;
    for number in 1..=3 {
        let text =
            "SELECT convert_from(key, 'UTF8'), partition, \"offset\", config FROM millrace.record WHERE kind = 'prediction'";
        let rows = sqlx::query(text).fetch_all(&mut stage.connect().await).await.unwrap();
        let of_round = |row: &&sqlx::postgres::PgRow| {
            taken_at(&taken[&row.get::<i32, _>(1)], row.get(2)).is_some_and(|taken| taken.number == number)
        };
        let of_round: Vec<_> = rows.iter().filter(of_round).collect();
        assert_eq!(of_round.len(), 900, "round {number}");
        rounds.push(of_round.iter().filter(|row| row.get::<String, _>(3) != base).map(|row| row.get(0)).collect());
    }
    let shares: Vec<usize> = rounds.iter().map(BTreeSet::len).collect();
    assert!((60..130).contains(&shares[0]) && (300..420).contains(&shares[1]) && shares[2] == 900, "{shares:?}");
    assert!(rounds[0].is_subset(&rounds[1]), "a key of the smaller share is not in the larger");
    workers.iter_mut().for_each(Worker::drain);
}

/// A copy of a model's folder whose weights have one bit changed.
fn spoilt(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let weights = to.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(weights, bytes).unwrap();
}

/// Would catch: weights that are not the ones of the digest and serve all the same; a version that cannot be loaded and stops what serves, or a
/// worker that says nothing of it; one that is not tried again once its files are mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_load_leaves_the_old_one_serving_until_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("models/sentiment-zh"), folder.path().join("zh"));
    spoilt(&good, &bad);
    let digest = {
        use sha2::{Digest, Sha256};
        let bytes = std::fs::read(good.join("model.safetensors")).unwrap();
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let sections = format!("{}[models.late]\npath = \"{}\"\ndigest = \"{digest}\"\n", models(), bad.display());
    let version = "[pipeline.version.v2]\nmodel = \"late\"\n";
    let stage = Stage::of(Plan { sections: &sections, function: SENTIMENT, options: version, ..Plan::default() }).await;
    let mut worker = stage.worker();
    stage.send(0, 100);
    stage.decided(100).await;
    let waits = stage.millrace(&["swap", "--to", "v2", "--reason", "new", "--wait", "5"]);
    assert!(waits.code == Some(1) && waits.out.contains("Not in time"), "{waits:?}");
    stage.send(100, 200);
    stage.decided(200).await;
    all_partitions(&stage, &worker, |one| one["waits_for"].as_str().is_some_and(|why| why.contains("v2 cannot be used"))).await;
    assert_eq!(stage.number("SELECT count(DISTINCT model) FROM millrace.record WHERE kind = 'prediction'").await, 1);
    std::fs::copy(good.join("model.safetensors"), bad.join("model.safetensors")).unwrap();
    gone_over(&stage, 1).await;
    stage.send(200, 300);
    stage.decided(300).await;
    assert_eq!(stage.number("SELECT count(DISTINCT model) FROM millrace.record WHERE kind = 'prediction'").await, 2);
    worker.drain();
}

/// Would catch: an heir that scores with what it has in place of the version that the rows name, one that ends or halts for want of it, a step back
/// that does not reach it.
#[tokio::test(flavor = "multi_thread")]
async fn an_heir_without_the_version_waits_until_it_is_taken_back() {
    let stage = Stage::of(Plan { options: COPY_VERSION, ..Plan::default() }).await;
    let mut worker = stage.worker();
    stage.send(0, 100);
    stage.decided(100).await;
    let swapped = stage.millrace(&["swap", "--to", "v2", "--reason", "try", "--wait", "60"]);
    assert_eq!(swapped.code, Some(0), "{swapped:?}");
    stage.send(100, 200);
    stage.decided(200).await;
    worker.kill();
    stage.reconfigure("[pipeline.version.v2]", "[pipeline.version.v3]");
    let mut heir = stage.worker();
    stage.send(200, 300);
    let waits = |one: &Value| one["waits_for"].as_str().is_some_and(|why| why.contains("has no version \"v2\""));
    all_partitions(&stage, &heir, |one| waits(one) && one["state"] == "running").await;
    let deadline = Instant::now() + SOON;
    loop {
        let (status, text) = get(&heir.admin(), "/readyz").await;
        if status == 503 && text.contains("stands for want of a version") {
            break;
        }
        assert!(Instant::now() < deadline, "{status} {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let scored = "SELECT count(*) FROM millrace.record WHERE kind = 'prediction'";
    assert_eq!(stage.number(scored).await, 180, "something was scored without the version");
    let back = stage.millrace(&["swap", "--back", "--reason", "not everywhere", "--wait", "60"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    stage.decided(300).await;
    stage.assert_rows_are_records(300).await;
    let of = "SELECT string_agg(n::text, ' ' ORDER BY first) FROM (SELECT count(*) AS n, min(\"offset\") AS first FROM millrace.record \
              WHERE kind = 'prediction' GROUP BY config, \"offset\" >= 50) AS one";
    assert_eq!(stage.text(of).await, "90 90 90");
    heir.drain();
}

/// Bytes of loaded models, by name.
async fn loaded(worker: &Worker) -> BTreeMap<String, u64> {
    let (_, metrics) = get(&worker.admin(), "/metrics").await;
    let one = |line: &str| {
        let (model, bytes) = line.strip_prefix("millrace_model_loaded_bytes{model=\"")?.split_once("\"} ")?;
        Some((model.to_owned(), bytes.parse::<u64>().ok()?))
    };
    metrics.lines().filter_map(one).collect()
}

/// Would catch: a version whose model is read beside the budget, or that puts the model that serves out of it, even for a moment; a refusal without
/// sizes; one that a check of the config does not foresee, or that outlives the larger budget.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_for_which_there_is_no_memory_is_refused_and_the_old_one_goes_on() {
    let version = "[pipeline.version.v2]\nmodel = \"zh\"\n";
    let staged = async |budget: u64| {
        let sections = format!("[models]\nmemory_budget_mb = {budget}\n{}", models());
        Stage::of(Plan { sections: &sections, function: SENTIMENT, options: version, ..Plan::default() }).await
    };
    let stage = staged(0).await;
    let mut worker = stage.worker();
    stage.send(0, 40);
    stage.decided(40).await;
    let swap = |stage: &Stage, wait: &str| stage.millrace(&["swap", "--to", "v2", "--reason", "new", "--wait", wait]);
    assert_eq!(swap(&stage, "60").code, Some(0), "{}", stage.log());
    let bytes = loaded(&worker).await;
    worker.drain();
    let (both, largest) = (bytes.values().sum::<u64>().div_ceil(1 << 20), bytes.values().max().unwrap().div_ceil(1 << 20));
    assert!(bytes.len() == 2 && largest < both, "{bytes:?}");

    let stage = staged(largest).await;
    let checked = stage.millrace(&["check", "--connect"]);
    assert!(checked.code == Some(2) && checked.out.contains("the model `zh` takes"), "{checked:?}");
    let mut worker = stage.worker();
    stage.send(0, 100);
    stage.decided(100).await;
    assert_eq!(swap(&stage, "5").code, Some(1));
    let why = format!("with it all models take {both} MB; memory_budget_mb under [models] is {largest}");
    all_partitions(&stage, &worker, |one| one["waits_for"].as_str().is_some_and(|waits| waits.contains(&why))).await;
    stage.send(100, 200);
    stage.decided(200).await;
    assert_eq!(stage.number("SELECT count(DISTINCT model) FROM millrace.record WHERE kind = 'prediction'").await, 1);
    // Nor for a call that names it.
    let body = serde_json::json!({ "inputs": "很好" });
    let (status, answer) = post(&worker.admin(), &format!("/v1/functions/{}?version=v2", stage.name), &body).await;
    assert!(status == 503 && answer["error"]["message"].as_str().unwrap().contains("memory_budget_mb"), "{status} {answer}");
    assert_eq!(loaded(&worker).await.into_keys().collect::<Vec<_>>(), ["en"]);
    assert!(!stage.log().contains("A model without work was unloaded"), "{}", stage.log());
    worker.drain();
    stage.reconfigure(&format!("memory_budget_mb = {largest}"), &format!("memory_budget_mb = {both}"));
    let mut worker = stage.worker();
    gone_over(&stage, 1).await;
    worker.drain();
}

/// Would catch: cases of a version that nobody tries, or one that serves though it fails them.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_its_cases_does_not_serve() {
    let version = "[pipeline.version.v2]\noptions = { score = \"amount / 50\" }\ncases = \"v2.cases.jsonl\"\n";
    let stage = Stage::of(Plan { options: version, ..Plan::default() }).await;
    let cases = stage.config().with_file_name("v2.cases.jsonl");
    let expecting = |amount: i64| {
        let event = r#"{"id": "t", "account": "a", "amount": 100, "currency": "EUR", "time": 1760000000000}"#;
        std::fs::write(&cases, format!("{{\"name\": \"dear\", \"event\": {event}, \"expect\": {{\"amount\": {amount}}}}}\n"))
            .unwrap();
    };
    expecting(7);
    let mut worker = stage.worker();
    stage.send(0, 100);
    stage.decided(100).await;
    let waits = stage.millrace(&["swap", "--to", "v2", "--reason", "new", "--wait", "4"]);
    assert_eq!(waits.code, Some(1), "{waits:?}");
    let fails = |why: &str| why.contains("v2 cannot be used: case dear at") && why.contains("expected 7, found 100");
    all_partitions(&stage, &worker, |one| one["waits_for"].as_str().is_some_and(fails)).await;
    expecting(100);
    gone_over(&stage, 1).await;
    worker.drain();
}

/// Would catch: a canary that makes dead letters and goes on, a rollback without a reason in the journal, one that no metric or both workers count, one that takes back what is wanted since.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_does_worse_is_taken_back_by_itself() {
    let versions = r#"
    [pipeline.version.v2]
    options = { score = "merchant_score / 50" }
    [pipeline.canary]
    min_events = 30
    "#;
    let stage = Arc::new(Stage::of(Plan { options: versions, ..Plan::default() }).await);
    let mut workers = [stage.worker(), stage.worker()];
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(300).await;
    let asked = stage.millrace(&["swap", "--to", "v2", "--canary", "0.3", "--reason", "try"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    stage.wait_for("SELECT count(*) FROM millrace.swap WHERE canary IS NULL AND version = 'base' AND number > 1", 1).await;
    gone_over(&stage, 2).await;
    let progress = stage.events().await;
    stage.decided_at_least(progress + 200).await;
    stop(&stage, load).await;
    let words = "action || ' ' || through || ' ' || what || ': ' || reason";
    let journal = stage.text(&format!("SELECT string_agg({words}, ', ' ORDER BY id) FROM millrace.operation")).await;
    assert!(journal.starts_with("swap cli v2 for 0.3 of the keys: try, swap back worker from v2 to base: "), "{journal}");
    assert!(journal.contains("are dead letters"), "{journal}");
    let listed = stage.millrace(&["swap", "--list", "--json"]).json();
    assert_eq!((&listed["version"], &listed["canary"]), (&"base".into(), &Value::Null), "{listed}");
    let mut counted = 0;
    for worker in &workers {
        let (_, metrics) = get(&worker.admin(), "/metrics").await;
        let series =
            |line: &str| line.strip_prefix("millrace_canaries_taken_back_total{")?.split_once("} ")?.1.parse::<u64>().ok();
        counted += metrics.lines().find_map(series).expect("no such metric");
    }
    assert_eq!(counted, 1, "one step was taken back, by one of the two");
    workers.iter_mut().for_each(Worker::drain);
}

/// Would catch: a swap over HTTP without the token, to a version that is not there, or without words for the journal.
#[tokio::test(flavor = "multi_thread")]
async fn over_http_the_token_swaps() {
    const TOKEN: &str = "open-sesame-4711-hunter2";
    let stage = Stage::of(Plan { options: COPY_VERSION, ..Plan::default() }).await;
    stage.reconfigure("listen = \"127.0.0.1:0\"", &format!("listen = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\""));
    let mut worker = stage.worker();
    stage.send(0, 40);
    stage.decided(40).await;
    let path = format!("/v1/pipelines/{}/swap", stage.name);
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    for (head, body, status) in [
        ("", r#"{"to": "v2", "reason": "r", "by": "ann"}"#, 401),
        (right.as_str(), r#"{"to": "v3", "reason": "r", "by": "ann"}"#, 400),
        (&right, r#"{"to": "v2", "back": true, "reason": "r", "by": "ann"}"#, 400),
        (&right, r#"{"to": "v2", "by": "ann"}"#, 400),
        (&right, r#"{"back": true, "reason": "r", "by": "ann"}"#, 409),
        (&right, r#"{"to": "v2", "canary": 0.5, "reason": "r", "by": "ann"}"#, 200),
    ] {
        let (found, text) = post_with(&worker.admin(), &path, head, body).await;
        assert_eq!(found, status, "{body}: {text}");
    }
    gone_over(&stage, 1).await;
    let canary = |one: &Value| (&one["version"]["version"], &one["version"]["canary"]) == (&"base".into(), &"v2".into());
    all_partitions(&stage, &worker, |one| canary(one) && one["version"]["share"] == 0.5 && one["waits_for"].is_null()).await;
    worker.drain();
}
