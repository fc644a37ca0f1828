//! `millrace seal`: a chain over decided rows, for those who must be able to show later that nothing was changed.

use super::common::{self, Usage};
use crate::config::Config;
use crate::lifecycle::Exit;
use crate::store::postgres::{Link, PostgresStore};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const STATEMENT_TIMEOUT_MS: u64 = 3_600_000;

/// Seals the rows that are published since the last seal, and prints the newest seal of each partition, one JSON object a line.
///
/// Keep those lines where nobody who can write to the database can change them: `--check` with them shows later that no row below was changed,
/// added or taken away. Rows that `erase` has emptied still fit. Once a partition is sealed, `retention` removes whole seals alone; of what it has removed the number of rows is
/// compared, and what they said cannot be. It takes the role millrace_owner; `--check` that of a reader.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace seal --config deploy/millrace.toml --pipeline sentiment >> seals.jsonl\n  millrace seal --config deploy/millrace.toml --pipeline sentiment --check seals.jsonl\n\nExit codes: 0 sealed, or all fits; 1 failed; 2 wrong usage or config; 3 something was changed."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// Seals nothing: computes the chain anew, and compares it with the database's seals and with those in FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    check: Option<Option<PathBuf>>,
}

/// A line of what is kept elsewhere.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    pipeline: String,
    run: i32,
    topic: String,
    partition: i32,
    /// All rows below this offset.
    upto: i64,
    digest: String,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let pipeline = &*common::pipeline(&config, args.pipeline.as_deref())?.name;
    let kept = match &args.check {
        Some(Some(file)) => read(file)?,
        _ => Vec::new(),
    };
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let links = store.links(pipeline).await?;
    if args.check.is_some() {
        return check(&store, pipeline, &links, &kept).await;
    }
    let mut exit = Exit::Done;
    for link in &links {
        match store.seal(link).await {
            Ok(None) => {}
            Ok(Some(seal)) => {
                let (topic, partition) = (seal.partition.topic.to_string(), seal.partition.partition);
                let (run, upto, digest) = (seal.run, seal.upto, seal.digest);
                common::print_json(&Kept { pipeline: pipeline.into(), run, topic, partition, upto, digest })?;
            }
            // The other partitions are sealed all the same.
            Err(error) => {
                eprintln!("millrace: run {} {}: {error}", link.run, link.partition);
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

fn read(file: &Path) -> anyhow::Result<Vec<Kept>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|cause| {
            Usage(format!("{}, line {}: {cause}; it takes the lines that `millrace seal` printed", file.display(), number + 1))
                .into()
        })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}

async fn check(store: &PostgresStore, pipeline: &str, links: &[Link], kept: &[Kept]) -> anyhow::Result<Exit> {
    let mut wrong = Vec::new();
    let (mut fit, mut retired, mut held) = (0, 0, 0);
    let mut lines: Vec<&Kept> = kept.iter().filter(|line| line.pipeline == pipeline).collect();
    for link in links {
        let name = format!("run {} {}", link.run, link.partition);
        let checked = store.check_seals(link).await?;
        fit += checked.fit.len();
        retired += checked.retired.len();
        wrong.extend(checked.wrong.iter().map(|text| format!("{name}: {text}")));
        let here = |line: &Kept| {
            (line.run, line.topic.as_str(), line.partition) == (link.run, &*link.partition.topic, link.partition.partition)
        };
        let (of_link, others) = lines.into_iter().partition(|line| here(line));
        lines = others;
        let known: BTreeMap<i64, &str> =
            checked.fit.iter().chain(&checked.retired).map(|(upto, digest)| (*upto, digest.as_str())).collect();
        for line in of_link as Vec<&Kept> {
            match known.get(&line.upto) {
                Some(digest) if *digest == line.digest => held += 1,
                Some(_) => wrong.push(format!("{name}: the seal at offset {} is not the one that was kept", line.upto)),
                None => wrong.push(format!("{name}: a seal was kept of offset {}, and there is none that fits", line.upto)),
            }
        }
    }
    wrong.extend(lines.iter().map(|line| {
        format!(
            "run {} {}/{}: it was sealed up to offset {}, and the database has no such partition",
            line.run, line.topic, line.partition, line.upto
        )
    }));
    for text in &wrong {
        eprintln!("millrace: {text}");
    }
    println!("pipeline {pipeline}: {fit} seals fit their rows, {held} seals are those that were kept");
    if retired > 0 {
        println!("  {retired} seals are of rows that retention has removed: their number was compared, and not what they said");
    }
    let erased = store.erased_rows(pipeline).await?;
    if erased > 0 {
        println!("  {erased} rows were erased on demand: their payload cannot be checked");
    }
    Ok(if wrong.is_empty() { Exit::Done } else { Exit::Halted })
}
