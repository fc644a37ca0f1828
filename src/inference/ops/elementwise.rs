//! Kernels over single numbers and rows: activations, softmax, norms, sums.

/// Defines a function with a body that is compiled twice, for AVX2 and for any processor, and picked at run time.
macro_rules! vectorised {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $body:block) => {
        $(#[$doc])*
        pub fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn body($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) { body($($arg),*) }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, checked on the line above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorised;

vectorised! {
    /// GELU with the error function, in place; its error is below 2e-7 relative to |x|.
    gelu(x: &mut [f32]) {
        for v in x {
            let z = v.abs() * std::f32::consts::FRAC_1_SQRT_2;
            // Abramowitz and Stegun 7.1.26: erfc(z) to 1.5e-7.
            let t = 1.0 / (1.0 + 0.327_591_1 * z);
            let poly = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_8) * t - 0.284_496_74) * t + 0.254_829_6) * t;
            let tail = 0.5 * poly * exp(-z * z);
            *v *= if *v < 0.0 { tail } else { 1.0 - tail };
        }
    }
}

vectorised! {
    /// GELU with the hyperbolic tangent, in place: `x * sigmoid(2 u)` with `u = sqrt(2 / pi) * (x + 0.044715 x^3)`.
    gelu_tanh(x: &mut [f32]) {
        for v in x {
            *v *= sigmoid(1.595_769 * (*v + 0.044_715 * *v * *v * *v));
        }
    }
}

vectorised! {
    /// `x * sigmoid(x)`, in place.
    silu(x: &mut [f32]) {
        for v in x {
            *v *= sigmoid(*v);
        }
    }
}

vectorised! {
    /// `max(x, 0)`, in place. A value that is not a number stays one.
    relu(x: &mut [f32]) {
        for v in x {
            *v = if *v < 0.0 { 0.0 } else { *v };
        }
    }
}

vectorised! {
    /// Softmax of one row, in place, with the maximum subtracted.
    softmax(row: &mut [f32]) {
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

vectorised! {
    /// `x = layer_norm(x + residual)`, row by row of `weight.len()`, with the variance in a second pass.
    add_layer_norm(x: &mut [f32], residual: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        let width = weight.len();
        for (row, old) in x.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
            for (v, r) in row.iter_mut().zip(old) {
                *v += r;
            }
            normalise(row, weight, bias, epsilon);
        }
    }
}

vectorised! {
    /// `x = layer_norm(x)`, row by row of `weight.len()`.
    layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        for row in x.chunks_exact_mut(weight.len()) {
            normalise(row, weight, bias, epsilon);
        }
    }
}

vectorised! {
    /// `total += row`.
    add(total: &mut [f32], row: &[f32]) {
        for (t, v) in total.iter_mut().zip(row) {
            *t += v;
        }
    }
}

/// One row to mean 0 and variance 1, then scaled and moved.
#[inline(always)]
fn normalise(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let width = row.len() as f32;
    let mean = sum(row) / width;
    for v in row.iter_mut() {
        *v -= mean;
    }
    let scale = 1.0 / (square_sum(row) / width + epsilon).sqrt();
    for ((v, w), b) in row.iter_mut().zip(weight).zip(bias) {
        *v = *v * scale * w + b;
    }
}

/// `1 / (1 + e^-x)`, by the side on which the exponential is small.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let small = exp(-x.abs());
    (if x < 0.0 { small } else { 1.0 }) / (1.0 + small)
}

const LANES: usize = 16;

#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[inline(always)]
pub(crate) fn square_sum(row: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v * v;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|v| v * v).sum::<f32>()
}

/// `e^x` for `x <= 0`, to two units in the last place; below -87 it is that of -87 (about 1e-38). Without branches and calls.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    // ln 2 in two parts, so that the remainder is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let poly = ((((1.987_569_1e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 1.666_666_5e-1) * r + 0.5;
    (poly * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::super::Activation;
    use super::*;

    #[test]
    fn exp_follows_the_library() {
        for i in 0..870_000 {
            let x = i as f32 * -1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 2.5e-7 * exact, "exp({x})");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn gelu_follows_candles() {
        let x: Vec<f32> = (-8000..8000).map(|i| i as f32 * 1e-3).collect();
        let mut ours = x.clone();
        gelu(&mut ours);
        let theirs = candle_core::Tensor::new(x.as_slice(), &candle_core::Device::Cpu).unwrap().gelu_erf().unwrap();
        for ((x, a), b) in x.iter().zip(&ours).zip(theirs.to_vec1::<f32>().unwrap()) {
            assert!((a - b).abs() <= 3e-7 * x.abs().max(1.0), "gelu({x}) = {a}, candle says {b}");
        }
    }

    #[test]
    fn other_activations_follow_candles() {
        let x: Vec<f32> = (-12_000..12_000).map(|i| i as f32 * 1e-3).collect();
        let theirs = candle_core::Tensor::new(x.as_slice(), &candle_core::Device::Cpu).unwrap();
        for (name, ours, theirs) in
            [("gelu_tanh", gelu_tanh as fn(&mut [f32]), theirs.gelu().unwrap()), ("silu", silu, theirs.silu().unwrap())]
        {
            let mut y = x.clone();
            ours(&mut y);
            for ((x, a), b) in x.iter().zip(&y).zip(theirs.to_vec1::<f32>().unwrap()) {
                assert!((a - b).abs() <= 1e-6 * x.abs().max(1.0), "{name}({x}) = {a}, candle says {b}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu, Activation::Tanh] {
            let mut row = [f32::NAN, 1.0];
            activation.apply(&mut row);
            assert!(row[0].is_nan() && row[1].is_finite(), "{activation:?}");
        }
        let mut row = [f32::NAN, 1.0];
        gelu(&mut row);
        assert!(row[0].is_nan());
        let mut row = [f32::NAN, 1.0];
        softmax(&mut row);
        assert!(row.iter().all(|v| v.is_nan()));
    }
}
