//! Two pipelines in one worker, one of them halted.

use super::outages::{readyz, send_dead};
use crate::support::http;
use crate::support::stage::{Plan, SOON, Stage, Worker};
use crate::support::{create_topic, produce};
use std::ops::Range;
use std::time::{Duration, Instant};

/// The stage's own pipeline, and another one beside it.
struct Two {
    stage: Stage,
    other: String,
}

impl Two {
    async fn new() -> Self {
        let stage = Stage::of(Plan { partitions: 1, options: "max_dead_share = 0.5", ..Plan::default() }).await;
        let other = format!("{}-other", stage.name);
        for topic in [other.clone(), format!("{other}.out"), format!("{other}.dead")] {
            create_topic(&topic, 1).await;
        }
        let one = std::fs::read_to_string(stage.config()).unwrap();
        let (_, pipeline) = one.split_once("[[pipeline]]").unwrap();
        std::fs::write(stage.config(), format!("{one}\n[[pipeline]]{}", pipeline.replace(&stage.name, &other))).unwrap();
        Self { stage, other }
    }

    /// Halts the stage's own pipeline, and waits until the gauge says so.
    async fn halt_one(&self, worker: &mut Worker) {
        let admin = worker.admin();
        readyz(worker, &admin, 200).await;
        send_dead(&self.stage);
        let deadline = Instant::now() + SOON;
        while !http::get(&admin, "/metrics").await.1.contains("state=\"halted\"} 1") {
            assert!(worker.is_running() && Instant::now() < deadline, "nothing is halted; log:\n{}", worker.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Events of the other pipeline.
    fn send(&self, numbers: Range<i64>) {
        for n in numbers {
            let body = format!("{{\"id\":\"t-{n}\",\"amount\":1,\"currency\":\"EUR\",\"account\":\"a\",\"time\":1760000000000}}");
            produce(&self.other, 0, None, body.as_bytes());
        }
    }

    async fn decided(&self, events: i64) {
        let decided = "SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition WHERE pipeline";
        self.stage.wait_for(&format!("{decided} = '{}'", self.other), events).await;
    }
}

/// Would catch: a pipeline all of whose partitions are halted that ends the worker, and with it every other pipeline, on one heir after another; one
/// that takes the functions of the others out of a load balancer for as long as it is halted; a halt that `/status` or the exit code keep to themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_halted_ends_no_other() {
    let two = Two::new().await;
    let mut worker = two.stage.worker();
    let admin = worker.admin();
    two.halt_one(&mut worker).await;
    two.send(0..20);
    two.decided(20).await;
    let (_, status) = http::get(&admin, "/status").await;
    assert!(status.contains("\"halted\"") && status.contains("max_dead_share"), "{status}");
    // The status of both pipelines was told again meanwhile.
    let (code, body) = http::get(&admin, "/readyz").await;
    assert_eq!(code, 200, "{body}");
    assert!(worker.is_running(), "{}", worker.log());
    worker.signal("-TERM");
    assert_eq!(worker.end().code(), Some(3), "{}", worker.log());
}

/// Would catch: a worker that stays, ready, when nothing of it is left that works.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_two_pipelines_ends_once_both_are_halted() {
    let two = Two::new().await;
    let mut worker = two.stage.worker();
    two.halt_one(&mut worker).await;
    for _ in 0..200 {
        produce(&two.other, 0, None, b"cut off");
    }
    let (status, log) = (worker.end(), worker.log());
    assert!(log.contains("All partitions of all pipelines are halted"), "{log}");
    assert_eq!(status.code(), Some(3), "{log}");
}

/// What ends the worker is the failure, which another start may mend; the halt was there before and ended nothing.
///
/// Would catch: an exit code of the halted pipeline that only drains, by which no service manager starts the worker again: so one halted pipeline
/// would make every passing failure of its neighbours final, on one heir after another.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_beside_a_halted_pipeline_is_followed_by_another_start() {
    let two = Two::new().await;
    let (stage, user) = (&two.stage, &two.stage.name);
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    let mut worker = stage.worker();
    two.halt_one(&mut worker).await;
    two.send(0..20);
    two.decided(20).await;

    stage.execute("REVOKE INSERT ON millrace.record FROM millrace_worker").await;
    two.send(20..40);
    let (status, log) = (worker.end(), worker.log());
    assert!(log.contains("42501") && log.contains("Halted for safety."), "one failed, the other one was halted: {log}");
    assert_eq!(status.code(), Some(1), "{log}");

    stage.execute("GRANT INSERT ON millrace.record TO millrace_worker").await;
    let mut again = stage.worker();
    two.decided(40).await;
    again.kill();
    stage.execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await;
}
