//! Attention of one text among packed ones, in which every token sees every other.

use super::{View, add, fit, multiply, row_major, softmax};

/// What attention adds for the distance from a query to a key, one row a head.
pub struct Distances {
    /// `[heads, 2 * reach - 1]`; the column `reach - 1` is for the query's own place, those behind it for keys that come later.
    pub table: Vec<f32>,
    /// One more than the greatest distance.
    pub reach: usize,
}

impl Distances {
    /// For each key of a text of `len` tokens, seen from `query`. `query` and `len` stay below `reach`.
    fn row(&self, head: usize, query: usize, len: usize) -> &[f32] {
        let first = head * (2 * self.reach - 1) + self.reach - 1 - query;
        &self.table[first..first + len]
    }
}

/// Where a text stands among packed ones, and how many of its tokens look at all of them, from the first on.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    pub start: usize,
    pub len: usize,
    pub queries: usize,
}

/// Self-attention of one text that stands at rows `start..start + len` of the packed `qkv` `[tokens, 3 * hidden]`, written to
/// the rows of its queries in `out` `[tokens, hidden]`. The scale is folded into the query weights; `distances` are added to the scaled
/// scores. `scores` is scratch.
pub fn attention(
    qkv: &[f32],
    out: &mut [f32],
    Stretch { start, len, queries }: Stretch,
    (hidden, heads): (usize, usize),
    distances: Option<&Distances>,
    scores: &mut Vec<f32>,
) {
    let size = hidden / heads;
    fit(scores, queries * len);
    let base = start * 3 * hidden;
    for head in 0..heads {
        let at = base + head * size;
        let query = row_major(at, 3 * hidden);
        let key_transposed = View { offset: at + hidden, row: 1, col: 3 * hidden };
        let value = row_major(at + 2 * hidden, 3 * hidden);
        multiply((queries, len, size), scores, row_major(0, len), false, qkv, query, qkv, key_transposed, 1.0);
        for (query, row) in scores.chunks_exact_mut(len).enumerate() {
            if let Some(distances) = distances {
                add(row, distances.row(head, query, len));
            }
            softmax(row);
        }
        let o = row_major(start * hidden + head * size, hidden);
        multiply((queries, size, len), out, o, false, scores, row_major(0, len), qkv, value, 1.0);
    }
}
