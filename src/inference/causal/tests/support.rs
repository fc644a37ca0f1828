//! The checkpoints of `tests/fixtures/causal`, and greedy decoding step by step.

use crate::inference::causal::{Blocks, Causal, Scratch, Sequence, Step};
use crate::inference::{Weights, weights::Tensors};
use std::path::{Path, PathBuf};

/// Those whose texts are computed alike at any length; `phi3_long` has tests of its own.
pub(super) const FAMILIES: [&str; 15] = [
    "gpt2",
    "gpt_neox",
    "gpt_neox_sequential",
    "llama",
    "llama_scaled",
    "qwen2",
    "qwen3",
    "phi3",
    "phi",
    "gemma",
    "gemma2",
    "gemma3_text",
    "llama_yarn",
    "qwen2_yarn",
    "llama_dynamic",
];

pub(super) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/causal").join(name)
}

pub(super) fn config(name: &str, file: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder(name).join(file)).unwrap()).unwrap()
}

pub(super) fn load(name: &str, file: &str) -> Causal {
    let weights = Weights::open(&folder(name), None).unwrap();
    Causal::load(&config(name, file), &weights.tensors().unwrap()).unwrap()
}

/// What transformers answers for one input.
pub(super) struct Expected {
    pub(super) ids: Vec<u32>,
    /// `[ids, vocabulary]`
    pub(super) logits: Vec<f32>,
    /// `[ids, hidden]`
    pub(super) hidden: Vec<f32>,
    pub(super) greedy: Vec<u32>,
}

/// The three inputs of a checkpoint.
pub(super) fn expected(name: &str, model: &Causal) -> Vec<Expected> {
    let bytes = std::fs::read(folder(name).join("expected.safetensors")).unwrap();
    // The reader of weights wants its file by this name.
    let copy = tempfile::tempdir().unwrap();
    std::fs::write(copy.path().join("model.safetensors"), bytes).unwrap();
    let weights = Weights::open(copy.path(), None).unwrap();
    let tensors = weights.tensors().unwrap();
    let get = |tensors: &Tensors<'_>, name: String| tensors.f32(&name, &tensors.shape(&name).unwrap()).unwrap();
    let ids = |name: String| -> Vec<u32> { get(&tensors, name).into_iter().map(|v| v as u32).collect() };
    (0..3)
        .map(|i| {
            let one = Expected {
                ids: ids(format!("ids_{i}")),
                logits: get(&tensors, format!("logits_{i}")),
                hidden: get(&tensors, format!("hidden_{i}")),
                greedy: ids(format!("greedy_{i}")),
            };
            assert_eq!(one.logits.len(), one.ids.len() * model.vocabulary());
            assert_eq!(one.hidden.len(), one.ids.len() * model.hidden());
            assert_eq!(one.greedy.len(), 32);
            one
        })
        .collect()
}

pub(super) fn close(ours: &[f32], theirs: &[f32], tolerance: f32, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}: number {i} is {a}, expected {b}");
    }
}

pub(super) fn greatest(logits: &[f32]) -> u32 {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }) as u32
}

/// A pool and the buffers of one thread.
pub(super) struct Run<'a> {
    pub(super) model: &'a Causal,
    pub(super) blocks: Blocks,
    pub(super) scratch: Scratch,
}

impl<'a> Run<'a> {
    pub(super) fn new(model: &'a Causal, blocks: usize) -> Self {
        Self { model, blocks: Blocks::new(model.spec(), blocks), scratch: Scratch::default() }
    }

    /// Logits of one sequence's new ids.
    pub(super) fn one(&mut self, sequence: &mut Sequence, ids: &[u32], all: bool) -> Vec<f32> {
        self.model.forward(&mut [Step { sequence, ids, all }], &mut self.blocks, &mut self.scratch).unwrap().to_vec()
    }

    /// The `count` ids that follow each text, all texts at once. Returns the logits of the first choice too.
    pub(super) fn greedy(&mut self, texts: &[&[u32]], count: usize) -> Vec<(Vec<u32>, Vec<f32>)> {
        let mut sequences: Vec<Sequence> =
            texts.iter().map(|text| self.blocks.allocate(text.len() + count).expect("enough blocks")).collect();
        let mut new: Vec<Vec<u32>> = texts.iter().map(|text| text.to_vec()).collect();
        let mut answers: Vec<(Vec<u32>, Vec<f32>)> = vec![Default::default(); texts.len()];
        for _ in 0..count {
            let mut steps: Vec<Step<'_>> =
                sequences.iter_mut().zip(&new).map(|(sequence, ids)| Step { sequence, ids, all: false }).collect();
            let logits = self.model.forward(&mut steps, &mut self.blocks, &mut self.scratch).unwrap();
            for (i, logits) in logits.chunks_exact(self.model.vocabulary()).enumerate() {
                if answers[i].0.is_empty() {
                    answers[i].1 = logits.to_vec();
                }
                new[i] = vec![greatest(logits)];
                answers[i].0.extend(&new[i]);
            }
        }
        sequences.into_iter().for_each(|sequence| self.blocks.release(sequence));
        answers
    }
}
