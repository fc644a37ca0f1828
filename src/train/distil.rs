//! Learning from a teacher's answers (Hinton et al. 2015, knowledge distillation).
//!
//! With the teacher's logits `t`, the student's `s`, a temperature `T` and a hard weight `a` the loss is
//! `a · CE(label, s) + (1 - a) · T² · KL(softmax(t / T) ‖ softmax(s / T))`; `T²` keeps the second part's gradients as large as the first's.
//! Where several labels may hold, each has a distribution of its own over yes and no. A text without a label has the second part alone.

use super::batches::{Batch, Example, Target};
use super::loss::{asked, bernoulli, loss};
use super::task::Task;
use anyhow::{Result, bail, ensure};
use candle_core::{D, Device, Tensor};
use candle_nn::ops::log_softmax;
use sha2::{Digest, Sha256};

/// What a teacher said about the examples, and how much it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Taught {
    /// Of each example, as [`super::measure::logits`] has them: `[outputs]`, for labels of words `[tokens * outputs]`.
    pub logits: Vec<Vec<f32>>,
    /// What both sides' logits are divided by.
    pub temperature: f64,
    /// Share of the loss that is on the labels of the file, from 0 to below 1.
    pub hard_weight: f64,
    /// Of all that the teacher's answers depend on.
    pub digest: String,
}

/// Why a task is not learnt from a teacher; `None` where it is.
pub fn untaught(task: Task) -> Option<&'static str> {
    match task {
        Task::Label | Task::Labels | Task::Tag => None,
        Task::Score => Some("numbers are not learnt from a teacher; leave --teacher out, or take labels"),
        Task::Answer => Some(
            "answers to questions are not learnt from a teacher (each pass reads other windows of a context, and a teacher is asked once); \
             leave --teacher out",
        ),
    }
}

impl Taught {
    /// Adds to a fingerprint what a run with this teacher follows from.
    pub fn mark(&self, digest: &mut Sha256) {
        digest.update(format!("taught by {} {} {}", self.digest, self.temperature, self.hard_weight));
        self.logits.iter().flatten().for_each(|value| digest.update(value.to_le_bytes()));
    }

    /// The mean loss of a part of the examples, by their `numbers`; `logits` as the network gives them for the task.
    pub fn loss(&self, task: Task, logits: &Tensor, batch: &Batch, examples: &[&Example], numbers: &[usize]) -> Result<Tensor> {
        let said: Vec<&[f32]> = numbers.iter().filter_map(|&number| self.logits.get(number).map(Vec::as_slice)).collect();
        ensure!(said.len() == examples.len(), "the teacher has not been asked about all examples");
        let soft = self.soft(task, logits, batch, examples, &said)?.affine(1.0 - self.hard_weight, 0.0)?;
        match self.hard(task, logits, batch, examples)? {
            Some(hard) => Ok((soft + hard.affine(self.hard_weight, 0.0)?)?),
            None => Ok(soft),
        }
    }

    /// `T² · KL`, the mean over what is asked.
    fn soft(&self, task: Task, logits: &Tensor, batch: &Batch, examples: &[&Example], said: &[&[f32]]) -> Result<Tensor> {
        let outputs = logits.dim(D::Minus1)?;
        let (student, teacher) = match task {
            Task::Label | Task::Labels => (logits.clone(), said.concat()),
            Task::Tag => {
                let (rows, _) = asked(batch, examples)?;
                let count = rows.len();
                let student = logits.contiguous()?.index_select(&Tensor::from_vec(rows, count, &Device::Cpu)?, 0)?;
                (student, of_words(examples, said, outputs)?)
            }
            Task::Score | Task::Answer => bail!(untaught(task).unwrap_or_default()),
        };
        let rows = student.dim(0)?;
        ensure!(teacher.len() == rows * outputs, "the teacher gave {} numbers for {rows} times {outputs}", teacher.len());
        let scaled: Vec<f64> = teacher.iter().map(|value| f64::from(*value) / self.temperature).collect();
        let student = student.affine(1.0 / self.temperature, 0.0)?;
        let (cross, entropy) = match task {
            Task::Labels => {
                let truth: Vec<f64> = scaled.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
                let entropy: f64 = truth.iter().map(|p| surprise(*p) + surprise(1.0 - p)).sum();
                let truth = tensor(&truth, rows, outputs)?;
                (bernoulli(&student, &truth)?, entropy / (rows * outputs) as f64)
            }
            _ => {
                let truth: Vec<f64> = scaled.chunks_exact(outputs).flat_map(softmax).collect();
                let entropy: f64 = truth.iter().map(|p| surprise(*p)).sum();
                let cross = (tensor(&truth, rows, outputs)? * log_softmax(&student, D::Minus1)?)?;
                (cross.sum_all()?.affine(-1.0 / rows as f64, 0.0)?, entropy / rows as f64)
            }
        };
        let square = self.temperature * self.temperature;
        Ok(cross.affine(square, -square * entropy)?)
    }

    /// The loss on the labels of the file, weighed by the share of the examples that have some; `None` where nothing has.
    fn hard(&self, task: Task, logits: &Tensor, batch: &Batch, examples: &[&Example]) -> Result<Option<Tensor>> {
        let labelled: Vec<usize> = (0..examples.len()).filter(|&i| examples[i].target != Target::Unknown).collect();
        if self.hard_weight == 0.0 || labelled.is_empty() {
            return Ok(None);
        }
        if labelled.len() == examples.len() {
            return loss(task, logits, batch, examples).map(Some);
        }
        ensure!(task.is_pooled(), "texts without labels are for labels of texts");
        let rows: Vec<u32> = labelled.iter().map(|&i| i as u32).collect();
        let some: Vec<&Example> = labelled.iter().map(|&i| examples[i]).collect();
        let logits = logits.contiguous()?.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
        let share = some.len() as f64 / examples.len() as f64;
        Ok(Some(loss(task, &logits, batch, &some)?.affine(share, 0.0)?))
    }
}

/// The teacher's rows of the tokens that carry a label.
fn of_words(examples: &[&Example], said: &[&[f32]], outputs: usize) -> Result<Vec<f32>> {
    let mut rows = Vec::new();
    for (example, said) in examples.iter().zip(said) {
        let Target::Tags(tags) = &example.target else { bail!("an example is of another task") };
        ensure!(said.len() == tags.len() * outputs, "the teacher has other tokens than the student");
        let carries = said.chunks_exact(outputs).zip(tags).filter(|(_, tag)| tag.is_some());
        carries.for_each(|(row, _)| rows.extend_from_slice(row));
    }
    Ok(rows)
}

/// -p ln p
fn surprise(p: f64) -> f64 {
    if p > 0.0 { -p * p.ln() } else { 0.0 }
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = row.iter().map(|x| (x - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn tensor(values: &[f64], rows: usize, columns: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(values.iter().map(|value| *value as f32).collect(), (rows, columns), &Device::Cpu)?)
}

#[cfg(test)]
mod tests;
