//! A GGUF file that is written here from a checkpoint of Gemma 3 as llama.cpp's converter writes one, and imported again.

use super::{Dtype, Request, import};
use crate::inference::causal::{Causal, Scratch};
use crate::inference::{InferenceError, Weights};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// Metadata of a file that is written.
enum Field {
    Number(u32),
    Real(f32),
    Flag(bool),
    Text(&'static str),
    Texts(Vec<String>),
    Reals(Vec<f32>),
    Numbers(Vec<i32>),
    Flags(Vec<bool>),
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Field {
    fn write(&self, out: &mut Vec<u8>) {
        let list = |out: &mut Vec<u8>, kind: u32, count: usize| {
            out.extend(9u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((count as u64).to_le_bytes());
        };
        let kind = |out: &mut Vec<u8>, kind: u32| out.extend(kind.to_le_bytes());
        match self {
            Self::Number(number) => {
                kind(out, 4);
                out.extend(number.to_le_bytes());
            }
            Self::Real(number) => {
                kind(out, 6);
                out.extend(number.to_le_bytes());
            }
            Self::Flag(flag) => {
                kind(out, 7);
                out.push(u8::from(*flag));
            }
            Self::Text(of) => {
                kind(out, 8);
                text(out, of);
            }
            Self::Texts(all) => {
                list(out, 8, all.len());
                all.iter().for_each(|one| text(out, one));
            }
            Self::Reals(all) => {
                list(out, 6, all.len());
                out.extend(all.iter().flat_map(|v| v.to_le_bytes()));
            }
            Self::Numbers(all) => {
                list(out, 5, all.len());
                out.extend(all.iter().flat_map(|v| v.to_le_bytes()));
            }
            Self::Flags(all) => {
                list(out, 7, all.len());
                out.extend(all.iter().map(|flag| u8::from(*flag)));
            }
        }
    }
}

fn gguf(fields: &[(&str, Field)], tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend([tensors.len() as u64, fields.len() as u64].map(u64::to_le_bytes).concat());
    for (key, field) in fields {
        text(&mut out, key);
        field.write(&mut out);
    }
    let mut at = 0u64;
    for (name, shape, values) in tensors {
        text(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|n| (*n as u64).to_le_bytes()));
        out.extend(0u32.to_le_bytes());
        out.extend(at.to_le_bytes());
        at += (values.len() as u64 * 4).next_multiple_of(32);
    }
    for (_, _, values) in tensors {
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    out
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/causal/gemma3_text")
}

/// The tensors under llama.cpp's names, with 1 added to norms.
fn tensors() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(fixture().join("model.safetensors")).unwrap();
    let weights = Weights::open(&fixture(), None).unwrap();
    let read = weights.tensors().unwrap();
    let name = |name: &str| {
        let name = name.strip_prefix("model.").unwrap();
        let Some(rest) = name.strip_prefix("layers.") else {
            return name.replace("embed_tokens", "token_embd").replace("norm.", "output_norm.");
        };
        let (layer, rest) = rest.split_once('.').unwrap();
        let theirs = match rest.strip_suffix(".weight").unwrap() {
            "input_layernorm" => "attn_norm",
            "post_attention_layernorm" => "post_attention_norm",
            "pre_feedforward_layernorm" => "ffn_norm",
            "post_feedforward_layernorm" => "post_ffw_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "self_attn.q_norm" => "attn_q_norm",
            "self_attn.k_norm" => "attn_k_norm",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            other => panic!("{other}"),
        };
        format!("blk.{layer}.{theirs}.weight")
    };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<(String, Vec<usize>, Vec<f32>)> = file
        .names()
        .into_iter()
        .map(|tensor| {
            let shape = read.shape(tensor).unwrap();
            let mut values = read.f32(tensor, &shape).unwrap();
            if tensor.ends_with("norm.weight") {
                values.iter_mut().for_each(|v| *v += 1.0);
            }
            (name(tensor), shape, values)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Pieces of a vocabulary of 96: four control tokens, what a user defined, and letters.
fn vocabulary() -> (Vec<String>, Vec<i32>) {
    let mut tokens: Vec<String> = ["<pad>", "<eos>", "<bos>", "<unk>", "\u{2581}\u{2581}", "\n\n"].map(str::to_owned).to_vec();
    let mut kinds = vec![3, 3, 3, 2, 4, 4];
    let pieces = ["\u{2581}the", "the", "\u{2581}t", "he", "\u{2581}", "t", "h", "e"].map(str::to_owned);
    tokens.extend(pieces);
    tokens.extend((0..96 - tokens.len() as u32).map(|i| char::from_u32(0x4e00 + i).unwrap().to_string()));
    kinds.resize(96, 1);
    (tokens, kinds)
}

fn fields() -> Vec<(&'static str, Field)> {
    let (tokens, kinds) = vocabulary();
    let scores = (0..96).map(|i| -(i as f32)).collect();
    vec![
        ("general.architecture", Field::Text("gemma3")),
        ("general.license", Field::Text("gemma")),
        ("gemma3.context_length", Field::Number(64)),
        ("gemma3.embedding_length", Field::Number(32)),
        ("gemma3.block_count", Field::Number(2)),
        ("gemma3.feed_forward_length", Field::Number(40)),
        ("gemma3.attention.head_count", Field::Number(4)),
        ("gemma3.attention.head_count_kv", Field::Number(2)),
        ("gemma3.attention.key_length", Field::Number(16)),
        ("gemma3.attention.value_length", Field::Number(16)),
        ("gemma3.attention.layer_norm_rms_epsilon", Field::Real(1e-6)),
        ("gemma3.attention.sliding_window", Field::Number(8)),
        ("gemma3.attention.sliding_window_pattern", Field::Number(2)),
        ("gemma3.rope.freq_base", Field::Real(50_000.0)),
        ("gemma3.rope.freq_base_swa", Field::Real(3_000.0)),
        ("gemma3.rope.scaling.type", Field::Text("linear")),
        ("gemma3.rope.scaling.factor", Field::Real(4.0)),
        ("tokenizer.ggml.model", Field::Text("llama")),
        ("tokenizer.ggml.tokens", Field::Texts(tokens)),
        ("tokenizer.ggml.scores", Field::Reals(scores)),
        ("tokenizer.ggml.token_type", Field::Numbers(kinds)),
        ("tokenizer.ggml.padding_token_id", Field::Number(0)),
        ("tokenizer.ggml.eos_token_id", Field::Number(1)),
        ("tokenizer.ggml.bos_token_id", Field::Number(2)),
        ("tokenizer.ggml.unknown_token_id", Field::Number(3)),
        ("tokenizer.ggml.add_bos_token", Field::Flag(true)),
        ("tokenizer.ggml.add_space_prefix", Field::Flag(false)),
    ]
}

fn without(name: &str) -> Vec<(&'static str, Field)> {
    fields().into_iter().filter(|(key, _)| *key != name).collect()
}

/// Imports a file of these fields; the folder, or what is wrong.
fn imported(fields: &[(&str, Field)]) -> Result<tempfile::TempDir, String> {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("x.gguf");
    std::fs::write(&file, gguf(fields, &tensors())).unwrap();
    let request = Request { folder: out.path().join("x"), file, dtype: Dtype::F32, tokenizer: None, rope_theta: None };
    import(&request).map(|_| out).map_err(|error| error.to_string())
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
}

fn logits(config: &Value, folder: &Path) -> Result<Vec<f32>, InferenceError> {
    let weights = Weights::open(folder, None)?;
    let model = Causal::load(config, &weights.tensors()?)?;
    let ids: Vec<u32> = (0..21).map(|i| (i * i + 5 * i) % 96).collect();
    let mut scratch = Scratch::default();
    model.encode(&[&ids], &mut scratch)?;
    Ok(model.logits(0..21, &mut scratch)?.to_vec())
}

/// Would catch: norms that keep what llama.cpp adds, two that change places, a local layer for a global one or its base for the other's.
#[test]
fn a_gemma_is_the_folder_that_it_came_from() {
    let out = imported(&fields()).unwrap();
    let folder = out.path().join("x");
    let mut before = config(&fixture());
    // The one number that GGUF does not have: it is that of the head's size.
    before["query_pre_attn_scalar"] = 16.into();
    let (ours, theirs) = (logits(&config(&folder), &folder).unwrap(), logits(&before, &fixture()).unwrap());
    assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-5), "{:?} {:?}", &ours[..4], &theirs[..4]);
    let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    let tokens = |text: &str| tokenizer.encode(text, true).unwrap().get_tokens().to_vec();
    assert_eq!(tokens("the the"), ["<bos>", "the", "\u{2581}the"]);
    // What a user defined is found first, in the text whose blanks are signs.
    assert_eq!(tokens("the  the\n\nhe"), ["<bos>", "the", "\u{2581}\u{2581}", "the", "\n\n", "he"]);
    assert_eq!(tokenizer.decode(&[7, 4, 7], true).unwrap(), "the  the");
}

#[test]
fn what_a_gemma_leaves_out_is_what_llama_cpp_takes() {
    let read = |fields: &[(&str, Field)]| config(&imported(fields).unwrap().path().join("x"));
    let bare = read(&without("gemma3.rope.freq_base_swa"));
    assert_eq!((&bare["rope_local_base_freq"], &bare["model_type"]), (&10_000.0.into(), &"gemma3_text".into()));
    assert_eq!(
        read(&without("gemma3.attention.sliding_window_pattern"))["layer_types"],
        serde_json::json!(["sliding_attention", "sliding_attention"])
    );
    assert_eq!(read(&without("gemma3.rope.scaling.type"))["rope_scaling"], Value::Null);
    let mut listed = without("gemma3.attention.sliding_window_pattern");
    listed.push(("gemma3.attention.sliding_window_pattern", Field::Flags(vec![false, true])));
    assert_eq!(read(&listed)["layer_types"], serde_json::json!(["full_attention", "sliding_attention"]));
    listed.pop();
    listed.push(("gemma3.attention.sliding_window_pattern", Field::Flags(vec![false])));
    assert!(imported(&listed).unwrap_err().contains("of 1 layers"));
    for key in
        ["gemma3.attention.sliding_window", "gemma3.attention.key_length", "gemma3.rope.freq_base", "gemma3.rope.scaling.factor"]
    {
        let error = imported(&without(key)).unwrap_err();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
}
