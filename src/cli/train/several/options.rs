//! What `millrace train several` is asked for.

use crate::cli::common::Usage;
use crate::cli::train::args::Args;
use crate::cli::train::name;
use crate::cli::train::training::Training;
use crate::train::fit::Plan;
use crate::train::task::Task;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The encoder's folder among those that are written.
pub const ENCODER: &str = "encoder";
/// Names in the written folder that are no task's.
const TAKEN: [&str; 2] = [ENCODER, "runs"];

/// Trains one encoder for several tasks of texts together, with a head for each.
///
/// It writes OUT/encoder, which is an encoder as any other, and a folder for each task, OUT/NAME, a head on it: functions that use them share one encoder in memory, and `reply` asks
/// them in one pass. Each batch is of one task; a task has its turn by the square root of its number of rows.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  millrace train several --from models/minilm-en --task intent=intents.csv --task mood=mood.tsv --out models/ours --epochs 3
  millrace train several --from MINILM --task topic=topics.csv --dev topic=topics-dev.csv --task place=places.conll --out models/ours --tune-layers 2

Files are those of `millrace train`: one label, many or a number of a text or a pair of texts, or labels of words.")]
pub struct Options {
    /// Folder of the base model: config.json, tokenizer.json, model.safetensors. Without the last the network is drawn
    #[arg(long)]
    pub from: PathBuf,
    /// A task and its examples to learn from; once for each task
    #[arg(long = "task", value_name = "NAME=FILE", required = true)]
    pub tasks: Vec<Of>,
    /// A task's examples to measure on. Default: about a tenth of its file, chosen by the texts themselves
    #[arg(long, value_name = "NAME=FILE")]
    pub dev: Vec<Of>,
    /// Folder to write
    #[arg(long)]
    pub out: PathBuf,

    /// What a task's examples are: label, labels, score or tag. Default: what its file holds
    #[arg(long, value_name = "NAME=KIND", help_heading = "Data")]
    pub kind: Vec<Of>,
    #[arg(long, value_name = "NAME=COLUMN", help_heading = "Data")]
    pub text_column: Vec<Of>,
    #[arg(long, value_name = "NAME=COLUMN", help_heading = "Data")]
    pub label_column: Vec<Of>,
    /// Names for a task's sorted labels, e.g. mood=negative,positive
    #[arg(long, value_name = "NAME=LABELS", help_heading = "Data")]
    pub label_names: Vec<Of>,
    /// Tokens of a text at most. Default 128
    #[arg(long, help_heading = "Data")]
    pub max_tokens: Option<usize>,

    #[command(flatten, next_help_heading = "Training of weights")]
    pub training: Training,
    /// Store the encoder's matrices as int8, unless that costs more than half a point on dev
    #[arg(long, help_heading = "Training of weights")]
    pub int8: bool,
}

/// Something that is said of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Of {
    pub task: String,
    pub value: String,
}

impl FromStr for Of {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (task, value) = text.split_once('=').ok_or("it is said of a task: write its name and = before it")?;
        if task.is_empty() || !task.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(format!(
                "{task:?} cannot be the name of a task, whose head gets a folder of that name: take letters, digits, - and _"
            ));
        }
        if value.is_empty() {
            return Err(format!("nothing stands behind {task}="));
        }
        Ok(Self { task: task.to_owned(), value: value.to_owned() })
    }
}

/// What is said of `task`, if anything.
fn said<'a>(all: &'a [Of], task: &str) -> Option<&'a str> {
    all.iter().find(|of| of.task == task).map(|of| of.value.as_str())
}

impl Options {
    /// Where a task's head is written, or the encoder.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Names that mean no task or two, or numbers that make no sense.
    pub fn check(&self) -> Result<(), Usage> {
        let names: Vec<&str> = self.tasks.iter().map(|of| of.task.as_str()).collect();
        // Folders on some systems do not tell large letters from small ones.
        if let Some((i, name)) =
            names.iter().enumerate().find(|(i, name)| names[..*i].iter().any(|other| other.eq_ignore_ascii_case(name)))
        {
            let twin = names[..i].iter().find(|other| other.eq_ignore_ascii_case(name)).unwrap_or(name);
            return Err(Usage(format!("two tasks have the name {twin}; each head needs a folder of its own")));
        }
        if let Some(name) = names.iter().find(|name| TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(name))) {
            return Err(Usage(format!("a task cannot have the name {name}: a folder of that name is written for all of them")));
        }
        let options = [
            ("dev", &self.dev),
            ("kind", &self.kind),
            ("text-column", &self.text_column),
            ("label-column", &self.label_column),
            ("label-names", &self.label_names),
        ];
        for (option, all) in options {
            if let Some(of) = all.iter().find(|of| !names.contains(&of.task.as_str())) {
                return Err(Usage(format!("--{option} is for a task {}, but the tasks are {}", of.task, names.join(", "))));
            }
            if let Some((_, of)) = all.iter().enumerate().find(|(i, of)| all[..*i].iter().any(|other| other.task == of.task)) {
                return Err(Usage(format!("--{option} is given twice for the task {}", of.task)));
            }
        }
        self.tasks.iter().try_for_each(|of| self.kind(&of.task).map(drop))?;
        match self.args(&self.tasks[0], None).wrong() {
            Some(wrong) => Err(Usage(wrong)),
            None => Ok(()),
        }
    }

    /// What somebody says that a task's examples are.
    pub fn kind(&self, task: &str) -> Result<Option<Task>, Usage> {
        let kinds = [Task::Label, Task::Labels, Task::Score, Task::Tag];
        let Some(kind) = said(&self.kind, task) else { return Ok(None) };
        let found = kinds.into_iter().find(|of| of.name() == kind);
        found.map(Some).ok_or_else(|| Usage(format!("--kind {task}={kind}: it is label, labels, score or tag")))
    }

    /// The task alone, as `millrace train` would be asked for it.
    pub fn args(&self, of: &Of, kind: Option<Task>) -> Args {
        let task = &of.task;
        Args {
            from: Some(self.from.clone()),
            train: PathBuf::from(&of.value),
            dev: said(&self.dev, task).map(PathBuf::from),
            out: self.folder(task),
            task: kind,
            text_column: said(&self.text_column, task).map(str::to_owned),
            label_column: said(&self.label_column, task).map(str::to_owned),
            label_names: said(&self.label_names, task)
                .map(|names| names.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            max_tokens: self.max_tokens,
            training: self.training.clone(),
            int8: self.int8,
            ..Args::default()
        }
    }

    /// The command as it stands in the card: without the places where files lay, with the defaults filled in.
    pub fn shown(&self) -> String {
        let mut line = format!("millrace train several --from {}", name(&self.from));
        let file = |value: &str| name(Path::new(value));
        for of in &self.tasks {
            line += &format!(" --task {}={}", of.task, file(&of.value));
        }
        for of in &self.dev {
            line += &format!(" --dev {}={}", of.task, file(&of.value));
        }
        line += &format!(" --out {}", name(&self.out));
        for (option, all) in [
            ("kind", &self.kind),
            ("text-column", &self.text_column),
            ("label-column", &self.label_column),
            ("label-names", &self.label_names),
        ] {
            all.iter().for_each(|of| line += &format!(" --{option} {}={}", of.task, of.value));
        }
        let tokens = self.max_tokens.map(|tokens| format!(" --max-tokens {tokens}")).unwrap_or_default();
        line + &tokens + &self.training.shown(Plan::default()) + if self.int8 { " --int8" } else { "" }
    }
}
