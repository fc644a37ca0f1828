//! By a model that reads: its own labels, or labels that come with the question.

use super::head::Head;
use super::labels::{self, Cache, Way};
use super::options;
use super::{Classified, Normalize, Options, Passage};
use crate::event::Rejection;
use crate::function::CallError;
use crate::function::options::TooLong;
use crate::function::task::{tokens, windowed};
use crate::function::windows::check_stride;
use crate::inference::Encoder;
use std::sync::Arc;

/// A model that reads, and what it is asked.
pub struct Reading {
    pub encoder: Arc<Encoder>,
    pub options: Options,
    pub head: Option<Head>,
    /// How candidate labels are scored, or why they cannot be.
    pub way: Result<Way, String>,
    pub cache: Arc<Cache>,
    /// The labels of the options.
    pub own: Option<Own>,
}

/// Labels that are known before any event comes.
pub struct Own {
    pub labels: Vec<String>,
    /// Why no event can be answered with them, found once.
    pub refused: Option<Rejection>,
}

impl Reading {
    pub fn build(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        check_stride(&encoder, options.stride)?;
        if options.normalize != Normalize::default() || options.content_free.is_some() {
            return Err("options `normalize` and `content_free` are for the back end `continuation` of causal models".to_owned());
        }
        let head = Head::of(&encoder, &options)?;
        let way = Way::of(&encoder, &options);
        options.check()?;
        let own = match (&options.candidate_labels, &way) {
            (Some(list), Ok(way)) => {
                let labels = labels::checked(list.0.clone()).map_err(|no| format!("`candidate_labels`: {}", no.detail))?;
                Some(Own { refused: labels::unfit(&encoder, way, &labels), labels })
            }
            (Some(_), Err(cause)) => return Err(cause.clone()),
            // Without a head there is no other way, and these options are for candidates alone.
            (None, Err(cause)) if head.is_none() || options.is_for_candidates() => return Err(cause.clone()),
            (None, _) => None,
        };
        if head.is_none() && options.function_to_apply.is_some() {
            return Err("option `function_to_apply` is for models with labels of their own".to_owned());
        }
        if head.is_none() && options.threshold.is_some() && !options.multi_label {
            return Err(options::THRESHOLD.to_owned());
        }
        Ok(Self { encoder, options, head, way, cache: Arc::default(), own })
    }

    /// Those of the model, and those of the options.
    pub fn labels(&self) -> Vec<String> {
        let of_head = self.head.iter().flat_map(Head::labels);
        of_head.chain(self.own.iter().flat_map(|own| &own.labels)).cloned().collect()
    }

    /// `nli` reads the text with each label; labels of the options are counted too.
    pub fn cost(&self, ask: &Passage) -> usize {
        let (most, stride) = (self.encoder.max_tokens(), self.options.stride);
        let read = |beside: usize, stride: usize| {
            let text = tokens(&ask.text) + ask.pair.as_deref().map_or(0, tokens);
            match self.options.too_long {
                TooLong::Window => windowed(text, beside, most, stride),
                TooLong::Truncate | TooLong::Reject => (text + beside).min(most),
            }
        };
        let labels = ask.labels.as_ref().or_else(|| self.options.candidate_labels.as_ref().map(|list| &list.0));
        match (labels, &self.way) {
            (Some(labels), Ok(Way::Nli { template, .. })) => {
                let stride = stride.unwrap_or(most / 4).min(most / 4);
                labels.iter().map(|label| read((tokens(label) + tokens(template)).min(most / 2), stride)).sum()
            }
            _ => {
                let labels: usize = ask.labels.iter().flatten().map(|label| tokens(label).min(most)).sum();
                labels + read(0, stride.unwrap_or(most / 4))
            }
        }
    }

    /// One answer or refusal for each, in order.
    pub async fn answer(&self, asks: Vec<Passage>) -> Result<Vec<Result<Classified, Rejection>>, CallError> {
        let (mut own, mut given, mut places) = (Vec::new(), Vec::new(), Vec::with_capacity(asks.len()));
        for mut ask in asks {
            let list = match (ask.labels.take(), &self.own) {
                (Some(list), _) => Some(labels::checked(list)),
                (None, Some(own)) => Some(Ok(own.labels.clone())),
                (None, None) => None,
            };
            places.push(match (list, &self.way, &self.head) {
                (Some(list), Ok(_), _) => list.map(|list| {
                    given.push((ask, list));
                    true
                }),
                (Some(_), Err(cause), _) => Err(Rejection::new("no_candidates", cause.as_str()).at("candidate_labels")),
                (None, _, Some(_)) => {
                    own.push(ask);
                    Ok(false)
                }
                (None, _, None) => {
                    let detail = "the model has no labels of its own; name some in the event or in the option `candidate_labels`";
                    Err(Rejection::new("missing_field", detail).at("candidate_labels"))
                }
            });
        }
        let mut own = self.by_head(own).await?.into_iter();
        let mut given = self.by_labels(given).await?.into_iter();
        let missing = || CallError::Fatal("the model gave fewer answers than it was asked for".to_owned());
        let place = |place| match place {
            Ok(true) => given.next().ok_or_else(missing),
            Ok(false) => own.next().ok_or_else(missing),
            Err(refused) => Ok(Err(refused)),
        };
        places.into_iter().map(place).collect()
    }
}
