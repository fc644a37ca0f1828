//! The training loop: halves of a batch on two threads, one optimiser step, the best weights by the measure kept.

use super::diverged::{Diverged, Of};
use super::keep::{Keep, Progress, State, restored};
use super::optimiser::{AdamW, rate_at};
use super::shards::gradients;
use super::trainable::{Record, Trainable};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Tensor, Var};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

pub use super::plan::Plan;

/// A run, as far as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

type Observer<'a> = &'a mut dyn FnMut(&Record) -> Result<()>;

/// A run to be started. What else it shall do is told before [`Fit::run`].
pub struct Fit<'a, T> {
    model: &'a T,
    plan: &'a Plan,
    observe: Option<Observer<'a>>,
    keep: Option<&'a Keep>,
    stop: Option<&'a dyn Fn() -> bool>,
}

impl<'a, T: Trainable> Fit<'a, T> {
    pub fn new(model: &'a T, plan: &'a Plan) -> Self {
        Self { model, plan, observe: None, keep: None, stop: None }
    }

    /// Calls `observe` with each record as it comes; those of before a break come first, again. Its error ends the run.
    pub fn observed(self, observe: Observer<'a>) -> Self {
        Self { observe: Some(observe), ..self }
    }

    /// Writes down in `keep` how far the run is, and goes on with what is there.
    pub fn kept(self, keep: &'a Keep) -> Self {
        Self { keep: Some(keep), ..self }
    }

    /// Ends with an error behind the step in which `stop` is true, once the run is written down.
    pub fn stopped(self, stop: &'a dyn Fn() -> bool) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Trains the model in place and leaves the weights that measured best in it.
    pub fn run(self) -> Result<Fitted> {
        let Self { model, plan, observe, keep, stop } = self;
        let epochs: Vec<_> = (0..plan.epochs).map(|epoch| model.batches(plan.batch, epoch)).collect();
        let steps: usize = epochs.iter().map(Vec::len).sum();
        ensure!(steps > 0, "there is nothing to train on");
        let bar = ProgressBar::new(steps as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {eta} left, {msg}")?);
        let mut run = Run {
            model,
            plan,
            observe,
            keep,
            steps,
            bar,
            optimiser: AdamW::new(plan.weight_decay, plan.clip, plan.beta2),
            best: BTreeMap::new(),
            waited: 0,
            ended: false,
            before: 0.0,
            start: Instant::now(),
            kept: Instant::now(),
            fitted: Fitted { records: vec![], best: f64::MIN, steps: 0, tokens: 0, seconds: 0.0, last_loss: f64::NAN },
        };
        run.resume()?;
        let mut passed = 0;
        for epoch in &epochs {
            let every = epoch.len().div_ceil(plan.checks.max(1));
            for (i, batch) in epoch.iter().enumerate() {
                passed += 1;
                if run.fitted.steps >= passed || run.ended {
                    continue;
                }
                run.step(batch, (i + 1) % every == 0 || i + 1 == epoch.len())?;
                let stopped = stop.is_some_and(|stop| stop());
                run.keep(stopped)?;
                if stopped {
                    run.bar.finish_and_clear();
                    bail!("stopped by a signal behind step {passed} of {steps}; the same command with --resume goes on there");
                }
            }
        }
        run.keep(true)?;
        run.bar.finish_and_clear();
        run.fitted.seconds = run.seconds();
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
    observe: Option<Observer<'a>>,
    keep: Option<&'a Keep>,
    /// Of all epochs.
    steps: usize,
    bar: ProgressBar,
    optimiser: AdamW,
    best: BTreeMap<String, Tensor>,
    /// Measurements since the best one.
    waited: usize,
    /// By the clock, by patience or by the plan's bound on steps.
    ended: bool,
    /// Seconds that the run had taken when it was taken up again.
    before: f64,
    start: Instant,
    /// When the run was last written down.
    kept: Instant,
    fitted: Fitted,
}

impl<T: Trainable> Run<'_, T> {
    /// One batch.
    fn step(&mut self, batch: &[usize], check: bool) -> Result<()> {
        let (model, plan) = (self.model, self.plan);
        let draw = plan.seed ^ (self.fitted.steps as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (loss, stores) = gradients(model, batch, draw)?;
        let step = self.fitted.steps + 1;
        ensure!(loss.is_finite(), self.diverged(Of::Loss, step));
        let by_steps = (self.fitted.steps + 1) as f64 / (self.steps + 1) as f64;
        let by_clock = plan.minutes.map_or(0.0, |minutes| self.seconds() / (60.0 * minutes));
        let progress = by_steps.max(by_clock);
        let rate = rate_at(progress, plan.rate, plan.warm_up, plan.fall);
        let reached = |name: &str| model.reaches(batch, name);
        let norm = f64::from(self.optimiser.step(model.parameters(), &stores, rate, reached)?);
        ensure!(norm.is_finite(), self.diverged(Of::Gradient, step));
        let fitted = &mut self.fitted;
        fitted.steps += 1;
        fitted.tokens += batch.iter().map(|&i| model.tokens(i)).sum::<usize>();
        fitted.last_loss = if fitted.last_loss.is_nan() { loss } else { 0.98 * fitted.last_loss + 0.02 * loss };
        let (step, loss, tokens) = (fitted.steps, fitted.last_loss, fitted.tokens);
        let seconds = self.seconds();
        let tokens_per_second = tokens as f64 / seconds;
        self.bar.set_message(format!("loss {loss:.3}, {tokens_per_second:.0} tokens/s"));
        self.bar.inc(1);
        self.ended = progress >= 1.0 || plan.max_steps.is_some_and(|most| step >= most);
        let check = check || self.ended;
        if check || step == 1 || step.is_multiple_of(self.reported()) {
            self.record(Record::Step { step, loss, rate, norm, tokens_per_second, seconds })?;
        }
        if check {
            self.check()?;
        } else if step.is_multiple_of(50) && self.bar.is_hidden() {
            let left = self.minutes_left(progress);
            println!("step {step}/{}: loss {loss:.4}, {tokens_per_second:.0} tokens/s, about {left:.1} min left", self.steps);
        }
        Ok(())
    }

    /// Where nobody sees the bar: by what the run has taken so far, measurements included. Runs that end early end sooner.
    fn minutes_left(&self, progress: f64) -> f64 {
        let done = self.plan.max_steps.map_or(progress, |most| progress.max(self.fitted.steps as f64 / most as f64));
        self.seconds() * (1.0 - done).max(0.0) / done.max(f64::MIN_POSITIVE) / 60.0
    }

    /// Steps from one record to the next: about two hundred records a run.
    fn reported(&self) -> usize {
        self.plan.max_steps.unwrap_or(self.steps).min(self.steps).div_ceil(200)
    }

    /// Measures; the run ends where it has been long since anything was gained.
    fn check(&mut self) -> Result<()> {
        let (measure, figures) = self.model.measures()?;
        let (step, seconds) = (self.fitted.steps, self.seconds());
        ensure!(measure.is_finite(), self.diverged(Of::Measure, step));
        let (loss, steps, said) = (self.fitted.last_loss, self.steps, self.model.said_with(measure, &figures));
        self.bar.suspend(|| println!("step {step}/{steps}: loss {loss:.4}, dev {said}, {seconds:.0} s"));
        self.record(Record::Check { step, measure, figures, seconds })?;
        self.waited += 1;
        if measure > self.fitted.best {
            self.fitted.best = measure;
            self.waited = 0;
            let copy = |(name, var): (&String, &Var)| Ok((name.clone(), var.as_tensor().copy()?));
            self.best = self.model.parameters().iter().map(copy).collect::<Result<_>>()?;
        }
        self.ended |= self.plan.patience.is_some_and(|most| self.waited >= most);
        Ok(())
    }

    /// What ends a run: the weights are beyond what numbers hold, or the next step would bring them there.
    fn diverged(&self, of: Of, step: usize) -> Diverged {
        self.bar.finish_and_clear();
        Diverged { of, step, steps: self.steps, rate: self.plan.rate }
    }

    fn record(&mut self, record: Record) -> Result<()> {
        if let Some(observe) = &mut self.observe {
            observe(&record)?;
        }
        self.fitted.records.push(record);
        Ok(())
    }

    /// Of the whole run, breaks left out.
    fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// Takes up the run that is kept.
    fn resume(&mut self) -> Result<()> {
        let Some(State { progress, weights, moments, best }) = self.keep.map_or(Ok(None), Keep::read)? else { return Ok(()) };
        let parameters = self.model.parameters();
        for (name, var) in parameters {
            var.set(&restored(var, weights.get(name).with_context(|| format!("the kept run has no {name}"))?)?)?;
        }
        for (name, values) in &best {
            let var = parameters.get(name).with_context(|| format!("the kept run has {name}, which is not trained"))?;
            self.best.insert(name.clone(), restored(var, values)?);
        }
        let Progress { waited, ended, missed, fitted, .. } = progress;
        self.optimiser.restore(fitted.steps, missed, moments.into_owned(), parameters)?;
        (self.waited, self.ended, self.before, self.fitted) = (waited, ended, fitted.seconds, fitted);
        self.bar.set_position(self.fitted.steps as u64);
        println!("goes on behind step {} of {}", self.fitted.steps, self.steps);
        match &mut self.observe {
            Some(observe) => self.fitted.records.iter().try_for_each(observe),
            None => Ok(()),
        }
    }

    /// Writes the run down, `now` or where it is time to.
    fn keep(&mut self, now: bool) -> Result<()> {
        let Some(keep) = self.keep.filter(|keep| now || self.kept.elapsed() >= keep.every) else { return Ok(()) };
        self.fitted.seconds = self.seconds();
        let values = |tensor: &Tensor| -> Result<Vec<f32>> { Ok(tensor.flatten_all()?.to_vec1::<f32>()?) };
        let state = State {
            progress: keep.progress(&self.fitted, self.waited, self.ended, self.optimiser.missed()),
            weights: self.model.parameters().iter().map(|(name, var)| Ok((name.clone(), values(var)?))).collect::<Result<_>>()?,
            moments: Cow::Borrowed(self.optimiser.moments()),
            best: self.best.iter().map(|(name, tensor)| Ok((name.clone(), values(tensor)?))).collect::<Result<_>>()?,
        };
        keep.write(&state)?;
        self.kept = Instant::now();
        Ok(())
    }
}
