//! A network with the examples that it learns from and is measured on.

use super::batches::{Batch, Example, Target, batches};
use super::blank::Blank;
use super::distil::Taught;
use super::fit::Plan;
use super::held::Held;
use super::loss::loss;
use super::measure::{finite, logits, score};
use super::network::{Network, Pass};
use super::task::Task;
use super::trainable::Trainable;
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

    /// What is measured, as a tag of TensorBoard.
    pub fn tag(&self) -> &'static str {
        match self.network.task {
            Task::Label => "dev/accuracy",
            Task::Labels => "dev/micro_f1",
            Task::Tag | Task::Answer => "dev/f1",
        }
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
        let Some(teacher) = self.teacher else { return loss(self.network.task, &logits, &batch, &examples) };
        let numbers: Vec<usize> = part.iter().map(|number| number % self.train.count()).collect();
        teacher.loss(self.network.task, &logits, &batch, &examples, &numbers)
    }

    fn weight(&self, example: usize) -> f64 {
        match &self.example(example).target {
            Target::Tags(tags) => tags.iter().flatten().count() as f64,
            _ => 1.0,
        }
    }

    fn tokens(&self, example: usize) -> usize {
        let count = self.train.count();
        self.train.length(example / count, example % count)
    }

    fn measure(&self) -> Result<f64> {
        let logits = logits(self.network, self.measured_on())?;
        Ok(if finite(&logits) { self.score(&logits) } else { f64::NAN })
    }

    fn said(&self, measure: f64) -> String {
        format!("{} {:.2}", self.network.task.figures()[0], 100.0 * measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fit::Fit;
    use crate::train::keep::Keep;
    use crate::train::network::Tuning;
    use crate::train::network::tests::{drawn_with, tiny};
    use crate::train::trainable::Record;

    fn learner<'a>(network: &'a Network, examples: &'a Vec<Example>, labels: &'a [String]) -> Learner<'a> {
        Learner { network, train: examples, dev: Dev::Examples(examples), labels, blank: None, teacher: None, seed: 1 }
    }

    #[test]
    fn loss_falls_and_a_tiny_set_is_learnt() {
        let network = tiny();
        let target = |i: u32| Target::Label(i % 2);
        let ids = |i: u32| vec![1, 3 + i % 8, if i.is_multiple_of(2) { 12 } else { 13 }, 2];
        let examples: Vec<Example> = (0..24).map(|i| Example { ids: ids(i), types: vec![], target: target(i) }).collect();
        let learner = learner(&network, &examples, &[]);
        let all: Vec<usize> = (0..24).collect();
        let before = f64::from(learner.loss(&all, 0).unwrap().to_scalar::<f32>().unwrap());
        let plan = Plan { epochs: 60, rate: 1.5e-2, batch: 24, seed: 1, checks: 1, ..Plan::default() };
        let mut seen = Vec::new();
        let mut note = |record: &Record| {
            seen.push(record.clone());
            Ok(())
        };
        let fitted = Fit::new(&learner, &plan).observed(&mut note).run().unwrap();
        assert!(fitted.last_loss < before - 0.2, "{before} to {}", fitted.last_loss);
        assert_eq!(fitted.best, 1.0);
        assert_eq!(learner.measure().unwrap(), 1.0);
        assert_eq!(seen, fitted.records);
        assert_eq!(seen.iter().filter(|record| matches!(record, Record::Check { .. })).count(), 60);
    }

    /// Texts of unequal lengths in padded batches: each has token 12 or 13 somewhere.
    fn set(task: Task) -> Vec<Example> {
        let one = |i: usize| {
            let mut ids = vec![1];
            ids.extend((0..2 + i % 3).map(|j| 3 + ((i * 7 + j * 3) % 8) as u32));
            let (at, kind) = (1 + i % (ids.len() - 1), i % 2);
            ids[at] = 12 + kind as u32;
            ids.push(2);
            let tag = |(token, id): (usize, &u32)| (token > 0 && *id != 2).then(|| id.saturating_sub(11).min(2));
            let target = match task {
                Task::Label => Target::Label(kind as u32),
                Task::Labels => Target::Labels(if kind == 0 { vec![0, 1] } else { vec![] }),
                Task::Tag => Target::Tags(ids.iter().enumerate().map(tag).collect()),
                Task::Answer if kind == 0 => Target::Span(at as u32, at as u32),
                Task::Answer => Target::Span(0, 0),
            };
            Example { ids, types: vec![], target }
        };
        (0..24).map(one).collect()
    }

    /// Would catch: a loss whose targets are shifted, a head that reads other rows than its loss, a measure that is none.
    #[test]
    fn a_tiny_set_of_each_kind_is_learnt() {
        let labels = ["O".to_owned(), "B-x".to_owned(), "B-y".to_owned()];
        for (task, outputs) in [(Task::Labels, 2), (Task::Tag, 3), (Task::Answer, 2)] {
            let network = drawn_with(task, outputs, &Tuning { tables: true, ..Tuning::default() });
            let examples = set(task);
            let learner = learner(&network, &examples, &labels);
            let plan = Plan { epochs: 70, rate: 1.5e-2, batch: 24, checks: 1, ..Plan::default() };
            let fitted = Fit::new(&learner, &plan).run().unwrap();
            assert!(fitted.best > 0.95, "{task:?}: {}", fitted.best);
            assert!((learner.measure().unwrap() - fitted.best).abs() < 1e-9);
        }
    }

    /// Would catch: a moment, a draw, an order or a best weight that does not outlive the process; a run that goes on with other data.
    #[test]
    fn a_run_that_is_cut_off_goes_on_to_the_same_weights() {
        let folder = tempfile::tempdir().unwrap();
        let examples = set(Task::Tag);
        let labels = ["O".to_owned(), "B-x".to_owned(), "B-y".to_owned()];
        let tuning = Tuning { tables: true, dropout: 0.1, ..Tuning::default() };
        let plan = Plan { epochs: 6, rate: 1e-2, batch: 8, checks: 2, ..Plan::default() };
        let fresh = || drawn_with(Task::Tag, 3, &tuning);
        let bits = |network: &Network| -> Vec<Vec<f32>> {
            network.parameters.values().map(|var| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        let whole = fresh();
        let want = Fit::new(&learner(&whole, &examples, &labels), &plan).run().unwrap();
        let of = |learner: &Learner<'_>| {
            let mut keep = Keep::new(folder.path(), learner.fingerprint(&plan).unwrap());
            keep.every = std::time::Duration::ZERO;
            keep
        };
        for cut in [want.steps / 3, want.steps / 2, want.steps - 1] {
            let network = fresh();
            let learner = learner(&network, &examples, &labels);
            let mut die = |record: &Record| match record {
                Record::Step { step, .. } if *step > cut => anyhow::bail!("cut off"),
                _ => Ok(()),
            };
            let died = Fit::new(&learner, &plan).kept(&of(&learner)).observed(&mut die).run();
            assert_eq!(died.unwrap_err().to_string(), "cut off");
        }
        let network = fresh();
        let learner = learner(&network, &examples, &labels);
        let mut seen = Vec::new();
        let mut note = |record: &Record| {
            seen.push(record.clone());
            Ok(())
        };
        let keep = of(&learner);
        let got = Fit::new(&learner, &plan).kept(&keep).observed(&mut note).run().unwrap();
        assert_eq!(bits(&network), bits(&whole));
        assert_eq!((got.steps, got.tokens, got.last_loss, got.best), (want.steps, want.tokens, want.last_loss, want.best));
        assert_eq!((&seen, seen.len()), (&got.records, want.records.len()));
        let others = &examples[1..].to_vec();
        let other = Learner { train: others, blank: None, ..learner };
        let refused = Fit::new(&other, &plan).kept(&of(&other)).run().unwrap_err().to_string();
        assert!(refused.contains("other data"), "{refused}");
        keep.remove().unwrap();
        assert!(!Keep::folder(folder.path()).exists());
    }
}
