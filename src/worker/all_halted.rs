//! A worker with several pipelines of which everything is halted. One halted pipeline ends no other, and is in nobody's way; when none is left that
//! works, the worker is not ready, and ends as one with a single pipeline does.

use crate::admin::{Readiness, StatusBoard};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(1);
/// Its name among what is in the way: nobody else takes it away, and it takes nobody's.
const HINDRANCE: &str = "all pipelines";

/// Whether every pipeline holds partitions, and all of them are halted. One without any may be given some, and works then.
fn is_so(board: &StatusBoard, pipelines: &[String]) -> bool {
    let is_halted = |name: &String| {
        let partitions = board.of(name);
        !partitions.is_empty() && partitions.values().all(|one| one.state == "halted")
    };
    !pipelines.is_empty() && pipelines.iter().all(is_halted)
}

/// Drains the worker once it has been so for `stay`.
pub async fn follow(
    (board, readiness): (Arc<StatusBoard>, Arc<Readiness>),
    pipelines: Vec<String>,
    stay: Duration,
    drain: CancellationToken,
    closing: CancellationToken,
) {
    let mut since: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = drain.cancelled() => return,
            () = closing.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        match (is_so(&board, &pipelines), since) {
            (false, None) => {}
            (false, Some(_)) => {
                since = None;
                readiness.clear(HINDRANCE);
            }
            (true, None) => {
                tracing::error!(stays = ?stay, "All partitions of all pipelines are halted: the worker will end. A signal ends it at once.");
                readiness.block(HINDRANCE, "all partitions of all pipelines are halted, /status says why");
                since = Some(Instant::now());
            }
            (true, Some(_)) => {}
        }
        if since.is_some_and(|since| since.elapsed() >= stay) {
            drain.cancel();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::PartitionStatus;

    fn tell(board: &StatusBoard, pipeline: &str, states: &[&str]) {
        let status = |(number, state): (usize, &&str)| {
            (format!("in/{number}"), PartitionStatus { state: (*state).to_owned(), ..PartitionStatus::default() })
        };
        board.replace(pipeline, states.iter().enumerate().map(status).collect());
    }

    /// Would catch: a worker that is ready and stays for ever while nothing of it works; one that ends while something does, or may; one that
    /// drains and is ready, since something works again.
    #[tokio::test(start_paused = true)]
    async fn a_worker_of_which_nothing_works_is_not_ready_and_ends_after_a_while() {
        let (board, readiness) = (Arc::new(StatusBoard::default()), Arc::new(Readiness::new([])));
        let (drain, closing) = (CancellationToken::new(), CancellationToken::new());
        let pipelines = vec!["a".to_owned(), "b".to_owned()];
        let stay = Duration::from_secs(60);
        let following = follow((board.clone(), readiness.clone()), pipelines, stay, drain.clone(), closing.clone());
        let following = tokio::spawn(following);
        for others in [&["running", "halted"][..], &[], &["claiming"]] {
            tell(&board, "a", &["halted", "halted"]);
            tell(&board, "b", others);
            tokio::time::sleep(stay * 3).await;
            assert!(readiness.missing().is_empty() && !drain.is_cancelled(), "{others:?}");
        }
        tell(&board, "b", &["halted"]);
        tokio::time::sleep(stay / 2).await;
        assert_eq!(readiness.missing(), ["all pipelines: all partitions of all pipelines are halted, /status says why"]);
        tell(&board, "b", &["halted", "running"]);
        tokio::time::sleep(stay).await;
        assert!(readiness.missing().is_empty() && !drain.is_cancelled(), "it works again");
        // What somebody else has said of the worker stays.
        tell(&board, "b", &["halted", "halted"]);
        tokio::time::sleep(stay / 2).await;
        readiness.block("this worker", "it drains and will end");
        assert_eq!(readiness.missing().len(), 2, "{:?}", readiness.missing());
        tell(&board, "b", &["halted", "running"]);
        tokio::time::sleep(stay).await;
        assert_eq!(readiness.missing(), ["this worker: it drains and will end"]);
        tell(&board, "b", &["halted", "halted"]);
        tokio::time::sleep(stay * 2).await;
        assert!(drain.is_cancelled());
        following.await.unwrap();
    }
}
