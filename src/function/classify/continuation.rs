//! By labels as continuations: a causal network says how probable it is that the text goes on with each of them.
//!
//! A label's score is the mean (`normalize = "token"`) or the sum of the log-probabilities of its tokens behind the text, less the same behind a
//! text that says nothing (`content_free`, where it is given); softmax over the labels, divided by `temperature` before. What stands before
//! the labels is computed once for all of them.

use super::{Classified, Normalize, ONE_LABEL, Options, Passage, classified, labels};
use crate::event::Rejection;
use crate::function::CallError;
use crate::function::options::TooLong;
use crate::function::task::tokens;
use crate::function::texts::call_error;
use crate::function::windows::{Seen, softmax};
use crate::inference::InferenceError;
use crate::inference::generate::{Vocabulary, Writer};
use crate::inference::template::Rendered;
use futures_util::future::try_join_all;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the network goes on with, where nothing is said.
const TEMPLATE: &str = "Text: {text}\nLabel: {}";
/// Lists of labels whose scores behind nothing are kept.
const CACHED: usize = 1_000;
/// Of lists that are shorter than this.
const CACHED_BYTES: usize = 4_096;

/// A network that goes on with a text, and what it is asked.
pub struct Continuing {
    writer: Arc<Writer>,
    options: Options,
    template: Arc<Template>,
    /// The scores of labels behind the text that says nothing.
    priors: Mutex<HashMap<Vec<String>, Arc<[f32]>>>,
}

/// A template in its parts: `before` {text} `between` {} `behind`. White space before a label belongs to it, as it does in tokens.
struct Template {
    before: String,
    between: String,
    blank: String,
    behind: String,
}

/// A text and its labels as ids.
struct Asked {
    prompt: Vec<u32>,
    continuations: Vec<Vec<u32>>,
    truncated: bool,
}

impl Template {
    fn parse(template: &str) -> Result<Self, String> {
        let template = match template.contains("{text}") {
            true => template.to_owned(),
            false => format!("{{text}}\n{template}"),
        };
        let parts = template.split_once("{text}").and_then(|(before, rest)| Some((before, rest.split_once("{}")?)));
        let Some((before, (between, behind))) = parts else {
            return Err("option `hypothesis_template` must have {} where the label goes, behind {text}".to_owned());
        };
        let words = between.trim_end();
        Ok(Self { before: before.into(), between: words.into(), blank: between[words.len()..].into(), behind: behind.into() })
    }

    /// The ids of what stands before the labels, with so much of the text. Control tokens of the template are such; those in the text are not.
    fn prompt(&self, vocabulary: &Vocabulary, text: &str) -> Result<Vec<u32>, InferenceError> {
        let parts = [(self.before.as_str(), true), (text, false), (self.between.as_str(), true)];
        vocabulary.encode(&Rendered::joined(&parts, vocabulary.controls()), true)
    }

    /// A label as it stands behind other words: some tokenisers put a blank of their own before a text that stands alone.
    fn continuation(&self, vocabulary: &Vocabulary, label: &str) -> Result<Vec<u32>, InferenceError> {
        const WORD: &str = ":";
        let label = format!("{}{label}{}", self.blank, self.behind);
        let (before, both) = (vocabulary.plain(WORD, false)?, vocabulary.plain(&format!("{WORD}{label}"), false)?);
        match both.strip_prefix(&before[..]) {
            Some(rest) if !self.blank.is_empty() => Ok(rest.to_vec()),
            _ => vocabulary.plain(&label, false),
        }
    }

    fn read(&self, writer: &Writer, text: &str, labels: &[String], too_long: TooLong) -> Result<Asked, Rejection> {
        let vocabulary = writer.vocabulary();
        let refused = |error: InferenceError| Rejection::new("prompt_refused", error.to_string());
        let label = |(place, label): (usize, &String)| {
            let ids = self.continuation(vocabulary, label).map_err(refused)?;
            let at = || format!("candidate_labels.{place}");
            match ids.len() {
                0 => Err(Rejection::new("empty_label", "the label has no token that the model knows").at(at())),
                more if more > writer.room() / 2 => {
                    let detail = format!("the label has {more} tokens; half of what the model sees is {}", writer.room() / 2);
                    Err(Rejection::new("label_too_long", detail).at(at()))
                }
                _ => Ok(ids),
            }
        };
        let continuations = labels.iter().enumerate().map(label).collect::<Result<Vec<_>, _>>()?;
        // The longest label runs beside the prompt that all of them share.
        let room = writer.room_for(continuations.iter().map(Vec::len).max().unwrap_or(0), 1);
        let prompt = self.prompt(vocabulary, text).map_err(refused)?;
        if prompt.is_empty() {
            return Err(Rejection::new("empty_text", "the text has no token that the model knows").at("text"));
        }
        if prompt.len() <= room {
            return Ok(Asked { prompt, continuations, truncated: false });
        }
        if too_long != TooLong::Truncate {
            let detail =
                format!("with its template the text has {} tokens; there is room for {room} beside the labels", prompt.len());
            return Err(Rejection::new("text_too_long", detail).at("text"));
        }
        // The most characters that fit.
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let cut = |characters: usize| self.prompt(vocabulary, &text[..ends[characters]]).map_err(refused);
        let (mut fits, mut low, mut high) = (cut(0)?, 0, ends.len());
        if fits.len() > room || fits.is_empty() {
            let detail = format!("the template takes {} tokens; there is room for {room} beside the labels", fits.len());
            return Err(Rejection::new("text_too_long", detail).at("text"));
        }
        while low + 1 < high {
            let middle = low.midpoint(high);
            let ids = cut(middle)?;
            match ids.len() <= room {
                true => (low, fits) = (middle, ids),
                false => high = middle,
            }
        }
        Ok(Asked { prompt: fits, continuations, truncated: true })
    }
}

impl Continuing {
    pub fn new(writer: Arc<Writer>, options: Options) -> Result<Self, String> {
        match options.backend {
            None | Some(super::Backend::Continuation) => {}
            Some(_) => return Err("option `backend`: a causal model has the back end `continuation` alone".to_owned()),
        }
        let others = [
            ("function_to_apply", options.function_to_apply.is_some()),
            ("threshold", options.threshold.is_some()),
            ("labels", options.labels.is_some()),
            ("multi_label", options.multi_label),
            ("stride", options.stride.is_some()),
            ("too_long", options.too_long == TooLong::Window),
        ];
        if let Some((name, _)) = others.iter().find(|(_, set)| *set) {
            let more = if *name == "too_long" { "`window` " } else { "" };
            return Err(format!("option `{name}` {more}does not go with the back end `continuation` of a causal model"));
        }
        let template = Template::parse(options.hypothesis_template.as_deref().unwrap_or(TEMPLATE))?;
        if let Some(list) = &options.candidate_labels {
            labels::checked(list.0.clone()).map_err(|no| format!("`candidate_labels`: {}", no.detail))?;
            if list.0.len() == 1 {
                return Err(format!("option `candidate_labels`: {ONE_LABEL}"));
            }
        }
        if options.content_free.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err("option `content_free` is empty; write a text that says nothing, such as \"N/A\"".to_owned());
        }
        Ok(Self { writer, options, template: Arc::new(template), priors: Mutex::default() })
    }

    /// The labels of the options.
    pub fn labels(&self) -> Vec<String> {
        let list = self.options.candidate_labels.as_ref().map(|list| list.0.clone());
        list.and_then(|list| labels::checked(list).ok()).unwrap_or_default()
    }

    pub fn has_labels(&self) -> bool {
        self.options.candidate_labels.is_some()
    }

    pub fn cost(&self, ask: &Passage) -> usize {
        let template = &self.template;
        let around = tokens(&template.before) + tokens(&template.between);
        let read = (tokens(&ask.text) + around).min(self.writer.room());
        let labels = ask.labels.as_ref().or_else(|| self.options.candidate_labels.as_ref().map(|list| &list.0));
        let behind = tokens(&template.behind);
        read + labels.into_iter().flatten().map(|label| tokens(label) + behind).sum::<usize>()
    }

    /// One answer or refusal for each, in order.
    pub async fn answer(&self, asks: Vec<Passage>) -> Result<Vec<Result<Classified, Rejection>>, CallError> {
        // All at the same time, so that each thread of the model has some.
        try_join_all(asks.into_iter().map(|ask| self.one(ask))).await
    }

    async fn one(&self, ask: Passage) -> Result<Result<Classified, Rejection>, CallError> {
        let given = ask.labels.or_else(|| self.options.candidate_labels.as_ref().map(|list| list.0.clone()));
        let labels = match given.map(labels::checked) {
            Some(Ok(labels)) if ask.pair.is_none() => labels,
            Some(Ok(_)) => {
                let detail = "a pair has no place in the template; write both into one text";
                return Ok(Err(Rejection::new("unexpected_field", detail).at("text_pair")));
            }
            Some(Err(refused)) => return Ok(Err(refused)),
            None => {
                let detail =
                    "a causal model has no labels of its own; name some in the event or in the option `candidate_labels`";
                return Ok(Err(Rejection::new("missing_field", detail).at("candidate_labels")));
            }
        };
        if labels.len() == 1 {
            return Ok(Err(Rejection::new("one_label", ONE_LABEL).at("candidate_labels")));
        }
        let (mut scores, seen) = match self.scores(ask.text, labels.clone()).await? {
            Ok(scored) => scored,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Some(nothing) = &self.options.content_free {
            let prior = match self.prior(nothing, &labels).await? {
                Ok(prior) => prior,
                Err(refused) => return Ok(Err(refused)),
            };
            scores.iter_mut().zip(&*prior).for_each(|(score, prior)| *score -= prior);
        }
        let temperature = self.options.temperature.unwrap_or(1.0);
        scores.iter_mut().for_each(|score| *score /= temperature);
        softmax(&mut scores);
        Ok(Ok(classified(&self.options, &labels, &scores, None, None, seen)))
    }

    /// What the labels score behind a text.
    async fn scores(&self, text: String, labels: Vec<String>) -> Result<Result<(Vec<f32>, Seen), Rejection>, CallError> {
        let (template, writer, too_long) = (Arc::clone(&self.template), Arc::clone(&self.writer), self.options.too_long);
        let read = move || template.read(&writer, &text, &labels, too_long);
        let Asked { prompt, continuations, truncated } = match self.writer.aside(read).await.map_err(call_error)? {
            Ok(asked) => asked,
            Err(refused) => return Ok(Err(refused)),
        };
        let lengths: Vec<usize> = continuations.iter().map(Vec::len).collect();
        let seen = Seen { tokens: prompt.len() + lengths.iter().sum::<usize>(), truncated, windows: 1 };
        let mut scores = self.writer.score(prompt, continuations).await.map_err(call_error)?;
        if self.options.normalize == Normalize::Token {
            scores.iter_mut().zip(&lengths).for_each(|(score, length)| *score /= *length as f32);
        }
        Ok(Ok((scores, seen)))
    }

    /// What they score behind the text that says nothing.
    async fn prior(&self, nothing: &str, labels: &[String]) -> Result<Result<Arc<[f32]>, Rejection>, CallError> {
        let known = |priors: &Mutex<HashMap<Vec<String>, Arc<[f32]>>>| {
            priors.lock().unwrap_or_else(PoisonError::into_inner).get(labels).cloned()
        };
        if let Some(known) = known(&self.priors) {
            return Ok(Ok(known));
        }
        let scores = match self.scores(nothing.to_owned(), labels.to_vec()).await? {
            Ok((scores, _)) => Arc::<[f32]>::from(scores),
            Err(refused) => return Ok(Err(refused)),
        };
        let mut priors = self.priors.lock().unwrap_or_else(PoisonError::into_inner);
        if priors.len() < CACHED && labels.iter().map(String::len).sum::<usize>() < CACHED_BYTES {
            priors.insert(labels.to_vec(), scores.clone());
        }
        Ok(Ok(scores))
    }
}
