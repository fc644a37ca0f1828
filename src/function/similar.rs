//! `similar`: how near sentences are to one, as cosines of their vectors.

use super::fields::Fields;
use super::task::{Task, check_list};
use super::texts::rounded;
use super::windows::{Seen, cosine, embeddings};
use super::{CallError, Prediction};
use crate::event::Rejection;
use crate::inference::Encoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `similar` has no options of its own.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {}

/// A sentence, and those that it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub source_sentence: String,
    pub sentences: Vec<String>,
}

impl<S: AsRef<str>, T: AsRef<str>, I: IntoIterator<Item = T>> From<(S, I)> for Comparison {
    fn from((source, sentences): (S, I)) -> Self {
        let sentences = sentences.into_iter().map(|one| one.as_ref().to_owned()).collect();
        Self { source_sentence: source.as_ref().to_owned(), sentences }
    }
}

/// The cosine of each sentence with the source, -1 to 1, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Similarities {
    pub scores: Vec<f64>,
    /// Tokens that the network saw.
    pub tokens: usize,
    /// Whether one of the texts was longer than the model sees.
    pub truncated: bool,
}

/// Fields: `scores`, `tokens`, `truncated`. The prediction's score is the greatest.
pub struct Similar {
    encoder: Arc<Encoder>,
}

impl Task for Similar {
    const NAME: &'static str = "similar";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["source_sentence", "sentences"];
    const PARAMETERS: &'static [&'static str] = &[];
    type Model = Encoder;
    type Options = Options;
    type Ask = Comparison;
    type Answer = Similarities;

    fn new(encoder: Arc<Encoder>, _: Options) -> Result<Self, String> {
        Ok(Self { encoder })
    }

    fn model(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Comparison, Rejection> {
        Ok(Comparison { source_sentence: fields.text("source_sentence")?, sentences: fields.texts("sentences")? })
    }

    fn texts(ask: &Comparison) -> Vec<(&'static str, Option<usize>, &str)> {
        let sentences = ask.sentences.iter().enumerate().map(|(place, text)| ("sentences", Some(place), text.as_str()));
        std::iter::once(("source_sentence", None, ask.source_sentence.as_str())).chain(sentences).collect()
    }

    async fn answer(&self, asks: Vec<Comparison>) -> Result<Vec<Result<Similarities, Rejection>>, CallError> {
        let counts: Vec<Result<usize, Rejection>> =
            asks.iter().map(|ask| check_list("sentences", ask.sentences.len()).map(|()| ask.sentences.len())).collect();
        let texts = asks
            .into_iter()
            .zip(&counts)
            .filter(|(_, count)| count.is_ok())
            .flat_map(|(ask, _)| std::iter::once(ask.source_sentence).chain(ask.sentences))
            .collect();
        let mut vectors = embeddings(&self.encoder, texts).await?.into_iter();
        let mut one = |count: usize| {
            let own: Vec<(Arc<[f32]>, Seen)> = vectors.by_ref().take(count + 1).collect();
            let seen = own.iter().fold(Seen::default(), |all, (_, seen)| all.and(*seen));
            let scores = own.iter().skip(1).map(|(vector, _)| rounded(cosine(&own[0].0, vector))).collect();
            Similarities { scores, tokens: seen.tokens, truncated: seen.truncated }
        };
        Ok(counts.into_iter().map(|count| count.map(&mut one)).collect())
    }

    fn prediction(&self, answer: Similarities) -> Prediction {
        let mut fields = Map::new();
        let score = answer.scores.iter().copied().max_by(f64::total_cmp);
        fields.insert("scores".into(), answer.scores.into());
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("truncated".into(), answer.truncated.into());
        Prediction { key: None, fields, label: None, score }
    }

    fn bare(fields: &Value) -> Value {
        fields["scores"].clone()
    }

    fn example(&self) -> Value {
        json!({ "source_sentence": "I lost my card.", "sentences": ["My card is missing.", "What is the exchange rate?"] })
    }
}
