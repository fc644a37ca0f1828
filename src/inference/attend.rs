//! The two halves of attention, one head of one text at a time: scores of rows against rows, and rows mixed by scores. Networks whose
//! scores depend on distances put their own terms between the two.

use super::ops::{View, fit, multiply, row_major, softmax};
use std::ops::Range;

/// Rows of one head inside a wider matrix: row `r` begins at `offset + r * stride`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub data: &'a [f32],
    pub offset: usize,
    pub stride: usize,
}

impl<'a> Rows<'a> {
    pub fn new(data: &'a [f32], offset: usize, stride: usize) -> Self {
        Self { data, offset, stride }
    }

    fn from(self, row: usize) -> Self {
        Self { offset: self.offset + row * self.stride, ..self }
    }
}

/// `scores[rows, columns] = a · bᵀ` of two matrices `[rows, size]` and `[columns, size]`. `scores` is resized.
pub fn products(a: Rows<'_>, b: Rows<'_>, (rows, columns, size): (usize, usize, usize), scores: &mut Vec<f32>) {
    fit(scores, rows * columns);
    let transposed = View { offset: b.offset, row: 1, col: b.stride };
    let (o, left) = (row_major(0, columns), row_major(a.offset, a.stride));
    multiply((rows, columns, size), scores, o, false, a.data, left, b.data, transposed, 1.0);
}

/// `out[rows, size] = scores[rows, columns] · values[columns, size]`, written at `at` with a stride of `stride`.
pub fn mix(
    scores: &[f32],
    values: Rows<'_>,
    (rows, columns, size): (usize, usize, usize),
    out: &mut [f32],
    (at, stride): (usize, usize),
) {
    let (left, right) = (row_major(0, columns), row_major(values.offset, values.stride));
    multiply((rows, size, columns), out, row_major(at, stride), false, scores, left, values.data, right, 1.0);
}

/// Softmax of each row of `width`.
pub fn softmax_rows(scores: &mut [f32], width: usize) {
    scores.chunks_exact_mut(width).for_each(softmax);
}

/// Rows whose scores are worked out together where each row sees all.
const TOGETHER: usize = 128;

/// Rows whose scores are worked out together where a row sees those at most `half` away.
fn block(half: Option<usize>) -> usize {
    half.map_or(TOGETHER, |half| (2 * half).max(32))
}

/// Numbers that [`attend`] needs for scores, for texts of up to `len` rows.
pub fn most_scores(len: usize, half: Option<usize>) -> usize {
    let block = block(half);
    block.min(len) * half.map_or(len, |half| (block + 2 * half).min(len))
}

/// Self-attention of a text of `len` rows for one head, in which a row sees those at most `half` away; all where that is `None`.
/// Written at `at` with a stride of `stride`. Scores are worked out block by block, so that memory grows with a text's length and not
/// with its square. Where a text is cut depends on the text alone.
pub fn attend(
    [query, key, value]: [Rows<'_>; 3],
    (len, size, half): (usize, usize, Option<usize>),
    out: &mut [f32],
    (at, stride): (usize, usize),
    scores: &mut Vec<f32>,
) {
    let block = block(half);
    for first in (0..len).step_by(block) {
        let rows = first..(first + block).min(len);
        let seen = half.map_or(0..len, |half| rows.start.saturating_sub(half)..(rows.end + half).min(len));
        let shape = (rows.len(), seen.len(), size);
        products(query.from(rows.start), key.from(seen.start), shape, scores);
        for (row, scores) in rows.clone().zip(scores.chunks_exact_mut(seen.len())) {
            soften(scores, row, &seen, half);
        }
        mix(scores, value.from(seen.start), shape, out, (at + rows.start * stride, stride));
    }
}

/// Softmax over what `row` sees of the columns `seen`; the rest becomes 0.
fn soften(scores: &mut [f32], row: usize, seen: &Range<usize>, half: Option<usize>) {
    let Some(half) = half else { return softmax(scores) };
    let from = row.saturating_sub(half).max(seen.start) - seen.start;
    let to = (row + half + 1).min(seen.end) - seen.start;
    scores[..from].fill(0.0);
    scores[to..].fill(0.0);
    softmax(&mut scores[from..to]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: scores of a long text that are held all at once, a row that is mixed with the values of another block.
    #[test]
    fn a_long_text_costs_no_square() {
        let size = 4;
        for len in [1, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER + 5] {
            let x: Vec<f32> = (0..len * size).map(|i| ((i * 53 % 97) as f32 - 48.0) / 24.0).collect();
            let rows = Rows::new(&x, 0, size);
            let (mut out, mut scores) = (vec![0.0; x.len()], Vec::new());
            attend([rows; 3], (len, size, None), &mut out, (0, size), &mut scores);
            assert!(scores.capacity() <= TOGETHER * len, "{len}: {}", scores.capacity());
            let (mut expected, mut whole) = (vec![0.0; x.len()], Vec::new());
            products(rows, rows, (len, len, size), &mut whole);
            softmax_rows(&mut whole, len);
            mix(&whole, rows, (len, len, size), &mut expected, (0, size));
            let worst = out.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{len}: {worst}");
        }
    }

    /// Would catch: a window cut at the border of a block, or one that is open on one side.
    #[test]
    fn local_attention_is_global_attention_with_the_rest_left_out() {
        let (len, size) = (131, 4);
        let x: Vec<f32> = (0..len * size).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
        let rows = Rows::new(&x, 0, size);
        for half in [0, 1, 5, 40, 200] {
            let (mut out, mut scores) = (vec![0.0; x.len()], Vec::new());
            attend([rows; 3], (len, size, Some(half)), &mut out, (0, size), &mut scores);
            products(rows, rows, (len, len, size), &mut scores);
            for (i, row) in scores.chunks_exact_mut(len).enumerate() {
                row.iter_mut().enumerate().filter(|(j, _)| i.abs_diff(*j) > half).for_each(|(_, v)| *v = -1e9);
            }
            softmax_rows(&mut scores, len);
            let mut expected = vec![0.0; x.len()];
            mix(&scores, rows, (len, len, size), &mut expected, (0, size));
            let worst = out.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "half {half}: {worst}");
        }
    }
}
