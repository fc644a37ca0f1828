//! What `millrace train` can be told.

use super::training::Training;
use crate::train::class_weights::Wanted;
use crate::train::fresh::New;
use crate::train::pieces::Pieces;
use crate::train::task::Task;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Makes a model out of an encoder and examples: labels or numbers for texts or pairs of texts, labels of words, or answers to questions.
///
/// `full` tunes all weights, or the last layers, with --teacher towards another model's answers too; `probe` learns a small head on the encoder as it is, in seconds, and several such
/// heads share one encoder; `centroid` is for one to four examples a label; `setfit` tunes the encoder by pairs of few examples, eight to 64 of each of a few labels.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "Examples:
  millrace train --recipe probe --from models/minilm-en --train intents.csv --out models/my-intents
  millrace train --from MINILM --train train.tsv --dev dev.tsv --out my-sentiment --epochs 3
  millrace train --from MINILM --train nli.jsonl --label-names entailment,neutral,contradiction --out my-nli
  millrace train --from MINILM --train pairs.tsv --task score --out my-reranker
  millrace train --from MINILM --train squad.json.gz --out my-reader --lr 1e-4 --max-tokens 192
  millrace train --new layers=1,hidden=96 --tokenizer bpe:8000 --train reviews.tsv --out my-small --epochs 5 --lr 1e-3
  millrace train --from MINILM --train places.conll --out my-tagger --epochs 5
  millrace train --from TINY --teacher my-sentiment --train train.tsv --unlabelled messages.txt --out my-fast --epochs 5
  millrace train --recipe setfit --from MINILM --train few.csv --dev dev.csv --out my-topics --pairs 2000

Files, each also .gz:
  one label        .tsv or .csv with a header, or .jsonl: {\"text\": \"...\", \"label\": \"a\"}
  a number         the same with numbers for labels, --task score where all of them are whole
  many labels      the same with a|b or [\"a\", \"b\"] for a label
  pairs of texts   any of these with two texts a row: text and text_pair, premise and hypothesis, sentence1 and sentence2, question and sentence, ...
  labels of words  a word and its label a line and a blank line behind each text, or .jsonl: {\"text\": \"...\", \"spans\": [[0, 4, \"city\"]]}
  answers          SQuAD's .json, or .jsonl: {\"question\": \"...\", \"context\": \"...\", \"answers\": {\"text\": [\"...\"], \"answer_start\": [0]}}")]
pub struct Args {
    /// Folder of the base model: config.json, tokenizer.json, model.safetensors. Without the last the network is drawn
    #[arg(long, required_unless_present = "new")]
    pub from: Option<PathBuf>,
    /// In place of a base model: a BERT encoder that is drawn, as layers=N,hidden=N[,heads=N][,wide=N]
    #[arg(long, requires = "tokenizer", conflicts_with = "from")]
    pub new: Option<New>,
    /// Of such an encoder: bpe:N, learnt from the training file with N tokens at most
    #[arg(long, requires = "new", conflicts_with = "prune_vocabulary")]
    pub tokenizer: Option<Pieces>,
    /// Examples to learn from
    #[arg(long)]
    pub train: PathBuf,
    /// Examples to measure on. Default: about a tenth of the training file, chosen by the texts themselves
    #[arg(long)]
    pub dev: Option<PathBuf>,
    /// Folder to write
    #[arg(long)]
    pub out: PathBuf,
    /// What it is trained to say. Default: what the training file holds
    #[arg(long, value_enum)]
    pub task: Option<Task>,
    /// How it is trained
    #[arg(long, value_enum, default_value_t = Recipe::Full)]
    pub recipe: Recipe,

    /// Use the first N rows, texts or questions of the training file
    #[arg(long, help_heading = "Data")]
    pub max_rows: Option<usize>,
    /// Measure on N examples while training. Default: 1000 questions, else all
    #[arg(long, help_heading = "Data")]
    pub dev_rows: Option<usize>,
    /// Tokens of a text, or of a question and a window, at most. Default 128, for answers 192
    #[arg(long, help_heading = "Data")]
    pub max_tokens: Option<usize>,
    /// Of the text; of two texts both, with a comma between
    #[arg(long, help_heading = "Data")]
    pub text_column: Option<String>,
    #[arg(long, help_heading = "Data")]
    pub label_column: Option<String>,
    /// Names for the sorted labels, e.g. negative,positive
    #[arg(long, value_delimiter = ',', help_heading = "Data")]
    pub label_names: Vec<String>,

    /// How much a label counts in the loss: balanced (rare ones more), or LABEL=WEIGHT,... with 1 for the others
    #[arg(long, help_heading = "Data")]
    pub class_weights: Option<Wanted>,

    /// Beside these in the command: clap does not notice an optional part that has a part of its own.
    #[arg(skip)]
    pub training: Training,
    /// Share of tokens that each pass takes for unknown ones. Default 0
    #[arg(long, help_heading = "Training of weights (full)")]
    pub word_dropout: Option<f32>,
    /// Keep the first N layers of the base model
    #[arg(long, help_heading = "Training of weights (full)")]
    pub layers: Option<usize>,
    /// Drop tokens of non-Latin scripts and unused ones that neither file needs
    #[arg(long, help_heading = "Training of weights (full)")]
    pub prune_vocabulary: bool,
    /// With --prune-vocabulary: the other tokens keep their ids, so that `models share` can share the tables
    #[arg(long, help_heading = "Training of weights (full)", requires = "prune_vocabulary")]
    pub keep_ids: bool,
    /// Further texts (.tsv, .csv, .jsonl or lines) on which to count changed tokenisation
    #[arg(long, help_heading = "Training of weights (full)")]
    pub prove_on: Vec<PathBuf>,
    /// Store matrices as int8, as `models quantize` does, unless that costs more than half a point on dev
    #[arg(long, help_heading = "Training of weights (full)")]
    pub int8: bool,

    /// Folder of a model whose answers are learnt too: its labels must be those of the file
    #[arg(long, help_heading = "Learning from a teacher (full)")]
    pub teacher: Option<PathBuf>,
    /// Divides the logits of both before they are compared: higher tells more of what the teacher thinks less likely. Default 2
    #[arg(long, requires = "teacher", help_heading = "Learning from a teacher (full)")]
    pub temperature: Option<f64>,
    /// Share of the loss on the labels of the file; the rest is on the teacher's answers. Default 0.5
    #[arg(long, requires = "teacher", help_heading = "Learning from a teacher (full)")]
    pub hard_weight: Option<f64>,
    /// Further texts (.tsv, .csv, .jsonl or lines) about which the teacher alone is asked
    #[arg(long, requires = "teacher", help_heading = "Learning from a teacher (full)")]
    pub unlabelled: Option<PathBuf>,

    /// Pairs of texts to learn from at most, half of them of one label. Default 4000
    #[arg(long, help_heading = "Training by pairs (setfit)")]
    pub pairs: Option<usize>,

    /// Inverse strength of the regularisation; of several the best on dev is taken. Default 1,10,100
    #[arg(long, value_delimiter = ',', help_heading = "Training of a head alone (probe, setfit)")]
    pub c: Vec<f64>,
}

/// Ways from an encoder to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Recipe {
    /// All weights, or those of the last layers.
    #[default]
    Full,
    /// Logistic regression on the encoder's embeddings.
    Probe,
    /// The nearest mean embedding.
    Centroid,
    /// All weights by pairs of few texts, then logistic regression. The rate is 2e-5 and a step has 16 pairs where nobody says.
    Setfit,
}

impl Args {
    /// The folder of the base model.
    pub fn base(&self) -> Result<&Path> {
        self.from.as_deref().context("there is no base model; name its folder with --from")
    }

    /// An option that is given and belongs to another recipe.
    pub fn stray(&self) -> Option<&'static str> {
        use Recipe::{Full, Probe, Setfit};
        let (tuned, full, headed): (&[Recipe], &[Recipe], &[Recipe]) = (&[Full, Setfit], &[Full], &[Probe, Setfit]);
        let options = [
            ("max-tokens", self.max_tokens.is_some(), tuned),
            ("new", self.new.is_some(), full),
            ("word-dropout", self.word_dropout.is_some(), full),
            ("dev-rows", self.dev_rows.is_some(), full),
            ("class-weights", self.class_weights.is_some(), full),
            ("layers", self.layers.is_some(), full),
            ("int8", self.int8, full),
            ("prune-vocabulary", self.prune_vocabulary, full),
            ("prove-on", !self.prove_on.is_empty(), full),
            ("teacher", self.teacher.is_some(), full),
            ("pairs", self.pairs.is_some(), &[Setfit]),
            ("c", !self.c.is_empty(), headed),
        ];
        let own = self.training.given();
        if let Some(option) = own.first().filter(|_| !tuned.contains(&self.recipe)) {
            return Some(option);
        }
        let stray = options.iter().find(|(_, given, recipes)| *given && !recipes.contains(&self.recipe));
        stray.map(|(option, ..)| *option)
    }

    /// An option whose number makes no sense, with what it must be.
    pub fn wrong(&self) -> Option<String> {
        let above_zero = |value: Option<f64>| value.is_some_and(|value| !(value.is_finite() && value > 0.0));
        let zero = |value: Option<usize>| value == Some(0);
        let checks = [
            (self.word_dropout.is_some_and(|value| !(0.0..1.0).contains(&value)), "--word-dropout must be from 0 to below 1"),
            (above_zero(self.temperature), "--temperature must be above 0"),
            (self.hard_weight.is_some_and(|value| !(0.0..1.0).contains(&value)), "--hard-weight must be from 0 to below 1"),
            (self.pairs.is_some_and(|pairs| pairs < 2), "--pairs must be 2 or more"),
            (zero(self.max_rows), "--max-rows must be 1 or more"),
            (zero(self.dev_rows), "--dev-rows must be 1 or more"),
            (self.max_tokens.is_some_and(|tokens| tokens < 4), "--max-tokens must be 4 or more"),
        ];
        let of_data = checks.into_iter().find(|(wrong, _)| *wrong).map(|(_, what)| what);
        self.training.wrong().or(of_data).map(str::to_owned)
    }
}
