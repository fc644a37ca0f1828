//! New runs that are told by hand: a long past, and what goes on beside it.

use super::fold::{Chain, online_equals_batch};
use super::new_run::{adopt, suspect};
use super::paused::pause;
use super::world::World;
use crate::event::TopicPartition;
use std::time::Duration;
use tokio::time::Instant;

/// A world whose first partition has so many events, all of them to be folded and none to be scored.
fn with_past(events: usize, chain: Chain) -> (World, TopicPartition) {
    let mut world = World::new(1);
    (world.folds, world.chain) = (true, chain);
    let first = world.partitions[0].clone();
    for _ in 0..events {
        world.cluster.append(&first, "one");
    }
    for partition in &world.partitions {
        adopt(&world, partition, world.cluster.bounds(partition).high);
    }
    (world, first)
}

/// S of a partition.
fn written(world: &World, partition: &TopicPartition) -> i64 {
    world.database.tables().rows[partition].fold_from
}

async fn a_while(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Waits for something, ten minutes at most.
async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if so() {
            return;
        }
        a_while(20).await;
    }
    panic!("in vain: {what}");
}

/// The most memory that states take while Postgres is away for ten minutes and a long past is there to be folded; all keys are in memory.
pub async fn memory_beside_an_outage() -> usize {
    let (mut world, first) = with_past(3_000, Chain::default());
    world.start_worker();
    until("states are written", || written(&world, &first) > 0).await;
    *world.database.away.lock().unwrap() = true;
    let mut most = 0;
    for _ in 0..2_400 {
        a_while(250).await;
        most = most.max(world.state_bytes());
    }
    *world.database.away.lock().unwrap() = false;
    world.settle(|_| false).await.unwrap();
    world.stop().await.unwrap();
    online_equals_batch(&world).unwrap();
    most
}

/// How long the events of a partition on probation take beside the long past of another, which brings states from a slow database all the time.
pub async fn probed_beside_a_long_past() -> Duration {
    let chain = Chain { keys: 1_000_000, flush_after: 1_000_000, ..Chain::default() };
    let (mut world, _) = with_past(2_000, chain);
    let probed = world.partitions[1].clone();
    suspect(&world, &probed);
    for _ in 0..5 {
        world.cluster.append(&probed, "one");
    }
    world.database.chance.slow_down();
    world.start_worker();
    let (begun, end) = (Instant::now(), world.cluster.bounds(&probed).high);
    until("the events on probation have ended", || world.database.tables().rows[&probed].next_offset == end).await;
    world.kill(0);
    begun.elapsed()
}

/// How far the past is folded when it has been paused for a minute, as S and P say, and what is held then. Hardly anything of it is written
/// before the pause. Once it is resumed the states are those of one pass.
pub async fn paused_in_its_past() -> (i64, i64, usize) {
    let (mut world, first) = with_past(2_000, Chain { flush_after: 500, ..Chain::default() });
    world.start_worker();
    until("events are folded", || world.state_bytes() > 600).await;
    world.database.tables().pauses = vec![pause(None, None)];
    a_while(60_000).await;
    let still = (written(&world, &first), world.database.tables().rows[&first].next_offset, world.held_bytes());
    a_while(60_000).await;
    assert_eq!(written(&world, &first), still.0, "it stands still");
    world.kill(0);
    world.start_worker();
    a_while(60_000).await;
    assert_eq!(written(&world, &first), still.0, "its heir stands still too");
    world.database.tables().pauses.clear();
    world.settle(|_| false).await.unwrap();
    world.stop().await.unwrap();
    online_equals_batch(&world).unwrap();
    still
}

/// What becomes of a past whose log seems to end in its midst, for so long.
pub async fn beside_an_early_end(milliseconds: u64) -> Result<(), String> {
    let (mut world, first) = with_past(80, Chain::default());
    world.cluster.state().stable_ends.insert(first.clone(), 40);
    world.start_worker();
    until("an end is told", || world.cluster.state().told_ends.iter().any(|(of, end)| *of == first && *end > 0)).await;
    a_while(milliseconds).await;
    world.cluster.state().stable_ends.clear();
    world.settle(|world| !world.halts().is_empty()).await?;
    // What comes late is there by now.
    a_while(10_000).await;
    if let Some(halt) = world.halts().first() {
        return Err(halt.clone());
    }
    world.stop().await?;
    online_equals_batch(&world)
}

/// Whether S comes to P where P stands behind a marker, as no event tells that all of the past has come.
pub async fn before_a_marker() -> Result<(), String> {
    let (mut world, first) = with_past(30, Chain::default());
    world.cluster.mark(&first);
    adopt(&world, &first, world.cluster.bounds(&first).high);
    world.start_worker();
    world.settle(|_| false).await?;
    world.stop().await?;
    online_equals_batch(&world)
}

/// Why the heir of a worker halts that has written states of the past, and scored nothing, when it is configured with another fold.
pub async fn under_another_fold() -> Option<String> {
    let (mut world, first) = with_past(600, Chain::default());
    world.start_worker();
    until("states are written", || written(&world, &first) > 0).await;
    world.kill(0);
    a_while(40_000).await;
    world.chain.digest = "other0000000";
    world.start_worker();
    a_while(120_000).await;
    world.kill(0);
    world.halts().into_iter().find(|halt| halt.starts_with(&first.to_string()))
}
