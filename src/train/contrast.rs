//! An encoder tuned by pairs of few labelled texts (Tunstall et al. 2022, SetFit): the cosine of two texts' embeddings goes to 1 where they
//! have one label, and to 0 where they have not. The loss is the mean square of what is missing.

use super::batches::{Batch, Example};
use super::fit::Plan;
use super::measure::embeddings;
use super::network::{Network, Pass};
use super::pairs::Pair;
use super::trainable::Trainable;
use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// An encoder without a head, under training.
pub struct Contrast<'a> {
    pub network: &'a Network,
    pub texts: &'a [Example],
    /// Places in `texts` to learn from.
    pub pairs: &'a [Pair],
    /// The same to measure on.
    pub dev: &'a [Pair],
    pub seed: u64,
}

impl Contrast<'_> {
    /// Of all that a run under `plan` follows from, as SHA-256.
    pub fn fingerprint(&self, plan: &Plan) -> Result<String> {
        let mut digest = Sha256::new();
        digest.update(format!("pairs {plan:?} {} {:?} {:?} {:?}", self.seed, self.texts, self.pairs, self.dev));
        self.network.mark(&mut digest)?;
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Trainable for Contrast<'_> {
    fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.network.parameters
    }

    fn batches(&self, size: usize, epoch: usize) -> Vec<Vec<usize>> {
        let mut all: Vec<usize> = (0..self.pairs.len()).collect();
        all.shuffle(&mut StdRng::seed_from_u64(self.seed.wrapping_add(epoch as u64)));
        all.chunks(size.max(1)).map(<[usize]>::to_vec).collect()
    }

    fn loss(&self, part: &[usize], draw: u64) -> Result<Tensor> {
        let pairs: Vec<&Pair> = part.iter().map(|&number| &self.pairs[number]).collect();
        let side = |of: fn(&Pair) -> usize| pairs.iter().map(move |pair| &self.texts[of(pair)]);
        let both: Vec<&Example> = side(|pair| pair.first).chain(side(|pair| pair.second)).collect();
        let vectors = self.network.embeddings(&Batch::of(&both), &Pass::training(draw))?;
        let (first, second) = (vectors.narrow(0, 0, pairs.len())?, vectors.narrow(0, pairs.len(), pairs.len())?);
        let wanted: Vec<f32> = pairs.iter().map(|pair| f32::from(u8::from(pair.same))).collect();
        let wanted = Tensor::from_vec(wanted, pairs.len(), &Device::Cpu)?;
        Ok((first * second)?.sum(1)?.sub(&wanted)?.sqr()?.mean_all()?)
    }

    fn tokens(&self, example: usize) -> usize {
        let pair = &self.pairs[example];
        self.texts[pair.first].ids.len() + self.texts[pair.second].ids.len()
    }

    fn measure(&self) -> Result<f64> {
        let mut used: Vec<usize> = self.dev.iter().flat_map(|pair| [pair.first, pair.second]).collect();
        used.sort_unstable();
        used.dedup();
        let texts: Vec<Example> = used.iter().map(|&text| self.texts[text].clone()).collect();
        let vectors: BTreeMap<usize, Vec<f32>> = used.into_iter().zip(embeddings(self.network, &texts)?).collect();
        let miss = |pair: &Pair| {
            let cosine: f32 = vectors[&pair.first].iter().zip(&vectors[&pair.second]).map(|(a, b)| a * b).sum();
            f64::from(cosine - f32::from(u8::from(pair.same))).powi(2)
        };
        Ok(-self.dev.iter().map(miss).sum::<f64>() / self.dev.len().max(1) as f64)
    }

    fn said(&self, measure: f64) -> String {
        format!("loss of pairs {:.4}", -measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::batches::Target;
    use crate::train::fit::Fit;
    use crate::train::keep::Keep;
    use crate::train::network::Tuning;
    use crate::train::network::tests::tiny_with;
    use crate::train::pairs::{beside, pairs};
    use crate::train::probe::{Labelled, regression};
    use crate::train::task::Task;

    fn body() -> Network {
        tiny_with(Task::Tag, 0, &Tuning { tables: true, ..Tuning::default() })
    }

    /// Texts of unequal lengths; token 12 or 13 somewhere is their label.
    fn texts(count: usize) -> (Vec<Example>, Vec<u32>) {
        let one = |i: usize| {
            let mut ids = vec![1];
            ids.extend((0..2 + i % 3).map(|j| 3 + ((i * 7 + j * 3) % 8) as u32));
            let at = 1 + i % (ids.len() - 1);
            ids[at] = 12 + (i % 2) as u32;
            ids.push(2);
            Example { ids, types: vec![], target: Target::Label((i % 2) as u32) }
        };
        ((0..count).map(one).collect(), (0..count).map(|i| (i % 2) as u32).collect())
    }

    /// Would catch: a cosine of the wrong two texts, a mean over padding, a gradient that goes nowhere or the wrong way.
    #[test]
    fn the_loss_is_what_is_missing_of_the_cosines_and_its_gradient_is_right() {
        let (texts, _) = texts(8);
        let network = body();
        let pairs = [Pair { first: 0, second: 4, same: true }, Pair { first: 1, second: 2, same: false }];
        let learner = Contrast { network: &network, texts: &texts, pairs: &pairs, dev: &pairs, seed: 1 };
        let cost = || learner.loss(&[0, 1], 0).unwrap();
        let value = || cost().to_scalar::<f32>().unwrap();
        let vectors = embeddings(&network, &texts).unwrap();
        let cosine = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum::<f32>();
        assert!((cosine(3, 3) - 1.0).abs() < 1e-5);
        let want = ((cosine(0, 4) - 1.0).powi(2) + cosine(1, 2).powi(2)) / 2.0;
        assert!((value() - want).abs() < 1e-5 && (learner.measure().unwrap() + f64::from(want)).abs() < 1e-5);
        let gradients = cost().backward().unwrap();
        for (name, var) in &network.parameters {
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (start, got) = (flat(var), flat(gradients.get(var).unwrap_or_else(|| panic!("no gradient for {name}"))));
            for place in (0..start.len()).step_by(start.len().div_ceil(3)) {
                let at = |step: f32| {
                    let mut moved = start.clone();
                    moved[place] += step;
                    var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    value()
                };
                let want = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((got[place] - want).abs() < 1e-3 + want.abs() * 2e-2, "{name}[{place}]: {} for {want}", got[place]);
            }
            var.set(&Tensor::from_vec(start, var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
    }

    /// Would catch: pairs that pull the wrong way, a body that a run that goes on finds elsewhere.
    #[test]
    fn pairs_part_the_labels_and_a_run_goes_on_to_the_same_body() {
        let (texts, labels) = texts(40);
        let (train, dev) = labels.split_at(16);
        let (pairs, dev) = (pairs(train, 160, 3).unwrap(), beside(train, dev, 40, 3).unwrap());
        let plan = Plan { epochs: 4, rate: 5e-3, batch: 16, checks: 1, ..Plan::default() };
        let of = |network: &Network| -> Vec<Vec<f32>> {
            network.parameters.values().map(|var| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        let (folder, whole) = (tempfile::tempdir().unwrap(), body());
        let learner = |network| Contrast { network, texts: &texts, pairs: &pairs, dev: &dev, seed: 1 };
        let before = learner(&whole).measure().unwrap();
        let fitted = Fit::new(&learner(&whole), &plan).run().unwrap();
        assert!(-fitted.best < 0.25 * -before, "{before} to {}", fitted.best);
        let vectors = embeddings(&whole, &texts).unwrap();
        let head = regression(&Labelled { vectors: vectors[..16].to_vec(), labels: train.to_vec() }, 2, 1.0).unwrap();
        let right = |&i: &usize| (head.logits(&vectors[i])[1] > head.logits(&vectors[i])[0]) == (labels[i] == 1);
        assert!((16..40).filter(right).count() >= 23);

        let cut = body();
        let keep = Keep::new(folder.path(), learner(&cut).fingerprint(&plan).unwrap());
        let stop = || true;
        assert!(Fit::new(&learner(&cut), &plan).kept(&keep).stopped(&stop).run().is_err());
        let again = body();
        Fit::new(&learner(&again), &plan).kept(&keep).run().unwrap();
        assert_eq!(of(&whole), of(&again));
        let fewer = Contrast { pairs: &pairs[1..], ..learner(&again) };
        assert_ne!(fewer.fingerprint(&plan).unwrap(), learner(&again).fingerprint(&plan).unwrap());
    }
}
