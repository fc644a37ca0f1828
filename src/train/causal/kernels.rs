//! Row kernels of a causal network and their gradients, on plain slices, compiled for AVX2 too.

use crate::inference::ops::{exp, square_sum, sum, vectorised};

pub use crate::inference::causal::ops::rms_norm;
pub use crate::inference::ops::add;

const LANES: usize = 16;

/// `a · b`, in lanes so that the compiler vectorises it.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `1 / (1 + e^-x)`, without overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let small = exp(-x.abs());
    (if x < 0.0 { small } else { 1.0 }) / (1.0 + small)
}

vectorised! {
    /// From the gradient of [`rms_norm`]'s output that of `x`, which comes out in `gradient`, and that of `weight`, which is added to `of_weight`.
    rms_norm_back(x: &[f32], weight: &[f32], epsilon: f32, gradient: &mut [f32], of_weight: &mut [f32]) {
        let width = weight.len();
        for (row, g) in x.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            let scale = 1.0 / (square_sum(row) / width as f32 + epsilon).sqrt();
            for (((g, v), w), of_weight) in g.iter_mut().zip(row).zip(weight).zip(of_weight.iter_mut()) {
                *of_weight += *g * v * scale;
                *g *= w;
            }
            let along = dot(g, row) * scale * scale * scale / width as f32;
            for (g, v) in g.iter_mut().zip(row) {
                *g = *g * scale - v * along;
            }
        }
    }
}

vectorised! {
    /// `out = silu(gate) * up`, where a row of `x` is `[gate, up]` and one of `out` is `wide` long.
    gated(x: &[f32], wide: usize, out: &mut [f32]) {
        for (row, out) in x.chunks_exact(2 * wide).zip(out.chunks_exact_mut(wide)) {
            let (gate, up) = row.split_at(wide);
            for ((o, g), u) in out.iter_mut().zip(gate).zip(up) {
                *o = g * sigmoid(*g) * u;
            }
        }
    }
}

vectorised! {
    /// From the gradient of [`gated`]'s output that of `x`.
    gated_back(x: &[f32], wide: usize, gradient: &[f32], out: &mut [f32]) {
        for ((row, grad), out) in x.chunks_exact(2 * wide).zip(gradient.chunks_exact(wide)).zip(out.chunks_exact_mut(2 * wide)) {
            let ((gate, up), (of_gate, of_up)) = (row.split_at(wide), out.split_at_mut(wide));
            for ((((of_gate, of_up), g), u), d) in of_gate.iter_mut().zip(of_up).zip(gate).zip(up).zip(grad) {
                let s = sigmoid(*g);
                *of_up = d * g * s;
                *of_gate = d * u * s * (1.0 + g * (1.0 - s));
            }
        }
    }
}

vectorised! {
    /// Softmax of rows of `width`, in place: row `i` sees its first `seen + i` numbers, and the rest become 0.
    causal_softmax(scores: &mut [f32], width: usize, seen: usize) {
        for (i, row) in scores.chunks_exact_mut(width).enumerate() {
            let (row, hidden) = row.split_at_mut(seen + i);
            hidden.fill(0.0);
            let max = row.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
            for v in row.iter_mut() {
                *v = exp(*v - max);
            }
            let scale = 1.0 / sum(row);
            for v in row {
                *v *= scale;
            }
        }
    }
}

vectorised! {
    /// From the gradient of the softmax's output `probabilities` that of the scores, in place; `along` holds `gradient · probabilities` of
    /// each row.
    softmax_back(gradient: &mut [f32], probabilities: &[f32], width: usize, along: &[f32]) {
        for ((row, p), along) in gradient.chunks_exact_mut(width).zip(probabilities.chunks_exact(width)).zip(along) {
            for (g, p) in row.iter_mut().zip(p) {
                *g = p * (*g - along);
            }
        }
    }
}

vectorised! {
    /// `out[i] = a · b` of each pair of rows, which begin `step` numbers apart and are `width` long.
    row_dots(a: &[f32], b: &[f32], step: usize, width: usize, out: &mut [f32]) {
        for ((out, a), b) in out.iter_mut().zip(a.chunks(step)).zip(b.chunks(step)) {
            *out = dot(&a[..width], &b[..width]);
        }
    }
}

vectorised! {
    /// `out = scale * x` with pairs of numbers turned: number `i` with number `i + cosines.len()`. What is behind the pairs is only scaled.
    turned(x: &[f32], cosines: &[f32], sines: &[f32], scale: f32, out: &mut [f32]) {
        let half = cosines.len();
        for (o, v) in out.iter_mut().zip(x) {
            *o = v * scale;
        }
        let (first, rest) = out.split_at_mut(half);
        for (((a, b), cos), sin) in first.iter_mut().zip(rest).zip(cosines).zip(sines) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

vectorised! {
    /// The same backwards.
    turned_back(x: &[f32], cosines: &[f32], sines: &[f32], scale: f32, out: &mut [f32]) {
        let half = cosines.len();
        for (o, v) in out.iter_mut().zip(x) {
            *o = v * scale;
        }
        let (first, rest) = out.split_at_mut(half);
        for (((a, b), cos), sin) in first.iter_mut().zip(rest).zip(cosines).zip(sines) {
            (*a, *b) = (*a * cos + *b * sin, *b * cos - *a * sin);
        }
    }
}

vectorised! {
    /// A row of logits to its softmax, in place, and `ln(Σ e^logit)` to `total`.
    softmax(row: &mut [f32], total: &mut f32) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        for v in row.iter_mut() {
            *v = exp(*v - max);
        }
        let all = sum(row);
        for v in row {
            *v /= all;
        }
        *total = max + all.ln();
    }
}

vectorised! {
    /// Makes a share of the numbers 0 and the others larger, so that the mean stays. Which ones follows from `seed` and their places.
    drop_out(x: &mut [f32], seed: u32, share: f32) {
        let (threshold, scale) = ((f64::from(share) * f64::from(u32::MAX)) as u32, 1.0 / (1.0 - share));
        for (i, v) in x.iter_mut().enumerate() {
            // An integer hash of few steps with little bias (found by search, C. Wellons, "Prospecting for Hash Functions", 2018).
            let mut hash = (i as u32).wrapping_mul(0x9E37_79B9).wrapping_add(seed);
            hash = (hash ^ (hash >> 16)).wrapping_mul(0x7FEB_352D);
            hash = (hash ^ (hash >> 15)).wrapping_mul(0x846C_A68B);
            hash ^= hash >> 16;
            *v = if hash >= threshold { *v * scale } else { 0.0 };
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn wavy(count: usize, turn: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * turn + 0.3).sin()).collect()
    }

    /// Central differences of `sum(f(x) · w)` against what `back` makes of `x` and `w`.
    pub fn check(x: &[f32], what: &str, f: impl Fn(&[f32]) -> Vec<f32>, back: impl Fn(&[f32], &[f32]) -> Vec<f32>) {
        let weights = wavy(f(x).len(), 1.3);
        let loss = |x: &[f32]| f(x).iter().zip(&weights).map(|(y, w)| f64::from(y * w)).sum::<f64>();
        let got = back(x, &weights);
        assert_eq!(got.len(), x.len(), "{what}");
        for i in 0..x.len() {
            let at = |step: f32| {
                let mut moved = x.to_vec();
                moved[i] += step;
                loss(&moved)
            };
            let want = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((f64::from(got[i]) - want).abs() < 2e-3 + want.abs() * 1e-2, "{what}, {i}: {want} against {}", got[i]);
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let (x, gain) = (wavy(18, 0.71), wavy(6, 0.4));
        let norm = |x: &[f32], gain: &[f32]| {
            let mut out = vec![0.0; x.len()];
            rms_norm(x, gain, 1e-5, &mut out);
            out
        };
        let norm_back = |x: &[f32], gain: &[f32], gradient: &[f32]| {
            let (mut of_x, mut of_gain) = (gradient.to_vec(), vec![0.0; gain.len()]);
            rms_norm_back(x, gain, 1e-5, &mut of_x, &mut of_gain);
            (of_x, of_gain)
        };
        check(&x, "norm of x", |x| norm(x, &gain), |x, gradient| norm_back(x, &gain, gradient).0);
        check(&gain, "gain of a norm", |gain| norm(&x, gain), |gain, gradient| norm_back(&x, gain, gradient).1);
        let gates = |x: &[f32]| {
            let mut out = vec![0.0; x.len() / 2];
            gated(x, 3, &mut out);
            out
        };
        let gates_back = |x: &[f32], gradient: &[f32]| {
            let mut out = vec![0.0; x.len()];
            gated_back(x, 3, gradient, &mut out);
            out
        };
        check(&x, "gated", gates, gates_back);
    }

    #[test]
    fn drop_out_leaves_the_mean_and_follows_its_seed() {
        let dropped = |share: f32, seed: u32| {
            let mut x = vec![1.0; 20_000];
            drop_out(&mut x, seed, share);
            x
        };
        for share in [0.1, 0.5] {
            let first = dropped(share, 3);
            let gone = first.iter().filter(|v| **v == 0.0).count() as f32 / 20_000.0;
            assert!((gone - share).abs() < 0.01, "{gone} of {share}");
            assert!((first.iter().sum::<f32>() / 20_000.0 - 1.0).abs() < 0.02);
            assert_eq!(first, dropped(share, 3));
            assert_ne!(first, dropped(share, 4));
        }
    }
}
