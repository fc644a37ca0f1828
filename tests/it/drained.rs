//! What who asks over HTTP sees of a worker that was told to stop.

use crate::faults::outages::readyz;
use crate::support::http::{get, post, try_get};
use crate::support::stage::{SOON, Stage, Worker};
use serde_json::json;
use std::time::{Duration, Instant};

/// A worker that has decided some events and goes on answering for so long after a signal; its address.
async fn worker(stay_ms: u64) -> (Stage, Worker, String) {
    let stage = Stage::new("").await;
    stage.reconfigure("halted_stay_ms = 0", &format!("halted_stay_ms = 0\ndrain_stay_ms = {stay_ms}"));
    let mut worker = stage.worker();
    let address = worker.admin();
    readyz(&mut worker, &address, 200).await;
    stage.send(0, 40);
    stage.decided(40).await;
    (stage, worker, address)
}

/// Waits until the worker has told of its pipeline that it is drained.
async fn drained(worker: &Worker) {
    let deadline = Instant::now() + SOON;
    while !worker.log().contains("Drained.") {
        assert!(Instant::now() < deadline, "it does not drain; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Would catch: a listener that closes with the last pipeline, while a load balancer still sends requests; a worker that calls itself ready meanwhile,
/// or not alive; a second signal that is waited out.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_answers_until_who_asks_has_heard_of_it() {
    let longest = Duration::from_secs(20);
    let (stage, mut worker, address) = worker(20_000).await;
    let began = Instant::now();
    worker.signal("-TERM");
    let why = readyz(&mut worker, &address, 503).await;
    assert!(why.contains("drains"), "{why}");
    drained(&worker).await;
    let event =
        json!({ "id": "t", "account": "a", "amount": 5, "currency": "EUR", "time": 1_760_000_000_000i64, "merchant": "m" });
    for _ in 0..5 {
        assert_eq!(get(&address, "/livez").await.0, 200);
        assert_eq!(get(&address, "/readyz").await.0, 503);
        let (status, answer) = post(&address, &format!("/v1/functions/{}", stage.name), &json!({ "inputs": event })).await;
        assert!(status == 200 && answer.to_string().contains('5'), "{status} {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    worker.drain();
    assert!(worker.log().contains("ending at once"), "{}", worker.log());
    assert!(began.elapsed() < longest, "the second signal was waited out: {:?}", began.elapsed());
    assert_eq!(try_get(&address, "/livez").await, None);
}

/// Would catch: a stay that ends too early, or never.
#[tokio::test(flavor = "multi_thread")]
async fn the_stay_after_a_signal_has_its_length() {
    let (_stage, mut worker, _) = worker(2_000).await;
    let began = Instant::now();
    worker.drain();
    assert!(began.elapsed() >= Duration::from_millis(2_000), "it was gone after {:?}", began.elapsed());
    assert!(worker.log().contains("Drained.") && !worker.log().contains("ending at once"), "{}", worker.log());
}

/// Would catch: a worker that fails and is kept from starting again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_by_itself_does_not_stay() {
    let (stage, mut worker, _) = worker(20_000).await;
    // A partition without its row: the pipeline halts, and with it all of the worker.
    stage.execute("DELETE FROM millrace.stream_partition").await;
    let began = Instant::now();
    stage.send(40, 80);
    let code = worker.end().code();
    assert!(
        code == Some(3) && began.elapsed() < Duration::from_secs(20),
        "{code:?} after {:?}; log:\n{}",
        began.elapsed(),
        worker.log()
    );
}
