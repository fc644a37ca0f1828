//! `MILLRACE_MINILM_DIR=FOLDER cargo bench --bench embed_texts`: texts a second of the packed encoder beside plain candle, in turns, on
//! one thread each. The folder is all-MiniLM-L6-v2; the texts are the demo's. Candle's part leaves tokenising out; ours has it in.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use millrace::inference::{Encoder, Head, Options, Threads};
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

fn main() {
    // `cargo test --benches` starts this too; without a model there is nothing to measure.
    let Some(folder) = std::env::var_os("MILLRACE_MINILM_DIR") else {
        println!("MILLRACE_MINILM_DIR is not set: nothing was measured");
        return;
    };
    let folder = Path::new(&folder);
    millrace::inference::limit_threads();
    let texts: Vec<String> = include_str!("../src/cli/demo/messages.jsonl")
        .lines()
        .take(256)
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("a JSON line")["text"].as_str().expect("a text").to_owned()
        })
        .collect();
    let options = Options { threads: Threads::Exactly(1), ..Options::default() };
    let encoder = Encoder::open("minilm", folder, None, &options).expect("the model opens");
    let mut ids: Vec<Vec<u32>> = texts.iter().map(|text| encoder.tokenize(text).expect("a text").ids).collect();
    ids.sort_by_key(Vec::len);
    let model = candle_model(folder);
    let (mut packed, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        packed.push(timed(|| drop(encoder.answer_blocking(Head::Embed, texts.clone()).expect("answers"))));
        plain.push(timed(|| ids.chunks(32).for_each(|batch| candle_forward(&model, batch))));
    }
    let tokens: usize = ids.iter().map(Vec::len).sum();
    let rate = |times: &mut Vec<Duration>| {
        times.sort();
        texts.len() as f64 / times[times.len() / 2].as_secs_f64()
    };
    let (ours, theirs) = (rate(&mut packed), rate(&mut plain));
    println!("{} texts, {tokens} tokens, median of {ROUNDS}, in turns", texts.len());
    println!(
        "packed encoder {ours:.0} texts/s; plain candle, sorted by length, batches of 32: {theirs:.0} texts/s; ratio {:.2}",
        ours / theirs
    );
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn candle_model(folder: &Path) -> BertModel {
    let config: Config =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).expect("config.json")).expect("a BERT config");
    let bytes = std::fs::read(folder.join("model.safetensors")).expect("model.safetensors");
    let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).expect("safetensors");
    BertModel::load(weights, &config).expect("a BERT model")
}

fn candle_forward(model: &BertModel, batch: &[Vec<u32>]) {
    let width = batch.iter().map(Vec::len).max().unwrap_or(0);
    let padded = |token: &dyn Fn(u32) -> u32| -> Tensor {
        let flat: Vec<u32> =
            batch.iter().flat_map(|ids| (0..width).map(|i| ids.get(i).map_or(0, |id| token(*id))).collect::<Vec<_>>()).collect();
        Tensor::from_vec(flat, (batch.len(), width), &Device::Cpu).expect("a batch")
    };
    let (ids, mask) = (padded(&|id| id), padded(&|_| 1));
    let types = ids.zeros_like().expect("zeros");
    model.forward(&ids, &types, Some(&mask)).expect("a forward pass");
}
