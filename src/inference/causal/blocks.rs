//! Keys and values of the tokens seen so far, in blocks of 16 tokens from a pool of fixed size.
//!
//! A sequence reserves all blocks that it may need before it starts, so that nothing that runs ever waits for memory. Sequences
//! that begin alike share the full blocks of that beginning, which are read only: writing goes behind what is cached, and the
//! block in which a shared beginning ends is copied.

use super::spec::Spec;
use crate::inference::InferenceError;

/// Tokens in a block.
pub const BLOCK: usize = 16;

/// The place of one sequence in the pool, and how many of its tokens are cached. Give it back with [`Blocks::release`].
#[derive(Debug, Default)]
pub struct Sequence {
    blocks: Vec<u32>,
    len: usize,
    pool: usize,
    /// Whether its keys were turned as those of a long text.
    long: bool,
}

impl Sequence {
    /// Tokens whose keys and values are cached.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens for which there are blocks.
    pub fn room(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    pub(super) fn advance(&mut self, tokens: usize, long: bool) {
        self.len += tokens;
        self.long = long;
    }

    pub(super) fn is_long(&self) -> bool {
        self.long
    }

    /// Whether its text is a long one from now on. When that changes, nothing that is cached holds any more.
    pub(super) fn become_long(&mut self, long: bool) {
        if long != self.long {
            (self.len, self.long) = (0, long);
        }
    }

    /// Leaves the first `tokens` of what is cached; the rest is computed anew.
    pub(super) fn shorten(&mut self, tokens: usize) {
        self.len = self.len.min(tokens);
    }
}

/// The sizes of a network's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    layers: usize,
    kv_heads: usize,
    size: usize,
}

impl Shape {
    fn of(spec: &Spec) -> Self {
        Self { layers: spec.layers.len(), kv_heads: spec.kv_heads, size: spec.head_size }
    }

    /// Numbers that a head's keys, or its values, take in a block of one layer.
    fn head(self) -> usize {
        BLOCK * self.size
    }

    /// Numbers of a block: layer by layer, keys before values, head by head, `[16, size]` each.
    fn block(self) -> usize {
        self.layers * 2 * self.kv_heads * self.head()
    }
}

/// The pool.
pub struct Blocks {
    shape: Shape,
    data: Vec<f32>,
    free: Vec<u32>,
    /// How many sequences hold each block.
    holders: Vec<u32>,
    /// Tells sequences of one pool from those of another.
    id: usize,
}

impl Blocks {
    /// A pool of `count` blocks for networks of this spec. Takes `count * block_bytes` of memory, as it is used.
    pub fn new(spec: &Spec, count: usize) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static IDS: AtomicUsize = AtomicUsize::new(1);
        let shape = Shape::of(spec);
        let count = count.min(u32::MAX as usize);
        Self {
            shape,
            data: vec![0.0; count * shape.block()],
            free: (0..count as u32).rev().collect(),
            holders: vec![0; count],
            id: IDS.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Bytes of one block of such a network.
    pub fn block_bytes(spec: &Spec) -> usize {
        Shape::of(spec).block() * size_of::<f32>()
    }

    /// Blocks that `tokens` take.
    pub fn needed(tokens: usize) -> usize {
        tokens.div_ceil(BLOCK)
    }

    /// Blocks that nobody holds.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Blocks of the pool.
    pub fn capacity(&self) -> usize {
        self.holders.len()
    }

    /// An empty sequence with blocks for `tokens`; `None` when not enough are free.
    pub fn allocate(&mut self, tokens: usize) -> Option<Sequence> {
        let blocks = self.take(Self::needed(tokens))?;
        Some(Sequence { blocks, len: 0, pool: self.id, long: false })
    }

    /// Blocks that [`Blocks::fork`] takes from the free ones.
    pub fn needed_to_fork(shared: usize, tokens: usize) -> usize {
        Self::needed(tokens.max(shared)) - shared / BLOCK
    }

    /// A sequence that begins with the first `shared` cached tokens of another, and has blocks for `tokens` in all. Full blocks
    /// are shared, the rest of the beginning is copied. `None` when not enough are free, or fewer than `shared` are cached.
    pub fn fork(&mut self, other: &Sequence, shared: usize, tokens: usize) -> Option<Sequence> {
        let tokens = tokens.max(shared);
        if shared > other.len || other.pool != self.id {
            return None;
        }
        let full = shared / BLOCK;
        let own = self.take(Self::needed(tokens) - full)?;
        if let (Some(&to), false) = (own.first(), shared.is_multiple_of(BLOCK)) {
            let size = self.shape.block();
            let from = other.blocks[full] as usize * size;
            self.data.copy_within(from..from + size, to as usize * size);
        }
        let mut blocks = other.blocks[..full].to_vec();
        blocks.iter().for_each(|&block| self.holders[block as usize] += 1);
        blocks.extend(own);
        Some(Sequence { blocks, len: shared, pool: self.id, long: other.long })
    }

    /// Makes `to` a copy of `from`, with which it has the first `start` tokens in common already. Its blocks behind those must be its
    /// own, and enough.
    pub(super) fn copy(&mut self, from: &Sequence, to: &mut Sequence, start: usize) -> Result<(), InferenceError> {
        let size = self.shape.block();
        for index in start / BLOCK..Self::needed(from.len) {
            let pair =
                (from.pool == self.id && to.pool == self.id).then(|| from.blocks.get(index).zip(to.blocks.get(index))).flatten();
            let Some((source, target)) = pair.filter(|(_, target)| self.holders[**target as usize] == 1) else {
                return Err(InferenceError::Poison("a sequence would be copied to where it has no blocks".to_owned()));
            };
            let source = *source as usize * size;
            self.data.copy_within(source..source + size, *target as usize * size);
        }
        (to.len, to.long) = (from.len, from.long);
        Ok(())
    }

    /// Gives a sequence's blocks back; those that others share stay with them.
    pub fn release(&mut self, sequence: Sequence) {
        if sequence.pool != self.id {
            return;
        }
        for block in sequence.blocks {
            let holders = &mut self.holders[block as usize];
            *holders -= 1;
            if *holders == 0 {
                self.free.push(block);
            }
        }
    }

    fn take(&mut self, count: usize) -> Option<Vec<u32>> {
        let start = self.free.len().checked_sub(count)?;
        let blocks = self.free.split_off(start);
        blocks.iter().for_each(|&block| self.holders[block as usize] = 1);
        Some(blocks)
    }

    /// Whether `new` more tokens of the sequence can be written here, for a network of this spec.
    pub(super) fn check(&self, spec: &Spec, sequence: &Sequence, new: usize) -> Result<(), InferenceError> {
        if Shape::of(spec) != self.shape || sequence.pool != self.id {
            return Err(InferenceError::Poison("a sequence or a cache of another network".to_owned()));
        }
        if sequence.len + new > sequence.room() {
            let (len, room) = (sequence.len, sequence.room());
            return Err(InferenceError::Poison(format!(
                "{new} tokens after {len} cached ones; the sequence has blocks for {room}"
            )));
        }
        let mut written = sequence.blocks[sequence.len / BLOCK..].iter();
        if written.any(|&block| self.holders[block as usize] != 1) {
            return Err(InferenceError::Poison("a token would be written into a block that is shared".to_owned()));
        }
        Ok(())
    }

    /// Where the keys (`part` 0) or values (1) of a head stand in the sequence's block number `index`.
    fn at(&self, sequence: &Sequence, index: usize, layer: usize, part: usize, head: usize) -> usize {
        let shape = self.shape;
        let block = sequence.blocks[index] as usize * shape.block();
        block + ((layer * 2 + part) * shape.kv_heads + head) * shape.head()
    }

    /// Writes the token at `position`: `keys_values` holds the keys of all heads, then the values.
    pub(super) fn write(&mut self, sequence: &Sequence, layer: usize, position: usize, keys_values: &[f32]) {
        let Shape { kv_heads, size, .. } = self.shape;
        let slot = position % BLOCK * size;
        for (index, row) in keys_values.chunks_exact(size).enumerate() {
            let at = self.at(sequence, position / BLOCK, layer, index / kv_heads, index % kv_heads) + slot;
            self.data[at..at + size].copy_from_slice(row);
        }
    }

    /// The keys (`part` 0) or values (1) of a head at the positions `from..to` of one block, `[to - from, size]`.
    pub(super) fn rows(&self, sequence: &Sequence, layer: usize, part: usize, head: usize, (from, to): (usize, usize)) -> &[f32] {
        let size = self.shape.size;
        let at = self.at(sequence, from / BLOCK, layer, part, head) + from % BLOCK * size;
        &self.data[at..at + (to - from) * size]
    }
}

/// The pieces of `from..to` that stand in one block each.
pub(super) fn pieces(from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let start = at;
        at = ((start / BLOCK + 1) * BLOCK).min(to);
        (start < to).then_some((start, at))
    })
}
