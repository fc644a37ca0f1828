//! The decide whose outcome the worker does not hear.

use crate::support::load::Load;
use crate::support::proxy::{Cut, Proxy};
use crate::support::stage::{Plan, SOON, Stage};
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Would catch: a decide taken as failed, or as done, without reading the row; a row read on the connection whose reply was
/// lost; a compare-and-set without P, which lets a statement that arrives late move the offset back.
#[tokio::test(flavor = "multi_thread")]
async fn a_decide_without_a_reply_is_settled_by_the_row() {
    let stage = Arc::new(Stage::new("").await);
    let options = PgConnectOptions::from_str(&stage.url).unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    // Every third decide is broken, each time in the next way.
    let ways = [Cut::Reply, Cut::Early, Cut::Statement, Cut::Late];
    let proxy = Proxy::start(server.clone(), "WITH moved AS", move |n| (n % 3 == 2).then(|| ways[n / 3 % 4])).await;
    stage.reconfigure(&server, &format!("127.0.0.1:{}", proxy.port));
    let mut worker = stage.worker();
    let load = Load::start(&stage, 0, 500);
    let deadline = Instant::now() + SOON;
    while ways.iter().any(|cut| proxy.cuts(*cut) < 4) {
        assert!(worker.is_running() && Instant::now() < deadline, "{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    assert_eq!(stage.number("SELECT max(epoch) FROM millrace.stream_partition").await, 1, "the first claim holds throughout");
    worker.drain();
}

/// Would catch: a connection for each row that is read again, which many workers open in the moment in which Postgres comes back, beyond what their login
/// may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_decide_without_a_reply_takes_one_connection_more() {
    const CUTS: usize = 4;
    let stage = Arc::new(Stage::of(Plan { partitions: 16, ..Plan::default() }).await);
    let options = PgConnectOptions::from_str(&stage.url).unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let cut = |n: usize| (n % 4 == 3 && n / 4 < CUTS).then_some(Cut::Reply);
    let proxy = Proxy::start(server.clone(), "WITH moved AS", cut).await;
    stage.reconfigure(&server, &format!("127.0.0.1:{}", proxy.port));
    let burst = stage.clone();
    tokio::task::spawn_blocking(move || burst.send(0, 1_600)).await.unwrap();
    let mut worker = stage.worker();
    let load = Load::start(&stage, 1_600, 300);
    let deadline = Instant::now() + SOON;
    while proxy.cuts(Cut::Reply) < CUTS {
        assert!(worker.is_running() && Instant::now() < deadline, "{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent = load.stop().await;
    stage.decided(sent).await;
    // The pool of one pipeline has four; for each cut one takes the place of what was lost, one reads the rows, and one is to spare. With one for each
    // row there were 53.
    let (opened, most) = (proxy.accepted(), 4 + 3 * CUTS);
    assert!(opened <= most, "{opened} connections, {most} at most");
    stage.assert_rows_are_records(sent).await;
    worker.drain();
}
