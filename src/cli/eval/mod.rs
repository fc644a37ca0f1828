//! `millrace eval`: how good a function is, on a file, through the code that runs on the stream.

mod answer;
mod classify;
mod generate;
mod input;
mod metrics;
mod protocols;
mod recommend;
mod risk;
mod similar;
mod text;

use crate::lifecycle::Exit;
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Extracted answers, against those that people gave.
    Answer(answer::Args),
    /// A classifier of texts, against labels.
    Classify(classify::Args),
    /// Causal language models, by how well they guess texts.
    Generate(generate::Args),
    /// Embeddings, against people's judgement of pairs.
    Similar(similar::Args),
    /// Recommendation lists, by the protocols of the literature.
    Recommend(recommend::Args),
    /// Risk scores, against labels.
    Risk(risk::Args),
    /// Labelled pieces of texts, against those that people marked: F1, precision, recall.
    ///
    /// A row has `text` and `spans`, a list of [start, end, label] in characters; or the file has a word and its label a line.
    #[command(after_help = "Example:\n  millrace eval tag --model models/my-tagger --input dev.conll")]
    Tag(text::Args),
    /// Words behind masks, against the right ones: MRR, hits among the first 1 and 5.
    ///
    /// A row has `text` and `words`, one for each mask, as the model writes its tokens; ten are asked for, `top_k` others.
    #[command(after_help = "Example:\n  millrace eval fill --model BERT --input masked.jsonl")]
    Fill(text::Args),
    /// Texts in the order of a query, against those that are relevant: NDCG@10, MRR, hits at the first place.
    ///
    /// A row has `query`, `texts` and `relevant`: the numbers of the relevant texts, from 0 on, or an object of number and grade.
    #[command(after_help = "Example:\n  millrace eval rerank --model models/minilm-en --input queries.jsonl")]
    Rerank(text::Args),
    /// Suggested replies, against those that were given: MRR, hits among the first 1 and 3.
    ///
    /// A row has what the function reads and `reply`: an id or a text of the bank, or a list of them.
    #[command(after_help = "Example:\n  millrace eval reply --options '{\"bank\": \"replies.csv\"}' --input answered.jsonl")]
    Reply(text::Args),
    /// Summaries, against those that people wrote: ROUGE-1, ROUGE-2, ROUGE-L.
    ///
    /// A row has `text` and `summary`, a text or a list of them. Figures are those of rouge_score for ASCII; letters of other scripts are words here.
    #[command(after_help = "Example:\n  millrace eval summarize --input news.jsonl --options '{\"max_sentences\": 2}'")]
    Summarize(text::Args),
    /// Translations, against those that people wrote: BLEU and chrF, as sacreBLEU counts them.
    ///
    /// A row has what the function reads and `translation`, a text or a list of them.
    #[command(
        after_help = "Example:\n  millrace eval translate --model models/opus-mt-en-fr --input pairs.tsv --against my-marian"
    )]
    Translate(text::Args),
}

pub fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    match args.what {
        What::Answer(args) => answer::run(&args),
        What::Classify(args) => classify::run(&args),
        What::Generate(args) => generate::run(&args),
        What::Similar(args) => similar::run(&args),
        What::Recommend(args) => recommend::run(&args, env),
        What::Risk(args) => risk::run(&args, env),
        What::Tag(args) => text::run(&args, text::TAG),
        What::Fill(args) => text::run(&args, text::FILL),
        What::Rerank(args) => text::run(&args, text::RERANK),
        What::Reply(args) => text::run(&args, text::REPLY),
        What::Summarize(args) => text::run(&args, text::SUMMARIZE),
        What::Translate(args) => text::run(&args, text::TRANSLATE),
    }
}
