//! A backlog that is worked on in the order of event time, whoever dies and whatever moves.

use super::world::World;
use super::{check, fold, nothing_halted, paused};
use std::time::Duration;

/// How far ahead of the slowest partition an event may be, milliseconds.
pub const BOUND_MS: i64 = 5;

/// Two lives of the group, each with a log that does not grow meanwhile; every event's time is its offset. The second finds
/// partitions that were caught up when they were last heard of.
pub async fn two_lives(world: &mut World) -> Result<(), String> {
    world.start_worker();
    life(world, 130).await?;
    if world.chance.percent(50) {
        world.stop().await?;
    }
    while !world.workers.is_empty() {
        world.kill(0);
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    life(world, 70).await?;
    if world.folds { fold::online_equals_batch(world) } else { Ok(()) }
}

/// New events, then deaths, freezes, outages and moves, until all is done.
async fn life(world: &mut World, events: usize) -> Result<(), String> {
    let before = world.cluster.state().output.len();
    for _ in 0..events {
        let kind = ["one", "two", "three", "skip"][world.chance.below(4)];
        world.cluster.append(&world.partitions[world.chance.below(world.partitions.len())], kind);
    }
    for _ in 0..=world.chance.below(3) {
        world.start_worker();
    }
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(50 + world.chance.below(2_500) as u64)).await;
        world.reap().await;
        in_order(world, before)?;
        if world.pauses {
            paused::at_random(world);
        }
        match (world.chance.below(6), world.workers.len()) {
            (0, 1..) => world.kill(world.chance.below(world.workers.len())),
            (1, 1..) => {
                let index = world.chance.below(world.workers.len());
                *world.workers[index].process.frozen.lock().unwrap() = world.chance.percent(50);
            }
            (2, _) => *world.database.away.lock().unwrap() = world.chance.percent(50),
            (3, ..3) | (_, 0) => world.start_worker(),
            _ => {}
        }
    }
    world.database.tables().pauses.clear();
    *world.database.away.lock().unwrap() = false;
    for worker in &world.workers {
        *worker.process.frozen.lock().unwrap() = false;
    }
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    check::every_event_ended(world)?;
    in_order(world, before)
}

/// Of what went out in this life nothing went before something that is older by more than the bound.
fn in_order(world: &World, before: usize) -> Result<(), String> {
    let mut newest: Option<(i64, String)> = None;
    for record in &world.cluster.state().output[before..] {
        let at = format!("{}/{}", record.partition, record.offset);
        match &newest {
            Some((time, ahead)) if record.offset < time - BOUND_MS => {
                return Err(format!("{at} went out after {ahead}, with {BOUND_MS} ms allowed"));
            }
            Some((time, _)) if record.offset <= *time => {}
            _ => newest = Some((record.offset, at)),
        }
    }
    Ok(())
}
