//! AdamW in one pass over each parameter, with clipping; gradients of several shards are averaged on the way.

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp1, Layout, Var, bail};
use std::collections::BTreeMap;
use std::sync::Mutex;

const BETA1: f32 = 0.9;
const EPS: f32 = 1e-8;

/// Of one parameter: the running means of its gradient, and of that squared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

pub struct AdamW {
    moments: BTreeMap<String, Moments>,
    steps: i32,
    /// Of parameters that steps have left as they were: how many.
    missed: BTreeMap<String, i32>,
    weight_decay: f32,
    clip: f32,
    beta2: f32,
}

struct Update<'a> {
    gradient: Vec<f32>,
    moments: Mutex<&'a mut Moments>,
    /// Rate with both bias corrections folded in.
    rate: f32,
    root_correction: f32,
    decay: f32,
    factor: f32,
    beta2: f32,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else { bail!("training runs in f32") };
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a parameter is not contiguous") };
        let mut moments = self.moments.lock().unwrap_or_else(|e| e.into_inner());
        let Moments { first, second } = &mut **moments;
        for (((w, g), m), v) in values[start..end].iter_mut().zip(&self.gradient).zip(first).zip(second) {
            let g = g * self.factor;
            *m = BETA1 * *m + (1.0 - BETA1) * g;
            *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
            *w -= self.decay * *w + self.rate * *m / (v.sqrt() * self.root_correction + EPS);
        }
        Ok(())
    }
}

impl AdamW {
    pub fn new(weight_decay: f64, clip: f64, beta2: f64) -> Self {
        let (weight_decay, clip, beta2) = (weight_decay as f32, clip as f32, beta2 as f32);
        Self { moments: BTreeMap::new(), steps: 0, missed: BTreeMap::new(), weight_decay, clip, beta2 }
    }

    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// Of each parameter that not all steps have changed: how many have not.
    pub fn missed(&self) -> &BTreeMap<String, i32> {
        &self.missed
    }

    /// Goes on where another run was behind `steps` steps.
    pub fn restore(
        &mut self,
        steps: usize,
        missed: BTreeMap<String, i32>,
        moments: BTreeMap<String, Moments>,
        parameters: &BTreeMap<String, Var>,
    ) -> Result<()> {
        for (name, var) in parameters {
            let of = moments.get(name).with_context(|| format!("the kept run has no moments of {name}"))?;
            let n = var.elem_count();
            ensure!(of.first.len() == n && of.second.len() == n, "the kept moments of {name} are not {n} numbers each");
        }
        ensure!(moments.len() == parameters.len(), "the kept run has moments of parameters that are not trained");
        self.steps = i32::try_from(steps)?;
        self.missed = missed;
        self.moments = moments;
        Ok(())
    }

    /// One step with `shards`' gradients, each already weighted by its share of the batch. Parameters that are not `reached` stay as they
    /// are, and their moments too. Returns the norm before it was clipped; where it is no number nothing is changed.
    pub fn step(
        &mut self,
        parameters: &BTreeMap<String, Var>,
        shards: &[GradStore],
        rate: f64,
        reached: impl Fn(&str) -> bool,
    ) -> Result<f32> {
        for (name, var) in parameters {
            let n = var.elem_count();
            let moments = || Moments { first: vec![0.0; n], second: vec![0.0; n] };
            self.moments.entry(name.clone()).or_insert_with(moments);
        }
        let sum = |(name, var): (&String, &Var)| -> Result<Option<Vec<f32>>> {
            if !reached(name) {
                return Ok(None);
            }
            let one = |shard: &GradStore| -> Result<Vec<f32>> {
                let gradient = shard.get(var).with_context(|| format!("no gradient for {name}"))?;
                Ok(gradient.flatten_all()?.to_vec1::<f32>()?)
            };
            let mut total = one(shards.first().context("no shard")?)?;
            for shard in &shards[1..] {
                total.iter_mut().zip(one(shard)?).for_each(|(a, b)| *a += b);
            }
            Ok(Some(total))
        };
        let gradients: Vec<Option<Vec<f32>>> = parameters.iter().map(sum).collect::<Result<_>>()?;
        let square = |v: &Vec<f32>| v.chunks(256).map(|c| c.iter().map(|x| x * x).sum::<f32>() as f64).sum::<f64>();
        let norm = gradients.iter().flatten().map(square).sum::<f64>().sqrt() as f32;
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.steps += 1;
        for (name, _) in parameters.keys().zip(&gradients).filter(|(_, gradient)| gradient.is_none()) {
            *self.missed.entry(name.clone()).or_default() += 1;
        }
        let factor = if norm > self.clip { self.clip / norm } else { 1.0 };
        let rate = rate as f32;
        // Both maps are in name order, so the three lists run side by side.
        let all = parameters.iter().zip(self.moments.values_mut()).zip(gradients);
        let mut work: Vec<_> = all.filter_map(|(of, gradient)| Some((of, gradient?))).collect();
        let half = work.len() / 2;
        let second_half = work.split_off(half);
        let (weight_decay, beta2, steps, missed) = (self.weight_decay, self.beta2, self.steps, &self.missed);
        let apply = |work: Vec<((_, &mut Moments), Vec<f32>)>| -> Result<()> {
            for (((name, var), moments), gradient) in work {
                let (name, var): (&String, &Var) = (name, var);
                let decayed = name.ends_with(".weight") && !name.contains("LayerNorm");
                let decay = if decayed { weight_decay * rate } else { 0.0 };
                let moments = Mutex::new(moments);
                let steps = steps - missed.get(name).copied().unwrap_or(0);
                let (correction, root) = (1.0 - BETA1.powi(steps), 1.0 - beta2.powi(steps));
                let root_correction = 1.0 / root.sqrt();
                var.inplace_op1(&Update { gradient, moments, rate: rate / correction, root_correction, decay, factor, beta2 })?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| apply(second_half));
            apply(work)?;
            other.join().map_err(|_| anyhow::anyhow!("the optimiser's thread panicked"))?
        })?;
        Ok(norm)
    }
}

/// How the learning rate falls to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Fall {
    /// By the same amount each step.
    #[default]
    Linear,
    /// Along half a wave: slowly at first and at the end.
    Cosine,
}

/// Rises over the first part of the way, then falls to zero; `progress` is 0 to 1.
pub fn rate_at(progress: f64, peak: f64, warm_up: f64, fall: Fall) -> f64 {
    if progress < warm_up {
        return peak * progress / warm_up;
    }
    let left = (1.0 - progress).max(0.0) / (1.0 - warm_up).max(f64::EPSILON);
    peak * match fall {
        Fall::Linear => left,
        Fall::Cosine => 0.5 - 0.5 * (std::f64::consts::PI * left).cos(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    #[test]
    fn the_rate_rises_and_falls_to_zero() {
        for fall in [Fall::Linear, Fall::Cosine] {
            let at = |progress: f64| rate_at(progress, 2.0, 0.2, fall);
            assert_eq!((at(0.0), at(0.1), at(0.2), at(1.0)), (0.0, 1.0, 2.0, 0.0));
            assert!((at(0.6) - 1.0).abs() < 1e-12 && at(0.4) >= 1.5 - 1e-12);
        }
        assert!(rate_at(0.4, 2.0, 0.2, Fall::Cosine) > 1.7);
    }

    /// Would catch: a step that spoils all weights because one gradient was no number.
    #[test]
    fn a_gradient_that_is_no_number_changes_nothing() {
        let var = Var::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let parameters = BTreeMap::from([("a.bias".to_owned(), var.clone())]);
        let mut optimiser = AdamW::new(0.0, 1.0, 0.999);
        let step = |optimiser: &mut AdamW, scale: f64| {
            let loss: Tensor = var.affine(scale, 0.0).unwrap().sum_all().unwrap();
            optimiser.step(&parameters, &[loss.backward().unwrap()], 0.1, |_| true)
        };
        assert!((step(&mut optimiser, 3.0).unwrap() - 18f32.sqrt()).abs() < 1e-5);
        let before = var.to_vec1::<f32>().unwrap();
        assert!(before[0] < 1.0);
        for wrong in [f64::NAN, f64::INFINITY] {
            assert!(!step(&mut optimiser, wrong).unwrap().is_finite());
            assert!(optimiser.moments()["a.bias"].first.iter().all(|value| value.is_finite()));
            assert_eq!(var.to_vec1::<f32>().unwrap(), before);
        }
        step(&mut optimiser, 3.0).unwrap();
        assert!(var.to_vec1::<f32>().unwrap()[0] < before[0]);
    }

    /// Would catch: a head that moves on while another task is learnt, or that takes too long steps where it has missed some.
    #[test]
    fn a_parameter_that_is_not_reached_learns_as_if_the_step_had_not_been() {
        let learnt = |all: &[bool]| {
            let (a, b) = (Var::new(&[1f32], &Device::Cpu).unwrap(), Var::new(&[1f32], &Device::Cpu).unwrap());
            let parameters = BTreeMap::from([("a.weight".to_owned(), a.clone()), ("b.weight".to_owned(), b.clone())]);
            let mut optimiser = AdamW::new(0.1, 1.0, 0.999);
            for (step, both) in all.iter().enumerate() {
                let of = |var: &Var| var.affine(0.1 + step as f64, 0.0).unwrap();
                let loss = if *both { (of(&a) + of(&b)).unwrap() } else { of(&b) };
                let store = loss.sum_all().unwrap().backward().unwrap();
                optimiser.step(&parameters, &[store], 0.1, |name| *both || name == "b.weight").unwrap();
            }
            let one = |var: &Var| var.to_vec1::<f32>().unwrap()[0];
            (one(&a), one(&b), optimiser)
        };
        let (a, b, optimiser) = learnt(&[false, false, false]);
        assert_eq!((a, optimiser.missed()["a.weight"], optimiser.moments()["a.weight"].first[0]), (1.0, 3, 0.0));
        assert!(b < 0.8);
        // The first step of a parameter is as long as the rate, whenever it comes.
        let (a, ..) = learnt(&[false, false, true]);
        assert!((a - (1.0 - 0.1 * 0.1 - 0.1)).abs() < 1e-4, "{a}");
        let var = Var::new(&[1f32], &Device::Cpu).unwrap();
        let parameters = BTreeMap::from([("a.weight".to_owned(), var.clone())]);
        let other = Var::new(&[1f32], &Device::Cpu).unwrap();
        let store = other.sum_all().unwrap().backward().unwrap();
        let missing = AdamW::new(0.0, 1.0, 0.999).step(&parameters, &[store], 0.1, |_| true).unwrap_err().to_string();
        assert!(missing.contains("no gradient for a.weight"), "{missing}");
    }
}
