//! Pauses and resumes by an operator, whoever dies and whatever moves: a paused partition stands still with K = P and holds no memory, and
//! once it is resumed every event has its ending.

use super::world::World;
use super::{check, fold, nothing_halted, troubled_times};
use crate::event::TopicPartition;
use crate::pipeline::Ended;
use crate::record::Mode;
use crate::store::Pause;
use std::collections::BTreeMap;
use std::time::Duration;

/// A pause of one partition, of its topic, or of all.
pub fn pause(topic: Option<&str>, partition: Option<i32>) -> Pause {
    let topic = topic.map(str::to_owned);
    Pause { topic, partition, reason: "why".into(), by: "somebody".into(), since: "2026-01-01T00:00:00Z".into() }
}

/// Now and then pauses something, or resumes everything.
pub fn at_random(world: &World) {
    let some = &world.partitions[world.chance.below(world.partitions.len())];
    let pauses = match world.chance.below(10) {
        0 => vec![pause(None, None)],
        1 => vec![pause(Some(&some.topic), None)],
        2 | 3 => vec![pause(Some(&some.topic), Some(some.partition))],
        4..7 => Vec::new(),
        _ => return,
    };
    world.database.tables().pauses = pauses;
}

/// P of each partition.
fn decided(world: &World) -> BTreeMap<TopicPartition, i64> {
    world.database.tables().rows.iter().map(|(partition, row)| (partition.clone(), row.next_offset)).collect()
}

/// Whether all that is decided is published, all states are written (S = P), and no worker holds anything.
fn is_still(world: &World) -> bool {
    let published = |(partition, p): (TopicPartition, i64)| {
        let k = world.cluster.state().offsets.get(&partition).map(|k| k.offset);
        world.mode == Mode::Postgres || k == Some(p)
    };
    let written = world.database.tables().rows.values().all(|row| !world.folds || row.fold_from == row.next_offset);
    world.held_bytes() == 0 && written && decided(world).into_iter().all(published)
}

async fn comes_to_rest(world: &mut World) -> Result<(), String> {
    for _ in 0..3_000 {
        world.reap().await;
        if world.workers.is_empty() {
            world.start_worker();
        }
        if is_still(world) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let states: Vec<i64> = world.database.tables().rows.values().map(|row| row.fold_from).collect();
    Err(format!("paused, and not at rest: {} bytes are held, P {:?}, S {states:?}", world.held_bytes(), decided(world)))
}

/// Deaths, moves and new events while everything is paused.
async fn stands_still(world: &mut World) -> Result<(), String> {
    world.database.tables().pauses = vec![pause(None, None)];
    // What was sent before, by whom ever, is carried out within this time.
    tokio::time::sleep(Duration::from_secs(30)).await;
    comes_to_rest(world).await?;
    let before = decided(world);
    for _ in 0..4 {
        world.append(5);
        match world.chance.below(4) {
            0 if !world.workers.is_empty() => world.kill(0),
            1 if !world.workers.is_empty() => match world.drain(0).await? {
                Ended::Drained => {}
                other => return Err(format!("a worker that was drained while paused ended as {other:?}")),
            },
            _ if world.workers.len() < 3 => world.start_worker(),
            _ => {}
        }
        tokio::time::sleep(Duration::from_secs(8)).await;
        world.reap().await;
        check::offsets_in_order(world)?;
    }
    comes_to_rest(world).await?;
    let after = decided(world);
    // A partition that nobody had claimed before has its row now.
    match before.iter().find(|(partition, p)| after.get(*partition) != Some(*p)) {
        Some((partition, p)) => Err(format!("{partition} was paused at {p}, and moved to {:?}", after.get(partition))),
        None => Ok(()),
    }
}

/// One partition stays paused while the others come to their ends.
async fn others_go_on(world: &mut World) -> Result<(), String> {
    let one = world.partitions[world.chance.below(world.partitions.len())].clone();
    let stood = decided(world).get(&one).copied();
    world.database.tables().pauses = vec![pause(Some(&one.topic), Some(one.partition))];
    world.settle(|world| !world.halts().is_empty() || others_are_settled(world, &one)).await?;
    let stands = decided(world).get(&one).copied();
    if stood.is_some() && stood != stands {
        return Err(format!("{one} was paused at {stood:?}, and moved to {stands:?}"));
    }
    Ok(())
}

fn others_are_settled(world: &World, one: &TopicPartition) -> bool {
    let decided = decided(world);
    world.partitions.iter().filter(|partition| *partition != one).all(|partition| {
        let end = world.cluster.bounds(partition).high;
        decided.get(partition) == Some(&end)
    })
}

/// Random pauses under faults, then a pause of everything, of one partition, and an end.
pub async fn whatever_happens(world: &mut World) -> Result<(), String> {
    world.append(40);
    world.start_worker();
    troubled_times(world, 12).await?;
    stands_still(world).await?;
    others_go_on(world).await?;
    troubled_times(world, 4).await?;
    world.database.tables().pauses.clear();
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    check::every_event_ended(world)?;
    if let Some(other) = world.stop().await?.into_iter().find(|ended| *ended != Ended::Drained) {
        return Err(format!("a settled worker ended as {other:?}"));
    }
    if world.folds { fold::online_equals_batch(world) } else { Ok(()) }
}
