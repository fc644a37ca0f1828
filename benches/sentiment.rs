//! `cargo bench --locked --bench sentiment`: texts a CPU second of the function's encoder with `models/sentiment-en`, beside plain
//! candle with the same weights, in turns, one thread each, tokenising and the head included on both sides. Then how long a text waits
//! when they come at random at half of the rate that was just measured. The texts are the demo's.

use anyhow::{Context, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear, ops::softmax};
use candle_transformers::models::bert::{BertModel, Config};
use millrace::inference::{Encoder, Head, Options, Threads, Weights, batch};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const TEXTS: usize = 512;
const CANDLE_BATCH: usize = 32;
const TICKS_A_SECOND: f64 = 100.0;

fn main() -> anyhow::Result<()> {
    millrace::inference::limit_threads();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/sentiment-en");
    let texts: Vec<String> = include_str!("../src/cli/demo/messages.jsonl")
        .lines()
        .take(TEXTS)
        .map(|line| {
            let message: serde_json::Value = serde_json::from_str(line)?;
            Ok(message["text"].as_str().context("a message without text")?.to_owned())
        })
        .collect::<anyhow::Result<_>>()?;
    let options = Options { threads: Threads::Exactly(1), ..Options::default() };
    let encoder = Arc::new(Encoder::open("sentiment-en", &folder, None, &options)?);
    let candle = Candle::open(&folder)?;
    let tokenise = || texts.iter().map(|text| Ok(encoder.tokenize(text)?.ids)).collect::<anyhow::Result<Vec<Vec<u32>>>>();

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut answers, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(timed(|| {
            answers = encoder.answer_blocking(Head::Classify, texts.clone())?.into_iter().map(|answer| answer.values).collect();
            Ok(())
        })?);
        theirs.push(timed(|| {
            expected = candle.classify(&tokenise()?)?;
            Ok(())
        })?);
    }
    let off =
        answers.iter().flatten().zip(expected.iter().flatten()).map(|(a, b): (&f32, &f32)| (a - b).abs()).fold(0.0, f32::max);
    ensure!(answers.len() == expected.len() && off < 1e-3, "the two disagree by {off}: they do not compute the same");

    let lengths: Vec<usize> = tokenise()?.iter().map(Vec::len).collect();
    let tokens: usize = lengths.iter().sum();
    let cut = |order: Vec<usize>| order.chunks(CANDLE_BATCH).map(<[usize]>::to_vec).collect::<Vec<_>>();
    let as_they_come = batch::padding_share(&lengths, &cut((0..lengths.len()).collect()));
    let sorted = batch::padding_share(&lengths, &cut(by_length(&lengths)));
    println!("{TEXTS} texts, {tokens} tokens, median of {ROUNDS} in turns; probabilities differ by {off:.1e} at most\n");
    println!("| | texts/CPU s | tokens/CPU s | texts/s on the clock | positions that are padding |\n|---|---|---|---|---|");
    let mut rates = Vec::new();
    for (name, times, padding) in
        [("millrace, packed", &mut ours, 0.0), ("candle, sorted by length, batches of 32", &mut theirs, sorted)]
    {
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (cpu, wall) = times[ROUNDS / 2];
        rates.push(TEXTS as f64 / cpu);
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.1} % |",
            TEXTS as f64 / cpu,
            tokens as f64 / cpu,
            TEXTS as f64 / wall,
            padding * 100.0
        );
    }
    println!(
        "\nratio {:.2}; batches of 32 as the texts come would be {:.1} % padding",
        rates[0] / rates[1],
        as_they_come * 100.0
    );
    let rate = TEXTS as f64 / ours[ROUNDS / 2].1 / 2.0;
    let waits = half_load(&encoder, &texts, rate)?;
    let at = |q: f64| waits[((waits.len() - 1) as f64 * q).round() as usize].as_secs_f64() * 1e3;
    println!(
        "\nat {rate:.0} texts/s, half of that: p50 {:.1}, p90 {:.1}, p99 {:.1} ms from arrival to answer",
        at(0.5),
        at(0.9),
        at(0.99)
    );
    Ok(())
}

/// Times from arrival to answer, in order, of texts that come one by one with exponential gaps, whoever still waits.
fn half_load(encoder: &Arc<Encoder>, texts: &[String], rate: f64) -> anyhow::Result<Vec<Duration>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut random, mut calls) = (StdRng::seed_from_u64(1), tokio::task::JoinSet::new());
        let mut arrival = tokio::time::Instant::now();
        for text in texts.iter().cycle().take(2 * TEXTS).cloned() {
            arrival += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / rate);
            tokio::time::sleep_until(arrival).await;
            let encoder = encoder.clone();
            calls.spawn(async move { encoder.answer(Head::Classify, vec![text]).await.map(|_| arrival.elapsed()) });
        }
        let mut waits: Vec<Duration> = calls.join_all().await.into_iter().collect::<Result<_, _>>()?;
        waits.sort();
        Ok(waits)
    })
}

/// Processor and clock seconds of this process's work.
fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<(f64, f64)> {
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    work()?;
    Ok((cpu_seconds()? - cpu, started.elapsed().as_secs_f64()))
}

fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS_A_SECOND)
}

fn by_length(lengths: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| lengths[index]);
    order
}

/// candle's BertModel with pooler and classifier, on the weights as `f32`.
struct Candle {
    bert: BertModel,
    pooler: Linear,
    classifier: Linear,
}

impl Candle {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let bytes = std::fs::read(folder.join("model.safetensors"))?;
        let file = safetensors::SafeTensors::deserialize(&bytes)?;
        let weights = Weights::open(folder, None)?;
        let tensors = weights.tensors()?;
        let mut all = HashMap::new();
        for name in file.names().into_iter().filter(|name| !name.ends_with(".scale")) {
            let shape = tensors.shape(name)?;
            all.insert(name.to_owned(), Tensor::from_vec(tensors.f32(name, &shape)?, shape, &Device::Cpu)?);
        }
        let hidden = config.hidden_size;
        let vb = VarBuilder::from_tensors(all, DType::F32, &Device::Cpu);
        Ok(Self {
            pooler: linear(hidden, hidden, vb.pp("bert.pooler.dense"))?,
            classifier: linear(hidden, 2, vb.pp("classifier"))?,
            bert: BertModel::load(vb, &config)?,
        })
    }

    /// Probabilities, in the order of the texts.
    fn classify(&self, texts: &[Vec<u32>]) -> anyhow::Result<Vec<Vec<f32>>> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let mut all = vec![Vec::new(); texts.len()];
        for batch in by_length(&lengths).chunks(CANDLE_BATCH) {
            let width = batch.iter().map(|&index| lengths[index]).max().unwrap_or(0);
            let (mut ids, mut mask) = (Vec::new(), Vec::new());
            for &index in batch {
                ids.extend((0..width).map(|at| texts[index].get(at).copied().unwrap_or(0)));
                mask.extend((0..width).map(|at| u32::from(at < lengths[index])));
            }
            let ids = Tensor::from_vec(ids, (batch.len(), width), &Device::Cpu)?;
            let mask = Tensor::from_vec(mask, (batch.len(), width), &Device::Cpu)?;
            let vectors = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
            let first = vectors.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
            let logits = self.classifier.forward(&self.pooler.forward(&first)?.tanh()?)?;
            for (index, row) in batch.iter().zip(softmax(&logits, 1)?.to_vec2::<f32>()?) {
                all[*index] = row;
            }
        }
        Ok(all)
    }
}
