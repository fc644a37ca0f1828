//! `classify`: which label fits a text, which of many labels do, or a number; by the model's own labels, or by labels that come with
//! the question, `candidate_labels`.

mod continuation;
mod head;
mod labels;
mod options;
mod reading;

use super::fields::Fields;
use super::model::Model;
use super::task::Task;
use super::texts::{UNKNOWN_TEXT, rounded};
use super::windows::{Seen, ranked};
use super::{CallError, Prediction};
use crate::event::Rejection;
use continuation::Continuing;
use reading::Reading;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

pub use head::several_may_hold;
pub use options::{Apply, Backend, Normalize, Options};

/// Below it cosines that differ at all are told apart for certain, and numbers run out of range.
const LEAST_TEMPERATURE: f32 = 0.001;
/// What cosines are divided by where nothing is said.
const TEMPERATURE: f32 = 0.05;

/// A text, or a pair of texts, with the labels to choose from where they come with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passage {
    pub text: String,
    pub pair: Option<String>,
    pub labels: Option<Vec<String>>,
}

impl Passage {
    /// A pair of texts.
    pub fn pair(text: impl Into<String>, pair: impl Into<String>) -> Self {
        Self { text: text.into(), pair: Some(pair.into()), labels: None }
    }

    /// The same with the labels to choose from.
    pub fn among<L: Into<String>>(self, labels: impl IntoIterator<Item = L>) -> Self {
        Self { labels: Some(labels.into_iter().map(Into::into).collect()), ..self }
    }
}

impl<T: AsRef<str>> From<T> for Passage {
    fn from(text: T) -> Self {
        Self { text: text.as_ref().to_owned(), ..Self::default() }
    }
}

/// A label and its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    pub name: String,
    pub score: f64,
}

/// The answer to one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// The best label; `None` where no label is sure enough.
    pub label: Option<String>,
    /// The best label's score, also where it is not sure enough; `None` when several labels may hold and none does.
    pub score: Option<f64>,
    /// The labels that are the answer, best first: `top_k` of them, or where several may hold those above the threshold.
    pub labels: Vec<Label>,
    /// Every label's score, where several may hold.
    pub scores: Option<Vec<Label>>,
    /// Why there is no label: `below_threshold`, or `unknown_text` for one of which the model knows no token.
    pub reason: Option<&'static str>,
    /// Tokens that the network saw.
    pub tokens: usize,
    pub truncated: bool,
    pub windows: usize,
}

/// Fields: `label`, `score`, `labels` (`label`, `score`), `tokens`, `truncated`, `windows`; where several labels may hold also
/// `scores` (all labels); `reason` where there is no label.
pub struct Classify {
    model: Arc<Model>,
    by: By,
}

enum By {
    Reading(Box<Reading>),
    Continuing(Box<Continuing>),
}

impl Classify {
    fn build(model: Arc<Model>, options: Options) -> Result<Self, String> {
        if options.temperature.is_some_and(|value| !(value >= LEAST_TEMPERATURE && value.is_finite())) {
            return Err(format!("option `temperature` must be {LEAST_TEMPERATURE} or more"));
        }
        let by = match &*model {
            Model::Encoder(encoder) => By::Reading(Box::new(Reading::build(encoder.clone(), options)?)),
            Model::Writer(writer) => By::Continuing(Box::new(Continuing::new(writer.clone(), options)?)),
            Model::TextToText(_) => {
                return Err("the model writes a text from a text; it needs one that reads, or a causal one".to_owned());
            }
        };
        Ok(Self { model, by })
    }
}

/// The answer out of all labels' scores. Where several may hold, those do that score `holds_from` or more.
fn classified(
    options: &Options,
    names: &[String],
    scores: &[f32],
    holds_from: Option<f32>,
    default_k: Option<usize>,
    seen: Seen,
) -> Classified {
    let label = |place: usize| Label { name: names[place].clone(), score: rounded(scores[place]) };
    let order = ranked(scores);
    let many = holds_from.is_some();
    let kept = |place: &usize| holds_from.is_none_or(|least| scores[*place] >= least);
    let k = options.top_k.or(if many { None } else { default_k });
    let labels: Vec<Label> = order.iter().copied().filter(kept).take(k).map(label).collect();
    let sure = many || options.min_score.is_none_or(|least| order.first().is_some_and(|best| scores[*best] >= least));
    let label_of_text = labels.first().filter(|_| sure).map(|best| best.name.clone());
    Classified {
        reason: label_of_text.is_none().then_some("below_threshold"),
        label: label_of_text,
        score: labels.first().map(|best| best.score),
        labels,
        scores: many.then(|| (0..names.len()).map(label).collect()),
        tokens: seen.tokens,
        truncated: seen.truncated,
        windows: seen.windows,
    }
}

impl Classified {
    /// What can be said of a text of which the model knows nothing.
    fn strange(self) -> Self {
        Self { label: None, score: None, labels: Vec::new(), scores: None, reason: Some(UNKNOWN_TEXT), ..self }
    }
}

impl Task for Classify {
    const NAME: &'static str = "classify";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["text", "text_pair", "candidate_labels"];
    const PARAMETERS: &'static [&'static str] = &[
        "top_k",
        "function_to_apply",
        "threshold",
        "min_score",
        "too_long",
        "stride",
        "candidate_labels",
        "hypothesis_template",
        "multi_label",
        "temperature",
        "normalize",
        "content_free",
    ];
    type Model = Model;
    type Options = Options;
    type Ask = Passage;
    type Answer = Classified;

    fn new(model: Arc<Model>, options: Options) -> Result<Self, String> {
        let function = Self::build(model, options)?;
        if let By::Reading(reading) = &function.by
            && reading.head.as_ref().is_some_and(head::Head::is_unnamed)
        {
            let model = reading.encoder.id();
            tracing::warn!(model, "The labels have numbers for names, such as LABEL_0; name them with the option `labels`.");
        }
        Ok(function)
    }

    fn with(&self, options: Options) -> Result<Self, String> {
        let mut new = Self::build(self.model.clone(), options)?;
        if let (By::Reading(new), By::Reading(old)) = (&mut new.by, &self.by) {
            new.cache = old.cache.clone();
        }
        Ok(new)
    }

    fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Those that come with an event are none of them.
    fn labels(&self) -> Vec<String> {
        match &self.by {
            By::Reading(reading) => reading.labels(),
            By::Continuing(continuing) => continuing.labels(),
        }
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Passage, Rejection> {
        Ok(Passage { text: fields.text("text")?, pair: fields.optional("text_pair")?, labels: fields.list("candidate_labels")? })
    }

    fn texts(ask: &Passage) -> Vec<(&'static str, Option<usize>, &str)> {
        let pair = ask.pair.iter().map(|pair| ("text_pair", None, pair.as_str()));
        // Empty labels are refused with the others that are none.
        let labels = ask.labels.iter().flatten().enumerate().filter(|(_, label)| !label.trim().is_empty());
        let labels = labels.map(|(place, label)| ("candidate_labels", Some(place), label.as_str()));
        std::iter::once(("text", None, ask.text.as_str())).chain(pair).chain(labels).collect()
    }

    fn cost(&self, ask: &Passage) -> usize {
        match &self.by {
            By::Reading(reading) => reading.cost(ask),
            By::Continuing(continuing) => continuing.cost(ask),
        }
    }

    async fn answer(&self, asks: Vec<Passage>) -> Result<Vec<Result<Classified, Rejection>>, CallError> {
        match &self.by {
            By::Reading(reading) => reading.answer(asks).await,
            By::Continuing(continuing) => continuing.answer(asks).await,
        }
    }

    fn prediction(&self, answer: Classified) -> Prediction {
        let pair = |label: &Label| json!({ "label": label.name, "score": label.score });
        let mut fields = Map::new();
        fields.insert("label".into(), answer.label.clone().into());
        fields.insert("score".into(), answer.score.into());
        fields.insert("labels".into(), answer.labels.iter().map(pair).collect());
        if let Some(scores) = &answer.scores {
            let scores: Map<String, Value> = scores.iter().map(|label| (label.name.clone(), label.score.into())).collect();
            fields.insert("scores".into(), scores.into());
        }
        if let Some(reason) = answer.reason {
            fields.insert("reason".into(), reason.into());
        }
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("truncated".into(), answer.truncated.into());
        fields.insert("windows".into(), answer.windows.into());
        Prediction { key: None, fields, label: answer.label.map(Into::into), score: answer.score, model: None }
    }

    fn bare(fields: &Value) -> Value {
        fields["labels"].clone()
    }

    fn example(&self) -> Value {
        let labelled = match &self.by {
            By::Reading(reading) => reading.head.is_some() || reading.options.candidate_labels.is_some(),
            By::Continuing(continuing) => continuing.has_labels(),
        };
        match labelled {
            true => json!("The parcel arrived broken."),
            false => json!({ "text": "The parcel arrived broken.", "candidate_labels": ["complaint", "praise"] }),
        }
    }
}

const ONE_LABEL: &str = "one label alone would always have the score 1; name at least two";

/// Refuses labels that are empty or equal, once trimmed.
fn distinct(labels: &[String]) -> Result<(), Rejection> {
    let mut known = HashMap::new();
    for (place, label) in labels.iter().enumerate() {
        let colliding = known.insert(label, place);
        let (code, detail) = match colliding {
            _ if label.is_empty() => ("empty_label", format!("label {place} is empty")),
            _ if label.contains('\0') => return Err(super::passed::nul().at(format!("candidate_labels.{place}"))),
            Some(first) => ("colliding_labels", format!("labels {first} and {place} are equal; each must stand once")),
            None => continue,
        };
        return Err(Rejection::new(code, detail).at("candidate_labels"));
    }
    Ok(())
}
