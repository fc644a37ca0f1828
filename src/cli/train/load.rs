//! Files as examples, by task.

use super::args::Args;
use super::rows::Data;
use super::{Report, name};
use crate::train::batches::{Example, Target};
use crate::train::data::{Columns, Row, line_of, texts};
use crate::train::encode::{Cutter, Encoded};
use crate::train::held::Held;
use crate::train::learner::{Dev, Examples};
use crate::train::lengths::Lengths;
use crate::train::network::Network;
use crate::train::questions::Questions;
use crate::train::scale::Scale;
use crate::train::split::{is_measured, learnable};
use crate::train::squad::{self, Squad};
use crate::train::tagged::{self, Sentence};
use crate::train::task::Task;
use crate::train::vocabulary::Tokenizer;
use anyhow::{Context, Result, bail, ensure};
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
            Task::Score => Data::read_scores(args, report).map(Self::Labelled),
            Task::Tag => {
                let train = tagged::read(&args.train, tokenizer, most)?;
                let (train, dev) = match &args.dev {
                    Some(dev) => (train, tagged::read(dev, tokenizer, usize::MAX)?),
                    None => {
                        let (mut train, dev): (Vec<Sentence>, Vec<Sentence>) =
                            train.into_iter().partition(|sentence| !is_measured(&sentence.text, 0.1));
                        let text = |sentence: &Sentence| sentence.text.clone();
                        let dev = learnable(&mut train, dev, text, |sentence| Ok(sentence.tags.clone()))?;
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
                        bail!("{place}: label {tag:?} of the text that begins there is not in the training file");
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

    /// Of numbers, how they are brought to those that are learnt.
    pub fn scale(&self) -> Option<Scale> {
        match self {
            Self::Labelled(data) => data.scale,
            Self::Tagged { .. } | Self::Asked { .. } => None,
        }
    }

    /// The texts to learn from, whatever is asked about them.
    pub fn trained(&self) -> Vec<&str> {
        match self {
            Self::Labelled(data) => {
                let own = data.train.iter().flat_map(|row| std::iter::once(&row.text).chain(&row.pair));
                own.chain(&data.unlabelled).map(String::as_str).collect()
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
                let cutter = Cutter::new(tokenizer, most)?;
                let of = |path: &Path, row: &Row| -> Result<(Example, usize)> {
                    let target = match task {
                        Task::Labels => Target::Labels(data.numbers(path, row)?),
                        Task::Score => Target::Score(data.score(path, row)?),
                        _ => Target::Label(data.label(row)?),
                    };
                    example(&cutter, row.key(), target)
                };
                let bare = |text: &String| example(&cutter, (text, None), Target::Unknown);
                let labelled = data.train.iter().map(|row| of(&args.train, row));
                let train = labelled.chain(data.unlabelled.iter().map(bare)).collect::<Result<Vec<_>>>()?;
                let (train, lengths): (Vec<Example>, Vec<usize>) = train.into_iter().unzip();
                let dev = data.dev.iter().take(dev_rows).map(|row| of(dev_path, row).map(|(example, _)| example));
                let what = if data.is_paired() { "pair" } else { "text" };
                Ok(Loaded::Texts { train, dev: dev.collect::<Result<_>>()?, said: Lengths::new(lengths).cut(what, most) })
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
                let length = |sentence: &Sentence| -> Result<usize> {
                    Ok(tokenizer.encode_fast(sentence.text.as_str(), true).map_err(anyhow::Error::msg)?.len())
                };
                let lengths = Lengths::new(train.iter().map(length).collect::<Result<_>>()?);
                let (longer, _) = lengths.beyond(most);
                let said =
                    format!("{}; {longer} are longer than {most} (--max-tokens) and learnt in parts", lengths.said("text"));
                Ok(Loaded::Texts { train: of(train)?, dev: of(&dev[..dev.len().min(dev_rows)])?, said })
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
                let of =
                    |rows: &[Row]| rows.iter().flat_map(|row| std::iter::once(&row.text).chain(&row.pair)).cloned().collect();
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

/// A text or a pair with what is right about it, and its tokens before it was cut.
pub fn example(cutter: &Cutter, (text, pair): (&str, Option<&str>), target: Target) -> Result<(Example, usize)> {
    let Encoded { ids, types, whole } = cutter.encode(text, pair)?;
    Ok((Example { ids, types, target }, whole))
}

/// Questions as tokens, and those to measure on as they were asked.
pub struct Asked {
    train: Questions,
    dev: Questions,
    squad: Squad,
}

/// Examples as tokens.
pub enum Loaded {
    Texts {
        train: Vec<Example>,
        dev: Vec<Example>,
        /// How long the texts are.
        said: String,
    },
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
            Self::Texts { train, dev, .. } => train.iter().chain(dev).flat_map(|example| example.ids.iter().copied()).collect(),
            Self::Questions(asked) => asked.train.used().chain(asked.dev.used()).collect(),
        }
    }

    /// Gives each token the place of its old number in `kept`, which is sorted.
    pub fn renumber(&mut self, kept: &[u32]) -> Result<()> {
        let new = |old: u32| kept.binary_search(&old).map(|new| new as u32).ok().context("a used token is gone");
        match self {
            Self::Texts { train, dev, .. } => {
                for id in train.iter_mut().chain(dev).flat_map(|example| example.ids.iter_mut()) {
                    *id = new(*id)?;
                }
                Ok(())
            }
            Self::Questions(asked) => asked.train.renumber(new).and_then(|()| asked.dev.renumber(new)),
        }
    }

    /// How long the examples are, and which could not be used.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Texts { said, .. } => vec![said.clone()],
            Self::Questions(asked) => {
                let (lengths, most) = (asked.train.lengths(), asked.train.most());
                let (longer, _) = lengths.beyond(most);
                let said = lengths.said("question with its context");
                let long = format!("{said}; {longer} are longer than {most} (--max-tokens) and seen in windows");
                let left_out = asked.train.left_out;
                let out = (left_out > 0).then(|| format!("{left_out} questions left out: their answer is longer than a window"));
                std::iter::once(long).chain(out).collect()
            }
        }
    }

    /// An error where a text has a segment that the network does not know.
    pub fn fits(&self, network: &Network) -> Result<()> {
        let Self::Texts { train, dev, .. } = self else { return Ok(()) };
        let (highest, known) = (train.iter().chain(dev).flat_map(|of| &of.types).max(), network.shape.type_vocab_size);
        match highest {
            Some(&highest) if highest as usize >= known => bail!(
                "the tokenizer calls the second text of a pair segment {highest}, but the network has {known} (type_vocab_size); take another base model"
            ),
            _ => Ok(()),
        }
    }
}
