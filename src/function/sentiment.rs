//! `sentiment`: which label of a fine-tuned sequence classifier fits a text, and how sure the model is.

use super::api::block;
use super::classify::{Apply, Label};
use super::control::harmless;
use super::fields::Fields;
use super::one::{self, One};
use super::options::{TooLong, TopK};
use super::requests::Requests;
use super::task::{Task, TextFunction, tokens, windowed};
use super::texts::{UNKNOWN_TEXT, call_error, rounded};
use super::windows::{self, Seen, Window, answers, check_stride, in_place, ranked, weighted};
use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::event::Rejection;
use crate::inference::{Answer, Encoder, Head, InferenceError, Text};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

const NAME: &str = "sentiment";
const NO_HEAD: &str = "the model has no `classifier.weight`; sentiment needs a model fine-tuned for sequence classification";

/// Options of `sentiment`; null is the default.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// Labels in the answer, best first, as `labels`; null is all. Default 1: the best alone, as `label`.
    pub top_k: TopK,
    /// What makes scores of the network's logits. Default: regression none; many labels, or a single one, sigmoid; else softmax.
    pub function_to_apply: Option<Apply>,
    /// `truncate` (default), `window` or `reject`. The score of windows is the mean of their scores, weighted by their tokens.
    pub too_long: TooLong,
    /// Tokens by which windows overlap. Default: a quarter of what the model sees.
    pub stride: Option<usize>,
}

/// What the model says of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Of every label, in the model's order; `None` for a text of which the model knows no token.
    pub scores: Option<Vec<f32>>,
    pub seen: Seen,
}

/// What `sentiment` does, as a task.
pub struct Judging {
    encoder: Arc<Encoder>,
    labels: Vec<String>,
    options: Options,
}

impl Judging {
    /// The scores of texts whose tokens the model knows.
    async fn scores(&self, texts: Vec<String>) -> Result<Vec<Result<(Vec<f32>, Seen), Rejection>>, CallError> {
        let (encoder, apply, policy) = (&*self.encoder, self.options.function_to_apply, self.options.too_long);
        let head = if apply.is_some() { Head::Logits } else { Head::Classify };
        let texts = texts.into_iter().map(|text| harmless(encoder.tokenizer(), text, None));
        let of_logits = |mut row: Vec<f32>| {
            apply.inspect(|apply| apply.to(&mut row));
            row
        };
        if policy == TooLong::Truncate {
            let answers = encoder.answer(head, texts.collect()).await.map_err(call_error)?;
            let one = |Answer { values, tokens, truncated }| Ok((of_logits(values), Seen { tokens, truncated, windows: 1 }));
            return Ok(answers.into_iter().map(one).collect());
        }
        let cut = windows::cut(encoder, policy, self.options.stride);
        let mut asked = windows::windows(encoder, texts.map(Text::from).collect(), cut, policy).await?;
        let tokens = asked.iter_mut().filter_map(|asked| asked.as_mut().ok()).map(std::mem::take).collect();
        let answered = answers(encoder, head, tokens).await?;
        let one = |windows: Vec<Window>| {
            let seen = Seen::of(&windows);
            (weighted(&windows, |window| of_logits(window.answer.values.clone())), seen)
        };
        Ok(in_place(asked, answered.into_iter().map(one)))
    }
}

impl Task for Judging {
    const NAME: &'static str = NAME;
    const VERSION: u32 = 2;
    const FIELDS: &'static [&'static str] = &["text"];
    const PARAMETERS: &'static [&'static str] = &["top_k", "function_to_apply", "too_long", "stride"];
    type Model = Encoder;
    type Options = Options;
    type Ask = One;
    type Answer = Judged;

    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        check_stride(&encoder, options.stride)?;
        let labels = encoder.labels().ok_or(NO_HEAD)?.to_vec();
        Ok(Self { encoder, labels, options })
    }

    fn model(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn labels(&self) -> Vec<String> {
        self.labels.clone()
    }

    fn limits(&self) -> Limits {
        one::limits(self.options.too_long)
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<One, Rejection> {
        fields.text("text").map(One)
    }

    fn texts(ask: &One) -> Vec<(&'static str, Option<usize>, &str)> {
        vec![("text", None, &ask.0)]
    }

    fn cost(&self, ask: &One) -> usize {
        let (most, read) = (self.encoder.max_tokens(), tokens(&ask.0));
        match self.options.too_long {
            TooLong::Window => windowed(read, 0, most, self.options.stride.unwrap_or(most / 4)),
            TooLong::Truncate | TooLong::Reject => read.min(most),
        }
    }

    async fn answer(&self, asks: Vec<One>) -> Result<Vec<Result<Judged, Rejection>>, CallError> {
        let (known, texts) = one::known(&self.encoder, asks);
        let one = |(scores, seen)| Judged { scores: Some(scores), seen };
        let found = self.scores(texts).await?.into_iter().map(|found| found.map(one)).collect();
        one::in_known_places(known, found, || Ok(Judged { scores: None, seen: Seen::default() }))
    }

    /// The best label; of equals the first.
    fn prediction(&self, answer: Judged) -> Prediction {
        let strange = answer.scores.is_none();
        let scores = answer.scores.unwrap_or_default();
        let label = |place: usize| Label { name: self.labels[place].clone(), score: rounded(scores[place]) };
        let most = self.options.top_k.or(Some(1));
        let best: Vec<Label> = ranked(&scores).into_iter().take(most).map(label).collect();
        let by_name: Map<String, Value> = self.labels.iter().cloned().zip(scores.iter().map(|v| rounded(*v).into())).collect();
        let (label, score) = best.first().map(|best| (best.name.as_str().into(), best.score)).unzip();
        let mut fields = Map::new();
        fields.insert("label".into(), best.first().map(|best| best.name.as_str()).into());
        fields.insert("score".into(), score.into());
        fields.insert("scores".into(), by_name.into());
        if most != 1 {
            let one = |label: &Label| json!({ "label": label.name, "score": label.score });
            fields.insert("labels".into(), best.iter().map(one).collect());
        }
        if strange {
            fields.insert("reason".into(), UNKNOWN_TEXT.into());
        }
        answer.seen.tell(&mut fields, self.options.too_long);
        Prediction { key: None, fields, label, score, model: None }
    }

    fn bare(fields: &Value) -> Value {
        match fields.get("labels") {
            Some(labels) => labels.clone(),
            None => json!([{ "label": fields["label"], "score": fields["score"] }]),
        }
    }

    fn example(&self) -> Value {
        json!("I love it.")
    }
}

/// Fields: `label`, `score` (its probability), `scores` (all labels), `tokens`, `truncated`; where `top_k` is not 1 also `labels`, with
/// `too_long = "window"` also `windows`. A text of which the model knows no token, such as one in another script, has no label and a `reason`.
pub struct Sentiment(TextFunction<Judging>);

impl Sentiment {
    /// Uses an open model, which must have a classifier.
    pub fn new(encoder: Arc<Encoder>) -> Result<Self, InferenceError> {
        let unsupported = |cause: String| InferenceError::Unsupported { path: encoder.id().into(), cause };
        let judging = Judging::new(encoder.clone(), Options::default()).map_err(unsupported)?;
        Ok(Self(TextFunction::of(judging)))
    }

    /// With the pipeline's options; the error says what to change.
    pub fn with(self, options: &Map<String, Value>) -> Result<Self, String> {
        one::check_fields(NAME, options)?;
        TextFunction::new(self.0.task().encoder.clone(), options).map(Self)
    }

    /// Opens a model folder under the folder's own name. Blocks while it reads.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, InferenceError> {
        one::load(NAME, folder.as_ref()).and_then(Self::new)
    }

    /// Scores texts outside a stream; one outcome a text. Blocks its thread.
    pub fn call_texts(&self, texts: &[&str]) -> Result<Vec<Outcome>, CallError> {
        let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(*text)).collect();
        block::on(self.answer(&texts))
    }

    /// The same without blocking the thread. `None` is an input without a text.
    pub async fn answer(&self, texts: &[Option<&str>]) -> Result<Vec<Outcome>, CallError> {
        self.0.answer_texts(texts).await
    }
}

impl Function for Sentiment {
    fn spec(&self) -> &Spec {
        self.0.spec()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        self.0.call(slice)
    }

    fn labels(&self) -> Vec<String> {
        self.0.labels()
    }

    fn requests(&self) -> Option<&dyn Requests> {
        self.0.requests()
    }
}
