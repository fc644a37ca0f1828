//! The seam of stateful functions: one pure step an event, over the states of the keys that it names.

use crate::event::{Event, Rejection};

/// The keys of one event, in the order in which they are folded. A key is text, for example `customer:4711`.
pub type Keys = Vec<Box<str>>;

/// Where and when an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Event time, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Offset in the log; it orders equal times.
    pub offset: i64,
}

/// A fold: pure, of event time only. No clock, no randomness, no failure once an event was read.
///
/// For every event, in the order of the log: [`read`](Fold::read); the states of [`keys`](Fold::keys), ring one; with those as
/// they stood before the event, [`link`](Fold::link) names ring two; [`fold`](Fold::fold) once for each key of both rings, in
/// order; then [`features`](Fold::features). The result depends on the log alone, never on how it was cut.
pub trait Fold: Send + Sync + 'static {
    /// What is read of an event.
    type Facts: Send + 'static;
    /// What is remembered of a key. A state whose entries have all expired equals the default one.
    type State: Stored + Default + Send + 'static;

    /// Changes whenever the same log would give other states: version, settings, and the decoding that is read. 12 hex digits.
    fn digest(&self) -> &str;
    /// What the fold needs of the event, or why it cannot be used. A rejected event touches no state.
    fn read(&self, event: &Event) -> Result<Self::Facts, Rejection>;
    /// Ring one: the keys that the event names itself; usually one. No key twice. Asked once an event: they may be moved out of the facts.
    fn keys(&self, facts: &mut Self::Facts) -> Keys;
    /// Keys that will be in ring two whatever ring one remembers: they are brought from the store for a whole slice at once. Default none.
    fn ahead(&self, facts: &Self::Facts) -> Keys {
        let _ = facts;
        Keys::new()
    }
    /// Ring two: further keys that ring one remembers (the items that a user saw before), none of them in ring one. What the
    /// fold of those keys needs to know of ring one is noted in the facts.
    fn link(&self, ring_one: &[&Self::State], facts: &mut Self::Facts) -> Keys {
        let _ = (ring_one, facts);
        Keys::new()
    }
    /// Whether [`link`](Fold::link) may name keys. If so all changed keys are written together: a replay that finds ring one ahead of
    /// ring two could not link an event again as it was linked. A fold without ring two says `false`: it is not asked to link, and each
    /// key is written alone.
    fn links(&self) -> bool {
        true
    }
    /// Takes the event into the state of one key, blind to the others. `key` counts through ring one, then ring two.
    fn fold(&self, key: usize, state: &mut Self::State, facts: &Self::Facts, at: At);
    /// What the function scores, after the fold. `states` in the order of the keys.
    fn features(&self, states: &[&Self::State], facts: &Self::Facts, at: At) -> Features;
}

/// A state as bytes. `decode(encode(x)) == x`, and equal states have equal bytes: replays are compared by them.
pub trait Stored: Sized {
    fn encode(&self, into: &mut Vec<u8>);
    fn decode(bytes: &[u8]) -> Result<Self, StoredError>;
    /// About how many bytes of memory the state holds, itself included.
    fn cost_bytes(&self) -> usize;
}

/// Bytes that are not a state of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored state cannot be read: {0}")]
pub struct StoredError(pub &'static str);

/// What a fold says of one event; the function scores it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// Numbers in the order of the declared features; NaN stands for "no value".
    pub numbers: Box<[f64]>,
    /// Values that are not numbers: lists of items, reference times.
    pub document: Option<serde_json::Value>,
    /// The event came after newer ones of its key.
    pub late: bool,
    /// A cap on the entries of a key has cut what a feature looked back on.
    pub truncated: bool,
}
