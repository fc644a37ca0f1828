//! The arithmetic of the packed encoder, on plain row-major slices. Matrix products are gemm's (the kernels that candle uses),
//! on the calling thread; the rest is written so that the compiler vectorises it, for AVX2 where the processor has it.

mod attention;
mod elementwise;
mod linear;
mod parts;

pub use attention::{Distances, Stretch, attention};
pub use elementwise::{add, add_layer_norm, gelu, gelu_tanh, layer_norm, relu, silu, softmax};
pub(crate) use elementwise::{exp, square_sum, sum, vectorised};
pub use linear::{Linear, project};
pub use parts::{Activation, Norm};

use gemm::{Parallelism, gemm};

/// A matrix seen through strides: element `(r, c)` is `data[offset + r * row + c * col]`.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) offset: usize,
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl View {
    /// One past the last element that a matrix of this size touches.
    fn end(self, rows: usize, cols: usize) -> usize {
        if rows == 0 || cols == 0 { self.offset } else { self.offset + (rows - 1) * self.row + (cols - 1) * self.col + 1 }
    }
}

/// `out[m, n] = out * keep + scale * a[m, k] · b[k, n]`, with `keep` 0 or 1.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product; a struct would only rename them")]
pub(crate) fn multiply(
    (m, n, k): (usize, usize, usize),
    out: &mut [f32],
    o: View,
    keep: bool,
    a: &[f32],
    av: View,
    b: &[f32],
    bv: View,
    scale: f32,
) {
    assert!(o.end(m, n) <= out.len() && av.end(m, k) <= a.len() && bv.end(k, n) <= b.len(), "matrix out of bounds");
    let stride = |s: usize| s as isize;
    // SAFETY: the assertion above keeps every element that the strides reach inside the three slices, `out` is borrowed
    // mutably and so overlaps neither operand, and its strides address distinct elements.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr().add(o.offset),
            stride(o.col),
            stride(o.row),
            keep,
            a.as_ptr().add(av.offset),
            stride(av.col),
            stride(av.row),
            b.as_ptr().add(bv.offset),
            stride(bv.col),
            stride(bv.row),
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

pub(crate) fn row_major(offset: usize, row: usize) -> View {
    View { offset, row, col: 1 }
}

/// Makes a buffer `len` long. Where it has to grow it grows to exactly that, so that the memory of a batch can be told before it runs.
pub fn fit(buffer: &mut Vec<f32>, len: usize) {
    buffer.reserve_exact(len.saturating_sub(buffer.len()));
    buffer.resize(len, 0.0);
}

/// Empties a buffer that is then filled to `len`; the same of its growth.
pub fn room(buffer: &mut Vec<f32>, len: usize) {
    buffer.clear();
    buffer.reserve_exact(len);
}
