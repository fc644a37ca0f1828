//! One encoder with a head for each of several tasks, trained together (Caruana 1997, multitask learning).
//!
//! A batch is of one task, and reaches the encoder and that task's head alone. Each head is a linear one: on the text's embedding, the
//! mean of its tokens' vectors, of length 1, as [`Network::embeddings`] has it; for labels of words on the vectors themselves.

#[cfg(test)]
mod tests;
mod turns;

use super::batches::{Batch, Example, Target};
use super::fit::Plan;
use super::journal::Point;
use super::loss::loss;
use super::measure::{self, each, rows};
use super::network::{Network, Pass, drawn};
use super::ops::linear;
use super::probe::Linear;
use super::scale::Scale;
use super::task::{Task, tag};
use super::trainable::{Record, Trainable};
use anyhow::{Context, Result, ensure};
use candle_core::{Tensor, Var};
use rand::{SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use turns::turns;

/// One of the tasks.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub name: &'a str,
    /// Labels of texts or of words, or numbers.
    pub task: Task,
    pub labels: &'a [String],
    /// Of numbers, how the file's are brought to those that are learnt.
    pub scale: Option<Scale>,
    pub train: &'a [Example],
    pub dev: &'a [Example],
}

impl Part<'_> {
    /// What is measured; the first counts.
    fn figures(&self) -> &'static [&'static str] {
        measure::names(self.task, self.dev)
    }
}

/// An encoder with its heads, under training.
pub struct Several<'a> {
    network: &'a Network,
    parts: Vec<Part<'a>>,
    /// Of the network and of all heads. A head's are `heads.<name>.weight` `[hidden, labels]` and `heads.<name>.bias`.
    parameters: BTreeMap<String, Var>,
    /// The number of each part's first example.
    starts: Vec<usize>,
    seed: u64,
}

fn weight(name: &str) -> String {
    format!("heads.{name}.weight")
}

fn bias(name: &str) -> String {
    format!("heads.{name}.bias")
}

impl<'a> Several<'a> {
    /// Around a network without a head; the heads are drawn with `seed`. Names must differ, and each part needs examples to learn from.
    pub fn new(network: &'a Network, parts: Vec<Part<'a>>, seed: u64) -> Result<Self> {
        ensure!(network.outputs == 0 && !network.task.is_pooled(), "several heads stand on a network that has none itself");
        let (mut parameters, mut starts, mut count) = (network.parameters.clone(), Vec::new(), 0);
        // Not what the network itself may have been drawn with.
        let mut rng = StdRng::seed_from_u64(!seed);
        for part in &parts {
            let Part { name, task, labels, train, .. } = part;
            ensure!(*task != Task::Answer, "task {name}: answers to questions are not learnt beside others");
            ensure!(!train.is_empty() && !labels.is_empty(), "task {name} has nothing to learn from");
            ensure!(!parameters.contains_key(&weight(name)), "two tasks have the name {name}");
            for (name, dims) in [(weight(name), vec![network.shape.hidden_size, labels.len()]), (bias(name), vec![labels.len()])]
            {
                let var = Var::from_tensor(&drawn(&name, &dims, &mut rng)?)?;
                parameters.insert(name, var);
            }
            starts.push(count);
            count += train.len();
        }
        Ok(Self { network, parts, parameters, starts, seed })
    }

    /// The same heads on another network, such as one that was read again.
    pub fn on<'b>(&'b self, network: &'b Network) -> Several<'b> {
        let heads = self.parameters.iter().filter(|(name, _)| name.starts_with("heads."));
        let own = heads.chain(&network.parameters).map(|(name, var)| (name.clone(), var.clone()));
        Several { network, parts: self.parts.clone(), parameters: own.collect(), starts: self.starts.clone(), seed: self.seed }
    }

    pub fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    /// How many of the batches of `epochs` passes are of each part.
    pub fn turns(&self, size: usize, epochs: usize) -> Vec<usize> {
        let mut counts = vec![0; self.parts.len()];
        for (part, _) in (0..epochs).flat_map(|epoch| turns(&self.lengths(), size, self.seed, epoch)) {
            counts[part] += 1;
        }
        counts
    }

    /// Tokens of each part's examples.
    fn lengths(&self) -> Vec<Vec<usize>> {
        let of = |part: &Part<'_>| part.train.iter().map(|example| example.ids.len()).collect();
        self.parts.iter().map(of).collect()
    }

    /// Of all that a run under `plan` follows from, as SHA-256.
    pub fn fingerprint(&self, plan: &Plan) -> Result<String> {
        let mut digest = Sha256::new();
        digest.update(format!("several {plan:?} {} {:?}", self.seed, self.parts));
        self.network.mark(&mut digest)?;
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What stands before a head's product. An embedding's numbers are made as large as those of a layer, about 1: a weight then has as
    /// far to go as one of a layer, and one learning rate fits both.
    fn scale(&self, part: &Part<'_>) -> f64 {
        if part.task.is_pooled() { (self.network.shape.hidden_size as f64).sqrt() } else { 1.0 }
    }

    fn var(&self, name: &str) -> Result<&Var> {
        self.parameters.get(name).with_context(|| format!("no parameter {name}"))
    }

    /// Logits of one part's head: `[texts, labels]`, for labels of words `[texts * length, labels]`.
    fn logits(&self, part: &Part<'_>, batch: &Batch, pass: &Pass) -> Result<Tensor> {
        let x = match part.task.is_pooled() {
            true => self.network.embeddings(batch, pass)?.affine(self.scale(part), 0.0)?,
            false => self.network.encoded(batch, pass)?,
        };
        let x = self.network.dropped(x, pass)?;
        Ok(linear(&x, &pass.of(self.var(&weight(part.name))?), &pass.of(self.var(&bias(part.name))?))?)
    }

    /// Logits of a part for its examples to measure on, without those of padding.
    pub fn answers(&self, part: &Part<'_>) -> Result<Vec<Vec<f32>>> {
        each(part.dev, |batch| rows(part.task, part.labels.len(), &self.logits(part, batch, &Pass::measuring())?, batch))
    }

    /// A part's head as it stands on the embedding itself, or on a token's vector.
    pub fn head(&self, part: &Part<'_>) -> Result<Linear> {
        let weight = self.var(&weight(part.name))?.t()?.affine(self.scale(part), 0.0)?;
        let head = Linear {
            weight: weight.contiguous()?.flatten_all()?.to_vec1()?,
            bias: self.var(&bias(part.name))?.flatten_all()?.to_vec1()?,
        };
        Ok(match &part.scale {
            Some(scale) => scale.head(head),
            None => head,
        })
    }

    /// As a journal takes a record down: each task's figures, and their mean.
    pub fn points(&self, record: &Record) -> Vec<Point> {
        let mut points = record.points("dev/mean");
        if let Record::Check { step, figures, .. } = record {
            let tags = self
                .parts
                .iter()
                .flat_map(|part| part.figures().iter().map(|figure| format!("dev/{}/{}", part.name, tag(figure))));
            points.extend(tags.zip(figures).map(|(tag, figure)| Point::new(*step, tag, *figure)));
        }
        points
    }

    /// The part that an example is of, and its place there.
    fn place(&self, example: usize) -> (&Part<'a>, usize) {
        let of = self.starts.partition_point(|start| *start <= example).saturating_sub(1);
        (&self.parts[of], example - self.starts[of])
    }

    fn example(&self, number: usize) -> &'a Example {
        let (part, place) = self.place(number);
        &part.train[place]
    }
}

impl Trainable for Several<'_> {
    fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }

    fn batches(&self, size: usize, epoch: usize) -> Vec<Vec<usize>> {
        let turns = turns(&self.lengths(), size, self.seed, epoch).into_iter();
        turns.map(|(part, places)| places.into_iter().map(|place| self.starts[part] + place).collect()).collect()
    }

    fn loss(&self, numbers: &[usize], draw: u64) -> Result<Tensor> {
        let (part, _) = self.place(*numbers.first().context("a batch has no examples")?);
        let examples: Vec<&Example> = numbers.iter().map(|&number| self.example(number)).collect();
        let batch = Batch::of(&examples);
        loss(part.task, &self.logits(part, &batch, &Pass::training(draw))?, &batch, &examples)
    }

    fn weight(&self, example: usize) -> f64 {
        match &self.example(example).target {
            Target::Tags(tags) => tags.iter().flatten().count() as f64,
            _ => 1.0,
        }
    }

    fn reaches(&self, batch: &[usize], parameter: &str) -> bool {
        let own = |number: &usize| {
            let name = self.place(*number).0.name;
            parameter == weight(name) || parameter == bias(name)
        };
        !parameter.starts_with("heads.") || batch.first().is_some_and(own)
    }

    fn tokens(&self, example: usize) -> usize {
        self.example(example).ids.len()
    }

    fn measure(&self) -> Result<f64> {
        Ok(self.measures()?.0)
    }

    /// The mean over the tasks of what [`measure::names`] names first; and all that it names, task by task.
    fn measures(&self) -> Result<(f64, Vec<f64>)> {
        let (mut sum, mut figures) = (0.0, Vec::new());
        for part in &self.parts {
            let logits = self.answers(part)?;
            let of = measure::figures(part.task, &logits, part.dev, part.labels);
            sum += of.first().copied().unwrap_or(f64::NAN);
            figures.extend(of);
        }
        Ok((sum / self.parts.len().max(1) as f64, figures))
    }

    fn said(&self, measure: f64) -> String {
        format!("mean {:.2}", 100.0 * measure)
    }

    fn said_with(&self, measure: f64, figures: &[f64]) -> String {
        let mut left = figures.iter();
        let of = |part: &Part<'_>| {
            let own: Vec<f64> = left.by_ref().take(part.figures().len()).copied().collect();
            format!("{} {}", part.name, measure::said(part.figures(), &own))
        };
        let parts: Vec<String> = self.parts.iter().map(of).collect();
        format!("{}; {}", self.said(measure), parts.join("; "))
    }
}
