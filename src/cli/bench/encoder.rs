//! An encoder, and each of its savings turned off in turn.

use super::measure::{Peak, Row, in_turns};
use super::{Model, stock, told};
use crate::inference::network::{BERTS, Plan};
use crate::inference::{Backbones, Encoder, Head, InferenceError, Memory, Options, Results, Threads};
use anyhow::Result;
use std::path::Path;

/// Texts that candle gets together.
const BATCH: usize = 32;

pub fn report(folder: &Path, texts: Vec<String>, args: &Model) -> Result<String> {
    // One set of weights: all of them stand on the same encoder.
    let options = Options { threads: Threads::Exactly(1), ..Options::default() };
    let open = |options: Options| Encoder::open("bench", folder, None, &options);
    let ask = |encoder: &Encoder, head: Head| encoder.answer_blocking(head, texts.clone()).map(drop);
    // With weights of its own, and what it took to load them and to answer once.
    let measured = |options: Options| {
        let peak = Peak::begin();
        let encoder = open(options.clone())?;
        ask(&encoder, Head::Embed)?;
        let weights: usize = options.memory.held().iter().map(|of| of.bytes).sum();
        Ok::<_, InferenceError>((encoder, weights, peak.end()))
    };
    let (all_on, weights, peak) = measured(options.clone())?;
    let others = [
        ("equal texts of a call computed each", Options { merge: false, ..options.clone() }),
        ("texts as they come, not by length", Options { sort: false, ..options.clone() }),
        ("one text a pass, not packed", Options { token_budget: 1, ..options.clone() }),
        ("with a cache of answers (off by default)", Options { results: Results::new(64 << 20), ..options.clone() }),
    ];
    let others = others.into_iter().map(|(name, options)| Ok((name, open(options)?)));
    let others = others.collect::<Result<Vec<_>, InferenceError>>()?;

    let plans = match BERTS.contains(&all_on.described().family.as_str()) {
        true => vec![
            ("attention scale when it runs, not in the weights", Plan { folded: false, joined: true }),
            ("query, key, value apart, not one product", Plan { folded: true, joined: false }),
        ],
        false => Vec::new(),
    };
    let plan = |(name, plan): (&'static str, Plan)| {
        let own = Options { backbones: Backbones::by_plan(plan), memory: Memory::default(), ..options.clone() };
        Ok((name, measured(own)?))
    };
    let plans = plans.into_iter().map(plan).collect::<Result<Vec<_>, InferenceError>>()?;

    let mut ids: Vec<Vec<u32>> =
        texts.iter().map(|text| Ok(all_on.tokenize(text)?.ids)).collect::<Result<_, InferenceError>>()?;
    let tokens: usize = ids.iter().map(Vec::len).sum();
    ids.sort_by_key(Vec::len);
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let encode = |network: &crate::inference::stock::Stock| ids.chunks(BATCH).try_for_each(|batch| network.encode(batch));
    let (candle, note) = stock(folder, encode);
    let stock_weights = size_of::<f32>() * all_on.described().parameters;

    let whole = open(Options { firsts: false, ..options.clone() })?;

    let mut rows = vec![Row::new("all on", || Ok(ask(&all_on, Head::Embed)?)).with(weights, peak)];
    for (name, encoder) in &others {
        rows.push(Row::new(name, || Ok(ask(encoder, Head::Embed)?)));
    }
    for (name, (encoder, weights, peak)) in &plans {
        rows.push(Row::new(name, || Ok(ask(encoder, Head::Embed)?)).with(*weights, *peak));
    }
    if all_on.labels().is_some() {
        rows.push(Row::new("labels", || Ok(ask(&all_on, Head::Logits)?)));
        rows.push(Row::new("labels, last layer for all tokens", || Ok(ask(&whole, Head::Logits)?)));
    }
    if let Some((network, peak)) = &candle {
        rows.push(Row::new("candle, sorted, 32 padded, no tokenising", || Ok(encode(network)?)).with(stock_weights, *peak));
    }
    in_turns(&mut rows, args.rounds)?;
    let family = &all_on.described().family;
    let head = format!(
        "{}: {family}, {} texts, {tokens} tokens, one thread, median of {} rounds in turns",
        folder.display(),
        texts.len(),
        args.rounds
    );
    Ok(told(head, &rows, note))
}
