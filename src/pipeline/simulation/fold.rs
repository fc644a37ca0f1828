//! A fold that forgets nothing of order, and what it must have come to.

use super::function::decode;
use super::world::World;
use crate::event::{Event, Rejection, TopicPartition};
use crate::pipeline::Folding;
use crate::record::Kind;
use crate::state::in_memory::InMemory;
use crate::state::{At, Cache, Features, Fold, Keys, States, Stored, StoredError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A chain of hashes over the offsets of a key.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    pub digest: &'static str,
    /// How many keys there are, beside one that every event has.
    pub keys: i64,
    /// Whether an event reaches a key that its first key remembers.
    pub links: bool,
    /// A key is written when it has been dirty for so many offsets.
    pub flush_after: i64,
}

impl Default for Chain {
    /// Written often.
    fn default() -> Self {
        Self { digest: "chain0000000", keys: 3, links: false, flush_after: 7 }
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Link {
    hash: u64,
    /// Of the last event.
    last: Option<u8>,
}

impl Stored for Link {
    fn encode(&self, into: &mut Vec<u8>) {
        into.extend(self.hash.to_le_bytes());
        into.extend(self.last);
    }
    fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let (hash, last) = bytes.split_first_chunk().ok_or(StoredError("short"))?;
        Ok(Self { hash: u64::from_le_bytes(*hash), last: last.first().copied() })
    }
    fn cost_bytes(&self) -> usize {
        8
    }
}

impl Fold for Chain {
    type Facts = i64;
    type State = Link;
    fn digest(&self) -> &str {
        self.digest
    }
    fn read(&self, event: &Event) -> Result<i64, Rejection> {
        match event.text.as_deref() {
            Some("reject") => Err(Rejection::new("rejected", "said so")),
            _ => Ok(event.raw.position.offset),
        }
    }
    fn keys(&self, offset: &mut i64) -> Keys {
        // Two keys an event.
        [format!("a{}", *offset % self.keys).into(), "b".into()].into()
    }
    fn link(&self, ring_one: &[&Link], _: &mut i64) -> Keys {
        ring_one[0].last.filter(|_| self.links).map(|last| format!("c{last}").into()).into_iter().collect()
    }
    fn links(&self) -> bool {
        self.links
    }
    fn fold(&self, key: usize, state: &mut Link, offset: &i64, at: At) {
        state.hash = (state.hash.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(at.offset as u64 + 1);
        if key == 0 {
            state.last = Some((offset / self.keys % 5) as u8);
        }
    }
    fn features(&self, states: &[&Link], _: &i64, _: At) -> Features {
        Features { numbers: states.iter().map(|state| (state.hash >> 12) as f64).collect(), ..Features::default() }
    }
}

/// Hardly anything is kept in memory.
pub fn folding(fold: Chain) -> Folding {
    let (one, flush_after) = (Arc::new(fold), fold.flush_after);
    let fresh = Arc::new(move || Box::new(Cache::new(one.clone(), flush_after)) as Box<dyn States>);
    Folding { digest: fold.digest.into(), fresh, bytes: 500, flush_after }
}

/// Every prediction has the features of an uninterrupted run, and the states are those of one: byte for byte.
pub fn online_equals_batch(world: &World) -> Result<(), String> {
    let tables = world.database.tables();
    for partition in &world.partitions {
        let mut batch = InMemory::new(world.chain);
        let mut features = BTreeMap::new();
        for raw in world.cluster.events(partition) {
            let offset = raw.position.offset;
            if let Ok(event) = decode(raw)
                && let Ok(of_event) = batch.apply(&event)
            {
                features.insert(offset, of_event.numbers);
            }
        }
        for row in tables.records_of(partition, 0, i64::MAX).iter().filter(|row| row.kind == Kind::Prediction) {
            let value: serde_json::Value = serde_json::from_str(&row.value).map_err(|error| error.to_string())?;
            let scored: Vec<f64> = value["features"].as_array().into_iter().flatten().filter_map(|x| x.as_f64()).collect();
            if features.get(&row.offset).map(|numbers| &**numbers) != Some(&scored) {
                return Err(format!("{partition}/{}: scored {scored:?}, not {:?}", row.offset, features.get(&row.offset)));
            }
        }
        states_are(&tables.states, partition, &batch)?;
        let row = tables.rows.get(partition).ok_or("no row")?;
        if row.fold_from != row.next_offset {
            return Err(format!("{partition}: S {} is left below P {}", row.fold_from, row.next_offset));
        }
    }
    Ok(())
}

fn states_are(
    stored: &BTreeMap<(TopicPartition, Box<str>), crate::state::StoredRow>,
    partition: &TopicPartition,
    batch: &InMemory<Chain>,
) -> Result<(), String> {
    let found: Vec<(&str, &[u8])> =
        stored.iter().filter(|((of, _), _)| of == partition).map(|((_, key), row)| (&**key, &*row.bytes)).collect();
    let encoded = |state: &Link| {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        bytes
    };
    let expected: Vec<(&str, Vec<u8>)> = batch.all().into_iter().map(|(key, state)| (key, encoded(state))).collect();
    let same = found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| a.0 == b.0 && a.1 == b.1);
    if same { Ok(()) } else { Err(format!("{partition}: states {found:?}, not {expected:?}")) }
}
