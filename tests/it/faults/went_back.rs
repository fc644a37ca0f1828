//! A database or a group that does not remember what this pipeline has done.

use crate::support::load::Load;
use crate::support::stage::Stage;
use crate::support::{delete_group, read_committed};
use std::collections::BTreeSet;
use std::sync::Arc;

const SNAPSHOT: &str = "CREATE TABLE snapshot_partition AS SELECT * FROM millrace.stream_partition;
                        CREATE TABLE snapshot_record AS SELECT * FROM millrace.record";
/// What a restored backup looks like to a worker that is connected.
const RESTORE: &str = "BEGIN; DELETE FROM millrace.record; DELETE FROM millrace.stream_partition;
                       INSERT INTO millrace.stream_partition SELECT * FROM snapshot_partition;
                       INSERT INTO millrace.record SELECT * FROM snapshot_record; COMMIT";

/// Restores a snapshot under a running worker, and expects that it halts before it publishes anything twice.
async fn restored_under_load(stage: Arc<Stage>, snapshot_of_this_claim: bool) {
    stage.send(0, 400);
    let mut worker = stage.worker();
    stage.decided(400).await;
    stage.assert_rows_are_records(400).await;
    stage.execute(SNAPSHOT).await;
    if !snapshot_of_this_claim {
        worker.drain();
        worker = stage.worker();
    }
    let load = Load::start(&stage, 400, 500);
    stage.decided_at_least(800).await;
    stage.execute(RESTORE).await;
    let status = worker.end();
    load.stop().await;
    assert_eq!(status.code(), Some(3), "{}", worker.log());
    assert!(worker.log().contains("Postgres went back"), "{}", worker.log());
    let records = read_committed(&stage.output());
    let ids: BTreeSet<String> = records.iter().map(|record| record.id()).collect();
    assert_eq!(ids.len(), records.len(), "an id was published twice");
}

/// Would catch: a decide that did not move the row and is sent again, or claimed again, whatever the row says.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_this_claim_restored_under_a_running_worker_halts_it() {
    restored_under_load(Arc::new(Stage::new("").await), true).await;
}

/// Would catch: any other claim taken for a successor's, without a look at its epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_an_earlier_claim_restored_under_a_running_worker_halts_it() {
    restored_under_load(Arc::new(Stage::new("").await), false).await;
}

/// A pipeline of which everything is published and noted, stopped; and its group deleted.
async fn without_group() -> Stage {
    let stage = Stage::new("").await;
    stage.send(0, 400);
    let mut worker = stage.worker();
    stage.decided(400).await;
    stage.assert_rows_are_records(400).await;
    worker.drain();
    delete_group(&stage.name).await;
    stage
}

/// Would catch: K missing taken for a new pipeline, which would begin again at `start`.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_group_offsets_do_no_harm_when_all_is_known_to_be_published() {
    let stage = without_group().await;
    stage.send(400, 800);
    let mut worker = stage.worker();
    stage.decided(800).await;
    stage.assert_rows_are_records(800).await;
    worker.drain();
}

/// Would catch: K missing taken for Q, or for P: [Q, P) would be published twice, or never.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_group_offsets_halt_when_it_is_not_known_what_was_published() {
    let stage = without_group().await;
    stage.execute("UPDATE millrace.stream_partition SET published_offset = next_offset - 1").await;
    stage.send(400, 800);
    let mut worker = stage.worker();
    assert_eq!(worker.end().code(), Some(3), "{}", worker.log());
    assert!(worker.log().contains("no committed offset any more"), "{}", worker.log());
    assert_eq!(stage.events().await, 400);
    assert_eq!(read_committed(&stage.output()).len() + read_committed(&stage.dead_letters()).len(), 400);
}
