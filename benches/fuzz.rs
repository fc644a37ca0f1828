//! Looks for damaged inputs on which something panics, takes too long, or is answered in a new way; the latter are damaged further.
//!
//! ```sh
//! cargo test --locked --bench fuzz -- --minutes 60 --seed 1 --keep FOLDER [--only NAME]
//! ```
//!
//! In the development profile arithmetic that overflows panics too. `FOLDER/now` holds the case under way, for what ends the process;
//! findings go to `FOLDER/TARGET/FILE.HASH`. Exit code 1 when there are any.

#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

use clap::Parser;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A case that takes longer is a finding.
const SLOW: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where findings, and the first case of each new kind of outcome, are kept
    #[arg(long, default_value = "target/fuzz")]
    keep: PathBuf,
    /// Targets whose names begin so
    #[arg(long, default_value = "")]
    only: String,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn keep(folder: &Path, target: &str, file: &str, bytes: &[u8]) {
    let hash: String = Sha256::digest(bytes).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let folder = folder.join(target);
    let path = folder.join(format!("{file}.{hash}"));
    if let Err(error) = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, bytes)) {
        eprintln!("{} could not be written: {error}", path.display());
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let targets: Vec<_> = fuzz::targets::all().into_iter().filter(|target| target.name.starts_with(&args.only)).collect();
    let mut rng = StdRng::seed_from_u64(args.seed);
    // Inputs to damage, by target and file: the good one first, then one of each kind of outcome.
    let mut pool: HashMap<(usize, String), Vec<Vec<u8>>> = HashMap::new();
    let (mut kinds, mut findings, mut cases) = (HashSet::new(), HashSet::new(), 0u64);
    for (number, target) in targets.iter().enumerate() {
        for file in target.damaged() {
            let good = target.files[file].clone();
            let ended = fuzz::run(target, file, &good);
            println!("{} {file}: {}", target.name, ended.outcome.chars().take(100).collect::<String>());
            assert!(ended.panics.is_empty(), "{:?}", ended.panics);
            kinds.insert((number, fuzz::outcome::kind(&ended.outcome)));
            pool.insert((number, file.to_owned()), vec![good]);
        }
    }
    let start = Instant::now();
    let mut told = start;
    while start.elapsed().as_secs_f64() < 60.0 * args.minutes {
        let number = rng.random_range(0..targets.len());
        let target = &targets[number];
        let files = target.damaged();
        let file = files[rng.random_range(0..files.len())];
        let Some(seeds) = pool.get_mut(&(number, file.to_owned())) else { continue };
        let seed = &seeds[if rng.random_ratio(1, 2) { 0 } else { rng.random_range(0..seeds.len()) }];
        let bytes = fuzz::mutate::mutated(file, seed, seeds, &mut rng);
        keep_now(&args.keep, &target.name, file, &bytes);
        let began = Instant::now();
        let ended = fuzz::run(target, file, &bytes);
        cases += 1;
        let slow = began.elapsed() > SLOW;
        if slow || !ended.panics.is_empty() {
            let why = if slow { format!("{:.0} s", began.elapsed().as_secs_f64()) } else { ended.panics.join("; ") };
            if findings.insert((target.name.clone(), fuzz::outcome::kind(&why))) {
                println!("FINDING {} {file}: {why}", target.name);
                keep(&args.keep, &target.name, file, &bytes);
            }
        } else if kinds.insert((number, fuzz::outcome::kind(&ended.outcome))) && seeds.len() < 200 {
            keep(&args.keep.join("kinds"), &target.name, file, &bytes);
            seeds.push(bytes);
        }
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!(
                "{:.0} min: {cases} cases, {} kinds of outcome, {} findings",
                start.elapsed().as_secs_f64() / 60.0,
                kinds.len(),
                findings.len()
            );
        }
    }
    println!(
        "{cases} cases in {:.1} min, {} kinds of outcome, {} findings",
        start.elapsed().as_secs_f64() / 60.0,
        kinds.len(),
        findings.len()
    );
    ExitCode::from(u8::from(!findings.is_empty()))
}

/// The case under way, should it end the process.
fn keep_now(folder: &Path, target: &str, file: &str, bytes: &[u8]) {
    let folder = folder.join("now");
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("input"), bytes))
        .and_then(|()| std::fs::write(folder.join("name"), format!("{target} {file}\n")));
    if let Err(error) = written {
        eprintln!("{} could not be written: {error}", folder.display());
    }
}
