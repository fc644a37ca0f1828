//! What `millrace train generate` is asked for.

use crate::train::causal::adapter::Matrix;
use crate::train::fit::Plan;
use crate::train::optimiser::Fall;
use std::path::{Path, PathBuf};

/// Trains a causal language model on a text, on the texts of a file of lines of JSON, or on conversations.
///
/// Without --from a new network of Llama's layout is made, and --tokenizer says what its tokens are. With --from a folder's network goes
/// on learning; with --lora-rank it stays as it is, and small adapters learn beside it, which are merged into what is written. In
/// conversations (`messages`) only what the assistant says is learnt.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace train generate --train shakespeare.txt --tokenizer characters --out models/shakespeare --minutes 170\n  millrace train generate --from SMOLLM2 --train chats.jsonl --lora-rank 8 --out models/support\n  millrace train generate --from SMOLLM2 --train chats.jsonl --lora-rank 8 --out models/support --resume"
)]
pub struct Args {
    /// A text, or .jsonl with `text` or `messages` a line; also .gz
    #[arg(long)]
    pub train: PathBuf,
    /// The same to measure on. Default: the last tenth of the training file
    #[arg(long)]
    pub dev: Option<PathBuf>,
    /// Folder of a model that goes on learning
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// For a new network: `characters`, or a folder whose tokenizer.json is taken
    #[arg(long)]
    pub tokenizer: Option<String>,
    /// Folder to write
    #[arg(long)]
    pub out: PathBuf,
    /// Layers of a new network. Default 6
    #[arg(long)]
    pub layers: Option<usize>,
    /// Columns of a new network. Default 256
    #[arg(long)]
    pub hidden: Option<usize>,
    /// Attention heads of a new network. Default: one for 64 columns
    #[arg(long)]
    pub heads: Option<usize>,
    /// Heads of keys and values of a new network. Default: as many
    #[arg(long)]
    pub kv_heads: Option<usize>,
    /// Columns of the feed-forward parts of a new network. Default: eight thirds of --hidden
    #[arg(long)]
    pub wide: Option<usize>,
    /// Tokens of an example at most
    #[arg(long, default_value_t = 256)]
    pub context: usize,
    /// Passes over the training file. Default 16 for a new network, else 1
    #[arg(long)]
    epochs: Option<usize>,
    /// Examples of a step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Peak learning rate. Default 1e-3 for a new network, 2e-4 for adapters, else 5e-5
    #[arg(long)]
    lr: Option<f64>,
    /// How the rate falls to zero
    #[arg(long, value_enum, default_value_t = Fall::Linear)]
    fall: Fall,
    /// Share of the way on which the rate rises
    #[arg(long, default_value_t = 0.03)]
    warm_up: f64,
    /// How slowly the optimiser forgets how large gradients were
    #[arg(long, default_value_t = 0.99)]
    beta2: f64,
    /// Of matrices. Default 0.1 for a new network, else 0
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Share of what goes through the network that is left out while it learns. Default 0.1 for a new network, else 0
    #[arg(long)]
    drop_out: Option<f32>,
    /// Width of the adapters; the network itself stays
    #[arg(long)]
    pub lora_rank: Option<usize>,
    /// Adapters count alpha / rank times. Default: twice the rank
    #[arg(long)]
    pub lora_alpha: Option<f64>,
    /// Matrices with adapters
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Matrix::Q, Matrix::V])]
    pub lora_matrices: Vec<Matrix>,
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// End within so many minutes: the learning rate then falls by the clock
    #[arg(long)]
    minutes: Option<f64>,
    /// Stop after N steps, to measure speed
    #[arg(long)]
    max_steps: Option<usize>,
    /// Measurements a pass over the training file
    #[arg(long, default_value_t = 2)]
    checks: usize,
    /// Stop after so many measurements without a better one
    #[arg(long)]
    patience: Option<usize>,
    /// Go on with a run of the same command that was cut off, to the same result; begin where there is none
    #[arg(long)]
    pub resume: bool,
    /// Write down every N seconds how far the run is: of a large network gigabytes
    #[arg(long, default_value_t = 300)]
    pub keep_seconds: u64,
}

impl Args {
    /// Options that do not go together.
    pub fn objection(&self) -> Option<&'static str> {
        let sizes = [self.layers, self.hidden, self.heads, self.kv_heads, self.wide];
        match (&self.from, &self.tokenizer) {
            (None, None) => Some("name a model with --from, or what the tokens of a new one are with --tokenizer characters"),
            (Some(_), Some(_)) => Some("--tokenizer is for a new network; one that goes on has its own"),
            (Some(_), None) if sizes.iter().any(Option::is_some) => {
                Some("sizes are those of the model of --from; leave them out")
            }
            (None, _) if self.lora_rank.is_some() => Some("adapters need a model to stand on; name it with --from"),
            _ if self.lora_rank.is_none() && self.lora_alpha.is_some() => Some("--lora-alpha needs --lora-rank"),
            _ if self.from.as_ref().is_some_and(|from| same(from, &self.out)) => {
                Some("--out is the folder of --from; name another")
            }
            _ if !(0.0..1.0).contains(&self.warm_up) || !(0.0..1.0).contains(&self.beta2) => {
                Some("--warm-up and --beta2 are from 0 to below 1")
            }
            _ if !(0.0..1.0).contains(&self.drop_out.unwrap_or(0.0)) => Some("--drop-out is from 0 to below 1"),
            _ => None,
        }
    }

    pub fn plan(&self) -> Plan {
        let new = self.from.is_none();
        let rate = if new {
            1e-3
        } else if self.lora_rank.is_some() {
            2e-4
        } else {
            5e-5
        };
        Plan {
            epochs: self.epochs.unwrap_or(if new { 16 } else { 1 }),
            rate: self.lr.unwrap_or(rate),
            batch: self.batch,
            weight_decay: self.weight_decay.unwrap_or(if new { 0.1 } else { 0.0 }),
            beta2: self.beta2,
            fall: self.fall,
            warm_up: self.warm_up,
            seed: self.seed,
            checks: self.checks,
            minutes: self.minutes,
            max_steps: self.max_steps,
            patience: self.patience,
            ..Plan::default()
        }
    }

    pub fn drop_out(&self) -> f32 {
        self.drop_out.unwrap_or(if self.from.is_none() { 0.1 } else { 0.0 })
    }

    /// The command, without the places where files lay.
    pub fn shown(&self) -> String {
        let plan = self.plan();
        let mut command = format!("millrace train generate --train {} --out {}", name(&self.train), name(&self.out));
        let mut add =
            |option: &str, value: Option<String>| command += &value.map_or(String::new(), |value| format!(" --{option} {value}"));
        add("dev", self.dev.as_deref().map(name));
        add("from", self.from.as_deref().map(name));
        add("tokenizer", self.tokenizer.as_ref().map(|tokenizer| name(Path::new(tokenizer))));
        let sizes = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("kv-heads", self.kv_heads),
            ("wide", self.wide),
        ];
        sizes.into_iter().for_each(|(option, size)| add(option, size.map(|size| size.to_string())));
        add("context", Some(self.context.to_string()));
        add("epochs", Some(plan.epochs.to_string()));
        add("batch", Some(plan.batch.to_string()));
        add("lr", Some(plan.rate.to_string()));
        add("fall", Some(format!("{:?}", plan.fall).to_lowercase()));
        add("warm-up", Some(plan.warm_up.to_string()));
        add("beta2", Some(plan.beta2.to_string()));
        add("weight-decay", Some(plan.weight_decay.to_string()));
        add("drop-out", Some(self.drop_out().to_string()));
        add("lora-rank", self.lora_rank.map(|rank| rank.to_string()));
        add("lora-alpha", self.lora_alpha.map(|alpha| alpha.to_string()));
        let matrices: Vec<String> = self.lora_matrices.iter().map(|matrix| format!("{matrix:?}").to_lowercase()).collect();
        add("lora-matrices", self.lora_rank.map(|_| matrices.join(",")));
        add("seed", Some(plan.seed.to_string()));
        add("minutes", self.minutes.map(|minutes| minutes.to_string()));
        add("max-steps", self.max_steps.map(|steps| steps.to_string()));
        add("checks", Some(plan.checks.to_string()));
        add("patience", self.patience.map(|patience| patience.to_string()));
        command
    }
}

fn same(a: &Path, b: &Path) -> bool {
    a.exists() && a.canonicalize().ok() == b.canonicalize().ok()
}

/// The last part of a path: files are named, never where they lie.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
