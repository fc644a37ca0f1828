//! A run on disk: what it takes to go on after the process ended, at any moment, with the same result.
//!
//! One file holds the weights, the moments and the best weights so far; it is written beside the old one and takes its name. The order
//! of the batches follows from the seed.

use super::optimiser::Moments;
use super::trainable::Record;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor, Var};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a run is kept, and whether it goes on.
#[derive(Debug, Clone)]
pub struct Keep {
    folder: PathBuf,
    pub resume: bool,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Of the plan, the data and the weights at the start.
    pub fingerprint: String,
    pub steps: usize,
    pub tokens: usize,
    pub seconds: f64,
    pub last_loss: f64,
    pub best: f64,
    /// Measurements since the best one.
    pub waited: usize,
    pub records: Vec<Record>,
}

/// All that a run is.
pub struct State {
    pub progress: Progress,
    pub weights: BTreeMap<String, Vec<f32>>,
    pub moments: BTreeMap<String, Moments>,
    pub best: BTreeMap<String, Vec<f32>>,
}

impl Keep {
    /// In `out/.training`; with `resume` the run that is kept there goes on.
    pub fn new(out: &Path, resume: bool) -> Self {
        Self { folder: out.join(".training"), resume }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    /// Whether there is a run to go on with.
    pub fn exists(&self) -> bool {
        self.file().exists()
    }

    pub fn write(&self, progress: &Progress, tensors: &[(String, Vec<f32>)]) -> Result<()> {
        let (path, fresh) = (self.file(), self.folder.join("state.new"));
        let said = || format!("cannot keep the run in {}", path.display());
        std::fs::create_dir_all(&self.folder).with_context(said)?;
        let bytes: Vec<(&str, Vec<u8>)> =
            tensors.iter().map(|(name, values)| (name.as_str(), values.iter().flat_map(|v| v.to_le_bytes()).collect())).collect();
        let views = bytes.iter().map(|(name, data)| Ok((*name, TensorView::new(Dtype::F32, vec![data.len() / 4], data)?)));
        let views: Vec<_> = views.collect::<Result<_>>()?;
        let metadata = [("progress".to_owned(), serde_json::to_string(progress)?)].into();
        let all = safetensors::serialize(views, Some(metadata))?;
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&fresh)?;
            file.write_all(&all)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().with_context(said)
    }

    /// The run that is kept, if it is the one with this fingerprint.
    pub fn read(&self, fingerprint: &str) -> Result<State> {
        let path = self.file();
        let said = || format!("cannot go on with the run in {}", path.display());
        ensure!(path.exists(), "there is no run to go on with: {} is not there. Leave out --resume", path.display());
        let bytes = std::fs::read(&path).with_context(said)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).with_context(said)?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get("progress")).with_context(said)?;
        let progress: Progress = serde_json::from_str(text).with_context(said)?;
        ensure!(
            progress.fingerprint == fingerprint,
            "the run in {} was started with other options, other data or another base model. Give those, or start anew without --resume",
            self.folder.display()
        );
        let mut state =
            State { progress, weights: BTreeMap::new(), moments: BTreeMap::new(), best: BTreeMap::new() };
        for (name, view) in SafeTensors::deserialize(&bytes).with_context(said)?.tensors() {
            let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            match name.split_once('/') {
                Some(("weights", name)) => drop(state.weights.insert(name.to_owned(), values)),
                Some(("best", name)) => drop(state.best.insert(name.to_owned(), values)),
                Some(("first", name)) => state.moments.entry(name.to_owned()).or_default().first = values,
                Some(("second", name)) => state.moments.entry(name.to_owned()).or_default().second = values,
                _ => bail!("{} holds {name}, which no run has", path.display()),
            }
        }
        Ok(state)
    }

    /// Removes the run; it has ended, and its result is written.
    pub fn remove(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// Values for a parameter, of its shape.
pub fn restored(var: &Var, values: &[f32]) -> Result<Tensor> {
    ensure!(values.len() == var.elem_count(), "a kept tensor has {} numbers, not {}", values.len(), var.elem_count());
    Ok(Tensor::from_slice(values, var.shape(), &Device::Cpu)?)
}
