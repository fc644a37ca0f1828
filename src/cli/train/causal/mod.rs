//! `millrace train generate`: from texts or conversations to a causal language model.

mod options;

use crate::cli::common::{Usage, model};
use crate::cli::train::Report;
use crate::cli::train::go::{go, keep, unkept};
use crate::cli::train::several;
use crate::cli::train::training::Training;
use crate::inference::Weights;
use crate::inference::causal::Causal;
use crate::inference::generate::Vocabulary;
use crate::inference::template::ChatTemplate;
use crate::train::causal::adapter::Lora;
use crate::train::causal::beside::Beside;
use crate::train::causal::characters::Characters;
use crate::train::causal::data::{Source, Tokens};
use crate::train::causal::folder::{Sizes, config, read_config, usual_width};
use crate::train::causal::learner::{Examples, Learner};
use crate::train::causal::network::Network;
use crate::train::causal::perplexity::{Windows, perplexity};
use crate::train::journal::Point;
use crate::train::trainable::{Record, Trainable};
use anyhow::{Context, Result};
use options::{Args, name};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// `millrace train` as a whole: a classifier, or what a subcommand names.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Command {
    #[command(flatten)]
    classifier: Option<super::Args>,
    #[command(flatten, next_help_heading = "Training of weights (full, setfit)")]
    training: Training,
    #[command(subcommand)]
    other: Option<Other>,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Other {
    /// Train a causal language model.
    Generate(Box<Args>),
    /// Train one encoder for several tasks of texts, with a head for each.
    Several(Box<several::Options>),
}

/// Runs what was asked for.
pub fn dispatch(command: Command) -> Result<()> {
    let folder = |name: Option<PathBuf>| -> Result<Option<PathBuf>> {
        Ok(name.map(|name| model(&name, false)).transpose()?.map(|found| found.folder))
    };
    match (command.other, command.classifier) {
        (Some(Other::Generate(args)), _) => run(&args),
        (Some(Other::Several(mut options)), _) => {
            options.from = model(&options.from, false)?.folder;
            several::run(&options)
        }
        (None, Some(mut args)) => {
            args.training = command.training;
            (args.from, args.teacher) = (folder(args.from)?, folder(args.teacher)?);
            super::run(&args)
        }
        (None, None) => Err(Usage("name --from, --train and --out, or a subcommand".into()).into()),
    }
}

fn run(args: &Args) -> Result<()> {
    if let Some(objection) = args.objection() {
        return Err(Usage(objection.into()).into());
    }
    unkept(&args.out, args.resume)?;
    let mut report = Report::default();
    let read = Source::read(&args.train)?;
    let (to_learn, to_measure) = match &args.dev {
        Some(dev) => (read, Source::read(dev)?),
        None => read.split()?,
    };
    let beside = beside(args, [&to_learn, &to_measure])?;
    let open = |folder: &Path| Ok((Vocabulary::open(folder)?, ChatTemplate::open(folder, None)?));
    let (vocabulary, template) = beside.opened(&args.out, open)?;
    let Learned { network, config } = Learned::open(args, &vocabulary)?;
    let dev_tokens = to_measure.tokens(&vocabulary, template.as_ref())?;
    let train_tokens = to_learn.tokens(&vocabulary, template.as_ref())?;
    let train = examples(args, &to_learn, train_tokens, &vocabulary, &mut report)?;
    let dev = examples(args, &to_measure, dev_tokens.clone(), &vocabulary, &mut report)?;
    let (all, trained) = (network.numbers(), network.parameters.values().map(|var| var.elem_count()).sum::<usize>());
    report.say(format!("{} layers, {all} parameters, of which {trained} are trained", network.spec.layers.len()));

    let plan = args.plan();
    let learner = Learner { network: &network, train: &train, dev: &dev, drop_out: args.drop_out(), seed: args.seed };
    let keep = keep(&args.out, learner.fingerprint(&plan)?, Some(args.keep_seconds));
    let fitted = go(&learner, &plan, &keep, &args.out, points)?;
    let speed = fitted.tokens as f64 / fitted.seconds.max(1e-9);
    let (steps, seconds, best) = (fitted.steps, fitted.seconds, learner.said(fitted.best));
    report.say(format!(
        "trained {steps} steps, {} tokens in {seconds:.0} s, {speed:.0} tokens/s; best on dev: {best}",
        fitted.tokens
    ));

    let (size, digest) = network.write(&args.out, &config)?;
    beside.write(&args.out)?;
    report.say(format!("model.safetensors: {size} bytes, sha256 {digest}"));
    measured(&args.out, &dev_tokens, args.context, &mut report)?;
    card(args, &report)?;
    // Until here the same command goes on from the last step.
    keep.remove()
}

/// What the journal takes down: what is measured as a loss.
fn points(record: &Record) -> Vec<Point> {
    match *record {
        Record::Check { step, measure, .. } => vec![Point::new(step, "dev/loss", -measure)],
        Record::Step { .. } => record.points(""),
    }
}

/// What makes tokens. What cannot be read is named by its own place.
fn beside(args: &Args, sources: [&Source; 2]) -> Result<Beside> {
    let taken = |from: &Path| {
        Vocabulary::open(from)?;
        Beside::read(from)
    };
    match (&args.from, args.tokenizer.as_deref()) {
        (Some(from), _) => taken(from),
        (None, Some("characters")) => {
            let texts = sources.into_iter().map(|source| match source {
                Source::Texts(texts) => Ok(texts.iter().map(String::as_str)),
                Source::Chats(_) => Err(Usage("conversations need a model with a chat template; name it with --from".into())),
            });
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            Ok(Characters::of(texts.into_iter().flatten())?.files(args.context))
        }
        (None, folder) => taken(Path::new(folder.unwrap_or_default())),
    }
}

/// The network that learns, and its config.json.
struct Learned {
    network: Network,
    config: Value,
}

impl Learned {
    fn open(args: &Args, vocabulary: &Vocabulary) -> Result<Self> {
        let Some(from) = &args.from else {
            let hidden = args.hidden.unwrap_or(256);
            let heads = args.heads.unwrap_or((hidden / 64).max(1));
            let sizes = Sizes {
                vocabulary: vocabulary.size(),
                layers: args.layers.unwrap_or(6),
                hidden,
                heads,
                kv_heads: args.kv_heads.unwrap_or(heads),
                wide: args.wide.unwrap_or(usual_width(hidden)),
                positions: args.context,
            };
            let config = config(&sizes, vocabulary.ends().first().copied())?;
            return Ok(Self { network: Network::drawn(&config, args.context, args.seed)?, config });
        };
        let config = read_config(from)?;
        let network = Network::open(from, &config, args.context).with_context(|| format!("{}", from.display()))?;
        let Some(rank) = args.lora_rank else { return Ok(Self { network, config }) };
        let alpha = args.lora_alpha.unwrap_or(2.0 * rank as f64);
        let lora = Lora { rank, alpha, matrices: args.lora_matrices.clone() };
        Ok(Self { network: network.adapted(&lora, args.seed)?, config })
    }
}

fn examples(args: &Args, of: &Source, tokens: Vec<Tokens>, vocabulary: &Vocabulary, report: &mut Report) -> Result<Examples> {
    let (texts, guessed) = (tokens.len(), tokens.iter().map(Tokens::count).sum::<usize>());
    let (examples, lost) = match of {
        Source::Texts(_) => (Examples::stream(&tokens, vocabulary.ends().first().copied(), args.context)?, 0),
        Source::Chats(_) => Examples::chats(tokens, args.context)?,
    };
    let lost = if lost == 0 { String::new() } else { format!("; {lost} have no answer within {} tokens", args.context) };
    report.say(format!("{texts} texts, {} tokens, {guessed} to guess{lost}", examples.tokens()));
    Ok(examples)
}

/// Measures the written folder by the network that serves.
fn measured(folder: &Path, dev: &[Tokens], context: usize, report: &mut Report) -> Result<()> {
    let weights = Weights::open(folder, None)?;
    let model = Causal::load(&read_config(folder)?, &weights.tensors()?)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for stride in [context / 2, context] {
        let windows = Windows { len: context, stride: stride.max(1) };
        let found = perplexity(&model, dev, windows, threads)?;
        report.say(format!(
            "dev, windows of {context} tokens every {}: loss {:.4} nats a token, perplexity {:.3}, {:.4} bits a character, {} tokens",
            windows.stride,
            found.loss(),
            found.perplexity(),
            found.bits(),
            found.tokens
        ));
    }
    Ok(())
}

/// A model card: the command, and what the run printed.
fn card(args: &Args, report: &Report) -> Result<()> {
    let command = args.shown();
    let text = format!(
        "# {}\n\nA causal language model, trained with `millrace train generate`. The licences of the base model, if there is one, and of the \
         data apply; state them here before you share it.\n\n## Command\n\n```sh\n{command}\n```\n\n## What the run printed\n\n```text\n{}\n```\n",
        name(&args.out),
        report.lines().join("\n")
    );
    Ok(std::fs::write(args.out.join("README.md"), text)?)
}
