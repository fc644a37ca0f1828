//! kill -9, again and again.

use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::stage::{Stage, Worker};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Kills without `MILLRACE_KILLS`; `deploy/local/kill_test.sh 100` makes a hundred.
const KILLS: usize = 8;

/// One of three workers is killed under load, each time after another while, beside a reader that watches from the beginning.
///
/// Would catch: a compare-and-set without the claim, offsets outside the transaction, records computed again instead of read
/// back, something newer published before [K, P) of the predecessor, a publish under a lease that is over.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_one_of_three_workers_again_and_again_loses_and_doubles_nothing() {
    let kills = std::env::var("MILLRACE_KILLS").map_or(KILLS, |kills| kills.parse().expect("MILLRACE_KILLS is a number"));
    let stage = Arc::new(Stage::new("").await);
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut workers: Vec<Worker> = (0..3).map(|_| stage.worker()).collect();
    let load = Load::start(&stage, 0, 400);
    for kill in 0..kills {
        // Not at once, not always in the same place: in a claim, in a rebalance, in the middle of the work.
        let progress = stage.events().await;
        if kill % 2 == 0 {
            stage.decided_at_least(progress + 1 + 97 * (kill as i64 % 5)).await;
        } else {
            tokio::time::sleep(Duration::from_millis(300 + 137 * (kill as u64 % 8))).await;
        }
        let victim = kill % workers.len();
        workers[victim].kill();
        workers[victim] = stage.worker();
        watcher.check();
    }
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    for worker in &mut workers {
        assert!(worker.is_running(), "{}", worker.log());
    }
    // As an operator would look, beside the running workers.
    let config = stage.config();
    let verify =
        Command::new(env!("CARGO_BIN_EXE_millrace")).args(["verify", "--deep", "--config"]).arg(config).output().unwrap();
    let said = String::from_utf8_lossy(&verify.stdout);
    assert_eq!(verify.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&verify.stderr));
    println!("{kills} kills, {sent} events\n{said}");
}
