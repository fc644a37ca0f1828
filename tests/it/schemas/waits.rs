//! A registry that gives no answer: events wait, and nothing else does.

use super::*;

/// Would catch: dead letters because the registry is away, a partition that waits for another's schema, a worker that says nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_registry_that_is_away_at_the_start() {
    let registry = Registry::start(Behaviour { away: true, ..Behaviour::default() }).await;
    let stage = stage(&registry, "avro").await;
    let (value, json) = registry.value("avro", "every type", None);
    for _ in 0..3 {
        stage.put(0, &value);
    }
    stage.put(1, b"{}");
    let mut worker = stage.worker();
    stage.decided_at_least(1).await;
    let said = readyz(&worker, 503).await;
    assert!(said.contains("events wait for schema 1"), "{said}");
    assert_eq!(stage.endings().await, [(1, 0, "no_schema_id".into())]);
    registry.set(Behaviour { status: Some(503), ..Behaviour::default() });
    let deadline = Instant::now() + SOON;
    while !http::get(&worker.admin(), "/readyz").await.1.contains("503") {
        assert!(Instant::now() < deadline, "{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    registry.set(Behaviour::default());
    stage.decided(4).await;
    let endings: Vec<Value> = stage.endings().await.into_iter().map(|(_, _, ending)| ending).collect();
    assert_eq!(endings, [json.clone(), json.clone(), json, "no_schema_id".into()]);
    readyz(&worker, 200).await;
    worker.drain();
    let log = worker.log();
    assert_eq!(log.matches("Events wait for a schema that the registry does not give").count(), 1, "{log}");
    assert!(log.contains("No event waits for the schema registry any more"), "{log}");
    stage.published().await;
}

/// Would catch: known schemas that are asked for again, a rebalance or a drain that hangs on the registry, an event that is lost or done
/// twice by who takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stands_still_midway_holds_up_nothing_else() {
    let registry = Registry::start(Behaviour::default()).await;
    let stage = stage(&registry, "avro").await;
    let (known, json) = registry.value("avro", "every type", None);
    let (new, newer) = registry.value("avro", "an older schema", None);
    stage.put(0, &known);
    stage.put(1, &known);
    let mut first = stage.worker();
    stage.decided(2).await;
    registry.set(Behaviour { stuck: true, ..Behaviour::default() });
    stage.put(0, &new);
    stage.put(0, &known);
    stage.put(1, &known);
    stage.decided_at_least(3).await;
    readyz(&first, 503).await;
    // A second worker takes one of the two over; whichever waits does so there or here.
    let mut second = stage.worker();
    let claims = "SELECT count(DISTINCT owner) FROM millrace.stream_partition";
    stage.wait_for(claims, 2).await;
    stage.put(1, &known);
    stage.wait_for("SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition WHERE partition = 1", 3).await;
    first.drain();
    registry.set(Behaviour::default());
    stage.decided(6).await;
    let endings: Vec<Value> = stage.endings().await.into_iter().map(|(_, _, ending)| ending).collect();
    assert_eq!(endings, [json.clone(), newer, json.clone(), json.clone(), json.clone(), json]);
    second.drain();
    stage.published().await;
}

/// Would catch: a wrong password that makes dead letters, one that is shown, a new one that wants a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_may_be_put_right_while_the_worker_runs() {
    let registry = Registry::start(Behaviour { login: Some("reader:new-secret".into()), ..Behaviour::default() }).await;
    let stage = stage(&registry, "avro").await;
    let file = stage.config().with_file_name("password");
    std::fs::write(&file, "old-secret\n").unwrap();
    stage.reconfigure("timeout_ms = 2000", &format!("username = \"reader\"\npassword_file = {file:?}"));
    stage.put(0, &registry.value("avro", "every type", None).0);
    let mut worker = stage.worker();
    let said = readyz(&worker, 503).await;
    assert!(said.contains("401") && said.contains("password_file"), "{said}");
    assert_eq!(stage.events().await, 0);
    std::fs::write(&file, "new-secret\n").unwrap();
    stage.decided(1).await;
    worker.drain();
    assert!(!worker.log().contains("-secret"), "{}", worker.log());
}

/// Would catch: a partition that a made-up id stops, what comes behind many of them and waits for each in turn.
#[tokio::test(flavor = "multi_thread")]
async fn made_up_ids_are_dead_letters_and_hold_up_little() {
    let registry = Registry::start(Behaviour::default()).await;
    let stage = stage(&registry, "avro").await;
    let ids = || (7_000..7_200).chain([1 << 31, u32::MAX]);
    for id in ids() {
        stage.put(0, &registry.value("avro", "an older schema", Some(id)).0);
    }
    let (good, json) = registry.value("avro", "an older schema", None);
    stage.put(0, &good);
    stage.run_until(203).await;
    let endings: Vec<Value> = stage.endings().await.into_iter().map(|(_, _, ending)| ending).collect();
    assert_eq!(endings, ids().map(|_| Value::from("schema_unknown")).chain([json]).collect::<Vec<_>>());
    let looks: usize = ids().map(|id| registry.asked(&format!("/schemas/ids/{id}"))).sum();
    assert!((200..=250).contains(&looks), "{looks}");
}
