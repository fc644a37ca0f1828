//! `similar`: how near sentences are to one, as cosines of their vectors.

use super::fields::Fields;
use super::options::TooLong;
use super::task::{Task, check_list};
use super::texts::rounded;
use super::vectors::{Reading, prompt, vectors};
use super::windows::{Seen, cosine};
use super::{CallError, Prediction};
use crate::event::Rejection;
use crate::inference::Encoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Options of `similar`; null is the default.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// `truncate` (default), `window` or `reject`. The vector of windows is the mean of theirs, weighted by their tokens, and of length 1 again.
    pub too_long: TooLong,
    /// Tokens by which windows overlap. Default: a quarter of what the model sees.
    pub stride: Option<usize>,
    /// So many numbers of a vector, the first, are compared; for models that were trained to be cut short. Default: all.
    pub dimensions: Option<usize>,
    /// What is put before each text, such as `query: `; an empty text is none. Default: what `prompt_name` names.
    pub prompt: Option<String>,
    /// The same by its name in the model's config_sentence_transformers.json. Default: that file's `default_prompt_name`, else none.
    pub prompt_name: Option<String>,
}

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
    /// Whether the end of one of the texts was not seen.
    pub truncated: bool,
    /// Windows of the text that has most.
    pub windows: usize,
}

/// Fields: `scores`, `tokens`, `truncated`, with `too_long = "window"` also `windows`. The prediction's score is the greatest.
pub struct Similar {
    encoder: Arc<Encoder>,
    how: Reading,
}

impl Task for Similar {
    const NAME: &'static str = "similar";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["source_sentence", "sentences"];
    const PARAMETERS: &'static [&'static str] = &["too_long", "stride", "dimensions", "prompt", "prompt_name"];
    type Model = Encoder;
    type Options = Options;
    type Ask = Comparison;
    type Answer = Similarities;

    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        let Options { too_long, stride, dimensions, prompt: text, prompt_name } = options;
        let prompt = prompt(&encoder, text.as_deref(), prompt_name.as_deref())?;
        let how = Reading { prompt, dimensions, ..Reading::plain(too_long, stride) };
        how.check(&encoder)?;
        Ok(Self { encoder, how })
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

    fn cost(&self, ask: &Comparison) -> usize {
        Self::texts(ask).iter().map(|(_, _, text)| self.how.cost(&self.encoder, text)).sum()
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
        let mut vectors = vectors(&self.encoder, texts, &self.how).await?.into_iter();
        let mut one = |count: usize| {
            // All of its own are taken, also behind one that is refused.
            let own: Vec<_> = vectors.by_ref().take(count + 1).collect();
            let (mut seen, mut whole) = (Seen::default(), Vec::with_capacity(own.len()));
            for (place, vectors) in own.into_iter().enumerate() {
                let vectors = vectors.map_err(|refused| match place {
                    0 => refused.at("source_sentence"),
                    place => refused.at(format!("sentences.{}", place - 1)),
                })?;
                seen = seen.and(vectors.seen);
                whole.push(vectors.whole(&self.how));
            }
            let scores = whole.iter().skip(1).map(|vector| rounded(cosine(&whole[0], vector))).collect();
            Ok(Similarities { scores, tokens: seen.tokens, truncated: seen.truncated, windows: seen.windows })
        };
        Ok(counts.into_iter().map(|count| count.and_then(&mut one)).collect())
    }

    fn prediction(&self, answer: Similarities) -> Prediction {
        let mut fields = Map::new();
        let score = answer.scores.iter().copied().max_by(f64::total_cmp);
        fields.insert("scores".into(), answer.scores.clone().into());
        let Similarities { tokens, truncated, windows, .. } = answer;
        Seen { tokens, truncated, windows }.tell(&mut fields, self.how.too_long);
        Prediction { key: None, fields, label: None, score, model: None }
    }

    fn bare(fields: &Value) -> Value {
        fields["scores"].clone()
    }

    fn example(&self) -> Value {
        json!({ "source_sentence": "I lost my card.", "sentences": ["My card is missing.", "What is the exchange rate?"] })
    }
}
