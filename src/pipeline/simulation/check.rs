//! What must hold.

use super::function::ending;
use super::world::World;
use crate::event::RawEvent;
use crate::record::{Kind, Mode, Record, decode_dead_letter, is_bare};
use std::collections::BTreeSet;

/// No id is published twice, and the records of a partition are published in the order of their events.
pub fn published_once_in_order(world: &World) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for partition in &world.partitions {
        let mut last = (-1, -1);
        for record in world.cluster.state().output.iter().filter(|record| record.partition == *partition) {
            let at = (record.offset, record.n);
            if !seen.insert((partition.clone(), at)) {
                return Err(format!("{partition}/{at:?} was published twice"));
            }
            if at < last {
                return Err(format!("{partition}: {at:?} was published after {last:?}"));
            }
            last = at;
        }
    }
    Ok(())
}

/// Q <= K <= P, at any moment.
pub fn offsets_in_order(world: &World) -> Result<(), String> {
    let (tables, state) = (world.database.tables(), world.cluster.state());
    for (partition, row) in &tables.rows {
        if let Some(k) = state.offsets.get(partition)
            && (row.published_offset > k.offset || k.offset > row.next_offset)
        {
            return Err(format!("{partition}: Q {} K {} P {}", row.published_offset, k.offset, row.next_offset));
        }
    }
    match &tables.doubled {
        Some(doubled) => Err(doubled.clone()),
        None => Ok(()),
    }
}

/// Every event has the ending that it names, once; rows and records are the same; the counts add up.
pub fn every_event_ended(world: &World) -> Result<(), String> {
    published_once_in_order(world)?;
    every_event_has_its_rows(world)?;
    for partition in &world.partitions {
        let (tables, state) = (world.database.tables(), world.cluster.state());
        let rows = tables.records_of(partition, 0, i64::MAX);
        if world.mode == Mode::Postgres {
            let unheard = state.output.is_empty() && state.offsets.is_empty();
            return if unheard { Ok(()) } else { Err("mode `postgres` has published".into()) };
        }
        let output = state.output.iter().filter(|record| record.partition == *partition);
        let published = output.map(|record| (record.offset, record.n, &record.value));
        if !published.eq(rows.iter().map(|row| (row.offset, row.n, &row.value))) {
            return Err(format!("{partition}: rows and records differ"));
        }
    }
    Ok(())
}

/// Every event has the ending that it names, once, and the counts add up.
pub fn every_event_has_its_rows(world: &World) -> Result<(), String> {
    offsets_in_order(world)?;
    for partition in &world.partitions {
        let events = world.cluster.events(partition);
        let end = world.cluster.bounds(partition).high;
        let tables = world.database.tables();
        let row = tables.rows.get(partition).ok_or_else(|| format!("{partition} has no row"))?;
        let rows = tables.records_of(partition, 0, i64::MAX);
        let (mut expected, mut skipped, mut dead) = (Vec::new(), 0, 0);
        // Deaths from outside can fall on one event that is in work alone, too; but it takes two.
        let condemned: Vec<i64> =
            rows.iter().filter(|row| row.label.as_deref() == Some("kills_process")).map(|row| row.offset).collect();
        for offset in &condemned {
            let deaths = tables.deaths.iter().filter(|(of, suspect, _)| of == partition && suspect == offset).count();
            if deaths < 2 {
                return Err(format!("{partition}: {offset} was condemned by {deaths} deaths"));
            }
        }
        for event in &events {
            let (mut records, mut is_dead) = ending(event.payload.as_deref().unwrap_or_default());
            if condemned.contains(&event.position.offset) {
                (records, is_dead) = (1, true);
            }
            if records == 1 && is_dead && !condemned.contains(&event.position.offset) {
                refused_keeps_its_bytes(event, &rows)?;
            }
            skipped += i64::from(records == 0);
            dead += i64::from(is_dead);
            let kind = if is_dead { Kind::DeadLetter } else { Kind::Prediction };
            expected.extend((0..records).map(|n| (event.position.offset, n, kind)));
        }
        let found: Vec<_> = rows.iter().map(|record| (record.offset, record.n, record.kind)).collect();
        if found != expected {
            let first = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            return Err(format!("{partition}: {} rows, {} expected, first difference {first:?}", found.len(), expected.len()));
        }
        let counts = (row.next_offset, row.events, row.records, row.skipped, row.dead);
        if counts != (end, events.len() as i64, expected.len() as i64, skipped, dead) {
            return Err(format!("{partition}: the counts {counts:?} do not add up"));
        }
    }
    Ok(())
}

/// The dead letter of an event whose record is refused holds the event's bytes, unless those are what is refused.
fn refused_keeps_its_bytes(event: &RawEvent, rows: &[Record]) -> Result<(), String> {
    let (offset, payload) = (event.position.offset, event.payload.as_deref());
    let Some(letter) = rows.iter().find(|row| row.offset == offset) else { return Ok(()) };
    let original = decode_dead_letter(&letter.value)?;
    let whole = !original.truncated && original.payload.as_deref() == payload;
    let label = letter.label.as_deref();
    match payload {
        Some(b"refused") if !whole || label != Some("refused_by_store") => {
            Err(format!("{}: the dead letter has lost the bytes of its event", event.position))
        }
        Some(b"stubborn") if !is_bare(letter) => Err(format!("{}: this was to be refused again", event.position)),
        _ => Ok(()),
    }
}
