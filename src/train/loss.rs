//! What a network's logits cost, by task.

use super::batches::{Batch, Example, Target};
use super::ops::slice;
use super::task::Task;
use anyhow::{Result, bail, ensure};
use candle_core::{CpuStorage, CustomOp2, D, DType, Device, Layout, Shape, Tensor};
use candle_nn::loss::cross_entropy;

/// max(x, 0) - x·y + ln(1 + e^-|x|): the cross-entropy of a sigmoid, without overflow.
struct Bernoulli;

struct BernoulliBackward;

impl CustomOp2 for Bernoulli {
    fn name(&self) -> &'static str {
        "bernoulli-loss"
    }
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let pairs = slice(s1, l1)?.iter().zip(slice(s2, l2)?);
        let out = pairs.map(|(&x, &y)| x.max(0.0) - x * y + (-x.abs()).exp().ln_1p()).collect();
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
    fn bwd(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let slope = logits.contiguous()?.apply_op2_no_bwd(truth, &BernoulliBackward)?;
        Ok((Some(slope.mul(gradient)?), None))
    }
}

impl CustomOp2 for BernoulliBackward {
    fn name(&self) -> &'static str {
        "bernoulli-loss-backward"
    }
    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let pairs = slice(s1, l1)?.iter().zip(slice(s2, l2)?);
        let out = pairs.map(|(&x, &y)| 1.0 / (1.0 + (-x).exp()) - y).collect();
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }
}

/// The mean cross-entropy of independent labels: logits and truth (0 or 1) of one shape.
pub fn bernoulli(logits: &Tensor, truth: &Tensor) -> Result<Tensor> {
    Ok(logits.contiguous()?.apply_op2(truth, Bernoulli)?.mean_all()?)
}

/// The mean loss of a batch of `examples`; `logits` as the network gives them for the task.
pub fn loss(task: Task, logits: &Tensor, batch: &Batch, examples: &[&Example]) -> Result<Tensor> {
    match task {
        Task::Label => {
            let labels: Vec<u32> = examples.iter().map(|example| label(example)).collect::<Result<_>>()?;
            Ok(cross_entropy(logits, &Tensor::from_vec(labels, examples.len(), &Device::Cpu)?)?)
        }
        Task::Labels => {
            let outputs = logits.dim(D::Minus1)?;
            let mut truth = vec![0f32; examples.len() * outputs];
            for (row, example) in truth.chunks_exact_mut(outputs).zip(examples) {
                let Target::Labels(labels) = &example.target else { bail!("an example is of another task") };
                for &label in labels {
                    ensure!((label as usize) < outputs, "label {label} of {outputs}");
                    row[label as usize] = 1.0;
                }
            }
            bernoulli(logits, &Tensor::from_vec(truth, (examples.len(), outputs), &Device::Cpu)?)
        }
        Task::Score => {
            let wanted: Vec<f32> = examples.iter().map(|example| number(example)).collect::<Result<_>>()?;
            let wanted = Tensor::from_vec(wanted, (examples.len(), 1), &Device::Cpu)?;
            Ok(logits.sub(&wanted)?.sqr()?.mean_all()?)
        }
        Task::Tag => {
            let (rows, labels) = asked(batch, examples)?;
            let count = rows.len();
            let asked = logits.contiguous()?.index_select(&Tensor::from_vec(rows, count, &Device::Cpu)?, 0)?;
            Ok(cross_entropy(&asked, &Tensor::from_vec(labels, count, &Device::Cpu)?)?)
        }
        Task::Answer => {
            let spans: Vec<(u32, u32)> = examples.iter().map(|example| span(example)).collect::<Result<_>>()?;
            let logits = logits.reshape((batch.texts, batch.length, 2))?;
            let padding = padding(batch)?;
            let one = |which: usize, truth: Vec<u32>| -> Result<Tensor> {
                let mut of = logits.narrow(2, which, 1)?.squeeze(2)?;
                if let Some(padding) = &padding {
                    of = of.add(padding)?;
                }
                Ok(cross_entropy(&of.contiguous()?, &Tensor::from_vec(truth, batch.texts, &Device::Cpu)?)?)
            };
            let (starts, ends) = spans.into_iter().unzip();
            Ok((one(0, starts)? + one(1, ends)?)?.affine(0.5, 0.0)?)
        }
    }
}

/// The rows of the tokens that carry a label in a batch's logits, and those labels.
pub(super) fn asked(batch: &Batch, examples: &[&Example]) -> Result<(Vec<u32>, Vec<u32>)> {
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for (text, example) in examples.iter().enumerate() {
        let Target::Tags(tags) = &example.target else { bail!("an example is of another task") };
        for (token, label) in tags.iter().enumerate() {
            if let Some(label) = label {
                rows.push((text * batch.length + token) as u32);
                labels.push(*label);
            }
        }
    }
    ensure!(!rows.is_empty(), "nothing is asked about these texts");
    Ok((rows, labels))
}

fn label(example: &Example) -> Result<u32> {
    match example.target {
        Target::Label(label) => Ok(label),
        _ => bail!("an example is of another task"),
    }
}

fn number(example: &Example) -> Result<f32> {
    match example.target {
        Target::Score(number) => Ok(number),
        _ => bail!("an example is of another task"),
    }
}

fn span(example: &Example) -> Result<(u32, u32)> {
    match example.target {
        Target::Span(start, end) => Ok((start, end)),
        _ => bail!("an example is of another task"),
    }
}

/// `[texts, length]`: far below any logit where there is padding.
fn padding(batch: &Batch) -> Result<Option<Tensor>> {
    let Some(lengths) = &batch.lengths else { return Ok(None) };
    let of = |&length: &usize| (0..batch.length).map(move |token| if token < length { 0.0 } else { -1e9f32 });
    let values: Vec<f32> = lengths.iter().flat_map(of).collect();
    Ok(Some(Tensor::from_vec(values, (batch.texts, batch.length), &Device::Cpu)?.to_dtype(DType::F32)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::ops::tests::check_shape;

    fn example(length: usize, target: Target) -> Example {
        Example { ids: vec![1; length], types: vec![], target }
    }

    fn value(task: Task, logits: &[f32], dims: &[usize], examples: &[Example]) -> f32 {
        let examples: Vec<&Example> = examples.iter().collect();
        let logits = Tensor::from_slice(logits, dims, &Device::Cpu).unwrap();
        loss(task, &logits, &Batch::of(&examples), &examples).unwrap().to_scalar::<f32>().unwrap()
    }

    /// By hand: ln(1 + e^-2), ln(1 + e^2), and no overflow at 200.
    #[test]
    fn independent_labels_cost_their_own_errors() {
        let one = example(1, Target::Labels(vec![0, 1]));
        let want = ((1.0 + (-2f32).exp()).ln() + (1.0 + 2f32.exp()).ln() + 200.0) / 3.0;
        assert!((value(Task::Labels, &[2.0, -2.0, 200.0], &[1, 3], &[one]) - want).abs() < 1e-4);
        let truth = Tensor::new(&[[1f32, 0.0, 1.0, 0.0], [0.0; 4], [1.0; 4]], &Device::Cpu).unwrap();
        check_shape(&[3, 4], |x| bernoulli(x, &truth).unwrap().reshape((1, 1)).unwrap().broadcast_as((3, 4)).unwrap());
    }

    #[test]
    fn a_number_costs_the_square_of_what_is_missing() {
        let examples = [example(1, Target::Score(0.5)), example(1, Target::Score(-1.0))];
        assert!((value(Task::Score, &[2.5, 1.0], &[2, 1], &examples) - 4.0).abs() < 1e-6);
        let more: Vec<Example> = (0..12).map(|i| example(1, Target::Score(0.3 * i as f32 - 1.0))).collect();
        let more: Vec<&Example> = more.iter().collect();
        let batch = Batch::of(&more);
        check_shape(&[12, 1], |x| loss(Task::Score, x, &batch, &more).unwrap().broadcast_as((12, 1)).unwrap());
    }

    /// Would catch: padding that takes part in the softmax of starts and ends, or in the loss of tags.
    #[test]
    fn padding_costs_nothing() {
        let short = example(2, Target::Span(0, 1));
        let long = example(3, Target::Span(2, 2));
        let alone = value(Task::Answer, &[1.0, 2.0, 3.0, 4.0], &[2, 2], std::slice::from_ref(&short));
        let other = [0.5, 0.1, 0.2, 0.9, 0.3, 0.4];
        let beside = value(Task::Answer, &other, &[3, 2], std::slice::from_ref(&long));
        let logits = [&[1.0, 2.0, 3.0, 4.0, 99.0, 99.0][..], &other].concat();
        let both = value(Task::Answer, &logits, &[6, 2], &[short, long]);
        assert!((both - (alone + beside) / 2.0).abs() < 1e-5, "{both} {alone} {beside}");
        let tags = [example(2, Target::Tags(vec![None, Some(1)])), example(3, Target::Tags(vec![None; 3]))];
        let want = (1.0 + (-1f32).exp()).ln();
        assert!(
            (value(Task::Tag, &[9.0, 0.0, 1.0, 2.0, 7.0, 7.0, 0.0, 9.0, 0.0, 9.0, 0.0, 9.0], &[6, 2], &tags) - want).abs() < 1e-5
        );
    }
}
