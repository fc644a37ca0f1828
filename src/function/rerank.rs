//! `rerank`: texts by how well they fit a query: by a cross-encoder, where the model has a sequence head of one label, else by the
//! cosines of their vectors.

use super::fields::Fields;
use super::options::TopK;
use super::task::{Task, check_list, tokens};
use super::texts::{call_error, rounded};
use super::windows::{self, Seen, cosine, embeddings, ranked};
use super::{CallError, Prediction};
use crate::event::Rejection;
use crate::inference::{Cut, Encoder, Head};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Options of `rerank`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// Texts in the answer, best first. Default null: all.
    pub top_k: TopK,
    /// Whether the answer holds the texts beside their places. Default false.
    pub return_texts: bool,
    /// Logits of a cross-encoder instead of their sigmoid. Default false.
    pub raw_scores: bool,
}

/// A query, and the texts to put in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    pub query: String,
    pub texts: Vec<String>,
}

impl<S: AsRef<str>, T: AsRef<str>, I: IntoIterator<Item = T>> From<(S, I)> for Candidates {
    fn from((query, texts): (S, I)) -> Self {
        Self { query: query.as_ref().to_owned(), texts: texts.into_iter().map(|one| one.as_ref().to_owned()).collect() }
    }
}

/// A text's place in what was asked, and its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    pub index: usize,
    pub score: f64,
    /// With `return_texts`.
    pub text: Option<String>,
}

/// The texts of one query, best first; of equals the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    pub ranks: Vec<Ranked>,
    /// Tokens that the network saw.
    pub tokens: usize,
    /// Whether one of the texts was longer than the model sees.
    pub truncated: bool,
}

/// Fields: `ranks` (`index`, `score`, `text`), `tokens`, `truncated`. The prediction's score is the best one.
pub struct Rerank {
    encoder: Arc<Encoder>,
    options: Options,
    cross: bool,
}

impl Rerank {
    /// The scores of the texts of each query, in their order.
    async fn scores(&self, asks: &[Candidates]) -> Result<Vec<(Vec<f32>, Seen)>, CallError> {
        let mut scored = Vec::with_capacity(asks.len());
        if !self.cross {
            let texts = asks.iter().flat_map(|ask| std::iter::once(&ask.query).chain(&ask.texts)).cloned().collect();
            let mut vectors = embeddings(&self.encoder, texts).await?.into_iter();
            for ask in asks {
                let own: Vec<(Arc<[f32]>, Seen)> = vectors.by_ref().take(ask.texts.len() + 1).collect();
                let seen = own.iter().fold(Seen::default(), |all, (_, seen)| all.and(*seen));
                scored.push((own.iter().skip(1).map(|(vector, _)| cosine(&own[0].0, vector)).collect(), seen));
            }
            return Ok(scored);
        }
        let pair = |query: &String, text: &String| windows::text(&self.encoder, query.clone(), Some(text.clone()));
        let pairs = asks.iter().flat_map(|ask| ask.texts.iter().map(|text| pair(&ask.query, text))).collect();
        let answers = self.encoder.answer_texts(Head::Logits, pairs, Cut::default()).await.map_err(call_error)?;
        let mut answers = answers.into_iter();
        for ask in asks {
            let mut seen = Seen::default();
            let of_text = |answer: crate::inference::Answer| {
                seen = seen.and(Seen { tokens: answer.tokens, truncated: answer.truncated, windows: 1 });
                let logit = answer.values[0];
                if self.options.raw_scores { logit } else { 1.0 / (1.0 + (-logit).exp()) }
            };
            let scores = answers.by_ref().take(ask.texts.len()).map(of_text).collect();
            scored.push((scores, seen));
        }
        Ok(scored)
    }
}

impl Task for Rerank {
    const NAME: &'static str = "rerank";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["query", "texts"];
    const PARAMETERS: &'static [&'static str] = &["top_k", "return_texts", "raw_scores"];
    type Model = Encoder;
    type Options = Options;
    type Ask = Candidates;
    type Answer = Ranking;

    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        let cross = match encoder.labels() {
            None => false,
            Some([_]) => true,
            Some(labels) => {
                return Err(format!(
                    "the model has the labels {}; it needs one that scores a pair by one label, or one that embeds",
                    labels.join(", ")
                ));
            }
        };
        if options.raw_scores && !cross {
            return Err("option `raw_scores` is for models that score a pair; this one embeds".to_owned());
        }
        Ok(Self { encoder, options, cross })
    }

    fn model(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Candidates, Rejection> {
        Ok(Candidates { query: fields.text("query")?, texts: fields.texts("texts")? })
    }

    fn texts(ask: &Candidates) -> Vec<(&'static str, Option<usize>, &str)> {
        let texts = ask.texts.iter().enumerate().map(|(place, text)| ("texts", Some(place), text.as_str()));
        std::iter::once(("query", None, ask.query.as_str())).chain(texts).collect()
    }

    /// A cross-encoder reads the query with each text.
    fn cost(&self, ask: &Candidates) -> usize {
        let (most, query) = (self.encoder.max_tokens(), tokens(&ask.query));
        let beside = if self.cross { query } else { 0 };
        let texts: usize = ask.texts.iter().map(|text| (tokens(text) + beside).min(most)).sum();
        texts + query.min(most)
    }

    async fn answer(&self, asks: Vec<Candidates>) -> Result<Vec<Result<Ranking, Rejection>>, CallError> {
        let checked: Vec<Result<(), Rejection>> = asks.iter().map(|ask| check_list("texts", ask.texts.len())).collect();
        let good: Vec<Candidates> = asks.into_iter().zip(&checked).filter(|(_, ok)| ok.is_ok()).map(|(ask, _)| ask).collect();
        let scored = self.scores(&good).await?;
        let one = |(ask, (scores, seen)): (Candidates, (Vec<f32>, Seen))| {
            let order = ranked(&scores).into_iter().take(self.options.top_k.or(None));
            let text = |place: usize| self.options.return_texts.then(|| ask.texts[place].clone());
            let ranks = order.map(|index| Ranked { index, score: rounded(scores[index]), text: text(index) }).collect();
            Ranking { ranks, tokens: seen.tokens, truncated: seen.truncated }
        };
        let rankings: Vec<Ranking> = good.into_iter().zip(scored).map(one).collect();
        Ok(windows::in_place(checked, rankings))
    }

    fn prediction(&self, answer: Ranking) -> Prediction {
        let one = |ranked: &Ranked| {
            let mut one = json!({ "index": ranked.index, "score": ranked.score });
            if let Some(text) = &ranked.text {
                one["text"] = text.as_str().into();
            }
            one
        };
        let mut fields = Map::new();
        let score = answer.ranks.first().map(|best| best.score);
        fields.insert("ranks".into(), answer.ranks.iter().map(one).collect());
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("truncated".into(), answer.truncated.into());
        Prediction { key: None, fields, label: None, score }
    }

    fn bare(fields: &Value) -> Value {
        fields["ranks"].clone()
    }

    fn example(&self) -> Value {
        json!({ "query": "How long do refunds take?", "texts": ["Parcels leave on Monday.", "Refunds are paid in five days."] })
    }
}
