//! `deploy/local/with.sh cargo bench --locked --bench copy_pipeline -- [MODE] [OPTIONS]`: the whole path as a user runs it. The
//! program is a process of its own between a real Kafka and a real Postgres, with the function `copy` or `risk`, mode `both`, exactly once.
//!
//! `throughput` (default): a backlog, with the ceilings of the same services beside it. `latency`: a steady rate. `kill`: how long
//! the partitions of a killed worker stand still. `scale`: a backlog with 1, 2 and 4 workers, and how long partitions stand still while a worker joins.
//! `hold`: a rate that goes up, until records come later and later. `soak`: a share of what was measured first, for an hour, with a
//! picture. `--accounts 1` makes one partition hot. `--help` lists the options.

mod ceilings;
#[path = "../fold/forest.rs"]
#[expect(dead_code, reason = "the bench of the fold takes the model and not its file")]
mod forest;
mod function;
mod hold;
mod kill;
mod latency;
mod load;
mod plot;
mod scale;
mod soak;
mod stage;
mod throughput;

use clap::{Parser, ValueEnum};
use std::path::{Path, PathBuf};

impl Options {
    /// The rest of the pipeline's section.
    fn config(&self, folder: &Path) -> Anyhow<String> {
        self.function.config(folder, self.review)
    }

    fn spread(&self) -> load::Spread {
        load::Spread { accounts: self.accounts.max(1), step_ms: self.step_ms as i64 }
    }
}

/// What went wrong: a bench only prints it.
type Anyhow<T> = anyhow::Result<T>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Throughput,
    Latency,
    Kill,
    Scale,
    Hold,
    Soak,
}

/// Measures the pipeline `copy` from Kafka to Postgres and Kafka.
#[derive(Debug, Parser)]
struct Options {
    #[arg(value_enum, default_value = "throughput")]
    mode: Mode,
    /// What the pipeline runs
    #[arg(long, value_enum, default_value = "copy")]
    function: function::Scoring,
    /// risk: from which score on an event is reviewed, at most 999, which explains it
    #[arg(long, default_value_t = 800)]
    review: u32,
    /// How many keys there are; with 1 all events are in one partition
    #[arg(long, default_value_t = 50_000)]
    accounts: u64,
    /// Event time between one event and the next, milliseconds; what windows hold follows from it and from --accounts
    #[arg(long, default_value_t = 1)]
    step_ms: u64,
    /// throughput, scale, soak (to find the rate): events of the backlog
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// throughput: how often; every run has topics and a database of its own, and the ceilings are measured in each
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// throughput: leave the ceilings out
    #[arg(long)]
    no_ceilings: bool,
    /// latency, kill, hold, soak: events a second (default 20,000, 5,000, 1,000 at first, and what --share says)
    #[arg(long)]
    rate: Option<u64>,
    /// latency: how long, seconds; the first two are not counted. hold: how long a step is
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// kill: workers
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// kill: how often
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// soak: share of the rate at which a backlog was worked off
    #[arg(long, default_value_t = 0.7)]
    share: f64,
    /// soak: how long, after the warm-up
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// hold, soak: minutes before those that count: claims, caches that fill, windows that fill, the first checkpoint
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// soak: also write the picture here, as SVG
    #[arg(long)]
    plot: Option<PathBuf>,
    /// A librdkafka property of the worker, `name=value`; may be given again
    #[arg(long)]
    property: Vec<String>,
    /// Also write the figures here
    #[arg(long)]
    json: Option<PathBuf>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Anyhow<()> {
    let options = Options::parse();
    if std::env::var_os("MILLRACE_KAFKA__BROKERS").is_none() || std::env::var_os("DATABASE_URL").is_none() {
        println!("nothing was measured: Kafka and Postgres are needed, run it through deploy/local/with.sh");
        return Ok(());
    }
    let figures = match options.mode {
        Mode::Throughput => throughput::run(&options).await?,
        Mode::Latency => latency::run(&options).await?,
        Mode::Kill => kill::run(&options).await?,
        Mode::Scale => scale::run(&options).await?,
        Mode::Hold => hold::run(&options).await?,
        Mode::Soak => soak::run(&options).await?,
    };
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?)?;
    }
    Ok(())
}

/// The middle of the numbers, and any other share of them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers
}
