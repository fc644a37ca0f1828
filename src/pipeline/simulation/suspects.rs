//! Who is suspected of a death, told step by step.

use super::function::KINDS;
use super::stay::{Refusing, Told};
use std::time::Duration;
use uuid::Uuid;

/// Longer than any statement takes.
const LONG: Duration = Duration::from_secs(30);
/// Longer than the note of a handover takes, and shorter than the driver waits for a reply.
const WAITS: Duration = Duration::from_secs(12);

/// The label of the first event's dead letter. One process has died with it in work alone; this one lives. Postgres refuses its record, so
/// that it is read again. The name of the event after it is lost on the way to Postgres, and with it the decide; then the partition goes
/// and comes back, and the row has the first one's name still.
pub async fn label_beside_a_lost_name() -> String {
    assert!(KINDS.iter().any(|(kind, ..)| *kind == "refused"));
    let told = Told::<Refusing>::start().await;
    let mut events = told.cluster.events(&told.partition);
    events[0].payload = Some(b"refused".as_slice().into());
    let row = || told.database.tables().rows[&told.partition].clone();
    tokio::time::sleep(LONG).await;
    {
        let mut tables = told.database.tables();
        let row = tables.rows.get_mut(&told.partition).unwrap();
        (row.suspect_offset, row.idle_claims, row.owner, row.claim) = (Some(0), 1, "the dead".into(), Uuid::nil());
    }
    told.goes_and_comes_back(3).await;
    tokio::time::sleep(LONG).await;
    let before = row().epoch;
    told.reads(events.clone()).await;
    for _ in 0..20 {
        if row().epoch == before {
            tokio::time::sleep(LONG).await;
        }
    }
    assert_eq!((row().suspect_offset, row().idle_claims), (Some(0), 2), "it was in work alone once more");
    *told.database.away.lock().unwrap() = true;
    told.reads(events.clone()).await;
    tokio::time::sleep(LONG).await;
    told.goes_and_comes_back(5).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((row().suspect_offset, row().next_offset), (Some(0), 0), "neither a name nor a decide came through");
    *told.database.away.lock().unwrap() = false;
    for _ in 0..20 {
        if row().next_offset < 5 {
            tokio::time::sleep(LONG).await;
            told.reads(events.clone()).await;
        }
    }
    told.worker.abort();
    assert_eq!(row().next_offset, 5, "every event has its ending");
    let letter = told.database.tables().records_of(&told.partition, 0, 1).remove(0);
    letter.label.unwrap().into()
}

/// What the row says of deaths, after a partition was handed over in good order while the name of its first event was on its way: it waits for a
/// connection, and lands when the note of the handover is there.
pub async fn row_after_a_name_that_came_late() -> (Option<i64>, i32) {
    let told = Told::<Refusing>::start().await;
    let row = || told.database.tables().rows[&told.partition].clone();
    left_by_the_dead(&told, Some(0), 1).await;
    *told.database.names_wait.lock().unwrap() = WAITS;
    told.reads(told.cluster.events(&told.partition)).await;
    tokio::time::sleep(WAITS / 4).await;
    told.goes(4).await;
    tokio::time::sleep(WAITS / 2).await;
    assert_eq!((row().suspect_offset, row().idle_claims), (None, 0), "it was handed over in good order");
    tokio::time::sleep(LONG).await;
    told.worker.abort();
    (row().suspect_offset, row().idle_claims)
}

/// The suspect that the row has at last, when the partition is handed over before the name of an event has come to Postgres.
pub async fn named_after_the_handover() -> Option<i64> {
    let told = Told::<Refusing>::start().await;
    let row = || told.database.tables().rows[&told.partition].clone();
    left_by_the_dead(&told, None, 3).await;
    assert_eq!(row().idle_claims, 4, "each event is to be alone in work");
    *told.database.away.lock().unwrap() = true;
    told.reads(told.cluster.events(&told.partition)).await;
    tokio::time::sleep(LONG).await;
    told.goes(4).await;
    tokio::time::sleep(LONG).await;
    *told.database.away.lock().unwrap() = false;
    tokio::time::sleep(LONG).await;
    told.worker.abort();
    row().suspect_offset
}

/// Another process died with the partition, and this one gets it.
async fn left_by_the_dead(told: &Told<Refusing>, suspect: Option<i64>, idle_claims: i32) {
    tokio::time::sleep(LONG).await;
    {
        let mut tables = told.database.tables();
        let row = tables.rows.get_mut(&told.partition).unwrap();
        (row.suspect_offset, row.idle_claims, row.owner, row.claim) = (suspect, idle_claims, "the dead".into(), Uuid::nil());
    }
    told.goes_and_comes_back(3).await;
    tokio::time::sleep(LONG).await;
}
