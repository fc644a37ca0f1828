//! Matrices as int8 with one scale for each run of columns, a whole row or a part of it: `<name>` I8 `[rows, columns]` and `<name>.scale`
//! F32 `[rows]` or `[rows, groups]`, w = q·scale.

use safetensors::Dtype;

/// Weights of a layer's row that share a scale.
const GROUP: usize = 32;

/// A tensor as a file has it: its name, kind, dimensions and bytes.
pub type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// A tensor as it is, or a matrix as int8 with its scales: one for 32 weights of a layer's row. Rows of a table stand for themselves; in a
/// layer one large weight would coarsen its whole row.
pub fn stored(name: &str, dims: Vec<usize>, values: &[f32], int8: bool) -> Vec<Stored> {
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    if !int8 || dims.len() != 2 {
        return vec![(name.to_owned(), Dtype::F32, dims, bytes(values))];
    }
    let grouped = dims[1].is_multiple_of(GROUP) && !name.contains("embeddings");
    let (quantised, scales) = rows_to_int8(values, if grouped { GROUP } else { dims[1] });
    let shape = if grouped { vec![dims[0], dims[1] / GROUP] } else { vec![dims[0]] };
    vec![
        (format!("{name}.scale"), Dtype::F32, shape, bytes(&scales)),
        (name.to_owned(), Dtype::I8, dims, quantised.iter().map(|q| *q as u8).collect()),
    ]
}

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

    /// Would catch: one large weight that coarsens its whole row, scales of a form that the reader does not know.
    #[test]
    fn thirty_two_weights_of_a_layer_share_a_scale_and_a_tables_row_has_one() {
        let mut values = vec![0.5f32; 2 * 64];
        values[40] = 100.0;
        let of = |name: &str, dims: &[usize], int8: bool| stored(name, dims.to_vec(), &values, int8);
        let back = |held: &[Stored]| {
            let scales: Vec<f32> = held[0].3.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let quantised: Vec<i8> = held[1].3.iter().map(|b| *b as i8).collect();
            rows_from_int8(&quantised, &scales)
        };
        let held = of("layer.weight", &[2, 64], true);
        assert_eq!(
            (held[0].0.as_str(), &held[0].2, held[1].1, &held[1].2),
            ("layer.weight.scale", &vec![2, 2], Dtype::I8, &vec![2, 64])
        );
        assert!(back(&held).iter().enumerate().all(|(i, x)| (32..64).contains(&i) || (x - 0.5).abs() < 1e-6));
        for (name, dims) in [("word_embeddings.weight", [2, 64]), ("layer.weight", [8, 16])] {
            let held = of(name, &dims, true);
            assert_eq!(held[0].2, [dims[0]], "{name}");
        }
        assert_eq!(of("layer.weight", &[2, 64], false)[0].1, Dtype::F32);
        assert_eq!(of("layer.bias", &[128], true)[0].1, Dtype::F32);
    }

    #[test]
    fn zeros_stay_zeros() {
        let (quantised, scales) = rows_to_int8(&[0.0; 4], 4);
        assert_eq!(rows_from_int8(&quantised, &scales), [0.0; 4]);
    }
}
