//! Gradients reach everything, and what is exported is what was trained.

use super::super::adapter::{Lora, Matrix};
use super::super::folder::{Sizes, config as config_of, read_config};
use super::super::kernels::tests::wavy;
use super::*;
use crate::inference::Weights;
use crate::inference::causal::{Causal, Scratch};
use candle_core::Device;
use serde_json::Value;
use std::path::Path;

const SIZES: Sizes = Sizes { vocabulary: 20, layers: 2, hidden: 16, heads: 4, kv_heads: 2, wide: 24, positions: 16 };
const IDS: [u32; 9] = [1, 5, 9, 2, 1, 7, 3, 2, 19];
const LENGTHS: [usize; 2] = [5, 4];

pub fn config() -> Value {
    config_of(&SIZES, Some(0)).unwrap()
}

pub fn tiny() -> Network {
    Network::drawn(&config(), 16, 3).unwrap()
}

/// The same with numbers that are large enough for logits to differ.
fn lively() -> Network {
    let network = tiny();
    for (name, var) in &network.parameters {
        let factor = if name.ends_with(".gain") { 1.2 } else { 15.0 };
        var.set(&var.affine(factor, 0.01).unwrap()).unwrap();
    }
    network
}

fn batch() -> Batch {
    Batch { ids: IDS.to_vec(), lengths: LENGTHS.to_vec(), targets: vec![5, 9, 2, 1, IGNORED, 3, 2, 0, 7] }
}

/// Logits of the network that serves.
fn served(folder: &Path) -> Vec<f32> {
    let weights = Weights::open(folder, None).unwrap();
    let model = Causal::load(&read_config(folder).unwrap(), &weights.tensors().unwrap()).unwrap();
    let mut scratch = Scratch::default();
    model.encode(&[&IDS[..5], &IDS[5..]], &mut scratch).unwrap();
    model.logits(0..IDS.len(), &mut scratch).unwrap().to_vec()
}

fn close(a: &[f32], b: &[f32], bound: f32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let size = a.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    assert!(apart <= bound && size > 0.1, "{what}: {apart} apart, of up to {size}");
}

fn logits(network: &Network) -> Vec<f32> {
    network.logits(&IDS, &LENGTHS).unwrap()
}

fn copied(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_gradient_reaches_every_parameter() {
    let untied = {
        let mut config = config();
        config["tie_word_embeddings"] = false.into();
        Network::drawn(&config, 16, 3).unwrap()
    };
    let matrices = [Matrix::Q, Matrix::K, Matrix::V, Matrix::O, Matrix::Gate, Matrix::Up, Matrix::Down];
    let adapted = lively().adapted(&Lora { rank: 2, alpha: 4.0, matrices: matrices.to_vec() }, 1).unwrap();
    for (name, var) in adapted.parameters.iter().filter(|(name, _)| name.contains(".b.")) {
        // As it begins, what is before `B` has no gradient.
        var.set(&var.affine(0.0, 0.1).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (network, count) in [(tiny(), 2 + 2 * 6), (untied, 3 + 2 * 6), (adapted, 2 * 7 * 2)] {
        assert_eq!(network.parameters.len(), count);
        for drop in [None, Some(DropOut { share: 0.2, seed: 9 })] {
            let gradients = network.loss(&batch(), drop).unwrap().backward().unwrap();
            for (name, var) in &network.parameters {
                let gradient = gradients.get(var).unwrap_or_else(|| panic!("no gradient for {name}"));
                assert!(copied(gradient).iter().any(|v| *v != 0.0), "{name} has a zero gradient");
            }
        }
    }
}

/// Would catch a gradient that goes astray between two operations that are each right.
#[test]
fn the_whole_networks_gradient_equals_finite_differences() {
    let network = lively();
    let drop = Some(DropOut { share: 0.2, seed: 9 });
    let loss = || f64::from(network.loss(&batch(), drop).unwrap().to_scalar::<f32>().unwrap());
    let gradients = network.loss(&batch(), drop).unwrap().backward().unwrap();
    for (name, var) in &network.parameters {
        let (values, gradient) = (copied(var), copied(gradients.get(var).unwrap()));
        for at in [0, values.len() / 2, values.len() - 1] {
            let moved = |step: f32| {
                let mut moved = values.clone();
                moved[at] += step;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                loss()
            };
            let want = (moved(4e-3) - moved(-4e-3)) / 8e-3;
            moved(0.0);
            let got = f64::from(gradient[at]);
            assert!((got - want).abs() < 2e-3 + 0.02 * want.abs(), "{name} {at}: {got}, expected {want}");
        }
    }
}

#[test]
fn what_is_written_is_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let network = lively();
    network.write(folder.path(), &config()).unwrap();
    close(&logits(&network), &served(folder.path()), 1e-4, "served");
    let again = Network::open(folder.path(), &read_config(folder.path()).unwrap(), 16).unwrap();
    assert_eq!(logits(&network), logits(&again));
}

/// Would catch: a sum over targets that is off where a batch goes through in several parts, or where some tokens have none.
#[test]
fn the_loss_is_the_mean_over_targets_and_is_the_same_in_parts() {
    let network = {
        let mut config = config();
        config["max_position_embeddings"] = 400.into();
        Network::drawn(&config, 400, 3).unwrap()
    };
    for (name, var) in &network.parameters {
        let factor = if name.ends_with(".gain") { 1.2 } else { 15.0 };
        var.set(&var.affine(factor, 0.01).unwrap()).unwrap();
    }
    let text = |len: usize, turn: usize| (0..len).map(|i| ((i * turn) % 19) as u32).collect::<Vec<u32>>();
    let texts = [text(200, 3), text(150, 5), text(300, 7), text(1, 2)];
    let (mut nats, mut count, mut batch) = (0.0, 0.0, Batch::default());
    for text in &texts {
        let targets: Vec<u32> = text.iter().map(|id| if id % 3 == 0 { IGNORED } else { id + 1 }).collect();
        let logits = network.logits(text, &[text.len()]).unwrap();
        for (row, target) in logits.chunks(20).zip(&targets).filter(|(_, target)| **target != IGNORED) {
            let total: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
            nats += total.ln() - f64::from(row[*target as usize]);
            count += 1.0;
        }
        batch.lengths.push(text.len());
        batch.ids.extend(text);
        batch.targets.extend(targets);
    }
    let want = nats / count;
    let loss = f64::from(network.loss(&batch, None).unwrap().to_scalar::<f32>().unwrap());
    assert!((loss - want).abs() < 1e-4 && (network.measured(&batch).unwrap() - want).abs() < 1e-4, "{loss}, expected {want}");
    let gradients = |batch: &Batch| network.loss(batch, None).unwrap().backward().unwrap();
    let (whole, mut first) = (gradients(&batch), 0);
    let (name, var) = network.parameters.iter().find(|(name, _)| name.contains("qkv")).unwrap();
    let mut sum = vec![0.0; var.elem_count()];
    for text in &texts {
        let range = first..first + text.len();
        first = range.end;
        let part = Batch { ids: text.clone(), lengths: vec![text.len()], targets: batch.targets[range].to_vec() };
        if let Ok(guessed) = part.guessed() {
            let of_part = copied(gradients(&part).get(var).unwrap());
            sum.iter_mut().zip(of_part).for_each(|(sum, v)| *sum += v * guessed as f32 / count as f32);
        }
    }
    close(&copied(whole.get(var).unwrap()), &sum, 1e-4, name);
}

/// transformers' own checkpoint, through the layers that learn.
#[test]
fn a_folder_of_transformers_has_the_logits_that_it_had_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/causal/llama");
    let network = Network::open(&folder, &read_config(&folder).unwrap(), 32).unwrap();
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("expected.safetensors"), copy.path().join("model.safetensors")).unwrap();
    let weights = Weights::open(copy.path(), None).unwrap();
    let tensors = weights.tensors().unwrap();
    let get = |name: &str| tensors.f32(name, &tensors.shape(name).unwrap()).unwrap();
    for i in 0..3 {
        let ids: Vec<u32> = get(&format!("ids_{i}")).into_iter().map(|id| id as u32).collect();
        let ours = network.logits(&ids, &[ids.len()]).unwrap();
        close(&ours, &get(&format!("logits_{i}")), 1e-4, &format!("input {i}"));
    }
}

#[test]
fn adapters_are_merged_into_what_is_written() {
    let matrices = [Matrix::Q, Matrix::V, Matrix::Up, Matrix::O];
    let base = lively();
    let before = logits(&base);
    let stored = base.state().unwrap();
    let network = base.adapted(&Lora { rank: 3, alpha: 6.0, matrices: matrices.to_vec() }, 1).unwrap();
    // It begins at the network as it was.
    assert_eq!(logits(&network), before);
    for (name, var) in network.parameters.iter().filter(|(name, _)| name.contains(".b.")) {
        let values = wavy(var.elem_count(), 0.6 + name.len() as f32);
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap().affine(0.2, 0.0).unwrap()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    network.write(folder.path(), &config()).unwrap();
    assert!(logits(&network).iter().zip(&before).any(|(a, b)| (a - b).abs() > 0.1));
    close(&logits(&network), &served(folder.path()), 1e-4, "served");
    for (name, merged) in network.state().unwrap() {
        let mut want = stored[&name].clone();
        for (stored, matrix) in [("q_proj", "q"), ("v_proj", "v"), ("up_proj", "up"), ("o_proj", "o")] {
            if name.contains(stored) {
                let part = |which: &str| {
                    network.parameters[&format!("layers.{}.{matrix}.{which}.weight", &name[13..14])].as_tensor().clone()
                };
                let more = part("b").t().unwrap().matmul(&part("a").t().unwrap()).unwrap();
                want = (want + (more * 2.0).unwrap()).unwrap();
            }
        }
        let (merged, want) = (copied(&merged), copied(&want));
        assert!(merged.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{name}");
    }
}

#[test]
fn what_is_not_computed_here_is_refused() {
    let refused = |key: &str, value: Value| {
        let mut config = config();
        config[key] = value;
        let refused = Network::drawn(&config, 16, 0).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("Llama's layout") || refused.contains(key), "{key}: {refused}");
    };
    refused("attention_bias", true.into());
    refused("hidden_act", "gelu".into());
    let network = tiny();
    assert!(network.logits(&[20], &[1]).unwrap_err().to_string().contains("below 20"));
    assert!(network.logits(&[1, 2], &[2, 0]).is_err());
    assert!(network.logits(&[1; 17], &[17]).unwrap_err().to_string().contains("up to 16"));
    assert!(network.logits(&[1; 4], &[3]).is_err());
    let beyond = Batch { targets: vec![20; 9], ..batch() };
    assert!(network.loss(&beyond, None).unwrap_err().to_string().contains("below 20"));
    assert!(Network::drawn(&config(), 17, 0).is_err());
    let untargeted = Batch { targets: vec![IGNORED; 9], ..batch() };
    assert!(network.loss(&untargeted, None).unwrap_err().to_string().contains("nothing to guess"));
}
