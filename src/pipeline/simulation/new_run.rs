//! A new run that folds the log from its start and scores from where another stood, whoever dies and whatever moves.

use super::world::World;
use super::{check, fold, nothing_halted, troubled_times};
use crate::event::TopicPartition;
use crate::pipeline::Ended;
use crate::pipeline::memory::PART;
use crate::publisher::offset_metadata;
use crate::source::memory::StoredOffset;
use crate::store::PartitionRow;
use crate::store::memory::opened;
use std::collections::BTreeMap;

/// What a world of this seed has beside deaths, moves and lost replies.
pub fn kinds(world: &mut World, seed: u64) {
    world.folds = true;
    world.chain.links = seed % 4 == 1;
    world.pauses = seed % 5 == 2;
    if seed % 3 == 2 {
        world.cluster.chance.slow_down();
        world.database.chance.slow_down();
    }
}

/// States and scores are those of one run over all of the log, nothing below the start is scored, and no decide that stands still is large. Says
/// whether states were written while the past was still folded.
pub async fn remembers_the_log(world: &mut World) -> Result<bool, String> {
    world.append(240);
    let mut starts = BTreeMap::new();
    for partition in world.partitions.clone() {
        let mut start = world.cluster.bounds(&partition).high;
        match world.chance.below(3) {
            // Behind a marker: no event tells that the past has come.
            0 => {
                world.cluster.mark(&partition);
                start += 1;
            }
            // What ends at once, while the past is still folded.
            1 => start = world.cluster.append(&partition, "undecodable"),
            _ => start = (start - world.chance.below(6) as i64).max(0),
        }
        adopt(world, &partition, start);
        starts.insert(partition, start);
    }
    if world.chance.percent(30) {
        suspect(world, &world.partitions[0]);
    }
    world.start_worker();
    let mut wrote = false;
    for _ in 0..14 {
        troubled_times(world, 1).await?;
        let of_past = |row: &PartitionRow| row.events == 0 && row.fold_from > 0 && row.fold_from < row.next_offset;
        wrote |= world.database.tables().rows.values().any(of_past);
    }
    world.database.tables().pauses.clear();
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    if let Some(other) = world.stop().await?.into_iter().find(|ended| *ended != Ended::Drained) {
        return Err(format!("a settled worker ended as {other:?}"));
    }
    check::offsets_in_order(world)?;
    check::published_once_in_order(world)?;
    for (partition, start) in starts {
        let tables = world.database.tables();
        if !tables.records_of(&partition, 0, start).is_empty() {
            return Err(format!("{partition}: events below {start} were scored"));
        }
        let events = world.cluster.events(&partition).iter().filter(|raw| raw.position.offset >= start).count() as i64;
        let row = tables.rows.get(&partition).ok_or("no row")?;
        if row.events != events {
            return Err(format!("{partition}: {} events are decided, and {events} stand from {start} on", row.events));
        }
    }
    let most = world.database.tables().most_states;
    if !world.chain.links && most > PART.rows {
        return Err(format!("a decide that stood still brought {most} states"));
    }
    fold::online_equals_batch(world)?;
    Ok(wrote)
}

/// Opens a partition as `millrace adopt` does: folded from the log's start on, scored from `start` on.
pub fn adopt(world: &World, partition: &TopicPartition, start: i64) {
    world.database.tables().rows.insert(partition.clone(), opened(start, 0, world.mode));
    world.cluster.state().offsets.insert(partition.clone(), StoredOffset { offset: start, metadata: offset_metadata(0) });
}

/// Three processes have claimed the partition and died without progress: the next one puts each event to work alone.
pub fn suspect(world: &World, partition: &TopicPartition) {
    let mut tables = world.database.tables();
    let row = tables.rows.get_mut(partition).unwrap();
    (row.idle_claims, row.owner) = (3, "the dead".into());
}
