//! A run on disk: what it takes to go on after the process ended, at any moment, with the same result.
//!
//! One file holds the weights, the moments and the best weights so far; it is written beside the old one and takes its name. The order
//! of the batches follows from the seed.

use super::fit::Fitted;
use super::optimiser::Moments;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor, Var};
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a run is kept.
#[derive(Debug, Clone)]
pub struct Keep {
    folder: PathBuf,
    /// Of the plan, the data and the weights at the start: what a run must have in common with the one that it goes on with.
    fingerprint: String,
    /// From one writing to the next.
    pub every: Duration,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    fingerprint: String,
    /// Measurements since the best one.
    pub waited: usize,
    /// Before its last step.
    pub ended: bool,
    /// Steps that have left a parameter as it was, where there are any.
    #[serde(default)]
    pub missed: BTreeMap<String, i32>,
    pub fitted: Fitted,
}

/// All that a run is.
pub struct State<'a> {
    pub progress: Progress,
    pub weights: BTreeMap<String, Vec<f32>>,
    pub moments: Cow<'a, BTreeMap<String, Moments>>,
    pub best: BTreeMap<String, Vec<f32>>,
}

impl Keep {
    /// In `out/.training`, once a minute.
    pub fn new(out: &Path, fingerprint: String) -> Self {
        Self { folder: Self::folder(out), fingerprint, every: Duration::from_secs(60) }
    }

    /// Where a run that writes `out` is kept while it goes.
    pub fn folder(out: &Path) -> PathBuf {
        out.join(".training")
    }

    pub fn progress(&self, fitted: &Fitted, waited: usize, ended: bool, missed: &BTreeMap<String, i32>) -> Progress {
        Progress { fingerprint: self.fingerprint.clone(), waited, ended, missed: missed.clone(), fitted: fitted.clone() }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    /// Writes a run down; nothing of it is held twice, for a large network would not fit so often.
    pub fn write(&self, state: &State<'_>) -> Result<()> {
        let (path, fresh) = (self.file(), self.folder.join("state.new"));
        let said = || format!("cannot keep the run in {}", path.display());
        std::fs::create_dir_all(&self.folder).with_context(said)?;
        let State { progress, weights, moments, best } = state;
        let mut held: Vec<(String, Floats<'_>)> = Vec::new();
        let mut add = |part: &str, name: &str, values| held.push((format!("{part}/{name}"), Floats::new(values)));
        weights.iter().for_each(|(name, values)| add("weights", name, values));
        best.iter().for_each(|(name, values)| add("best", name, values));
        for (name, Moments { first, second }) in moments.iter() {
            add("first", name, first);
            add("second", name, second);
        }
        let metadata = [("progress".to_owned(), serde_json::to_string(progress)?)].into();
        safetensors::serialize_to_file(held, Some(metadata), &fresh).with_context(said)?;
        let write = || -> std::io::Result<()> {
            File::open(&fresh)?.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().with_context(said)
    }

    /// The run that is kept, where there is one; one of another fingerprint is an error.
    pub fn read(&self) -> Result<Option<State<'static>>> {
        let path = self.file();
        if !path.exists() {
            return Ok(None);
        }
        let said = || format!("cannot go on with the run in {}", path.display());
        let bytes = std::fs::read(&path).with_context(said)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).with_context(said)?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get("progress")).with_context(said)?;
        let progress: Progress = serde_json::from_str(text).with_context(said)?;
        ensure!(
            progress.fingerprint == self.fingerprint,
            "the run that is kept in {} has other options, other data, another base model or another teacher. Give those, or remove that folder",
            self.folder.display()
        );
        let (mut weights, mut best) = (BTreeMap::new(), BTreeMap::new());
        let mut moments: BTreeMap<String, Moments> = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes).with_context(said)?.tensors() {
            let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            match name.split_once('/') {
                Some(("weights", name)) => drop(weights.insert(name.to_owned(), values)),
                Some(("best", name)) => drop(best.insert(name.to_owned(), values)),
                Some(("first", name)) => moments.entry(name.to_owned()).or_default().first = values,
                Some(("second", name)) => moments.entry(name.to_owned()).or_default().second = values,
                _ => bail!("{} holds {name}, which no run has", path.display()),
            }
        }
        Ok(Some(State { progress, weights, moments: Cow::Owned(moments), best }))
    }

    /// Removes the run; it has ended, and its result is written.
    pub fn remove(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// Numbers that become bytes as they are written.
struct Floats<'a> {
    values: &'a [f32],
    shape: [usize; 1],
}

impl<'a> Floats<'a> {
    fn new(values: &'a [f32]) -> Self {
        Self { values, shape: [values.len()] }
    }
}

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// Values for a parameter, of its shape.
pub fn restored(var: &Var, values: &[f32]) -> Result<Tensor> {
    ensure!(values.len() == var.elem_count(), "a kept tensor has {} numbers, not {}", values.len(), var.elem_count());
    Ok(Tensor::from_slice(values, var.shape(), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::batches::{Example, Target};
    use crate::train::fit::{Fit, Plan};
    use crate::train::learner::{Dev, Learner};
    use crate::train::network::tests::{drawn_with, tiny};
    use crate::train::network::{Network, Tuning};
    use crate::train::task::Task;
    use std::cell::Cell;

    fn examples() -> Vec<Example> {
        let one = |i: u32| Example { ids: vec![1, 3 + i % 8, 2], types: vec![], target: Target::Label(i % 2) };
        (0..12).map(one).collect()
    }

    fn fresh() -> Network {
        drawn_with(Task::Label, 2, &Tuning { tables: true, ..Tuning::default() })
    }

    fn with<R>(network: &Network, train: &Vec<Example>, dev: &[Example], then: impl FnOnce(&Learner<'_>) -> R) -> R {
        then(&Learner {
            network,
            train,
            dev: Dev::Examples(dev),
            labels: &[],
            blank: None,
            teacher: None,
            class_weights: None,
            seed: 1,
        })
    }

    /// Would catch: a run of an hour that is lost because the process ended while the result was measured, or by a signal.
    #[test]
    fn a_run_is_kept_behind_its_last_step_and_where_it_is_stopped() {
        let (folder, all) = (tempfile::tempdir().unwrap(), examples());
        let plan = Plan { epochs: 4, rate: 1e-2, batch: 4, checks: 1, ..Plan::default() };
        // Asked once a step.
        let (asked, stops_at) = (Cell::new(0), Cell::new(3));
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() == stops_at.get()
        };
        let run = || {
            let network = fresh();
            let fitted = with(&network, &all, &all, |learner| {
                let keep = Keep::new(folder.path(), learner.fingerprint(&plan).unwrap());
                Fit::new(learner, &plan).kept(&keep).stopped(&stop).run()
            });
            let weights = network.state().unwrap()["classifier.weight"].to_vec2::<f32>().unwrap();
            (fitted, weights, asked.take())
        };
        let stopped = run().0.unwrap_err().to_string();
        assert!(stopped.contains("step 3 of 12") && stopped.contains("--resume"), "{stopped}");
        stops_at.set(0);
        let (whole, weights, steps) = run();
        assert_eq!((whole.unwrap().steps, steps), (12, 9));
        let (again, same, steps) = run();
        assert_eq!((again.unwrap().steps, steps), (12, 0));
        assert_eq!(weights, same);
    }

    /// Would catch: a run that goes on with other answers to measure on, or with a network of another shape.
    #[test]
    fn what_is_measured_on_and_the_shape_are_part_of_a_run() {
        let (all, plan) = (examples(), Plan::default());
        let of = |network: &Network, dev: &[Example]| with(network, &all, dev, |learner| learner.fingerprint(&plan).unwrap());
        let mut other = all.clone();
        other[0].target = Target::Label(1);
        let (mut heads, mut norms) = (tiny(), tiny());
        heads.shape.num_attention_heads = 1;
        norms.shape.layer_norm_eps = 1e-5;
        let found = [of(&tiny(), &all), of(&tiny(), &other), of(&heads, &all), of(&norms, &all)];
        assert_eq!(found[0], of(&tiny(), &all));
        assert!((1..4).all(|i| !found[..i].contains(&found[i])), "{found:?}");
    }
}
