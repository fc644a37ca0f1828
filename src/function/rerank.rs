//! `rerank`: texts by how well they fit a query: by a cross-encoder, where the model has a sequence head of one label, else by the
//! cosines of their vectors. A text that is read in windows is worth as much as its best one (MaxP, Dai and Callan 2019).

mod crossed;

use super::fields::Fields;
use super::options::{TooLong, TopK};
use super::task::{Task, check_list, tokens, windowed};
use super::texts::rounded;
use super::vectors::{Reading, vectors};
use super::windows::{self, Seen, cosine, in_place, ranked};
use super::{CallError, Prediction};
use crate::event::Rejection;
use crate::inference::Encoder;
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
    /// Logits of a cross-encoder instead of their sigmoid. Default false. The numbers of a model of numbers (`problem_type` is
    /// `regression`) are given as they are in any case.
    pub raw_scores: bool,
    /// `truncate` (default), `window` or `reject`. A text in windows has the score of its best one; a cross-encoder reads the query with each of
    /// them, and the vector of a long query is the mean of its windows'.
    pub too_long: TooLong,
    /// Tokens by which windows overlap. Default: a quarter of what the model sees.
    pub stride: Option<usize>,
    /// For models that embed: what is put before the query, such as `query: `. Default: nothing.
    pub query_prompt: Option<String>,
    /// For models that embed: what is put before each text, such as `passage: `. Default: nothing.
    pub text_prompt: Option<String>,
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
    /// Whether the end of one of the texts was not seen.
    pub truncated: bool,
    /// Windows of the text that has most.
    pub windows: usize,
}

/// Fields: `ranks` (`index`, `score`, `text`), `tokens`, `truncated`, with `too_long = "window"` also `windows`. The prediction's score is the best one.
pub struct Rerank {
    encoder: Arc<Encoder>,
    options: Options,
    cross: bool,
}

/// The scores of the texts of one query, in their order: cosines, or logits. Texts are ranked by them: far from 0 the sigmoid gives 1 for
/// all, whatever their order.
type Scored = Result<(Vec<f32>, Seen), Rejection>;

impl Rerank {
    /// By the cosines of vectors.
    async fn near(&self, asks: &[Candidates]) -> Result<Vec<Scored>, CallError> {
        let how = |prompt: &Option<String>| Reading {
            prompt: prompt.clone().unwrap_or_default(),
            ..Reading::plain(self.options.too_long, self.options.stride)
        };
        let (of_query, of_text) = (how(&self.options.query_prompt), how(&self.options.text_prompt));
        let queries = asks.iter().map(|ask| ask.query.clone()).collect();
        let texts = asks.iter().flat_map(|ask| &ask.texts).cloned().collect();
        let queries = vectors(&self.encoder, queries, &of_query).await?;
        let mut texts = vectors(&self.encoder, texts, &of_text).await?.into_iter();
        let one = |(ask, query): (&Candidates, Result<Arc<super::vectors::Vectors>, Rejection>)| {
            let own: Vec<_> = texts.by_ref().take(ask.texts.len()).collect();
            let query = query.map_err(|refused| refused.at("query"))?;
            let (whole, mut seen, mut scores) = (query.whole(&of_query), query.seen, Vec::with_capacity(own.len()));
            for (place, text) in own.into_iter().enumerate() {
                let text = text.map_err(|refused| refused.at(format!("texts.{place}")))?;
                seen = seen.and(text.seen);
                scores.push(text.each(&of_text).iter().map(|vector| cosine(&whole, vector)).fold(f32::NEG_INFINITY, f32::max));
            }
            Ok((scores, seen))
        };
        Ok(asks.iter().zip(queries).map(one).collect())
    }
}

impl Task for Rerank {
    const NAME: &'static str = "rerank";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["query", "texts"];
    const PARAMETERS: &'static [&'static str] =
        &["top_k", "return_texts", "raw_scores", "too_long", "stride", "query_prompt", "text_prompt"];
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
        for (name, prompt) in [("query_prompt", &options.query_prompt), ("text_prompt", &options.text_prompt)] {
            match prompt {
                Some(_) if cross => return Err(format!("option `{name}` is for models that embed; this one scores a pair")),
                Some(text) if text.contains('\0') => return Err(format!("option `{name}` holds U+0000")),
                _ => {}
            }
        }
        windows::check_stride(&encoder, options.stride)?;
        for prompt in [&options.query_prompt, &options.text_prompt].into_iter().flatten() {
            let how = Reading { prompt: prompt.clone(), ..Reading::plain(options.too_long, options.stride) };
            how.check_prompt(&encoder)?;
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
        let stride = self.options.stride.unwrap_or(most / 4).min(most / 4);
        let read = |text: usize, beside: usize| match self.options.too_long {
            TooLong::Window => windowed(text, beside.min(most / 2), most, stride),
            TooLong::Truncate | TooLong::Reject => (text + beside).min(most),
        };
        let prompt = self.options.text_prompt.as_deref().map_or(0, tokens);
        ask.texts.iter().map(|text| read(tokens(text) + prompt, beside)).sum::<usize>() + read(query, 0)
    }

    async fn answer(&self, asks: Vec<Candidates>) -> Result<Vec<Result<Ranking, Rejection>>, CallError> {
        let checked: Vec<Result<(), Rejection>> = asks.iter().map(|ask| check_list("texts", ask.texts.len())).collect();
        let good: Vec<Candidates> = asks.into_iter().zip(&checked).filter(|(_, ok)| ok.is_ok()).map(|(ask, _)| ask).collect();
        let scored = if self.cross { self.crossed(&good).await? } else { self.near(&good).await? };
        let one = |(ask, scored): (Candidates, Scored)| {
            let (scores, seen) = scored?;
            let order = ranked(&scores).into_iter().take(self.options.top_k.or(None));
            let text = |place: usize| self.options.return_texts.then(|| ask.texts[place].clone());
            let ranks =
                order.map(|index| Ranked { index, score: rounded(self.shown(scores[index])), text: text(index) }).collect();
            Ok(Ranking { ranks, tokens: seen.tokens, truncated: seen.truncated, windows: seen.windows })
        };
        let rankings: Vec<Result<Ranking, Rejection>> = good.into_iter().zip(scored).map(one).collect();
        Ok(in_place(checked, rankings).into_iter().map(Result::flatten).collect())
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
        let Ranking { tokens, truncated, windows, .. } = answer;
        Seen { tokens, truncated, windows }.tell(&mut fields, self.options.too_long);
        Prediction { key: None, fields, label: None, score, model: None }
    }

    fn bare(fields: &Value) -> Value {
        fields["ranks"].clone()
    }

    fn example(&self) -> Value {
        json!({ "query": "How long do refunds take?", "texts": ["Parcels leave on Monday.", "Refunds are paid in five days."] })
    }
}
