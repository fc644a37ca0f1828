//! The recipe `full`: all weights of a BERT encoder are fine-tuned into a sequence classifier.

use super::{Args, Data, Report, measured, name, shown};
use crate::train::batches::Example;
use crate::train::checkpoint::{Folder, accuracy};
use crate::train::data::{Columns, Row, texts};
use crate::train::fit::{Fit, Plan};
use crate::train::learner::Learner;
use crate::train::{export, vocabulary};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;

pub fn run(args: &Args, data: Data, mut report: Report) -> Result<()> {
    let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
    let mut base = Folder::read(&args.from)?;
    let mut train = encode(&base, &data, &data.train, max_tokens(args))?;
    let mut dev = encode(&base, &data, &data.dev, max_tokens(args))?;
    if args.prune_vocabulary {
        prune(args, &columns, &mut base, (&mut train, &mut dev), &mut report)?;
    }
    if let Some(layers) = args.layers {
        let whole = base.config["num_hidden_layers"].as_u64().context("config.json has no num_hidden_layers")?;
        ensure!((1..=whole as usize).contains(&layers), "--layers is 1 to {whole}");
        base.config["num_hidden_layers"] = layers.into();
    }
    let network = base.network(data.found.len(), plan(args).seed)?;
    let trained: usize = network.parameters.values().map(|p| p.elem_count()).sum();
    let tokens: usize = train.iter().map(|example| example.ids.len()).sum();
    report.say(format!(
        "{} layers, {trained} trained parameters, {} texts, {tokens} tokens",
        network.shape.num_hidden_layers,
        train.len()
    ));

    let plan = plan(args);
    let learner = Learner { network: &network, train: &train, dev: &dev, seed: plan.seed };
    let fitted = Fit::new(&learner, &plan).run()?;
    let speed = fitted.tokens as f64 / fitted.seconds;
    report.say(format!(
        "trained {} steps in {:.0} s, {speed:.0} tokens/s; best dev accuracy {:.2}",
        fitted.steps,
        fitted.seconds,
        100.0 * fitted.best
    ));

    let (size, digest) = export::write(&args.out, &network, &base.config, &base.tokenizer, &data.names, args.int8)?;
    report.say(format!("model.safetensors: {size} bytes, sha256 {digest}"));
    let before = accuracy(&network, &dev)?;
    report.say(format!("dev accuracy before export {:.2}; of the written folder:", 100.0 * before));
    measured(&args.out, &data, &mut report)?;
    export::card(&args.out, &name(&args.out), &shown(args), report.lines())
}

/// How long and how fast, with the defaults filled in.
pub fn plan(args: &Args) -> Plan {
    Plan {
        epochs: args.epochs.unwrap_or(1),
        rate: args.lr.unwrap_or(7e-5),
        batch: args.batch.unwrap_or(32),
        weight_decay: args.weight_decay.unwrap_or(0.01),
        seed: args.seed.unwrap_or(42),
        checks: args.checks.unwrap_or(4),
        minutes: args.minutes,
        max_steps: args.max_steps,
        ..Plan::default()
    }
}

/// Tokens of a text at most.
pub fn max_tokens(args: &Args) -> usize {
    args.max_tokens.unwrap_or(128)
}

fn encode(folder: &Folder, data: &Data, rows: &[Row], most: usize) -> Result<Vec<Example>> {
    let tokenizer = vocabulary::tokenizer(&folder.tokenizer)?;
    let mut examples = Vec::with_capacity(rows.len());
    for row in rows {
        let encoding = tokenizer.encode_fast(row.text.as_str(), true).map_err(anyhow::Error::msg)?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.len() > most {
            let end = ids[ids.len() - 1];
            ids.truncate(most);
            ids[most - 1] = end;
        }
        examples.push(Example { ids, label: data.label(row) });
    }
    Ok(examples)
}

/// Smaller tables, smaller ids; says how many texts are cut into other pieces than before.
fn prune(
    args: &Args,
    columns: &Columns,
    base: &mut Folder,
    (train, dev): (&mut [Example], &mut [Example]),
    report: &mut Report,
) -> Result<()> {
    let used: HashSet<u32> = train.iter().chain(dev.iter()).flat_map(|example| example.ids.iter().copied()).collect();
    let before = vocabulary::tokenizer(&base.tokenizer)?;
    let pruned = vocabulary::prune(&base.tokenizer, &used)?;
    report.say(format!("vocabulary: {} of {} tokens stay", pruned.kept.len(), before.get_vocab_size(false)));
    for path in std::iter::once(&args.train).chain(&args.dev).chain(&args.prove_on) {
        let texts = texts(path, columns)?;
        let (count, first) = vocabulary::differing(&before, &pruned, &texts)?;
        let name = name(path);
        report.say(format!("{name}: {count} of {} texts tokenise differently {first:?}", texts.len()));
    }
    for (name, tensor) in &mut base.weights {
        if name.ends_with("word_embeddings.weight") {
            *tensor = pruned.keep_rows(tensor)?;
        }
    }
    for id in train.iter_mut().chain(dev).flat_map(|example| example.ids.iter_mut()) {
        *id = pruned.kept.binary_search(id).ok().context("a used token is gone")? as u32;
    }
    base.tokenizer = pruned.json;
    Ok(())
}
