//! `reply`: which of a desk's approved replies fit a customer's message. It only suggests: nothing is sent; the record holds the
//! suggestions, and what becomes of them is for who reads it.
//!
//! A reply's score is the greatest cosine of the message with the examples of messages that it answers (`when`), or with its own text
//! where it has none. A reply whose intent is the one that `intent_model` sees in the message gains `intent_bonus` times the
//! probability of that intent. Which of the replies above `min_score` are suggested is decided by maximal marginal relevance, so that
//! they do not all say the same.
//!
//! In a pipeline with `[dialogue]` a fold remembers each conversation (`state/dialogue`): a short message is read with the customer's
//! earlier ones, what the desk has sent already is not suggested again, and messages of the desk itself are skipped.
//!
//! With `rewrite_model` a causal model says the best suggestions in words that fit the message (`rewriter`), beside the approved text
//! and never instead of it; what adds figures or addresses to it (`guard`), or says the customer's words (`echo`), is dropped.
//!
//! The shape is that of Smart Reply (Kannan and others 2016, Henderson and others 2017).

mod addresses;
mod ask;
mod bank;
mod choose;
mod denials;
mod echo;
mod guard;
mod heads;
mod options;
mod past;
mod read;
mod rewriter;
mod seen;
mod signs;
mod slots;
mod suggested;
mod words;

pub use ask::Message;
pub use options::{Entry, Options};
pub use past::Past;
pub use read::entries;
pub use rewriter::Rewriting;
pub use suggested::{Suggestion, Suggestions};

use super::fields::Fields;
use super::options::TooLong;
use super::task::{self, Task, TextFunction, tokens};
use super::texts::{call_error, rounded};
use super::windows::{check_stride, cosine, in_place};
use super::{CallError, Input, Limits, Prediction, api, rewrite};
use crate::event::Rejection;
use crate::inference::generate::Writer;
use crate::inference::{Answer, Encoder, Together, causal};
use crate::state::dialogue::{likeness, mark};
use bank::{Bank, Known};
use choose::Candidate;
use heads::Heads;
use rewriter::Rewriter;
use seen::Read;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

/// How a name in the options becomes an open model.
#[derive(Clone, Copy)]
pub struct Open<'a> {
    /// For models that read.
    pub encoder: &'a dyn Fn(&str) -> Result<Arc<Encoder>, String>,
    /// For models that write.
    pub writer: &'a dyn Fn(&str) -> Result<Arc<Writer>, String>,
}

/// Fields: `suggestions` (`text`, `score`, `source`, and where the bank has them `intent` and `tags`), `reason` where there is none,
/// `intent` and `sentiment` (`label`, `score`) where there are models for them, `bank` (the first digits of the bank's sha256),
/// `intent_model` and `sentiment_model` (which models those were), `tokens`, `truncated`; in a pipeline with `[dialogue]` also `turn`, `waiting_ms`,
/// `status` (see [`Past`]) and `context`, how many earlier messages were read with this one. With
/// `rewrite_model` the first suggestions have `rewritten` or `rewrite_reason` (see [`Rewriting`]), and there are `rewrite_model`, `prompt_tokens` and
/// `generated_tokens`. The prediction's label and score are source and score of the first suggestion.
pub struct Reply {
    encoder: Arc<Encoder>,
    options: Options,
    bank: Arc<Bank>,
    heads: Heads,
    rewriter: Option<Arc<Rewriter>>,
}

/// The function; `base` is where a relative path of `bank` starts, and `open` knows the models by name. Blocks while the bank is read.
pub fn load(
    encoder: Arc<Encoder>,
    options: &Map<String, Value>,
    base: &Path,
    open: Open<'_>,
) -> Result<TextFunction<Reply>, String> {
    TextFunction::build(options, |own| Reply::build(encoder, own, base, open))
}

impl Reply {
    fn build(encoder: Arc<Encoder>, options: Options, base: &Path, open: Open<'_>) -> Result<Self, String> {
        options.check()?;
        check_stride(&encoder, options.stride)?;
        let entries = options.entries(base)?;
        let heads = Heads::open(&options, open)?;
        heads.check(&entries)?;
        let rewriter = match &options.rewrite_model {
            None => None,
            Some(name) => {
                let writer = (open.writer)(name).map_err(|cause| format!("option `rewrite_model`: {cause}"))?;
                Some(Arc::new(Rewriter::new(writer, &options)?))
            }
        };
        let mut bank = Bank::new(&encoder, entries, &options.fill)?;
        if rewriter.is_some() {
            bank.prepare();
        }
        Ok(Self { encoder, options, bank: Arc::new(bank), heads, rewriter })
    }

    fn suggestions(&self, message: &Message, seen: Read, context: Option<Answer>) -> Suggestions {
        let windows = (self.options.too_long == TooLong::Window).then_some(seen.windows);
        let Together { embedding, scores, truncated } = seen.together;
        let vectors: Vec<&[f32]> = [Some(&embedding), context.as_ref()].into_iter().flatten().map(|of| &of.values[..]).collect();
        let (intent, sentiment) = self.heads.labels(&scores);
        let worth = |reply: &Known, cosine: f32| match &intent {
            Some(intent) if reply.intent.as_deref() == Some(intent.name.as_str()) => {
                cosine + self.options.intent_bonus * intent.score as f32
            }
            _ => cosine,
        };
        let sent: &[u64] = match &message.past {
            Some(past) if self.options.skip_sent => &past.sent,
            _ => &[],
        };
        let (mut fit, mut known, mut candidates, mut texts) = (0, 0, Vec::new(), Vec::new());
        for (place, reply) in self.bank.replies.iter().enumerate() {
            let cosines = reply.examples().flat_map(|example| vectors.iter().map(move |vector| cosine(vector, example)));
            let cosine = cosines.fold(f32::NEG_INFINITY, f32::max);
            if cosine < self.options.min_score {
                continue;
            }
            fit += 1;
            let Some(text) = slots::filled(&reply.pieces, &message.values) else { continue };
            if !sent.is_empty() && (sent.contains(&likeness(&text)) || sent.contains(&mark(&reply.source))) {
                known += 1;
                continue;
            }
            texts.push((place, reply, text));
            candidates.push(Candidate {
                worth: worth(reply, cosine),
                vector: &reply.vector,
                intent: reply.intent.as_deref().filter(|_| self.options.one_per_intent),
            });
        }
        let chosen = choose::choose(&candidates, self.options.top_k, self.options.diversity);
        let one = |place: usize| {
            let ((place, reply, text), score) = (&texts[place], rounded(candidates[place].worth));
            let (source, intent, tags) = (reply.source.clone(), reply.intent.clone(), reply.tags.clone());
            Suggestion { text: text.clone(), score, source, intent, tags, rewriting: None, place: *place }
        };
        let suggestions: Vec<Suggestion> = chosen.into_iter().map(one).collect();
        let none = match (fit, known) {
            (0, _) => "below_min_score",
            (_, 0) => "unfilled",
            _ => "already_sent",
        };
        let reason = suggestions.is_empty().then_some(none);
        let tokens = embedding.tokens;
        let context = message.query.as_ref().map_or(0, |(_, count)| *count);
        let (past, prompt_tokens, generated_tokens) = (message.past.clone(), 0, 0);
        Suggestions {
            suggestions,
            reason,
            intent,
            sentiment,
            tokens,
            truncated,
            windows,
            past,
            context,
            prompt_tokens,
            generated_tokens,
        }
    }
}

impl Task for Reply {
    const NAME: &'static str = "reply";
    const VERSION: u32 = 2;
    const FIELDS: &'static [&'static str] = &["text", "messages"];
    const PARAMETERS: &'static [&'static str] = &options::PARAMETERS;
    type Model = Encoder;
    type Options = Options;
    type Ask = Message;
    type Answer = Suggestions;

    /// Paths are relative to the working folder; models of the options are folders, or names that [`api::classify`] finds.
    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        let beside = |name: &str| {
            let model = api::find::find(name).map_err(|error| error.to_string())?;
            encoder.open_beside(&model.name, &model.folder).map(Arc::new).map_err(|error| error.to_string())
        };
        let writer = |name: &str| {
            let model = api::find::find(name).map_err(|error| error.to_string())?;
            let writer = Writer::open(&model.name, &model.folder, None, &causal::Options::default());
            writer.map(Arc::new).map_err(|error| error.to_string())
        };
        Self::build(encoder.clone(), options, Path::new(""), Open { encoder: &beside, writer: &writer })
    }

    fn with(&self, options: Options) -> Result<Self, String> {
        options.check()?;
        check_stride(&self.encoder, options.stride)?;
        let (encoder, bank) = (self.encoder.clone(), self.bank.clone());
        Ok(Self { encoder, options, bank, heads: self.heads.clone(), rewriter: self.rewriter.clone() })
    }

    fn model(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn labels(&self) -> Vec<String> {
        self.bank.replies.iter().map(|reply| reply.source.clone()).collect()
    }

    fn limits(&self) -> Limits {
        if self.rewriter.is_some() { rewrite::LIMITS } else { task::LIMITS }
    }

    fn paths(&self) -> Vec<String> {
        self.bank.placeholders.values().cloned().collect()
    }

    fn skip(&self, input: &Input) -> Option<&'static str> {
        past::skip(input.features.as_ref())
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Message, Rejection> {
        ask::read(fields, &self.bank.placeholders, self.options.context_words)
    }

    fn texts(ask: &Message) -> Vec<(&'static str, Option<usize>, &str)> {
        vec![(if ask.place.is_some() { "messages" } else { "text" }, ask.place, &ask.text)]
    }

    fn cost(&self, ask: &Message) -> usize {
        let rewritten = |rewriter: &Arc<Rewriter>| self.options.rewrite_top * rewriter.cost(&ask.text, self.bank.longest);
        let most = self.encoder.max_tokens();
        let read = |text: &str| tokens(text).min(most);
        let message = self.heads.cost(&self.encoder, &self.options, tokens(&ask.text));
        message + ask.query.as_ref().map_or(0, |(text, _)| read(text)) + self.rewriter.as_ref().map_or(0, rewritten)
    }

    async fn answer(&self, asks: Vec<Message>) -> Result<Vec<Result<Suggestions, Rejection>>, CallError> {
        // Intent and sentiment are the message's own; replies may also fit it with what came before.
        let (mut seen, mut good, mut places) = (Vec::new(), Vec::new(), Vec::with_capacity(asks.len()));
        for (read, ask) in self.read(&asks).await?.into_iter().zip(asks) {
            places.push(read.map(|read| {
                seen.push(read);
                good.push(ask);
            }));
        }
        let asks = good;
        let short: Vec<String> = asks.iter().filter_map(|ask| ask.query.as_ref()).map(|(text, _)| self.clean(text)).collect();
        let count = short.len();
        let within = match count {
            0 => Vec::new(),
            _ => self.encoder.answer_heads(&[], short).await.map_err(call_error)?,
        };
        if within.len() != count {
            return Err(CallError::Fatal("the model gave fewer answers than it was asked for".to_owned()));
        }
        let mut within = within.into_iter();
        let told = |(ask, seen): (&Message, Read)| {
            let context = ask.query.as_ref().and_then(|_| within.next());
            self.suggestions(ask, seen, context.map(|context| context.embedding))
        };
        let mut all: Vec<Suggestions> = asks.iter().zip(seen).map(told).collect();
        if let Some(rewriter) = &self.rewriter {
            self.rewrite(rewriter, &asks, &mut all).await?;
        }
        Ok(in_place(places, all))
    }

    fn prediction(&self, answer: Suggestions) -> Prediction {
        let first = answer.suggestions.first();
        let (label, score) = (first.map(|first| first.source.as_str().into()), first.map(|first| first.score));
        let rewriter = self.rewriter.as_ref().map(|rewriter| ("rewrite_model", rewriter.id()));
        let models = self.heads.ids().chain(rewriter);
        Prediction { key: None, fields: answer.fields(&self.bank.digest, models), label, score, model: None }
    }

    fn bare(fields: &Value) -> Value {
        fields["suggestions"].clone()
    }

    fn example(&self) -> Value {
        json!("Where is my parcel?")
    }
}
