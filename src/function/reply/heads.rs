//! Classifiers beside the encoder: intent and sentiment of a message.

use super::{Entry, Open, Options};
use crate::function::classify::Label;
use crate::function::options::TooLong;
use crate::function::task::windowed;
use crate::function::texts::rounded;
use crate::inference::best;
use crate::inference::{Encoder, Problem};
use std::sync::Arc;

/// What is asked about a message beside its vector.
#[derive(Clone, Default)]
pub struct Heads {
    intent: Option<Arc<Encoder>>,
    sentiment: Option<Arc<Encoder>>,
}

impl Heads {
    /// The error names the option and the model.
    pub fn open(options: &Options, open: Open<'_>) -> Result<Self, String> {
        let one = |option: &str, name: &Option<String>| {
            let Some(name) = name else { return Ok(None) };
            let model = (open.encoder)(name).map_err(|cause| format!("option `{option}`: {cause}"))?;
            match (model.labels(), model.problem()) {
                (Some(_), Some(Problem::OneLabel | Problem::ManyLabels)) => Ok(Some(model)),
                _ => Err(format!("option `{option}`: the model {} has no labels; it needs a classifier of texts", model.id())),
            }
        };
        Ok(Self {
            intent: one("intent_model", &options.intent_model)?,
            sentiment: one("sentiment_model", &options.sentiment_model)?,
        })
    }

    /// Refuses a bank of whose intents the model knows none, where both have some: they are written otherwise.
    pub fn check(&self, entries: &[Entry]) -> Result<(), String> {
        let Some(labels) = self.intent.as_ref().and_then(|intent| intent.labels()) else { return Ok(()) };
        let mut intents = entries.iter().filter_map(|entry| entry.intent.as_ref()).peekable();
        let Some(first) = intents.peek().map(|first| (*first).clone()) else { return Ok(()) };
        if intents.any(|intent| labels.contains(intent)) {
            return Ok(());
        }
        Err(format!("option `intent_model`: no reply has one of its labels {}; the first has {first:?}", labels.join(", ")))
    }

    /// The option and the `name@digest12` of each model.
    pub fn ids(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let both = [("intent_model", &self.intent), ("sentiment_model", &self.sentiment)];
        both.into_iter().filter_map(|(option, head)| Some((option, head.as_ref()?.id())))
    }

    /// In the order in which [`Heads::labels`] takes their scores.
    pub fn all(&self) -> Vec<&Encoder> {
        self.intent.iter().chain(&self.sentiment).map(|head| &**head).collect()
    }

    /// Tokens that the networks see of a message of so many. Its beginning is read in one pass, and once more by each head that does not stand
    /// on the encoder; its windows are read by all of them.
    pub fn cost(&self, encoder: &Encoder, options: &Options, tokens: usize) -> usize {
        let all = self.all();
        let apart = all.iter().filter(|head| !encoder.shares_backbone(head));
        let beginning = apart.map(|head| tokens.min(head.max_tokens())).sum::<usize>() + tokens.min(encoder.max_tokens());
        let in_windows = |model: &&Encoder| {
            let most = model.max_tokens();
            windowed(tokens, 0, most, options.stride.map_or(most / 4, |stride| stride.min(most / 2)))
        };
        match options.too_long {
            TooLong::Window => beginning + std::iter::once(&encoder).chain(&all).map(in_windows).sum::<usize>(),
            TooLong::Truncate | TooLong::Reject => beginning,
        }
    }

    /// The best label of the intent and of the sentiment; of equals the first.
    pub fn labels(&self, scores: &[Vec<f32>]) -> (Option<Label>, Option<Label>) {
        let mut scores = scores.iter();
        let mut one = |head: &Option<Arc<Encoder>>| {
            let (labels, scores) = (head.as_ref()?.labels()?, scores.next()?);
            let place = best(scores);
            Some(Label { name: labels.get(place)?.clone(), score: rounded(*scores.get(place)?) })
        };
        let intent = one(&self.intent);
        (intent, one(&self.sentiment))
    }
}
