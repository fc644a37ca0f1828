//! `sentiment`: which label of a fine-tuned sequence classifier fits a text, and how sure the model is.

use super::passed;
use super::requests::{About, BadParameter, Requests};
use super::texts::{Asked, TextOptions, UNKNOWN_TEXT, call_error, rounded};
use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::inference::{Answer, Encoder, Head, InferenceError, Options, best};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "sentiment";
const VERSION: u32 = 2;
const LIMITS: Limits = Limits { slice: 256, calls_in_flight: 2, timeout: Duration::from_secs(120) };

/// Fields: `label`, `score` (its probability), `scores` (all labels), `tokens`, `truncated`. A text of which the model knows no token, such as
/// one in another script, has no label and a `reason`.
pub struct Sentiment {
    spec: Spec,
    encoder: Arc<Encoder>,
    options: TextOptions,
    labels: Vec<String>,
}

impl Sentiment {
    /// Uses an open model, which must have a classifier.
    pub fn new(encoder: Arc<Encoder>) -> Result<Self, InferenceError> {
        let Some(labels) = encoder.labels().map(<[String]>::to_vec) else {
            let cause =
                "the model has no `classifier.weight`; sentiment needs a model fine-tuned for sequence classification".to_owned();
            return Err(InferenceError::Unsupported { path: encoder.id().into(), cause });
        };
        let spec = Spec { name: NAME, version: VERSION, model: encoder.id().to_owned(), limits: LIMITS };
        Ok(Self { spec, encoder, options: TextOptions::default(), labels })
    }

    /// With the pipeline's options; the error says what to change.
    pub fn with(mut self, options: &Map<String, Value>) -> Result<Self, String> {
        self.options = TextOptions::of(NAME, options)?;
        Ok(self)
    }

    /// Opens a model folder under the folder's own name. Blocks while it reads.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, InferenceError> {
        let folder = folder.as_ref();
        let name = folder.file_name().map_or(NAME.into(), |n| n.to_string_lossy());
        Self::new(Arc::new(Encoder::open(&name, folder, None, &Options::default())?))
    }

    /// Scores texts outside a stream; one outcome a text. For callers outside a Tokio runtime; panics inside one.
    pub fn call_texts(&self, texts: &[&str]) -> Result<Vec<Outcome>, CallError> {
        let mut asked = Asked::new(&self.options, &self.encoder, texts.iter().map(|t| Some(*t)));
        let answers = self.encoder.answer_blocking(Head::Classify, asked.take_texts(&self.encoder)).map_err(call_error)?;
        asked.outcomes(answers, |answer| predict(&self.labels, &answer), no_label)
    }

    /// The same inside a Tokio runtime. `None` is an input without a text.
    pub async fn answer(&self, texts: &[Option<&str>]) -> Result<Vec<Outcome>, CallError> {
        let mut asked = Asked::new(&self.options, &self.encoder, texts.iter().copied());
        let answers = self.encoder.answer(Head::Classify, asked.take_texts(&self.encoder)).await.map_err(call_error)?;
        asked.outcomes(answers, |answer| predict(&self.labels, &answer), no_label)
    }
}

impl Function for Sentiment {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            let texts: Vec<Option<&str>> = slice.iter().map(|input| input.event.text.as_deref()).collect();
            let outcomes = self.answer(&texts).await?;
            Ok(passed::add(slice, outcomes, self.options.pass_event, &self.options.output_key))
        })
    }

    fn requests(&self) -> Option<&dyn Requests> {
        Some(self)
    }
}

impl Requests for Sentiment {
    fn about(&self) -> About {
        About { fields: &["text"], parameters: &[], options: self.options.shown(), example: json!("I love it.") }
    }

    fn tuned(&self, parameters: &Map<String, Value>) -> Result<Arc<dyn Function>, BadParameter> {
        let name = parameters.keys().next().map_or("", String::as_str);
        Err(BadParameter::unknown(NAME, name, &[]))
    }

    fn bare(&self, fields: &Value) -> Value {
        json!([{ "label": fields["label"], "score": fields["score"] }])
    }
}

/// The most probable label; the first of equals.
fn predict(labels: &[String], answer: &Answer) -> Prediction {
    let best = best(&answer.values);
    let (label, score) = (labels[best].as_str(), rounded(answer.values[best]));
    let scores: Map<String, Value> = labels.iter().cloned().zip(answer.values.iter().map(|v| rounded(*v).into())).collect();
    let mut fields = Map::new();
    fields.insert("label".into(), label.into());
    fields.insert("score".into(), score.into());
    fields.insert("scores".into(), scores.into());
    fields.insert("tokens".into(), answer.tokens.into());
    fields.insert("truncated".into(), answer.truncated.into());
    Prediction { key: None, fields, label: Some(label.into()), score: Some(score) }
}

/// The answer to a text of which the model knows nothing.
fn no_label() -> Outcome {
    let fields = json!({ "label": null, "score": null, "scores": {}, "reason": UNKNOWN_TEXT, "tokens": 0, "truncated": false });
    let Value::Object(fields) = fields else { return Outcome::Skip(UNKNOWN_TEXT) };
    Outcome::Emit(vec![Prediction { key: None, fields, label: None, score: None }])
}
