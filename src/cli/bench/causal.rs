//! A causal language model, and each of its savings turned off in turn.

use super::measure::{Peak, Row, in_turns};
use super::{Model, stock, told};
use crate::inference::Threads;
use crate::inference::causal::{BLOCK, Generator, Options, Request};
use crate::inference::generate::Vocabulary;
use crate::inference::stock::Stock;
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use std::path::Path;

pub fn report(folder: &Path, texts: &[String], args: &Model) -> Result<String> {
    let new = args.new_tokens;
    let options = Options { threads: Threads::Exactly(1), ..Options::default() };
    let peak = Peak::begin();
    let generator = Generator::open("bench", folder, None, &options)?;
    let room = generator.room().saturating_sub(new) / 2;
    ensure!(room > 0, "the model has no room for a text and {new} tokens more; give fewer --new-tokens");
    let vocabulary = Vocabulary::open(folder)?;
    let (mut prefix, mut other) = (Vec::new(), Vec::new());
    let mut prompts: Vec<Vec<u32>> = Vec::new();
    for text in texts.iter().take(args.prompts) {
        let mut ids = vocabulary.plain(text, true)?;
        ensure!(!ids.is_empty(), "a text without tokens");
        ids.truncate(room);
        prompts.push(ids);
    }
    // What all texts begin with, as a template would; of the same length one that nobody remembers.
    let shared: Vec<u32> = prompts.concat().into_iter().take(room.min(4 * BLOCK)).collect();
    prefix.extend(&shared);
    other.extend(shared.iter().rev());
    let begin = |with: &[u32]| prompts.iter().map(|ids| [with, ids].concat()).collect::<Vec<Vec<u32>>>();
    let (prompts, unknown) = (begin(&prefix), begin(&other));
    generator.remember(prefix)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let request = |ids: &Vec<u32>| Request::greedy(ids.clone(), new, Vec::new());
    let together = |prompts: &[Vec<u32>]| {
        runtime.block_on(try_join_all(prompts.iter().map(|ids| generator.generate(request(ids))))).map(drop)
    };
    together(&prompts)?;
    let (peak, bytes) = (peak.end(), generator.bytes());
    let one_by_one = || prompts.iter().try_for_each(|ids| runtime.block_on(generator.generate(request(ids))).map(drop));
    let write = |network: &Stock| prompts.iter().try_for_each(|ids| network.write(ids, new).map(drop));
    let (candle, note) = stock(folder, write);

    let mut rows = vec![
        Row::new("all on", || Ok(together(&prompts)?)).with(bytes.weights, peak),
        Row::new("one text after another, not together", || Ok(one_by_one()?)),
        Row::new("a beginning that is not remembered", || Ok(together(&unknown)?)),
    ];
    if let Some((network, peak)) = &candle {
        rows.push(Row::new("candle, one text after another", || Ok(write(network)?)).with(bytes.weights, *peak));
    }
    in_turns(&mut rows, args.rounds)?;
    let tokens: usize = prompts.iter().map(Vec::len).sum();
    let head = format!(
        "{}: {} prompts, {tokens} tokens, {new} new ones each, one thread, median of {} rounds in turns",
        folder.display(),
        prompts.len(),
        args.rounds
    );
    Ok(told(head, &rows, note))
}
