//! A network with the examples that it learns from and is measured on.

use super::batches::{Batch, Example, Target, batches};
use super::blank::Blank;
use super::class_weights::ClassWeights;
use super::distil::Taught;
use super::fit::Plan;
use super::held::Held;
use super::journal::Point;
use super::loss::loss;
use super::measure::{figures, finite, logits, names, said, score};
use super::network::{Network, Pass};
use super::task::tag;
use super::trainable::{Record, Trainable};
use anyhow::Result;
use candle_core::{Tensor, Var};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Examples to learn from. What a pass sees of one may be drawn anew each time.
pub trait Examples: Sync {
    fn count(&self) -> usize;

    /// Tokens of an example in a pass.
    fn length(&self, epoch: usize, example: usize) -> usize;

    fn get(&self, epoch: usize, example: usize) -> Cow<'_, Example>;
}

impl Examples for Vec<Example> {
    fn count(&self) -> usize {
        self.len()
    }

    fn length(&self, _: usize, example: usize) -> usize {
        self[example].ids.len()
    }

    fn get(&self, _: usize, example: usize) -> Cow<'_, Example> {
        Cow::Borrowed(&self[example])
    }
}

/// What a network is measured on.
pub enum Dev<'a> {
    Examples(&'a [Example]),
    Questions(Held<'a>),
}

/// A network under training.
pub struct Learner<'a> {
    pub network: &'a Network,
    pub train: &'a dyn Examples,
    pub dev: Dev<'a>,
    /// Names of the head's outputs; those of words begin with `B-` and `I-`.
    pub labels: &'a [String],
    pub blank: Option<Blank>,
    pub teacher: Option<&'a Taught>,
    /// Where each example has one label.
    pub class_weights: Option<&'a ClassWeights>,
    pub seed: u64,
}

impl Learner<'_> {
    /// Numbers of examples go on from pass to pass, since what is seen of them may differ.
    fn example(&self, number: usize) -> Cow<'_, Example> {
        let count = self.train.count();
        self.train.get(number / count, number % count)
    }

    /// Of all that a run under `plan` follows from, as SHA-256.
    pub fn fingerprint(&self, plan: &Plan) -> Result<String> {
        let dev = self.measured_on();
        let mut digest = Sha256::new();
        digest.update(format!(
            "{plan:?} {:?} {} {} {:?}",
            self.labels,
            self.seed,
            dev.len(),
            self.blank.as_ref().map(|blank| (blank.share, blank.with))
        ));
        self.network.mark(&mut digest)?;
        for number in 0..self.train.count() {
            digest.update(format!("{:?}", self.train.get(0, number)));
        }
        digest.update(format!("{:?}", self.measured_on()));
        if let Dev::Questions(held) = &self.dev {
            held.asked().for_each(|asked| digest.update(format!("{asked:?}")));
        }
        if let Some(teacher) = self.teacher {
            teacher.mark(&mut digest);
        }
        if let Some(weights) = self.class_weights {
            digest.update(format!("{weights:?}"));
        }
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn measured_on(&self) -> &[Example] {
        match &self.dev {
            Dev::Examples(examples) => examples,
            Dev::Questions(held) => &held.windows,
        }
    }

    /// How good logits are that somebody gives for what is measured on.
    pub fn score(&self, logits: &[Vec<f32>]) -> f64 {
        match &self.dev {
            Dev::Questions(held) => held.f1(logits),
            Dev::Examples(examples) => score(self.network.task, logits, examples, self.labels),
        }
    }

    /// What is measured; the first counts. Where labels count by weights it is the mean over labels: to say the common one always would
    /// else be best.
    fn figures(&self) -> Vec<&'static str> {
        let mut names = names(self.network.task, self.measured_on()).to_vec();
        if self.class_weights.is_some() {
            names.reverse();
        }
        names
    }

    /// As a journal takes a record down.
    pub fn points(&self, record: &Record) -> Vec<Point> {
        let tags: Vec<String> = self.figures().into_iter().map(|figure| format!("dev/{}", tag(figure))).collect();
        let mut points = record.points(tags.first().cloned().unwrap_or_default());
        if let Record::Check { step, figures, .. } = record {
            points.extend(tags.into_iter().zip(figures).skip(1).map(|(tag, figure)| Point::new(*step, tag, *figure)));
        }
        points
    }
}

impl Trainable for Learner<'_> {
    fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.network.parameters
    }

    fn batches(&self, size: usize, epoch: usize) -> Vec<Vec<usize>> {
        let count = self.train.count();
        let lengths: Vec<usize> = (0..count).map(|example| self.train.length(epoch, example)).collect();
        let mut all = batches(&lengths, size, self.seed.wrapping_add(epoch as u64));
        all.iter_mut().flatten().for_each(|example| *example += epoch * count);
        all
    }

    fn loss(&self, part: &[usize], draw: u64) -> Result<Tensor> {
        let examples: Vec<Cow<'_, Example>> = part.iter().map(|&number| self.example(number)).collect();
        let examples: Vec<&Example> = examples.iter().map(AsRef::as_ref).collect();
        let mut batch = Batch::of(&examples);
        if let Some(blank) = &self.blank {
            blank.blank(&mut batch, draw);
        }
        let logits = self.network.logits(&batch, &Pass::training(draw))?;
        if let Some(weights) = self.class_weights {
            return weights.loss(&logits, &examples);
        }
        let Some(teacher) = self.teacher else { return loss(self.network.task, &logits, &batch, &examples) };
        let numbers: Vec<usize> = part.iter().map(|number| number % self.train.count()).collect();
        teacher.loss(self.network.task, &logits, &batch, &examples, &numbers)
    }

    fn weight(&self, example: usize) -> f64 {
        match &self.example(example).target {
            Target::Tags(tags) => tags.iter().flatten().count() as f64,
            Target::Label(_) => {
                self.class_weights.and_then(|weights| weights.of(&self.example(example)).ok()).map_or(1.0, f64::from)
            }
            _ => 1.0,
        }
    }

    fn tokens(&self, example: usize) -> usize {
        let count = self.train.count();
        self.train.length(example / count, example % count)
    }

    fn measure(&self) -> Result<f64> {
        Ok(self.measures()?.0)
    }

    /// What counts, and all figures where there are more.
    fn measures(&self) -> Result<(f64, Vec<f64>)> {
        let logits = logits(self.network, self.measured_on())?;
        match &self.dev {
            Dev::Questions(held) => Ok((if finite(&logits) { held.f1(&logits) } else { f64::NAN }, Vec::new())),
            Dev::Examples(examples) => {
                let mut all = figures(self.network.task, &logits, examples, self.labels);
                if self.class_weights.is_some() {
                    all.reverse();
                }
                let first = all.first().copied().unwrap_or(f64::NAN);
                Ok((first, if all.len() > 1 { all } else { Vec::new() }))
            }
        }
    }

    fn said(&self, measure: f64) -> String {
        said(&self.figures(), &[measure])
    }

    fn said_with(&self, measure: f64, figures: &[f64]) -> String {
        if figures.is_empty() { self.said(measure) } else { said(&self.figures(), figures) }
    }
}

#[cfg(test)]
mod tests;
