//! The teacher's word on the texts of a run.

use super::args::Args;
use super::load::{Loaded, Rows};
use super::rows::asked as texts_of;
use super::{Report, name};
use crate::cli::common::Usage;
use crate::inference::Text;
use crate::train::batches::Example;
use crate::train::data::{Columns, texts};
use crate::train::distil::{Taught, untaught};
use crate::train::task::Task;
use crate::train::teacher::Teacher;
use crate::train::vocabulary::Tokenizer;
use anyhow::{Result, ensure};
use std::collections::HashSet;

/// What both parts of the loss are divided by, where nobody says.
const TEMPERATURE: f64 = 2.0;
/// Share of the loss on labels, where nobody says.
const HARD_WEIGHT: f64 = 0.5;

/// The temperature and the hard weight, with the defaults filled in.
pub fn weighing(args: &Args) -> (f64, f64) {
    (args.temperature.unwrap_or(TEMPERATURE), args.hard_weight.unwrap_or(HARD_WEIGHT))
}

/// The texts that only the teacher speaks about.
pub fn unlabelled(args: &Args) -> Result<Vec<String>> {
    let Some(path) = &args.unlabelled else { return Ok(Vec::new()) };
    let mut found = texts(path, &Columns { text: args.text_column.clone(), label: None })?;
    found.iter_mut().for_each(|text| *text = text.trim().to_owned());
    found.retain(|text| !text.is_empty());
    ensure!(!found.is_empty(), "{} has no text", path.display());
    Ok(found)
}

/// An error where this kind of head learns nothing from a teacher, or not from such texts.
pub fn check(args: &Args, task: Task) -> Result<(), Usage> {
    if let Some(why) = untaught(task).filter(|_| args.teacher.is_some()) {
        return Err(Usage(why.into()));
    }
    match task {
        Task::Tag if args.unlabelled.is_some() => Err(Usage("--unlabelled is for labels of texts, not of words".into())),
        _ => Ok(()),
    }
}

/// What the teacher says of the examples to learn from, and of those to measure on. Asked before any token gets another number.
pub struct Asked {
    pub taught: Taught,
    pub dev: Vec<Vec<f32>>,
}

/// Asks the teacher, where there is one.
pub fn asked(
    args: &Args,
    task: Task,
    rows: &Rows,
    loaded: &Loaded,
    tokenizer: &Tokenizer,
    report: &mut Report,
) -> Result<Option<Asked>> {
    let Some(folder) = &args.teacher else { return Ok(None) };
    let teacher = Teacher::open(folder, task, rows.labels().0)?;
    let (train, dev) = match (rows, loaded) {
        (Rows::Labelled(data), Loaded::Texts { train, dev, .. }) => {
            let seen: HashSet<&str> = data.dev.iter().map(|row| row.text.as_str()).collect();
            let also = data.unlabelled.iter().filter(|text| seen.contains(text.as_str())).count();
            if !data.unlabelled.is_empty() {
                report.say(format!("{} texts without labels, {also} of them among those to measure on", data.unlabelled.len()));
            }
            ensure!(data.unlabelled.is_empty() || !data.is_paired(), "--unlabelled has single texts, the training file pairs");
            let further = data.unlabelled.iter().map(Text::from);
            let first = teacher.of_texts(texts_of(&data.train).into_iter().chain(further).collect())?;
            let second = teacher.of_texts(texts_of(&data.dev[..dev.len()]))?;
            ensure!(first.len() == train.len(), "{} examples of {} texts", train.len(), first.len());
            (first, second)
        }
        (Rows::Tagged { train: sentences, dev: others, .. }, Loaded::Texts { train, dev, .. }) => {
            let texts: Vec<&str> = sentences.iter().chain(others).map(|sentence| sentence.text.as_str()).collect();
            teacher.cuts_as(tokenizer, &texts)?;
            let of = |examples: &[Example]| {
                teacher.of_windows(&examples.iter().map(|example| example.ids.as_slice()).collect::<Vec<_>>())
            };
            (of(train)?, of(dev)?)
        }
        _ => anyhow::bail!(untaught(task).unwrap_or("the examples are not those of the rows")),
    };
    let (temperature, hard_weight) = weighing(args);
    report.say(format!(
        "teacher {}, sha256 {}, asked about {} examples; temperature {temperature}, hard weight {hard_weight}",
        name(folder),
        teacher.weights(),
        train.len()
    ));
    let taught = Taught { logits: train, temperature, hard_weight, digest: teacher.digest().to_owned() };
    Ok(Some(Asked { taught, dev }))
}
