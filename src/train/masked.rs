//! Attention's softmax over texts of unequal lengths, and dropout; with their gradients.

use super::ops::{SoftmaxBackward, exp, slice};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

struct MaskedSoftmax {
    scale: f32,
    /// Of each text.
    lengths: Arc<[usize]>,
}

impl CustomOp1 for MaskedSoftmax {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let &[texts, heads, queries, keys] = layout.dims() else {
            bail!("attention has the shape [texts, heads, queries, keys]")
        };
        if texts != self.lengths.len() || self.lengths.iter().any(|&length| length == 0 || length > keys) {
            bail!("lengths {:?} are not those of {texts} texts of up to {keys} tokens", self.lengths);
        }
        let mut out = slice(storage, layout)?.to_vec();
        for (text, length) in out.chunks_exact_mut(heads * queries * keys).zip(self.lengths.iter()) {
            for row in text.chunks_exact_mut(keys) {
                let (own, padding) = row.split_at_mut(*length);
                padding.fill(0.0);
                let top = own.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                own.iter_mut().for_each(|x| *x = exp((*x - top) * self.scale));
                let sum: f32 = own.iter().sum();
                own.iter_mut().for_each(|x| *x /= sum);
            }
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
    fn bwd(&self, _: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        // A weight of zero has a gradient of zero.
        Ok(Some(output.apply_op2_no_bwd(&gradient.contiguous()?, &SoftmaxBackward(self.scale))?))
    }
}

/// Softmax of `scale`·x over the first `lengths[text]` keys; the others get no weight. x is `[texts, heads, queries, keys]`.
pub fn masked_softmax(x: &Tensor, scale: f64, lengths: &Arc<[usize]>) -> Result<Tensor> {
    x.contiguous()?.apply_op1(MaskedSoftmax { scale: scale as f32, lengths: lengths.clone() })
}

/// The same draw always takes out the same values.
#[derive(Clone, Copy)]
struct Dropout {
    share: f32,
    draw: u64,
}

impl Dropout {
    fn drop(self, values: &mut [f32]) {
        let below = (f64::from(self.share) * 4_294_967_296.0) as u32;
        let scale = 1.0 / (1.0 - self.share);
        let mut state = self.draw;
        for value in values {
            // Weyl steps through a finaliser (Steele et al. 2014, SplitMix).
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            *value *= if ((mixed >> 32) as u32) < below { 0.0 } else { scale };
        }
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = slice(storage, layout)?.to_vec();
        self.drop(&mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(self)?))
    }
}

/// Takes out a share of the values, drawn with `draw`, and raises the others so that the mean stays.
pub fn dropout(x: &Tensor, share: f32, draw: u64) -> Result<Tensor> {
    if !(0.0..1.0).contains(&share) {
        bail!("a share of {share} cannot be dropped");
    }
    x.contiguous()?.apply_op1(Dropout { share, draw })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::ops::{softmax, tests::check_shape};
    use candle_core::{Device, IndexOp};

    #[test]
    fn padding_has_no_weight_and_the_rest_is_as_without_it() {
        let values: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let x = Tensor::from_vec(values, (2, 1, 3, 4), &Device::Cpu).unwrap();
        let lengths: Arc<[usize]> = [4, 2].into();
        let got = masked_softmax(&x, 0.5, &lengths).unwrap();
        let rows = |t: Tensor| t.contiguous().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let whole = softmax(&x.i(0).unwrap(), 0.5).unwrap();
        assert_eq!(rows(got.i(0).unwrap()), rows(whole));
        let short = softmax(&x.i((1, .., .., ..2)).unwrap(), 0.5).unwrap();
        assert_eq!(rows(got.i((1, .., .., ..2)).unwrap()), rows(short));
        assert_eq!(rows(got.i((1, .., .., 2..)).unwrap()), [0.0; 6]);
        assert!(masked_softmax(&x, 0.5, &[5, 2].into()).is_err() && masked_softmax(&x, 0.5, &[2].into()).is_err());
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let lengths: Arc<[usize]> = [2, 3].into();
        check_shape(&[2, 1, 2, 3], |x| masked_softmax(x, 0.7, &lengths).unwrap());
        check_shape(&[3, 4], |x| dropout(x, 0.4, 5).unwrap());
    }

    #[test]
    fn the_share_that_is_dropped_is_as_asked_and_the_mean_stays() {
        let x = Tensor::ones(20_000, candle_core::DType::F32, &Device::Cpu).unwrap();
        let got = dropout(&x, 0.1, 3).unwrap().to_vec1::<f32>().unwrap();
        let dropped = got.iter().filter(|x| **x == 0.0).count();
        assert!((1_850..2_150).contains(&dropped), "{dropped}");
        assert!((got.iter().sum::<f32>() / 20_000.0 - 1.0).abs() < 0.02);
        assert_eq!(got, dropout(&x, 0.1, 3).unwrap().to_vec1::<f32>().unwrap());
        assert_ne!(got, dropout(&x, 0.1, 4).unwrap().to_vec1::<f32>().unwrap());
    }
}
