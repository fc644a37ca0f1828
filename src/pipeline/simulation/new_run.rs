//! A new run that folds the log from its start and scores from where another stood, whoever dies and whatever moves.

use super::world::World;
use super::{check, fold, nothing_halted, troubled_times};
use crate::pipeline::Ended;
use crate::publisher::offset_metadata;
use crate::source::memory::StoredOffset;
use crate::store::PartitionRow;
use crate::store::memory::opened;
use std::collections::BTreeMap;

/// States and scores are those of one run over all of the log, and nothing below the start is scored. Says whether states were written while
/// the past was still folded.
pub async fn remembers_the_log(world: &mut World) -> Result<bool, String> {
    world.append(240);
    let mut starts = BTreeMap::new();
    for partition in &world.partitions {
        let start = world.cluster.bounds(partition).high - world.chance.below(6) as i64;
        let start = start.max(0);
        starts.insert(partition.clone(), start);
        // As `millrace adopt` opens it.
        world.database.tables().rows.insert(partition.clone(), opened(start, 0, world.mode));
        world.cluster.state().offsets.insert(partition.clone(), StoredOffset { offset: start, metadata: offset_metadata(0) });
    }
    world.start_worker();
    let mut wrote = false;
    for _ in 0..14 {
        troubled_times(world, 1).await?;
        let of_past = |row: &PartitionRow| row.events == 0 && row.fold_from > 0 && row.fold_from < row.next_offset;
        wrote |= world.database.tables().rows.values().any(of_past);
    }
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
    fold::online_equals_batch(world)?;
    Ok(wrote)
}
