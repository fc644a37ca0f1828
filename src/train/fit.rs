//! The training loop: halves of a batch on two threads, one optimiser step, the best weights by the measure kept.

use super::optimiser::{AdamW, Fall, rate_at};
use super::trainable::{Record, Trainable};
use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Instant;

/// How long and how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Passes over the data.
    pub epochs: usize,
    /// Learning rate at its highest.
    pub rate: f64,
    /// Examples of a batch.
    pub batch: usize,
    pub weight_decay: f64,
    /// How slowly the optimiser forgets how large gradients were, below 1.
    pub beta2: f64,
    /// How the rate falls after it has risen.
    pub fall: Fall,
    /// Share of the way on which the rate rises.
    pub warm_up: f64,
    /// Norm to which a longer gradient is shortened.
    pub clip: f64,
    pub seed: u64,
    /// Measurements an epoch.
    pub checks: usize,
    /// Falls to rate zero and ends by then, even where steps are left.
    pub minutes: Option<f64>,
    /// Ends early after so many steps; for measuring speed.
    pub max_steps: Option<usize>,
    /// Ends early after so many measurements without a better one.
    pub patience: Option<usize>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            epochs: 1,
            rate: 7e-5,
            batch: 32,
            weight_decay: 0.01,
            beta2: 0.999,
            fall: Fall::Linear,
            warm_up: 0.1,
            clip: 1.0,
            seed: 42,
            checks: 4,
            minutes: None,
            max_steps: None,
            patience: None,
        }
    }
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    pub records: Vec<Record>,
    /// The highest measure, whose weights are kept.
    pub best: f64,
    pub steps: usize,
    pub tokens: usize,
    pub seconds: f64,
    /// Smoothed over about fifty steps.
    pub last_loss: f64,
}

/// A run to be started. What else it shall do is told before [`Fit::run`].
pub struct Fit<'a, T> {
    model: &'a T,
    plan: &'a Plan,
    observe: Option<&'a mut dyn FnMut(&Record)>,
}

impl<'a, T: Trainable> Fit<'a, T> {
    pub fn new(model: &'a T, plan: &'a Plan) -> Self {
        Self { model, plan, observe: None }
    }

    /// Calls `observe` with each record as it comes.
    pub fn observed(self, observe: &'a mut dyn FnMut(&Record)) -> Self {
        Self { observe: Some(observe), ..self }
    }

    /// Trains the model in place and leaves the weights that measured best in it.
    pub fn run(self) -> Result<Fitted> {
        let Self { model, plan, observe } = self;
        let epochs: Vec<_> = (0..plan.epochs).map(|epoch| model.batches(plan.batch, epoch)).collect();
        let steps: usize = epochs.iter().map(Vec::len).sum();
        ensure!(steps > 0, "there is nothing to train on");
        let bar = ProgressBar::new(steps as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {eta} left, {msg}")?);
        let mut run = Run {
            model,
            plan,
            observe,
            steps,
            bar,
            optimiser: AdamW::new(plan.weight_decay, plan.clip, plan.beta2),
            best: BTreeMap::new(),
            waited: 0,
            start: Instant::now(),
            fitted: Fitted { records: vec![], best: f64::MIN, steps: 0, tokens: 0, seconds: 0.0, last_loss: f64::NAN },
        };
        'all: for epoch in &epochs {
            let every = epoch.len().div_ceil(plan.checks.max(1));
            for (i, batch) in epoch.iter().enumerate() {
                let check = (i + 1) % every == 0 || i + 1 == epoch.len();
                if run.step(batch, check)? {
                    break 'all;
                }
            }
        }
        run.bar.finish_and_clear();
        run.fitted.seconds = run.start.elapsed().as_secs_f64();
        for (name, tensor) in &run.best {
            model.parameters().get(name).context("a parameter is gone")?.set(tensor)?;
        }
        Ok(run.fitted)
    }
}

/// A run under way.
struct Run<'a, T> {
    model: &'a T,
    plan: &'a Plan,
    observe: Option<&'a mut dyn FnMut(&Record)>,
    /// Of all epochs.
    steps: usize,
    bar: ProgressBar,
    optimiser: AdamW,
    best: BTreeMap<String, Tensor>,
    /// Measurements since the best one.
    waited: usize,
    start: Instant,
    fitted: Fitted,
}

impl<T: Trainable> Run<'_, T> {
    /// One batch; says whether the run ends here.
    fn step(&mut self, batch: &[usize], check: bool) -> Result<bool> {
        let (model, plan) = (self.model, self.plan);
        let draw = plan.seed ^ (self.fitted.steps as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (loss, stores) = gradients(model, batch, draw)?;
        ensure!(loss.is_finite(), "the loss is no longer finite at step {}; try a lower learning rate", self.fitted.steps);
        let by_steps = (self.fitted.steps + 1) as f64 / (self.steps + 1) as f64;
        let by_clock = plan.minutes.map_or(0.0, |minutes| self.seconds() / (60.0 * minutes));
        let progress = by_steps.max(by_clock);
        let rate = rate_at(progress, plan.rate, plan.warm_up, plan.fall);
        let norm = f64::from(self.optimiser.step(model.parameters(), &stores, rate)?);
        let fitted = &mut self.fitted;
        fitted.steps += 1;
        fitted.tokens += batch.iter().map(|&i| model.tokens(i)).sum::<usize>();
        fitted.last_loss = if fitted.last_loss.is_nan() { loss } else { 0.98 * fitted.last_loss + 0.02 * loss };
        let (step, loss, seconds) = (fitted.steps, fitted.last_loss, self.start.elapsed().as_secs_f64());
        let tokens_per_second = fitted.tokens as f64 / seconds;
        self.bar.set_message(format!("loss {loss:.3}, {tokens_per_second:.0} tokens/s"));
        self.bar.inc(1);
        let mut end = progress >= 1.0 || step == self.steps || plan.max_steps.is_some_and(|most| step >= most);
        if end || check || step == 1 || step.is_multiple_of(self.reported()) {
            self.record(Record::Step { step, loss, rate, norm, tokens_per_second, seconds });
        }
        if end || check {
            end |= self.check()?;
        } else if step.is_multiple_of(50) && self.bar.is_hidden() {
            println!("step {step}/{}: loss {loss:.4}, {tokens_per_second:.0} tokens/s", self.steps);
        }
        Ok(end)
    }

    /// Steps from one record to the next: about two hundred records a run.
    fn reported(&self) -> usize {
        self.plan.max_steps.unwrap_or(self.steps).min(self.steps).div_ceil(200)
    }

    /// Measures; says whether it has been long since anything was gained.
    fn check(&mut self) -> Result<bool> {
        let measure = self.model.measure()?;
        let (step, seconds) = (self.fitted.steps, self.seconds());
        let (loss, steps, said) = (self.fitted.last_loss, self.steps, self.model.said(measure));
        self.bar.suspend(|| println!("step {step}/{steps}: loss {loss:.4}, dev {said}, {seconds:.0} s"));
        self.record(Record::Check { step, measure, seconds });
        self.waited += 1;
        // A measure that is no number is never the best.
        if measure > self.fitted.best {
            self.fitted.best = measure;
            self.waited = 0;
            let copy = |(name, var): (&String, &Var)| Ok((name.clone(), var.as_tensor().copy()?));
            self.best = self.model.parameters().iter().map(copy).collect::<Result<_>>()?;
        }
        Ok(self.plan.patience.is_some_and(|most| self.waited >= most))
    }

    fn record(&mut self, record: Record) {
        if let Some(observe) = &mut self.observe {
            observe(&record);
        }
        self.fitted.records.push(record);
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// Loss (by its share of the batch) and gradients of one half.
fn shard<T: Trainable>(model: &T, part: &[usize], share: f64, draw: u64) -> Result<(f64, GradStore)> {
    let loss = model.loss(part, draw)?.affine(share, 0.0)?;
    Ok((f64::from(loss.to_scalar::<f32>()?), loss.backward()?))
}

/// Loss and gradients of a batch, in two halves side by side.
fn gradients<T: Trainable>(model: &T, batch: &[usize], draw: u64) -> Result<(f64, Vec<GradStore>)> {
    let (first, second) = batch.split_at(batch.len().div_ceil(2));
    let weight = |part: &[usize]| part.iter().map(|&i| model.weight(i)).sum::<f64>();
    let whole = weight(batch).max(f64::MIN_POSITIVE);
    let (first_share, second_share) = (weight(first) / whole, weight(second) / whole);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| match second.is_empty() {
            true => Ok(None),
            false => shard(model, second, second_share, !draw).map(Some),
        });
        let (mut loss, store) = shard(model, first, first_share, draw)?;
        let mut stores = vec![store];
        if let Some((more, store)) = other.join().map_err(|_| anyhow::anyhow!("a training thread panicked"))?? {
            loss += more;
            stores.push(store);
        }
        Ok((loss, stores))
    })
}
