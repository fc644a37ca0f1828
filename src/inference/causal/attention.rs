//! Causal attention of one sequence's new tokens over its own keys and values. Each token's row reaches from the window's start to
//! the token itself, so that nothing is masked.

use super::blocks::{Blocks, Sequence, pieces};
use super::ops::{add_weighted, dots, soft_cap};
use crate::inference::ops::{View, fit, multiply, room, row_major, softmax};

/// Sizes of the heads, and what is done to scores.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) size: usize,
    pub(super) cap: Option<f32>,
    pub(super) window: Option<usize>,
}

impl Heads {
    /// Columns of a row of queries, keys and values.
    fn width(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.size
    }

    /// The first position that the token at `position` sees.
    fn first(self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    fn weights(self, scores: &mut [f32]) {
        if let Some(cap) = self.cap {
            soft_cap(scores, cap);
        }
        softmax(scores);
    }
}

/// Buffers for scores, and for keys and values that are copied together.
#[derive(Default)]
pub(super) struct Buffers {
    scores: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Buffers {
    /// Bytes of the buffers.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        [&self.scores, &self.keys, &self.values].map(Vec::capacity).iter().sum::<usize>() * size_of::<f32>()
    }

    /// Numbers that they hold at most, for texts of so many positions.
    pub(super) fn most(positions: usize, size: usize) -> usize {
        positions * (TOGETHER.min(positions) + 2 * size)
    }
}

/// New tokens from which matrix products are worth their set-up.
const MANY: usize = 8;

/// Attention of the rows `qkv` `[new, width]`, the first of which stands at `position`, into `out` `[new, heads * size]`. Their own
/// keys and values are in the cache already.
pub(super) fn cached(
    qkv: &[f32],
    position: usize,
    heads: Heads,
    (blocks, sequence, layer): (&Blocks, &Sequence, usize),
    out: &mut [f32],
    buffers: &mut Buffers,
) {
    let new = qkv.len() / heads.width();
    if position == 0 && new > 1 {
        return alone(qkv, heads, out, buffers);
    }
    let group = heads.heads / heads.kv_heads;
    let end = position + new;
    for kv_head in 0..heads.kv_heads {
        let rows = |part, piece| blocks.rows(sequence, layer, part, kv_head, piece);
        if new >= MANY {
            let first = heads.first(position);
            room(&mut buffers.keys, (end - first) * heads.size);
            room(&mut buffers.values, (end - first) * heads.size);
            for piece in pieces(first, end) {
                buffers.keys.extend_from_slice(rows(0, piece));
                buffers.values.extend_from_slice(rows(1, piece));
            }
            let view = row_major(0, heads.size);
            let Buffers { scores, keys, values } = buffers;
            for head in kv_head * group..(kv_head + 1) * group {
                many(qkv, head, (position, first), heads, (keys, view), (values, view), out, scores);
            }
            continue;
        }
        for (row, position) in (position..end).enumerate() {
            let first = heads.first(position);
            fit(&mut buffers.scores, position + 1 - first);
            for head in kv_head * group..(kv_head + 1) * group {
                let query = &qkv[row * heads.width() + head * heads.size..][..heads.size];
                for piece in pieces(first, position + 1) {
                    dots(query, rows(0, piece), &mut buffers.scores[piece.0 - first..piece.1 - first]);
                }
                heads.weights(&mut buffers.scores);
                let out = &mut out[(row * heads.heads + head) * heads.size..][..heads.size];
                out.fill(0.0);
                for piece in pieces(first, position + 1) {
                    add_weighted(out, &buffers.scores[piece.0 - first..piece.1 - first], rows(1, piece));
                }
            }
        }
    }
}

/// Attention among the rows `qkv` of a whole text, of which nothing is cached.
pub(super) fn alone(qkv: &[f32], heads: Heads, out: &mut [f32], buffers: &mut Buffers) {
    let group = heads.heads / heads.kv_heads;
    for head in 0..heads.heads {
        let keys = (heads.heads + head / group) * heads.size;
        let values = keys + heads.kv_heads * heads.size;
        let (keys, values) = (row_major(keys, heads.width()), row_major(values, heads.width()));
        many(qkv, head, (0, 0), heads, (qkv, keys), (qkv, values), out, &mut buffers.scores);
    }
}

/// Rows whose scores are computed together: the buffer of a long text stays small, and what lies behind them is left out.
const TOGETHER: usize = 128;

/// One head over keys and values that stand from position `first` on; the rows of `qkv` begin at `position`.
#[expect(clippy::too_many_arguments, reason = "the operands of two matrix products; a struct would only rename them")]
fn many(
    qkv: &[f32],
    head: usize,
    (position, first): (usize, usize),
    heads: Heads,
    (keys, keys_at): (&[f32], View),
    (values, values_at): (&[f32], View),
    out: &mut [f32],
    scores: &mut Vec<f32>,
) {
    let new = qkv.len() / heads.width();
    for from in (0..new).step_by(TOGETHER) {
        let to = (from + TOGETHER).min(new);
        let (rows, start) = (to - from, heads.first(position + from));
        let len = position + to - start;
        let behind = |view: View| View { offset: view.offset + (start - first) * view.row, ..view };
        let (keys_at, values_at) = (behind(keys_at), behind(values_at));
        fit(scores, rows * len);
        let query = row_major(from * heads.width() + head * heads.size, heads.width());
        let transposed = View { offset: keys_at.offset, row: 1, col: keys_at.row };
        multiply((rows, len, heads.size), scores, row_major(0, len), false, qkv, query, keys, transposed, 1.0);
        for (row, scores) in scores.chunks_exact_mut(len).enumerate() {
            let position = position + from + row;
            let (before, rest) = scores.split_at_mut(heads.first(position) - start);
            let (seen, after) = rest.split_at_mut(position + 1 - start - before.len());
            before.fill(0.0);
            heads.weights(seen);
            after.fill(0.0);
        }
        let target = row_major((from * heads.heads + head) * heads.size, heads.heads * heads.size);
        multiply((rows, heads.size, len), out, target, false, scores, row_major(0, len), values, values_at, 1.0);
    }
}
