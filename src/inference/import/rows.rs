//! The order of the rows of queries and keys.

/// Undoes the order of rows that programs have which turn neighbours (llama.cpp, llama2.c): row `i` of a head's first half and row
/// `i` of its second half stand side by side there, since transformers turns halves. `values` are `[rows, columns]`, row-major.
pub fn unpermuted(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let (row, half) = (values.len() / rows, rows / heads / 2);
    let mut out = Vec::with_capacity(values.len());
    for head in 0..heads {
        for side in 0..2 {
            for i in 0..half {
                let at = (head * 2 * half + 2 * i + side) * row;
                out.extend_from_slice(&values[at..at + row]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_halves() {
        let rows = [0., 4., 1., 5., 2., 6., 3., 7.];
        assert_eq!(unpermuted(&rows, 8, 1), [0., 1., 2., 3., 4., 5., 6., 7.]);
        assert_eq!(unpermuted(&rows, 8, 2), [0., 1., 4., 5., 2., 3., 6., 7.]);
    }
}
