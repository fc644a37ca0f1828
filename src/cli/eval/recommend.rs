//! `millrace eval recommend`: a file through the fold, and how well its lists foresee what comes.

use super::input;
use super::metrics::{Means, Metrics};
use super::protocols::{Evaluation, Split, newest_sessions};
use crate::cli::common::{self, Usage};
use crate::config::Config;
use crate::lifecycle::Exit;
use crate::state::in_memory::InMemory;
use crate::state::recommend::RecommendFold;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Negatives of the protocol `uni100`.
const NEGATIVES: usize = 100;

/// Runs a file through the recommendation fold in stream order, and measures its lists.
///
/// Files: `user item` lines, tab- or comma-separated files with a header, `::` files; also .gz. Times are seconds, milliseconds or
/// RFC 3339; a file without times is taken in its order.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace eval recommend --protocol full-filter --input ml-1m.txt --config deploy/samples/recommend-sequence.toml\n  millrace eval recommend --protocol session --input train.txt --test test.txt --config deploy/samples/recommend-sessions.toml --json"
)]
pub struct Args {
    /// What is asked, and what is folded before.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// Who took what.
    #[arg(long)]
    input: PathBuf,
    /// Items with titles and categories.
    #[arg(long)]
    items: Option<PathBuf>,
    /// For `session`: the sessions to ask. Default: those that begin in the last fifth of the input.
    #[arg(long)]
    test: Option<PathBuf>,
    /// A config with [recommend].
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// For leave-one-out: `valid` asks for the last but one item of each user, to choose settings by.
    #[arg(long, value_enum, default_value = "test")]
    split: Split,
    /// For `prequential`: share of the events that are folded before any is asked.
    #[arg(long, default_value_t = 0.2)]
    warm_up: f64,
    /// Of the negatives of `uni100`.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Protocol {
    /// Leave one out, against 100 uniform negatives.
    Uni100,
    /// Leave one out, against all items.
    Full,
    /// Leave one out, against all items that the user has not seen.
    FullFilter,
    /// Test, then train, over all events.
    Prequential,
    /// The next item of each session.
    Session,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    protocol: Protocol,
    digest: String,
    events: usize,
    keys: usize,
    #[serde(flatten)]
    means: Means,
    seconds: f64,
}

pub fn run(args: &Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let mut settings = config
        .recommend
        .ok_or_else(|| Usage(format!("{} has no [recommend]; declare the signals there", args.config.display())))?;
    if !(0.0..=1.0).contains(&args.warm_up) {
        return Err(Usage(format!("--warm-up {} is no share; write 0 to 1", args.warm_up)).into());
    }
    match args.protocol {
        Protocol::FullFilter => settings.blend.filter_seen = true,
        Protocol::Full | Protocol::Uni100 => settings.blend.filter_seen = false,
        Protocol::Prequential | Protocol::Session => {}
    }
    let taken = input::takings(&args.input)?;
    let items = args.items.as_ref().map(|path| input::items(path, taken.first().map_or(0, |first| first.time_ms))).transpose()?;
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} events, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(taken.len() as u64).with_style(style);
    let progress = || bar.inc(1);
    let started = Instant::now();
    let states = InMemory::new(RecommendFold::new(&settings));
    let mut evaluation = Evaluation { states, metrics: Metrics::default(), progress: &progress };
    evaluation.describe(items.as_deref().unwrap_or_default())?;
    let events = taken.len();
    match args.protocol {
        Protocol::Uni100 => evaluation.leave_one_out(&taken, args.split, Some((NEGATIVES, args.seed)))?,
        Protocol::Full | Protocol::FullFilter => evaluation.leave_one_out(&taken, args.split, None)?,
        Protocol::Prequential => evaluation.prequential(&taken, args.warm_up)?,
        Protocol::Session => {
            let (train, test) = match &args.test {
                Some(path) => (taken, input::takings(path)?),
                None => newest_sessions(taken),
            };
            evaluation.sessions(&train, &test)?;
        }
    }
    bar.finish_and_clear();
    let report = Report {
        protocol: args.protocol,
        digest: crate::state::Fold::digest(evaluation.states.fold()).to_owned(),
        events,
        keys: evaluation.states.keys(),
        means: evaluation.metrics.means(),
        seconds: started.elapsed().as_secs_f64(),
    };
    if args.json {
        common::print_json(&report)?;
    } else {
        let Means { support, hr_10, ndcg_10, mrr_20, hit_rate_20 } = &report.means;
        println!(
            "HR@10 {hr_10:.4}  NDCG@10 {ndcg_10:.4}  MRR@20 {mrr_20:.4}  HitRate@20 {hit_rate_20:.4}  of {support} events asked"
        );
        println!("{} events, {} keys, {:.1} s, settings {}", report.events, report.keys, report.seconds, report.digest);
    }
    Ok(Exit::Done)
}
