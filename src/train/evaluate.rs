//! A classifier on texts whose labels are known, by the networks that run on a stream.

use super::metrics::{Confusion, calibration_error};
use crate::inference::{Answer, Cut, Encoder, Head, Text, best};
use anyhow::{Context, Result, ensure};

/// What came out.
pub struct Evaluation {
    pub confusion: Confusion,
    /// Between 0 and 1.
    pub calibration_error: f64,
    /// The answer and its probability, a text each.
    pub answers: Vec<(usize, f32)>,
}

/// One answer a text or a pair, in the same order. For callers outside a Tokio runtime.
pub fn ask(encoder: &Encoder, head: Head, texts: Vec<Text>) -> Result<Vec<Answer>> {
    let asked = encoder.answer_texts(head, texts, Cut::default());
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(asked)?)
}

/// Classifies `texts`, or pairs, and compares the most probable label (the first of equals) with `truth`. For callers outside a Tokio runtime.
pub fn evaluate<T: Into<Text>>(encoder: &Encoder, texts: Vec<T>, truth: &[usize]) -> Result<Evaluation> {
    let labels = encoder.labels().context("the model has no head for labels of a text")?.len();
    ensure!(texts.len() == truth.len() && truth.iter().all(|&label| label < labels), "the labels are not those of the texts");
    let found = ask(encoder, Head::Classify, texts.into_iter().map(Into::into).collect())?;
    let answers: Vec<(usize, f32)> =
        found.iter().map(|answer| (best(&answer.values), answer.values[best(&answer.values)])).collect();
    let sure: Vec<(f64, bool)> = answers.iter().zip(truth).map(|((label, p), truth)| (f64::from(*p), label == truth)).collect();
    let confusion = Confusion::of(labels, truth.iter().copied().zip(answers.iter().map(|(label, _)| *label)));
    Ok(Evaluation { confusion, calibration_error: calibration_error(&sure), answers })
}
