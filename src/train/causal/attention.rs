//! Causal attention with rotary positions and its way back: no mask, no transposed copies, and no probabilities kept for the way back,
//! where they are computed again.

use super::kernels::{causal_softmax, row_dots, softmax_back, turned, turned_back};
use crate::inference::ops::{View, multiply, row_major};

/// Queries that are worked on together. They look at no key behind the last of them.
const BLOCK: usize = 64;

/// Heads of one layer. A row of queries, keys and values is `[heads, kv_heads, kv_heads]` times `size` numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub size: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl Heads {
    pub fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.size
    }
}

/// Cosines and sines of rotary positions, `[positions, pairs]` each.
#[derive(Debug)]
pub struct Angles {
    pairs: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Angles {
    /// For so many positions; `frequencies` are the angles a position of the turned pairs.
    pub fn new(positions: usize, frequencies: &[f32]) -> Self {
        let angle = |position: usize| frequencies.iter().map(move |frequency| (position as f32 * frequency).sin_cos());
        let (sines, cosines) = (0..positions).flat_map(angle).unzip();
        Self { pairs: frequencies.len(), cosines, sines }
    }

    pub fn positions(&self) -> usize {
        self.cosines.len().checked_div(self.pairs).unwrap_or(0)
    }

    fn of(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.pairs..(position + 1) * self.pairs;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}

/// What each token takes of the values of the tokens up to itself. Texts see nothing of each other.
pub struct Attention<'a> {
    pub heads: Heads,
    /// For at least as many positions as the longest text has.
    pub angles: &'a Angles,
    /// Tokens of each text; their rows stand one behind the other.
    pub lengths: &'a [usize],
}

/// Buffers of one text and head, `[tokens, size]` each.
#[derive(Default)]
pub struct Scratch {
    query: Vec<f32>,
    key: Vec<f32>,
    of_query: Vec<f32>,
    of_key: Vec<f32>,
    of_value: Vec<f32>,
    /// `[BLOCK, tokens]`
    scores: Vec<f32>,
    of_scores: Vec<f32>,
    along: Vec<f32>,
}

/// A text of the batch and one of its heads.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    len: usize,
    head: usize,
}

impl Attention<'_> {
    fn places(&self) -> impl Iterator<Item = Place> {
        let starts = self.lengths.iter().scan(0, |next, len| {
            let first = *next;
            *next += len;
            Some((first, *len))
        });
        starts.flat_map(|(first, len)| (0..self.heads.heads).map(move |head| Place { first, len, head }))
    }

    fn kv_head(&self, head: usize) -> usize {
        head * self.heads.kv_heads / self.heads.heads
    }

    /// Column of a head's keys, and of its values.
    fn columns(&self, head: usize) -> (usize, usize) {
        let Heads { heads, kv_heads, size, .. } = self.heads;
        let key = (heads + self.kv_head(head)) * size;
        (key, key + kv_heads * size)
    }

    /// Whether keys and values of this head are those of the one before.
    fn shared(&self, head: usize) -> bool {
        head > 0 && self.kv_head(head) == self.kv_head(head - 1)
    }

    /// Queries (scaled) and keys of a head, turned by their positions.
    fn turn(&self, qkv: &[f32], place: Place, scratch: &mut Scratch) {
        let (size, width, (key, _)) = (self.heads.size, self.heads.width(), self.columns(place.head));
        scratch.query.resize(place.len * size, 0.0);
        scratch.key.resize(place.len * size, 0.0);
        for position in 0..place.len {
            let row = &qkv[(place.first + position) * width..][..width];
            let ((cosines, sines), out) = (self.angles.of(position), position * size..(position + 1) * size);
            let query = &row[place.head * size..][..size];
            turned(query, cosines, sines, self.heads.scale, &mut scratch.query[out.clone()]);
            if !self.shared(place.head) {
                turned(&row[key..][..size], cosines, sines, 1.0, &mut scratch.key[out]);
            }
        }
    }

    /// Probabilities of a block of queries for all keys up to its end.
    fn probabilities(&self, from: usize, to: usize, scratch: &mut Scratch) {
        let size = self.heads.size;
        scratch.scores.resize((to - from) * to, 0.0);
        let (query, keys) = (row_major(from * size, size), View { offset: 0, row: 1, col: size });
        let out = row_major(0, to);
        multiply((to - from, to, size), &mut scratch.scores, out, false, &scratch.query, query, &scratch.key, keys, 1.0);
        causal_softmax(&mut scratch.scores, to, from + 1);
    }

    /// Of rows of queries, keys and values `[tokens, width]`; `out` is `[tokens, heads * size]`.
    pub fn forward(&self, qkv: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let (Heads { heads, size, .. }, width) = (self.heads, self.heads.width());
        for place in self.places() {
            self.turn(qkv, place, scratch);
            let values = row_major(place.first * width + self.columns(place.head).1, width);
            for from in (0..place.len).step_by(BLOCK) {
                let to = (from + BLOCK).min(place.len);
                self.probabilities(from, to, scratch);
                let target = row_major((place.first + from) * heads * size + place.head * size, heads * size);
                multiply((to - from, size, to), out, target, false, &scratch.scores, row_major(0, to), qkv, values, 1.0);
            }
        }
    }

    /// The gradient of `qkv` to `out`, given the output and its gradient.
    pub fn backward(&self, qkv: &[f32], (output, gradient): (&[f32], &[f32]), out: &mut [f32], scratch: &mut Scratch) {
        let Heads { heads, size, .. } = self.heads;
        for place in self.places() {
            self.turn(qkv, place, scratch);
            scratch.of_query.resize(place.len * size, 0.0);
            if !self.shared(place.head) {
                for buffer in [&mut scratch.of_key, &mut scratch.of_value] {
                    buffer.clear();
                    buffer.resize(place.len * size, 0.0);
                }
            }
            for from in (0..place.len).step_by(BLOCK) {
                self.block_back((qkv, output, gradient), place, (from, (from + BLOCK).min(place.len)), scratch);
            }
            let last = place.head + 1 == heads || !self.shared(place.head + 1);
            self.write(place, last, scratch, out);
        }
    }

    /// A block of queries on the way back: its part of the gradients of queries, keys and values.
    fn block_back(
        &self,
        (qkv, output, gradient): (&[f32], &[f32], &[f32]),
        place: Place,
        (from, to): (usize, usize),
        s: &mut Scratch,
    ) {
        let Heads { heads, size, .. } = self.heads;
        let (width, count) = (self.heads.width(), to - from);
        self.probabilities(from, to, s);
        let at = (place.first + from) * heads * size + place.head * size;
        let block = row_major(at, heads * size);
        s.along.resize(count, 0.0);
        row_dots(&output[at..], &gradient[at..], heads * size, size, &mut s.along);
        s.of_scores.resize(count * to, 0.0);
        let value = View { offset: place.first * width + self.columns(place.head).1, row: 1, col: width };
        let (rows, columns, whole) = (row_major(0, to), View { offset: 0, row: 1, col: to }, row_major(0, size));
        multiply((count, to, size), &mut s.of_scores, rows, false, gradient, block, qkv, value, 1.0);
        multiply((to, size, count), &mut s.of_value, whole, true, &s.scores, columns, gradient, block, 1.0);
        softmax_back(&mut s.of_scores, &s.scores, to, &s.along);
        let part = row_major(from * size, size);
        multiply((count, size, to), &mut s.of_query, part, false, &s.of_scores, rows, &s.key, whole, 1.0);
        multiply((to, size, count), &mut s.of_key, whole, true, &s.of_scores, columns, &s.query, part, 1.0);
    }

    /// Gradients of a head to their columns; those of keys and values when all heads that read them have added theirs.
    fn write(&self, place: Place, last: bool, scratch: &Scratch, out: &mut [f32]) {
        let (size, width, (key, value)) = (self.heads.size, self.heads.width(), self.columns(place.head));
        for position in 0..place.len {
            let row = &mut out[(place.first + position) * width..][..width];
            let ((cosines, sines), from) = (self.angles.of(position), position * size..(position + 1) * size);
            let query = &mut row[place.head * size..][..size];
            turned_back(&scratch.of_query[from.clone()], cosines, sines, self.heads.scale, query);
            if last {
                turned_back(&scratch.of_key[from.clone()], cosines, sines, 1.0, &mut row[key..][..size]);
                row[value..][..size].copy_from_slice(&scratch.of_value[from]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::tests::{check, wavy};
    use super::*;

    fn angles(positions: usize) -> Angles {
        Angles::new(positions, &[1.0, 0.3])
    }

    #[test]
    fn gradients_equal_finite_differences() {
        for (heads, kv_heads) in [(2, 2), (4, 2), (3, 1)] {
            let heads = Heads { heads, kv_heads, size: 4, scale: 0.5 };
            for lengths in [vec![5], vec![2, 1, 3]] {
                let (rows, angles) = (lengths.iter().sum::<usize>(), angles(5));
                let attention = Attention { heads, angles: &angles, lengths: &lengths };
                let there = |x: &[f32]| {
                    let mut out = vec![0.0; rows * heads.heads * 4];
                    attention.forward(x, &mut out, &mut Scratch::default());
                    out
                };
                let back = |x: &[f32], gradient: &[f32]| {
                    let mut out = vec![0.0; x.len()];
                    attention.backward(x, (&there(x), gradient), &mut out, &mut Scratch::default());
                    out
                };
                check(&wavy(rows * heads.width(), 0.71), &format!("{heads:?}, {lengths:?}"), there, back);
            }
        }
    }

    /// Longer than a block, against the formula written out.
    #[test]
    fn blocks_are_one_attention() {
        let (heads, len) = (Heads { heads: 2, kv_heads: 1, size: 4, scale: 0.5 }, BLOCK + 9);
        let rows = wavy((len + 3) * heads.width(), 0.37);
        let (angles, mut out) = (angles(len), vec![0.0; (len + 3) * 8]);
        let attention = Attention { heads, angles: &angles, lengths: &[3, len] };
        attention.forward(&rows, &mut out, &mut Scratch::default());
        let turn = |values: &[f32], position: usize| -> Vec<f64> {
            let (cos, sin) = angles.of(position);
            let one = |i: usize, sign: f32| f64::from(values[i] * cos[i % 2] + sign * values[(i + 2) % 4] * sin[i % 2]);
            vec![one(0, -1.0), one(1, -1.0), one(2, 1.0), one(3, 1.0)]
        };
        for (query, head) in [(0, 0), (1, 1), (BLOCK - 1, 0), (BLOCK, 1), (len - 1, 0)] {
            let row = |position: usize| &rows[(position + 3) * 16..][..16];
            let q = turn(&row(query)[head * 4..][..4], query);
            let score = |key: usize| -> f64 { q.iter().zip(turn(&row(key)[8..12], key)).map(|(a, b)| a * b).sum::<f64>() * 0.5 };
            let weights: Vec<f64> = (0..=query).map(|key| score(key).exp()).collect();
            let total: f64 = weights.iter().sum();
            for i in 0..4 {
                let want = weights.iter().enumerate().map(|(key, w)| w / total * f64::from(row(key)[12 + i])).sum::<f64>();
                let got = f64::from(out[(query + 3) * 8 + head * 4 + i]);
                assert!((got - want).abs() < 1e-5, "query {query}, head {head}: {got}, expected {want}");
            }
        }
    }
}
