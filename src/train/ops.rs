//! The row operations of a BERT network, with their gradients. candle's own fused ones stop gradients silently.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("training runs in f32") };
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a row operation needs contiguous input") };
    Ok(&values[start..end])
}

fn width(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1)
}

fn column_sums(gradient: &Tensor) -> Result<Tensor> {
    let columns = gradient.dim(candle_core::D::Minus1)?;
    let rows = gradient.elem_count() / columns;
    let ones = Tensor::ones((1, rows), gradient.dtype(), gradient.device())?;
    ones.matmul(&gradient.contiguous()?.reshape((rows, columns))?)?.squeeze(0)
}

/// e^x for x <= 0, to about 1e-7 of its value; plain enough for the compiler to vectorise.
pub(super) fn exp(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = n.mul_add_plain(-0.693_359_4, x);
    let r = n.mul_add_plain(2.121_944_4e-4, r);
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (0.166_666_66 + r * (0.041_665_79 + r * (0.008_333_45 + r * 0.001_390_3)))));
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(SHIFT.to_bits()).wrapping_add(127)) << 23);
    p * power
}

trait PlainMulAdd {
    fn mul_add_plain(self, factor: f32, addend: f32) -> f32;
}
impl PlainMulAdd for f32 {
    /// Without a fused instruction in the baseline target, `f32::mul_add` would be a library call.
    fn mul_add_plain(self, factor: f32, addend: f32) -> f32 {
        self * factor + addend
    }
}

/// (cumulative normal, e^(-x²/2)): Abramowitz and Stegun 7.1.26, off by at most 1.5e-7.
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let bell = exp(-z * z);
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let tail = ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_72) * t + 0.254_829_6) * t * bell * 0.5;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

struct Gelu;
struct GeluBackward;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = slice(storage, layout)?.iter().map(|&x| x * normal(x).0).collect();
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
    fn bwd(&self, input: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(input.contiguous()?.apply_op2_no_bwd(&gradient.contiguous()?, &GeluBackward)?))
    }
}

impl CustomOp2 for GeluBackward {
    fn name(&self) -> &'static str {
        "gelu-backward"
    }
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        const INVERSE_ROOT_2PI: f32 = 0.398_942_3;
        let out = slice(s1, l1)?.iter().zip(slice(s2, l2)?).map(|(&x, &g)| {
            let (cumulative, bell) = normal(x);
            g * (cumulative + x * bell * INVERSE_ROOT_2PI)
        });
        Ok((CpuStorage::F32(out.collect()), l1.shape().clone()))
    }
}

/// `x·Φ(x)`, the `gelu` of BERT configurations.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gelu)
}

struct Softmax(f32);
pub(super) struct SoftmaxBackward(pub f32);

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = slice(storage, layout)?.to_vec();
        for row in out.chunks_exact_mut(width(layout)) {
            let top = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            row.iter_mut().for_each(|x| *x = exp((*x - top) * self.0));
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
    fn bwd(&self, _: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(output.apply_op2_no_bwd(&gradient.contiguous()?, &SoftmaxBackward(self.0))?))
    }
}

impl CustomOp2 for SoftmaxBackward {
    fn name(&self) -> &'static str {
        "softmax-backward"
    }
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let columns = width(l1);
        let mut out = slice(s2, l2)?.to_vec();
        for (g, y) in out.chunks_exact_mut(columns).zip(slice(s1, l1)?.chunks_exact(columns)) {
            let dot: f32 = g.iter().zip(y).map(|(g, y)| g * y).sum();
            g.iter_mut().zip(y).for_each(|(g, y)| *g = self.0 * y * (*g - dot));
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

/// Softmax of `scale`·x over the last dimension; `scale` is positive.
pub fn softmax(x: &Tensor, scale: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Softmax(scale as f32))
}

struct Normalise(f32);
struct NormaliseBackward(f32);

fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = row.iter().sum::<f32>() / n;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

impl CustomOp1 for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = slice(storage, layout)?.to_vec();
        for row in out.chunks_exact_mut(width(layout)) {
            let (mean, inverse) = moments(row, self.0);
            row.iter_mut().for_each(|x| *x = (*x - mean) * inverse);
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
    fn bwd(&self, input: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(input.contiguous()?.apply_op2_no_bwd(&gradient.contiguous()?, &NormaliseBackward(self.0))?))
    }
}

impl CustomOp2 for NormaliseBackward {
    fn name(&self) -> &'static str {
        "normalise-backward"
    }
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let columns = width(l1);
        let mut out = slice(s2, l2)?.to_vec();
        for (g, x) in out.chunks_exact_mut(columns).zip(slice(s1, l1)?.chunks_exact(columns)) {
            let (mean, inverse) = moments(x, self.0);
            let mean_g = g.iter().sum::<f32>() / columns as f32;
            let mean_gy = g.iter().zip(x).map(|(g, x)| g * (x - mean) * inverse).sum::<f32>() / columns as f32;
            g.iter_mut().zip(x).for_each(|(g, x)| *g = inverse * (*g - mean_g - (x - mean) * inverse * mean_gy));
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

struct ScaleShift;

impl CustomOp3 for ScaleShift {
    fn name(&self) -> &'static str {
        "scale-shift"
    }
    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (scale, shift) = (slice(s2, l2)?, slice(s3, l3)?);
        let mut out = slice(s1, l1)?.to_vec();
        for row in out.chunks_exact_mut(width(l1)) {
            row.iter_mut().zip(scale.iter().zip(shift)).for_each(|(x, (w, b))| *x = *x * w + b);
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.broadcast_mul(scale)?), Some(column_sums(&gradient.mul(x)?)?), Some(column_sums(gradient)?)))
    }
}

/// Layer normalisation over the last dimension.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Normalise(eps as f32))?.apply_op3(weight, bias, ScaleShift)
}

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let bias = slice(s2, l2)?;
        let mut out = slice(s1, l1)?.to_vec();
        for row in out.chunks_exact_mut(width(l1)) {
            row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.clone()), Some(column_sums(gradient)?)))
    }
}

/// `x`·`weight` + `bias` for x [rows, in] and weight [in, out].
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(weight)?.apply_op2(bias, AddBias)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// Central differences of sum(f(x)·w) against the gradient that backward gives; x has 12 values.
    pub(crate) fn check_shape(dims: &[usize], f: impl Fn(&Tensor) -> Tensor) {
        let values: Vec<f32> = (0..12).map(|i| ((i * 37 % 23) as f32 - 11.0) / 6.0).collect();
        let weights: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin()).collect();
        let loss = |x: &Tensor| {
            let out = f(x);
            let weights = Tensor::from_slice(&weights, out.shape(), &Device::Cpu).unwrap();
            out.mul(&weights).unwrap().sum_all().unwrap()
        };
        let x = Var::from_vec(values.clone(), dims, &Device::Cpu).unwrap();
        let gradients = loss(&x).backward().unwrap();
        let got = gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for i in 0..12 {
            let at = |step: f32| {
                let mut v = values.clone();
                v[i] += step;
                loss(&Tensor::from_vec(v, dims, &Device::Cpu).unwrap()).to_scalar::<f32>().unwrap()
            };
            let want = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((got[i] - want).abs() < 2e-3 + want.abs() * 2e-2, "{i}: {} against {want}", got[i]);
        }
    }

    fn check(f: impl Fn(&Tensor) -> Tensor) {
        check_shape(&[3, 4], f);
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let vector = |k: f32| Tensor::from_vec((0..4).map(|i| 0.5 + k * i as f32).collect::<Vec<_>>(), 4, &Device::Cpu).unwrap();
        check(|x| gelu(x).unwrap());
        check(|x| softmax(x, 0.7).unwrap());
        check(|x| layer_norm(x, &vector(0.3), &vector(-0.2), 1e-12).unwrap());
        let square = Tensor::from_vec((0..16).map(|i| (i as f32).cos()).collect::<Vec<_>>(), (4, 4), &Device::Cpu).unwrap();
        check(|x| linear(x, &square, &vector(0.1)).unwrap());
    }

    #[test]
    fn gelu_equals_candles() {
        let x = Tensor::arange(-6f32, 6.0, &Device::Cpu).unwrap().affine(0.93, 0.11).unwrap();
        let apart = (gelu(&x).unwrap() - x.gelu_erf().unwrap()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() < 2e-6);
    }
}
