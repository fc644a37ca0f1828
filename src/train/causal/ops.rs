//! The operations of a causal network with their gradients, as candle's autograd takes them.

use super::kernels;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Device, Layout, Result, Shape, Storage, Tensor, bail};

/// No target: the row is not part of the loss.
pub const IGNORED: u32 = u32::MAX;

pub(super) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("training runs in f32") };
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a row operation needs contiguous input") };
    Ok(&values[start..end])
}

/// What `call` makes of the numbers of a contiguous tensor, which are not copied.
pub(super) fn with<T>(tensor: &Tensor, call: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(call(floats(storage, layout)?)),
        _ => bail!("training runs on processors"),
    }
}

/// The numbers of a tensor, to be changed.
pub(super) fn copied(tensor: &Tensor) -> Result<Vec<f32>> {
    with(&tensor.contiguous()?, <[f32]>::to_vec)
}

fn last(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1)
}

struct RmsNorm(f32);

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (floats(s1, l1)?, floats(s2, l2)?);
        let mut out = vec![0.0; x.len()];
        kernels::rms_norm(x, weight, self.0, &mut out);
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut of_x, mut of_weight) = (copied(gradient)?, vec![0.0; weight.elem_count()]);
        with(x, |x| with(weight, |weight| kernels::rms_norm_back(x, weight, self.0, &mut of_x, &mut of_weight)))??;
        let of_weight = Tensor::from_vec(of_weight, weight.shape(), &Device::Cpu)?;
        Ok((Some(Tensor::from_vec(of_x, x.shape(), &Device::Cpu)?), Some(of_weight)))
    }
}

/// `x / rms(x) * weight` over the last dimension.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op2(weight, RmsNorm(epsilon))
}

struct Gated;

impl CustomOp1 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, (rows, columns)) = (floats(storage, layout)?, layout.shape().dims2()?);
        let mut out = vec![0.0; rows * columns / 2];
        kernels::gated(x, columns / 2, &mut out);
        Ok((CpuStorage::F32(out), (rows, columns / 2).into()))
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (mut out, gradient) = (vec![0.0; x.elem_count()], gradient.contiguous()?);
        let wide = x.dim(D::Minus1)? / 2;
        with(x, |x| with(&gradient, |gradient| kernels::gated_back(x, wide, gradient, &mut out)))??;
        Tensor::from_vec(out, x.shape(), &Device::Cpu).map(Some)
    }
}

/// `silu(gate) * up` of rows `[gate, up]`.
pub fn gated(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Gated)
}

struct Frozen {
    weight: Tensor,
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = Tensor::from_slice(floats(storage, layout)?, layout.shape(), &Device::Cpu)?;
        let out = x.matmul(&self.weight)?;
        let shape = out.shape().clone();
        Ok((CpuStorage::F32(with(&out, <[f32]>::to_vec)?), shape))
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient.matmul(&self.weight.t()?).map(Some)
    }
}

/// `x · weight` with a gradient for `x` alone. candle's own product computes that of the weight too, wanted or not.
pub fn frozen(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    match x.track_op() {
        true => x.contiguous()?.apply_op1(Frozen { weight: weight.clone() }),
        false => x.matmul(weight),
    }
}

struct AddColumns {
    first: usize,
}

impl CustomOp2 for AddColumns {
    fn name(&self) -> &'static str {
        "add-columns"
    }
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (columns, part) = (last(l1), last(l2));
        let mut out = floats(s1, l1)?.to_vec();
        if self.first + part > columns {
            bail!("{part} columns from {} on do not lie in {columns}", self.first);
        }
        for (row, more) in out.chunks_exact_mut(columns).zip(floats(s2, l2)?.chunks_exact(part)) {
            row[self.first..].iter_mut().zip(more).for_each(|(v, m)| *v += m);
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
    fn bwd(&self, _: &Tensor, part: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_part = gradient.narrow(D::Minus1, self.first, part.dim(D::Minus1)?)?.contiguous()?;
        Ok((Some(gradient.clone()), Some(of_part)))
    }
}

/// `x` with `part` added to its columns from `first` on.
pub fn add_columns(x: &Tensor, part: &Tensor, first: usize) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&part.contiguous()?, AddColumns { first })
}

struct DropOut {
    share: f32,
    seed: u32,
}

impl DropOut {
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        let threshold = (f64::from(self.share) * f64::from(u32::MAX)) as u32;
        kernels::drop_out(x, self.seed, threshold, 1.0 / (1.0 - self.share), &mut out);
        out
    }
}

impl CustomOp1 for DropOut {
    fn name(&self) -> &'static str {
        "drop-out"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.apply(floats(storage, layout)?)), layout.shape().clone()))
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let out = with(&gradient.contiguous()?, |gradient| self.apply(gradient))?;
        Tensor::from_vec(out, gradient.shape(), &Device::Cpu).map(Some)
    }
}

/// Makes `share` of the numbers 0, and the others so much larger that the mean stays. Which ones follows from `seed`.
pub fn drop_out(x: &Tensor, share: f32, seed: u32) -> Result<Tensor> {
    match share > 0.0 && share < 1.0 {
        true => x.contiguous()?.apply_op1(DropOut { share, seed }),
        false => Ok(x.clone()),
    }
}

struct CrossEntropy {
    targets: Vec<u32>,
}

impl CrossEntropy {
    /// Rows that have a target. The sum of their losses goes through `f64`: there may be a hundred thousand.
    fn count(&self) -> usize {
        self.targets.iter().filter(|target| **target != IGNORED).count().max(1)
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = last(layout);
        if self.targets.iter().any(|target| *target != IGNORED && *target as usize >= width) {
            bail!("a target is not among the {width} tokens of the network");
        }
        let (mut row, mut total, mut sum) = (vec![0.0; width], 0.0, 0.0f64);
        for (logits, target) in floats(storage, layout)?.chunks_exact(width).zip(&self.targets) {
            if *target != IGNORED {
                row.copy_from_slice(logits);
                kernels::softmax(&mut row, &mut total);
                sum += f64::from(total - logits[*target as usize]);
            }
        }
        Ok((CpuStorage::F32(vec![(sum / self.count() as f64) as f32]), Shape::from(())))
    }
    fn bwd(&self, logits: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (mut out, width, mut total) = (copied(logits)?, logits.dim(D::Minus1)?, 0.0);
        let share = gradient.to_scalar::<f32>()? / self.count() as f32;
        for (row, target) in out.chunks_exact_mut(width).zip(&self.targets) {
            if *target == IGNORED {
                row.fill(0.0);
                continue;
            }
            kernels::softmax(row, &mut total);
            row[*target as usize] -= 1.0;
            row.iter_mut().for_each(|v| *v *= share);
        }
        Tensor::from_vec(out, logits.shape(), &Device::Cpu).map(Some)
    }
}

/// The mean of `-ln P(target)` over the rows of `logits` whose target is not [`IGNORED`], in nats.
pub fn cross_entropy(logits: &Tensor, targets: Vec<u32>) -> Result<Tensor> {
    if logits.dim(0)? != targets.len() {
        bail!("{} targets for {} rows", targets.len(), logits.dim(0)?);
    }
    logits.contiguous()?.apply_op1(CrossEntropy { targets })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use candle_core::Var;

    pub fn wavy(count: usize, turn: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * turn + 0.3).sin()).collect()
    }

    /// Central differences of `sum(f(x) · w)` against the gradient that backward gives.
    pub fn check(dims: (usize, usize), what: &str, f: impl Fn(&Tensor) -> Tensor) {
        let values = wavy(dims.0 * dims.1, 0.71);
        let loss = |x: &Tensor| {
            let y = f(x).flatten_all().unwrap();
            let weights = Tensor::from_vec(wavy(y.elem_count(), 1.3), y.elem_count(), &Device::Cpu).unwrap();
            y.mul(&weights).unwrap().sum_all().unwrap()
        };
        let x = Var::from_vec(values.clone(), dims, &Device::Cpu).unwrap();
        let gradients = loss(&x).backward().unwrap();
        let got = copied(gradients.get(&x).unwrap_or_else(|| panic!("{what}: no gradient"))).unwrap();
        for i in 0..values.len() {
            let at = |step: f32| {
                let mut v = values.clone();
                v[i] += step;
                f64::from(loss(&Tensor::from_vec(v, dims, &Device::Cpu).unwrap()).to_scalar::<f32>().unwrap())
            };
            let want = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((f64::from(got[i]) - want).abs() < 2e-3 + want.abs() * 1e-2, "{what}, {i}: {want} against {}", got[i]);
        }
    }

    fn tensor(values: Vec<f32>, dims: (usize, usize)) -> Tensor {
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let weight = Tensor::from_vec(wavy(6, 0.4), 6, &Device::Cpu).unwrap();
        let (square, x) = (tensor(wavy(36, 0.9), (6, 6)), tensor(wavy(18, 0.5), (3, 6)));
        check((3, 6), "norm of x", |x| rms_norm(x, &weight, 1e-5).unwrap());
        check((1, 6), "weight of a norm", |w| rms_norm(&x, &w.flatten_all().unwrap(), 1e-5).unwrap());
        check((3, 6), "gated", |x| gated(x).unwrap());
        check((3, 6), "frozen", |x| frozen(x, &square).unwrap());
        check((3, 6), "columns, whole", |y| add_columns(y, &tensor(wavy(6, 0.2), (3, 2)), 3).unwrap());
        check((3, 2), "columns, part", |y| add_columns(&x, y, 3).unwrap());
        check((3, 6), "drop-out", |x| drop_out(x, 0.4, 7).unwrap());
        check((3, 6), "cross-entropy", |x| cross_entropy(x, vec![5, IGNORED, 0]).unwrap());
    }

    #[test]
    fn the_loss_is_candles_and_leaves_rows_without_a_target_out() {
        let logits = tensor(wavy(18, 0.8), (3, 6));
        let ours = cross_entropy(&logits, vec![1, IGNORED, 4]).unwrap().to_scalar::<f32>().unwrap();
        let kept = Tensor::cat(&[logits.narrow(0, 0, 1).unwrap(), logits.narrow(0, 2, 1).unwrap()], 0).unwrap();
        let theirs = candle_nn::loss::cross_entropy(&kept, &Tensor::new(&[1u32, 4], &Device::Cpu).unwrap()).unwrap();
        assert!((ours - theirs.to_scalar::<f32>().unwrap()).abs() < 1e-6);
        assert!(cross_entropy(&logits, vec![1, 2, 6]).is_err());
        assert!(cross_entropy(&logits, vec![1, 2]).is_err());
    }

    #[test]
    fn drop_out_leaves_the_mean_and_follows_its_seed() {
        let x = tensor(vec![1.0; 20_000], (100, 200));
        for share in [0.1, 0.5] {
            let dropped = copied(&drop_out(&x, share, 3).unwrap()).unwrap();
            let gone = dropped.iter().filter(|v| **v == 0.0).count() as f32 / 20_000.0;
            assert!((gone - share).abs() < 0.01, "{gone} of {share}");
            assert!((dropped.iter().sum::<f32>() / 20_000.0 - 1.0).abs() < 0.02);
            assert_eq!(dropped, copied(&drop_out(&x, share, 3).unwrap()).unwrap());
            assert_ne!(dropped, copied(&drop_out(&x, share, 4).unwrap()).unwrap());
        }
    }
}
