//! `millrace eval answer`: extracted answers against those that people gave.

use crate::cli::common;
use crate::function::answer::{Answered, Question};
use crate::function::api;
use crate::lifecycle::Exit;
use crate::train::data::open;
use crate::train::metrics::squad;
use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Measures `answer` on questions in SQuAD's layout: exact match and F1 over words, after SQuAD's normalisation, the best over the
/// answers that people gave. A question without answers counts as right when nothing is answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  millrace eval answer --model my-reader --input dev-v1.1.json.gz")]
pub struct Args {
    /// The model's folder.
    #[arg(long)]
    model: String,
    /// SQuAD JSON, also .gz.
    #[arg(long)]
    input: PathBuf,
    /// Only the first N questions.
    #[arg(long)]
    max_rows: Option<usize>,
    /// Allow "there is no answer", as for SQuAD 2.0.
    #[arg(long)]
    impossible: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    #[serde(default)]
    answers: Vec<Given>,
}

#[derive(Deserialize)]
struct Given {
    text: String,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    questions: usize,
    exact_match: f64,
    f1: f64,
}

pub fn run(args: &Args) -> Result<Exit> {
    let (reader, _) = open(&args.input)?;
    let file: File = serde_json::from_reader(std::io::BufReader::new(reader))
        .with_context(|| format!("{} is not in SQuAD's layout", args.input.display()))?;
    let paragraphs = file.data.into_iter().flat_map(|article| article.paragraphs);
    let asked = paragraphs.flat_map(|Paragraph { context, qas }| qas.into_iter().map(move |asked| (context.clone(), asked)));
    let asked: Vec<(String, Asked)> = asked.take(args.max_rows.unwrap_or(usize::MAX)).collect();
    ensure!(!asked.is_empty(), "{} has no question", args.input.display());
    let answer = api::answer(&args.model)?.option("handle_impossible_answer", args.impossible).load()?;
    let (mut exact, mut f1) = (0.0, 0.0);
    let bar = ProgressBar::new(asked.len() as u64);
    for part in asked.chunks(256) {
        let questions = part.iter().map(|(context, asked)| Question::from((&asked.question, context)));
        for ((_, asked), found) in part.iter().zip(answer.call_each(questions)?) {
            // A question that cannot be put before the model is a wrong answer.
            let text = found.ok().map(best).unwrap_or_default();
            let given: Vec<&str> = asked.answers.iter().map(|given| given.text.as_str()).collect();
            let score = squad(&text, &given);
            exact += f64::from(u8::from(score.exact));
            f1 += score.f1;
        }
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    let count = asked.len() as f64;
    let report = Report {
        model: answer.model().to_owned(),
        questions: asked.len(),
        exact_match: 100.0 * exact / count,
        f1: 100.0 * f1 / count,
    };
    if args.json {
        common::print_json(&report)?;
    } else {
        let Report { model, questions, exact_match, f1 } = &report;
        println!("{model}: {questions} questions, exact match {exact_match:.2}, F1 {f1:.2}");
    }
    Ok(Exit::Done)
}

fn best(answered: Answered) -> String {
    answered.answers.into_iter().next().map(|found| found.answer).unwrap_or_default()
}
