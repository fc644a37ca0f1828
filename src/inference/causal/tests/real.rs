//! Small trained networks that lie beside the repository: two that tell stories, one that sorts letters. What transformers answers
//! with them is in `real.json`.

use super::support::{Run, folder};
use crate::inference::Weights;
use crate::inference::causal::Causal;
use crate::inference::parity::{self, off};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;

/// A file of the folder `shared` beside the repository; says so when it is not there.
fn model(file: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/models").join(file);
    if !path.exists() {
        crate::absent::absent(format!("{} is not here", path.display()));
        return None;
    }
    Some(path)
}

type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

fn load(tensors: &Tensors, config: &Value) -> Causal {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name.as_str(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    let copy = tempfile::tempdir().unwrap();
    std::fs::write(copy.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    Causal::load(config, &Weights::open(copy.path(), None).unwrap().tensors().unwrap()).unwrap()
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))
}

/// llama2.c's version 0: seven sizes, then the weights, part after part for all layers. It turns neighbours, transformers turns the
/// halves of a head.
fn llama2c(bytes: &[u8]) -> Causal {
    let size = |i: usize| i32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap()) as usize;
    let (dim, wide, layers, heads, kv_heads, vocabulary, positions) =
        (size(0), size(1), size(2), size(3), size(4), size(5), size(6));
    let (head, kv) = (dim / heads, dim / heads * kv_heads);
    let mut rest = numbers(&bytes[28..]);
    let mut take = |count: usize| -> Vec<f32> { rest.by_ref().take(count).collect() };
    let mut tensors = Tensors::new();
    tensors.insert("model.embed_tokens.weight".to_owned(), (vec![vocabulary, dim], take(vocabulary * dim)));
    let parts: [(&str, Vec<usize>); 9] = [
        ("input_layernorm", vec![dim]),
        ("self_attn.q_proj", vec![dim, dim]),
        ("self_attn.k_proj", vec![kv, dim]),
        ("self_attn.v_proj", vec![kv, dim]),
        ("self_attn.o_proj", vec![dim, dim]),
        ("post_attention_layernorm", vec![dim]),
        ("mlp.gate_proj", vec![wide, dim]),
        ("mlp.down_proj", vec![dim, wide]),
        ("mlp.up_proj", vec![wide, dim]),
    ];
    for (part, shape) in parts {
        for layer in 0..layers {
            let mut values = take(shape.iter().product());
            if part.ends_with("q_proj") || part.ends_with("k_proj") {
                let row = |row: usize| {
                    let (base, i) = (row / head * head, row % head);
                    // The first half of a head is made of its even rows, the second of its odd ones.
                    base + if i < head / 2 { 2 * i } else { 2 * (i - head / 2) + 1 }
                };
                values = (0..shape[0]).flat_map(|r| values[row(r) * dim..(row(r) + 1) * dim].to_vec()).collect();
            }
            tensors.insert(format!("model.layers.{layer}.{part}.weight"), (shape.clone(), values));
        }
    }
    tensors.insert("model.norm.weight".to_owned(), (vec![dim], take(dim)));
    let config = json!({
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": dim, "intermediate_size": wide, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": positions, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": true,
    });
    load(&tensors, &config)
}

/// Its linear layers are stored as `[outputs, inputs]`, where GPT-2 of transformers has them the other way round.
fn nano_sort(file: &Value) -> Causal {
    let mut tensors = Tensors::new();
    for (name, tensor) in file.as_object().unwrap() {
        if name == "config" || name.ends_with(".attn.bias") {
            continue;
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(tensor["data"].as_str().unwrap()).unwrap();
        let mut values: Vec<f32> = numbers(&bytes).collect();
        let mut shape: Vec<usize> = tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        if ["c_attn.weight", "c_proj.weight", "c_fc.weight"].iter().any(|part| name.contains(part)) {
            let (rows, cols) = (shape[0], shape[1]);
            values = (0..cols).flat_map(|col| (0..rows).map(|row| values[row * cols + col]).collect::<Vec<f32>>()).collect();
            shape.reverse();
        }
        tensors.insert(name.clone(), (shape, values));
    }
    let size = &file["config"];
    let config = json!({
        "model_type": "gpt2", "vocab_size": size["vocab_size"], "n_embd": size["n_embd"], "n_layer": size["n_layer"],
        "n_head": size["n_head"], "n_positions": size["block_size"], "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
        "tie_word_embeddings": false,
    });
    load(&tensors, &config)
}

/// The recorded ids, and the logits from which the last of them was chosen.
fn check(name: &str, model: &Causal) {
    let recorded: Value = serde_json::from_slice(&std::fs::read(folder("real.json")).unwrap()).unwrap();
    let list = |key: &str| -> Vec<f64> { recorded[name][key].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect() };
    let ids = |key: &str| -> Vec<u32> { list(key).into_iter().map(|n| n as u32).collect() };
    let (prompt, greedy) = (ids("prompt"), ids("greedy"));
    let mut run = Run::new(model, 32);
    assert_eq!(run.greedy(&[&prompt], greedy.len())[0].0, greedy, "{name}");
    let text = [&prompt[..], &greedy[..greedy.len() - 1]].concat();
    let logits = &run.greedy(&[&text], 1)[0].1;
    let last: Vec<f32> = list("last_logits").into_iter().map(|n| n as f32).collect();
    parity::equal("causal, trained", name, "greedy tokens");
    parity::seen("causal, trained", name, "logits of the last", off(&logits[..last.len()], &last));
}

#[test]
fn small_llamas_tell_the_recorded_stories() {
    for (name, file) in [("stories260K", "stories260K/stories260K.bin"), ("babyllama", "babyllama-tok105/model5000.bin")] {
        if let Some(path) = model(file) {
            check(name, &llama2c(&std::fs::read(path).unwrap()));
        }
    }
}

/// All texts of six letters of three: the network was trained to sort them.
#[test]
fn a_small_gpt_sorts_letters() {
    let Some(path) = model("gpt-nano-sort/gpt-nano-sort-model.json") else { return };
    let model = nano_sort(&serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
    check("gpt-nano-sort", &model);
    let texts: Vec<Vec<u32>> = (0..729).map(|n| (0..6).map(|i| n / 3u32.pow(i) % 3).collect()).collect();
    let slices: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    // Five more fill its eleven positions.
    let answers = Run::new(&model, 729).greedy(&slices, 5);
    let sorted = texts.iter().zip(&answers).filter(|(text, (answer, _))| {
        let mut wanted = (*text).clone();
        wanted.sort_unstable();
        wanted[..5] == answer[..]
    });
    let count = sorted.count();
    assert!(count >= 720, "{count} of 729 are sorted");
}
