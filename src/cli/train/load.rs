//! Files as examples, by task.

use super::args::Args;
use super::rows::Data;
use super::{Report, name};
use crate::train::batches::{Example, Target};
use crate::train::data::{Columns, Row, line_of, texts};
use crate::train::held::Held;
use crate::train::learner::{Dev, Examples};
use crate::train::questions::Questions;
use crate::train::split::{is_measured, learnable};
use crate::train::squad::{self, Squad};
use crate::train::tagged::{self, Sentence};
use crate::train::task::Task;
use crate::train::vocabulary::Tokenizer;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

/// What the files hold, before it is tokens.
pub enum Rows {
    Labelled(Data),
    Tagged { train: Vec<Sentence>, dev: Vec<Sentence>, labels: Vec<String> },
    Asked { train: Squad, dev: Squad },
}

impl Rows {
    pub fn read(args: &Args, task: Task, tokenizer: &Tokenizer, report: &mut Report) -> Result<Self> {
        let most = args.max_rows.unwrap_or(usize::MAX);
        match task {
            Task::Label => Data::read(args, report).map(Self::Labelled),
            Task::Labels => Data::read_lists(args, report).map(Self::Labelled),
            Task::Tag => {
                let train = tagged::read(&args.train, tokenizer, most)?;
                let (train, dev) = match &args.dev {
                    Some(dev) => (train, tagged::read(dev, tokenizer, usize::MAX)?),
                    None => {
                        let (mut train, dev): (Vec<Sentence>, Vec<Sentence>) =
                            train.into_iter().partition(|sentence| !is_measured(&sentence.text, 0.1));
                        let dev = learnable(&mut train, dev, |sentence| &sentence.text, |sentence| Ok(sentence.tags.clone()))?;
                        (train, dev)
                    }
                };
                ensure!(
                    !dev.is_empty() && !train.is_empty(),
                    "there are too few texts to measure on some; name a file with --dev"
                );
                let mut labels: Vec<String> = train.iter().flat_map(|sentence| sentence.tags.iter().cloned()).collect();
                labels.sort_by_key(|label| (label != "O", label.clone()));
                labels.dedup();
                ensure!(labels.len() > 1, "the training file has one label only: {labels:?}");
                ensure!(args.label_names.is_empty(), "--label-names is for labels of texts");
                for sentence in &dev {
                    if let Some(tag) = sentence.tags.iter().find(|tag| !labels.contains(tag)) {
                        let place = line_of(args.dev.as_ref().unwrap_or(&args.train), sentence.line);
                        anyhow::bail!("{place}: label {tag:?} of the text that begins there is not in the training file");
                    }
                }
                report.say(format!("labels of words: {}", labels.join(", ")));
                Ok(Self::Tagged { train, dev, labels })
            }
            Task::Answer => {
                let all = squad::read(&args.train, most)?;
                let (train, dev) = match &args.dev {
                    Some(dev) => (all, squad::read(dev, usize::MAX)?),
                    None => all.split(0.1),
                };
                ensure!(
                    !dev.asked.is_empty() && !train.asked.is_empty(),
                    "there are too few contexts to measure on some; name a file with --dev"
                );
                ensure!(args.label_names.is_empty(), "--label-names is for labels of texts");
                Ok(Self::Asked { train, dev })
            }
        }
    }

    /// Names of the head's outputs, and their number.
    pub fn labels(&self) -> (&[String], usize) {
        match self {
            Self::Labelled(data) => (&data.names, data.names.len()),
            Self::Tagged { labels, .. } => (labels, labels.len()),
            Self::Asked { .. } => (&[], 2),
        }
    }

    /// The texts to learn from, whatever is asked about them.
    pub fn trained(&self) -> Vec<&str> {
        match self {
            Self::Labelled(data) => {
                data.train.iter().map(|row| row.text.as_str()).chain(data.unlabelled.iter().map(String::as_str)).collect()
            }
            Self::Tagged { train, .. } => train.iter().map(|sentence| sentence.text.as_str()).collect(),
            Self::Asked { train, .. } => {
                let about: BTreeSet<usize> = train.asked.iter().map(|asked| asked.context).collect();
                let contexts = about.into_iter().map(|number| train.contexts[number].text.as_str());
                contexts.chain(train.asked.iter().map(|asked| asked.question.as_str())).collect()
            }
        }
    }

    pub fn examples(&self, args: &Args, task: Task, tokenizer: &Tokenizer, most: usize, seed: u64) -> Result<Loaded> {
        let dev_path = args.dev.as_ref().unwrap_or(&args.train);
        let dev_rows = args.dev_rows.unwrap_or(if task == Task::Answer { 1_000 } else { usize::MAX });
        match self {
            Self::Labelled(data) => {
                let of = |path: &Path, row: &Row| -> Result<Example> {
                    let target = match task {
                        Task::Labels => Target::Labels(data.numbers(path, row)?),
                        _ => Target::Label(data.label(row)?),
                    };
                    Ok(Example { ids: ids(tokenizer, &row.text, most)?, types: vec![], target })
                };
                let bare = |text: &String| -> Result<Example> {
                    Ok(Example { ids: ids(tokenizer, text, most)?, types: vec![], target: Target::Unknown })
                };
                let labelled = data.train.iter().map(|row| of(&args.train, row));
                Ok(Loaded::Texts {
                    train: labelled.chain(data.unlabelled.iter().map(bare)).collect::<Result<_>>()?,
                    dev: data.dev.iter().take(dev_rows).map(|row| of(dev_path, row)).collect::<Result<_>>()?,
                })
            }
            Self::Tagged { train, dev, labels } => {
                let number = |tag: &str| -> Result<u32> {
                    let found = labels.iter().position(|label| label == tag);
                    found.map(|number| number as u32).with_context(|| format!("label {tag:?} is not in the training file"))
                };
                let of = |sentences: &[Sentence]| -> Result<Vec<Example>> {
                    let parts = sentences.iter().map(|sentence| tagged::examples(sentence, tokenizer, number, most));
                    Ok(parts.collect::<Result<Vec<_>>>()?.concat())
                };
                Ok(Loaded::Texts { train: of(train)?, dev: of(&dev[..dev.len().min(dev_rows)])? })
            }
            Self::Asked { train, dev } => {
                let dev = dev.sample(dev_rows);
                let of = |squad: &Squad| Questions::new(squad, tokenizer, most, seed);
                Ok(Loaded::Questions(Box::new(Asked { train: of(train)?, dev: of(&dev)?, squad: dev })))
            }
        }
    }

    /// Texts of the files, by file, to count those that a smaller vocabulary cuts otherwise.
    pub fn texts(&self, args: &Args) -> Result<Vec<(String, Vec<String>)>> {
        let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
        let further = args.prove_on.iter().map(|path| Ok((name(path), texts(path, &columns)?)));
        let own: Vec<(String, Vec<String>)> = match self {
            Self::Labelled(data) => {
                let of = |rows: &[Row]| rows.iter().map(|row| row.text.clone()).collect();
                let own = [("train", of(&data.train)), ("dev", of(&data.dev)), ("unlabelled", data.unlabelled.clone())];
                let own = own.into_iter().filter(|(_, texts): &(_, Vec<String>)| !texts.is_empty());
                own.map(|(part, texts)| (part.to_owned(), texts)).collect()
            }
            Self::Tagged { train, dev, .. } => [("train", train), ("dev", dev)]
                .map(|(part, of)| (part.to_owned(), of.iter().map(|sentence| sentence.text.clone()).collect()))
                .into(),
            Self::Asked { train, dev } => [("train", train), ("dev", dev)]
                .map(|(part, of)| (part.to_owned(), of.contexts.iter().map(|context| context.text.clone()).collect()))
                .into(),
        };
        own.into_iter().map(Ok).chain(further).collect()
    }
}

/// The tokens of a text; of one that is too long the end is cut, but for the special token there.
pub fn ids(tokenizer: &Tokenizer, text: &str, most: usize) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, true).map_err(anyhow::Error::msg)?;
    let mut ids = encoding.get_ids().to_vec();
    if ids.len() > most {
        let end = ids[ids.len() - 1];
        ids.truncate(most);
        ids[most - 1] = end;
    }
    Ok(ids)
}

/// Questions as tokens, and those to measure on as they were asked.
pub struct Asked {
    train: Questions,
    dev: Questions,
    squad: Squad,
}

/// Examples as tokens.
pub enum Loaded {
    Texts { train: Vec<Example>, dev: Vec<Example> },
    Questions(Box<Asked>),
}

impl Loaded {
    pub fn train(&self) -> &dyn Examples {
        match self {
            Self::Texts { train, .. } => train,
            Self::Questions(asked) => &asked.train,
        }
    }

    pub fn dev(&self) -> Dev<'_> {
        match self {
            Self::Texts { dev, .. } => Dev::Examples(dev),
            Self::Questions(asked) => Dev::Questions(Held::new(&asked.dev, &asked.squad)),
        }
    }

    /// Every token that occurs.
    pub fn used(&self) -> HashSet<u32> {
        match self {
            Self::Texts { train, dev } => train.iter().chain(dev).flat_map(|example| example.ids.iter().copied()).collect(),
            Self::Questions(asked) => asked.train.used().chain(asked.dev.used()).collect(),
        }
    }

    /// Gives each token the place of its old number in `kept`, which is sorted.
    pub fn renumber(&mut self, kept: &[u32]) -> Result<()> {
        let new = |old: u32| kept.binary_search(&old).map(|new| new as u32).ok().context("a used token is gone");
        match self {
            Self::Texts { train, dev } => {
                for id in train.iter_mut().chain(dev).flat_map(|example| example.ids.iter_mut()) {
                    *id = new(*id)?;
                }
                Ok(())
            }
            Self::Questions(asked) => asked.train.renumber(new).and_then(|()| asked.dev.renumber(new)),
        }
    }

    /// What of the examples could not be used.
    pub fn notes(&self) -> Option<String> {
        match self {
            Self::Questions(asked) if asked.train.left_out > 0 => {
                Some(format!("{} questions left out: their answer is longer than a window", asked.train.left_out))
            }
            _ => None,
        }
    }
}
