//! The training loop: halves of a batch on two threads, one optimiser step, the best weights by dev accuracy kept.

use super::batches::{Example, batches};
use super::checkpoint::accuracy;
use super::journal::Point;
use super::network::Network;
use super::optimiser::{AdamW, rate_at};
use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Instant;

#[derive(Debug, Clone)]
pub struct Plan {
    pub epochs: usize,
    pub rate: f64,
    pub batch: usize,
    pub weight_decay: f64,
    pub seed: u64,
    /// Measurements on dev an epoch.
    pub checks: usize,
    /// Falls to rate zero and ends by then, even where steps are left.
    pub minutes: Option<f64>,
    /// Ends early after so many steps; for measuring speed.
    pub max_steps: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Fitted {
    /// (step, dev accuracy), in order.
    pub dev: Vec<(usize, f64)>,
    pub best: f64,
    pub steps: usize,
    pub tokens: usize,
    pub seconds: f64,
    pub last_loss: f64,
}

/// Loss (weighted by its share of `whole` texts) and gradients of one shard.
fn shard(network: &Network, examples: &[Example], part: &[usize], whole: usize) -> Result<(f64, GradStore)> {
    let ids: Vec<u32> = part.iter().flat_map(|&i| examples[i].ids.iter().copied()).collect();
    let labels: Vec<u32> = part.iter().map(|&i| examples[i].label).collect();
    let logits = network.logits(&ids, part.len())?;
    let loss = candle_nn::loss::cross_entropy(&logits, &Tensor::from_vec(labels, part.len(), &Device::Cpu)?)?;
    let loss = loss.affine(part.len() as f64 / whole as f64, 0.0)?;
    Ok((f64::from(loss.to_scalar::<f32>()?), loss.backward()?))
}

/// Loss and gradients of a batch, in two halves side by side.
fn gradients(network: &Network, examples: &[Example], batch: &[usize]) -> Result<(f64, Vec<GradStore>)> {
    let (first, second) = batch.split_at(batch.len().div_ceil(2));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| match second.is_empty() {
            true => Ok(None),
            false => shard(network, examples, second, batch.len()).map(Some),
        });
        let (mut loss, store) = shard(network, examples, first, batch.len())?;
        let mut stores = vec![store];
        if let Some((more, store)) = other.join().map_err(|_| anyhow::anyhow!("a training thread panicked"))?? {
            loss += more;
            stores.push(store);
        }
        Ok((loss, stores))
    })
}

/// Trains `network` in place and leaves the weights that did best on `dev` in it. `note` is told the loss and the rate of every
/// fiftieth step and of those that are measured, and what was measured.
pub fn fit(
    network: &Network,
    train: &[Example],
    dev: &[Example],
    plan: &Plan,
    note: &mut dyn FnMut(&[Point]) -> Result<()>,
) -> Result<Fitted> {
    let epochs: Vec<_> = (0..plan.epochs).map(|e| batches(train, plan.batch, plan.seed.wrapping_add(e as u64))).collect();
    let steps: usize = epochs.iter().map(Vec::len).sum();
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {eta} left, {msg}")?);
    let mut optimiser = AdamW::new(plan.weight_decay, 1.0);
    let mut fitted = Fitted { dev: vec![], best: f64::MIN, steps: 0, tokens: 0, seconds: 0.0, last_loss: f64::NAN };
    let mut best: BTreeMap<String, Tensor> = BTreeMap::new();
    let (start, mut recent) = (Instant::now(), None::<f64>);
    'all: for epoch in &epochs {
        let every = epoch.len().div_ceil(plan.checks.max(1));
        for (i, batch) in epoch.iter().enumerate() {
            let (loss, stores) = gradients(network, train, batch)?;
            anyhow::ensure!(loss.is_finite(), "the loss is no longer finite at step {}; try a lower --lr", fitted.steps);
            let by_steps = (fitted.steps + 1) as f64 / (steps + 1) as f64;
            let by_clock = plan.minutes.map_or(0.0, |minutes| start.elapsed().as_secs_f64() / (60.0 * minutes));
            let progress = by_steps.max(by_clock);
            let rate = rate_at(progress, plan.rate);
            optimiser.step(&network.parameters, &stores, rate)?;
            fitted.steps += 1;
            fitted.tokens += batch.iter().map(|&i| train[i].ids.len()).sum::<usize>();
            let smooth = recent.map_or(loss, |r| 0.98 * r + 0.02 * loss);
            recent = Some(smooth);
            fitted.last_loss = smooth;
            let speed = fitted.tokens as f64 / start.elapsed().as_secs_f64();
            bar.set_message(format!("loss {smooth:.3}, {speed:.0} tokens/s"));
            bar.inc(1);
            let of_step = [Point::new(fitted.steps, "train/loss", smooth), Point::new(fitted.steps, "train/learning_rate", rate)];
            if (i + 1) % every == 0 || i + 1 == epoch.len() || progress >= 1.0 {
                let reached = accuracy(network, dev)?;
                bar.suspend(|| {
                    let (step, seconds) = (fitted.steps, start.elapsed().as_secs_f64());
                    println!(
                        "step {step}/{steps}: loss {smooth:.4}, dev {:.2}, {speed:.0} tokens/s, {seconds:.0} s",
                        100.0 * reached
                    );
                });
                note(&of_step)?;
                note(&[Point::new(fitted.steps, "dev/accuracy", reached)])?;
                fitted.dev.push((fitted.steps, reached));
                if reached > fitted.best {
                    fitted.best = reached;
                    let copy = |(name, var): (&String, &candle_core::Var)| Ok((name.clone(), var.as_tensor().copy()?));
                    best = network.parameters.iter().map(copy).collect::<Result<_>>()?;
                }
            } else if fitted.steps.is_multiple_of(50) {
                note(&of_step)?;
                if bar.is_hidden() {
                    println!("step {}/{steps}: loss {smooth:.4}, {speed:.0} tokens/s", fitted.steps);
                }
            }
            if progress >= 1.0 || plan.max_steps.is_some_and(|most| fitted.steps >= most) {
                break 'all;
            }
        }
    }
    bar.finish_and_clear();
    fitted.seconds = start.elapsed().as_secs_f64();
    for (name, tensor) in &best {
        network.parameters.get(name).context("a parameter is gone")?.set(tensor)?;
    }
    Ok(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::network::tests::tiny;

    #[test]
    fn loss_falls_and_a_tiny_set_is_learnt() {
        let network = tiny();
        let examples: Vec<Example> =
            (0..24u32).map(|i| Example { ids: vec![1, 3 + i % 8, if i % 2 == 0 { 12 } else { 13 }, 2], label: i % 2 }).collect();
        let all: Vec<usize> = (0..24).collect();
        let before = gradients(&network, &examples, &all).unwrap().0;
        let plan =
            Plan { epochs: 60, rate: 1.5e-2, batch: 24, weight_decay: 0.01, seed: 1, checks: 1, minutes: None, max_steps: None };
        let mut points = Vec::new();
        let mut note = |new: &[Point]| {
            points.extend_from_slice(new);
            Ok(())
        };
        let fitted = fit(&network, &examples, &examples, &plan, &mut note).unwrap();
        let of = |tag| points.iter().filter(|point| point.tag == tag).map(|point| (point.step, point.value)).collect::<Vec<_>>();
        assert_eq!(of("dev/accuracy"), fitted.dev);
        // One batch an epoch, each measured.
        assert_eq!(of("train/loss").len(), 60);
        assert_eq!(of("train/loss").last(), Some(&(60, fitted.last_loss)));
        let rates = of("train/learning_rate");
        assert!(rates.iter().all(|(_, rate)| (0.0..=plan.rate).contains(rate)) && rates[0].1 < rates[8].1, "{rates:?}");
        assert!(fitted.last_loss < before - 0.2, "{before} to {}", fitted.last_loss);
        assert_eq!(fitted.best, 1.0);
        assert_eq!(accuracy(&network, &examples).unwrap(), 1.0);
    }
}
