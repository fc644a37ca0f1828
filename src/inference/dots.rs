//! Rows times the rows of a table as it lies, for products with word tables: such a table is read from memory once and nothing of it is
//! packed. Each number is one chain of sums over the inputs, eight lanes side by side, whatever else is computed at the same time; so a
//! row has the same bits in any company.

/// Whether [`add_products`] runs here.
pub fn runs() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `out[rows, first..first + n] += x[rows, inputs] · tableᵀ` with a `table` `[n, inputs]` and rows of `out` of `width` numbers. Says whether
/// it did so: it needs AVX2 and FMA.
pub fn add_products(x: &[f32], table: &[f32], inputs: usize, (out, first, width): (&mut [f32], usize, usize)) -> bool {
    if inputs == 0 || x.is_empty() {
        return true;
    }
    let (rows, n) = (x.len() / inputs, table.len() / inputs);
    assert!(out.len() >= rows * width && width >= first + n, "an output that is too short");
    #[cfg(target_arch = "x86_64")]
    if runs() {
        // SAFETY: the processor has AVX2 and FMA, checked on the line above.
        unsafe { avx2::products(x, table, (rows, n, inputs), (&mut out[first..], width)) };
        return true;
    }
    false
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_shuffle_ps, _mm256_castps256_ps128,
        _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps,
    };

    /// Rows of `x` and of the table that go together: their sums fill most of the registers.
    const ROWS: usize = 4;
    const COLUMNS: usize = 3;

    #[target_feature(enable = "avx2,fma")]
    pub fn products(x: &[f32], table: &[f32], (rows, n, inputs): (usize, usize, usize), (out, width): (&mut [f32], usize)) {
        for first in (0..n).step_by(COLUMNS) {
            let (table, out) = (&table[first * inputs..], &mut out[first..]);
            match n - first {
                1 => down::<1>(x, table, (rows, width, inputs), out),
                2 => down::<2>(x, table, (rows, width, inputs), out),
                _ => down::<COLUMNS>(x, table, (rows, width, inputs), out),
            }
        }
    }

    /// `C` columns of the output, whose rows are `n` apart.
    #[target_feature(enable = "avx2,fma")]
    fn down<const C: usize>(x: &[f32], table: &[f32], (rows, n, inputs): (usize, usize, usize), out: &mut [f32]) {
        for first in (0..rows).step_by(ROWS) {
            let (x, out) = (&x[first * inputs..], &mut out[first * n..]);
            match rows - first {
                1 => tile::<1, C>(x, table, (n, inputs), out),
                2 => tile::<2, C>(x, table, (n, inputs), out),
                3 => tile::<3, C>(x, table, (n, inputs), out),
                _ => tile::<ROWS, C>(x, table, (n, inputs), out),
            }
        }
    }

    /// The first `R` rows and `C` columns of `out`, whose rows are `n` apart.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn tile<const R: usize, const C: usize>(x: &[f32], table: &[f32], (n, inputs): (usize, usize), out: &mut [f32]) {
        assert!(x.len() >= R * inputs && table.len() >= C * inputs, "a tile outside its operands");
        let whole = inputs / 8 * 8;
        let mut sums = [[_mm256_setzero_ps(); C]; R];
        for i in (0..whole).step_by(8) {
            // SAFETY: `i + 8` is at most `inputs`, and the assertion above holds rows `0..R` and `0..C` of that width.
            let load = |of: &[f32], row: usize| unsafe { _mm256_loadu_ps(of.as_ptr().add(row * inputs + i)) };
            let weights: [__m256; C] = std::array::from_fn(|c| load(table, c));
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = load(x, r);
                sums.iter_mut().zip(&weights).for_each(|(sum, weight)| *sum = _mm256_fmadd_ps(x, *weight, *sum));
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, sum) in sums.iter().enumerate() {
                let rest = x[r * inputs + whole..(r + 1) * inputs].iter().zip(&table[c * inputs + whole..]);
                out[r * n + c] += rest.fold(total(*sum), |sum, (x, weight)| sum + x * weight);
            }
        }
    }

    /// The sum of eight lanes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn total(lanes: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}
