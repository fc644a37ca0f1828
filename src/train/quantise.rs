//! Matrices as int8 with one scale for each run of columns, a whole row or a part of it: `<name>` I8 `[rows, columns]` and `<name>.scale`
//! F32 `[rows]` or `[rows, groups]`, w = q·scale.

/// Symmetric, to ±127; a row of zeros has scale 0.
pub fn rows_to_int8(values: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    let mut quantised = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / columns.max(1));
    for row in values.chunks_exact(columns.max(1)) {
        let scale = row.iter().fold(0f32, |a, x| a.max(x.abs())) / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        quantised.extend(row.iter().map(|x| (x * inverse).round().clamp(-127.0, 127.0) as i8));
        scales.push(scale);
    }
    (quantised, scales)
}

pub fn rows_from_int8(quantised: &[i8], scales: &[f32]) -> Vec<f32> {
    let columns = quantised.len() / scales.len().max(1);
    let rows = quantised.chunks_exact(columns.max(1)).zip(scales);
    rows.flat_map(|(row, scale)| row.iter().map(move |q| f32::from(*q) * scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_round_trip_is_off_by_half_a_step_at_most(values in proptest::collection::vec(-50f32..50.0, 24)) {
            let (quantised, scales) = rows_to_int8(&values, 8);
            let back = rows_from_int8(&quantised, &scales);
            for (i, (a, b)) in values.iter().zip(&back).enumerate() {
                prop_assert!((a - b).abs() <= scales[i / 8] * 0.5001);
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let (quantised, scales) = rows_to_int8(&[0.0; 4], 4);
        assert_eq!(rows_from_int8(&quantised, &scales), [0.0; 4]);
    }
}
