//! `millrace parity`: a file through the fold that runs on the stream, beside a reference.

mod compare;
pub(super) mod input;

use super::common::{self, Usage};
use crate::config::Config;
use crate::lifecycle::Exit;
use crate::state::in_memory::InMemory;
use crate::state::risk::RiskFold;
use compare::{Difference, Reference};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Replays a file through the risk fold, in the order of the file, and compares its features with a reference.
///
/// Ends with 0 when every row of the reference is equal, 1 when one differs or is missing, 2 on wrong usage.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  millrace parity --config deploy/samples/risk-handbook.toml --input transactions.csv.gz --reference expected.csv.gz"
)]
pub struct Args {
    /// A config with [risk].
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// Events: a CSV file with a header, or JSON lines (.jsonl); also .gz.
    #[arg(long)]
    input: PathBuf,
    /// A CSV file with the id and features by their names; also .gz. An empty field is "no value".
    #[arg(long)]
    reference: PathBuf,
    /// Largest difference that counts as equal: of numbers above 1 the share of the number.
    #[arg(long, default_value_t = 1e-9)]
    tolerance: f64,
    /// How many of the differing rows are shown.
    #[arg(long, default_value_t = 20)]
    show: usize,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    digest: String,
    events: u64,
    keys: usize,
    late: u64,
    /// By code and field.
    rejected: BTreeMap<String, u64>,
    rows: usize,
    columns: usize,
    not_compared: Vec<String>,
    differing: u64,
    missing: usize,
    first: Vec<Difference>,
    seconds: f64,
}

pub fn run(args: &Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let risk = config.risk.ok_or_else(|| Usage(format!("{} has no [risk]; declare features there", args.config.display())))?;
    if !(args.tolerance >= 0.0 && args.tolerance.is_finite()) {
        return Err(Usage(format!("--tolerance {}: write a number from 0 on", args.tolerance)).into());
    }
    let fold = RiskFold::new(&risk);
    let mut reference = Reference::read(&args.reference, &risk.file.id, fold.names())?;
    let mut report = Report {
        digest: crate::state::Fold::digest(&fold).to_owned(),
        rows: reference.rows(),
        columns: reference.columns(),
        not_compared: std::mem::take(&mut reference.unknown),
        ..Report::default()
    };
    let bar = ProgressBar::new(std::fs::metadata(&args.input).map_or(0, |file| file.len()))
        .with_style(ProgressStyle::with_template("{wide_bar} {percent}% {msg}, {eta} left")?);
    let started = Instant::now();
    let numbers = RiskFold::new(&risk);
    let mut states = InMemory::new(fold);
    for event in input::events(&args.input, &bar, &risk.file, move |column| numbers.reads_number(column))? {
        let event = event?;
        report.events += 1;
        if report.events.is_multiple_of(16_384) {
            bar.set_message(format!("{} events", report.events));
        }
        match states.apply(&event) {
            Ok(features) => {
                report.late += u64::from(features.late);
                if let Some(difference) = reference.compare(&event.id, &features.numbers, args.tolerance) {
                    report.differing += 1;
                    if report.first.len() < args.show {
                        report.first.push(difference);
                    }
                }
            }
            Err(rejection) => {
                let place = rejection.field.map_or(rejection.code.to_owned(), |field| format!("{} {field}", rejection.code));
                *report.rejected.entry(place).or_default() += 1;
            }
        }
    }
    bar.finish_and_clear();
    report.keys = states.keys();
    report.missing = reference.missing();
    report.seconds = started.elapsed().as_secs_f64();
    if args.json {
        common::print_json(&report)?;
    } else {
        print(&report, args.tolerance);
    }
    Ok(if report.differing == 0 && report.missing == 0 { Exit::Done } else { Exit::Failed })
}

fn print(report: &Report, tolerance: f64) {
    let Report { events, keys, rows, columns, differing, missing, seconds, late, .. } = report;
    println!("{events} events of {keys} keys in {seconds:.1} s, {late} of them late; fold {}", report.digest);
    for (place, count) in &report.rejected {
        println!("{count} rejected: {place}");
    }
    if !report.not_compared.is_empty() {
        println!("not compared, no features: {}", report.not_compared.join(", "));
    }
    for difference in &report.first {
        println!("{difference}");
    }
    println!("{rows} rows of {columns} columns: {differing} differ by more than {tolerance}, {missing} are missing");
}
