//! `answer`: the piece of a context that answers a question. Long contexts are read in windows, whose spans are compared on one
//! scale.

mod beams;
mod compatible;
mod options;
mod policy;
mod spans;

pub use options::Options;

use super::chars::Chars;
use super::control::harmless;
use super::fields::Fields;
use super::options::TooLong;
use super::task::{MAX_ITEMS, Task, tokens, windowed};
use super::texts::call_error;
use super::windows::{Seen, Window, answers};
use super::{CallError, Prediction};
use crate::event::Rejection;
use crate::inference::{Cut, Encoder, Give, Head, Text, Tokens};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tokens of an answer at most, whatever the option says: every span of a window up to this length is looked at.
const MAX_ANSWER_LEN: usize = 256;

/// A question about a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub question: String,
    pub context: String,
}

impl<Q: AsRef<str>, C: AsRef<str>> From<(Q, C)> for Question {
    fn from((question, context): (Q, C)) -> Self {
        Self { question: question.as_ref().to_owned(), context: context.as_ref().to_owned() }
    }
}

/// A piece of the context: `context[start..end] == answer`, in characters. Empty where there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub answer: String,
    pub score: f64,
    pub start: usize,
    pub end: usize,
}

/// The answers to one question, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub answers: Vec<Found>,
    /// Tokens that the network saw.
    pub tokens: usize,
    /// Whether the question was cut, or the context where the options say so.
    pub truncated: bool,
    pub windows: usize,
}

/// Fields: `answer`, `score`, `start`, `end` (of the best), `answers`, `tokens`, `truncated`, `windows`.
pub struct Answer {
    encoder: Arc<Encoder>,
    options: Options,
    max_seq_len: usize,
    doc_stride: usize,
}

/// A question whose tokens are known.
struct Prepared {
    question: String,
    context: String,
    truncated: bool,
    stride: usize,
}

impl Answer {
    /// Cuts a question, and finds how far windows may overlap beside it.
    fn prepare(&self, ask: Question, question: Tokens) -> Result<Prepared, Rejection> {
        let own: Vec<usize> = (0..question.sides.len()).filter(|i| question.sides[*i].is_some()).collect();
        let special = question.sides.len() - own.len();
        let most = if self.options.hf_compatible { usize::MAX } else { self.options.max_question_len };
        let (mut text, mut truncated) = (ask.question, question.truncated);
        if own.len() > most {
            let end = question.offsets[own[most - 1]].1;
            text = text.get(..end).unwrap_or(&text).to_owned();
            truncated = true;
        }
        // A pair has up to two special tokens more than a text.
        let room = self.max_seq_len.saturating_sub(own.len().min(most) + special + 2);
        if room < 4 {
            let detail = format!(
                "the question has {} tokens; beside it and the special tokens 4 must be left of `max_seq_len`, {}",
                own.len().min(most),
                self.max_seq_len
            );
            return Err(Rejection::new("question_too_long", detail).at("question"));
        }
        Ok(Prepared { question: text, context: ask.context, truncated, stride: self.doc_stride.min(room * 3 / 4) })
    }

    /// The windows of each, in order. A call has one stride, so that questions are grouped by theirs.
    async fn windows(&self, asked: &[&Prepared]) -> Result<Vec<Vec<Tokens>>, CallError> {
        let mut by_stride: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        asked.iter().enumerate().for_each(|(place, one)| by_stride.entry(one.stride).or_default().push(place));
        let mut all = vec![Vec::new(); asked.len()];
        for (stride, places) in by_stride {
            let clean = |text: &str| harmless(self.encoder.tokenizer(), text.to_owned(), None);
            let first = self.encoder.context_first();
            let text = |place: &usize| {
                let (question, context) = (clean(&asked[*place].question), clean(&asked[*place].context));
                if first { Text::pair(context, question) } else { Text::pair(question, context) }
            };
            let give = if first { Give::First } else { Give::Second };
            let cut = Cut { give, stride: Some(stride), max_tokens: Some(self.max_seq_len) };
            let windows = self.encoder.windows(places.iter().map(text).collect(), cut).await.map_err(call_error)?;
            for (place, mut windows) in places.into_iter().zip(windows) {
                if first {
                    // From here on the context is side 1, wherever it stands.
                    let sides = windows.iter_mut().flat_map(|window| window.sides.iter_mut().flatten());
                    sides.for_each(|side| *side = 1 - *side);
                }
                all[place] = windows;
            }
        }
        Ok(all)
    }

    fn answered(&self, of: &Prepared, windows: &[Window]) -> Answered {
        let chars = Chars::new(&of.context);
        let read = match self.options.hf_compatible {
            _ if self.encoder.has_beams() => beams::answers,
            true => compatible::answers,
            false => spans::answers,
        };
        let mut answers = read(&self.options, &chars, windows);
        answers.truncate(self.options.top_k);
        let seen = Seen::of(windows);
        Answered { answers, tokens: seen.tokens, truncated: of.truncated || seen.truncated, windows: seen.windows }
    }
}

impl Task for Answer {
    const NAME: &'static str = "answer";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["question", "context"];
    const PARAMETERS: &'static [&'static str] = &[
        "top_k",
        "doc_stride",
        "max_answer_len",
        "max_seq_len",
        "max_question_len",
        "handle_impossible_answer",
        "align_to_words",
        "hf_compatible",
        "too_long",
    ];
    type Model = Encoder;
    type Options = Options;
    type Ask = Question;
    type Answer = Answered;

    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        if !encoder.has_spans() {
            return Err("the model has no head for answers; it needs one fine-tuned for extractive question answering".to_owned());
        }
        if encoder.has_beams() && options.hf_compatible {
            return Err(
                "option `hf_compatible` is true, but that pipeline does not read this model's head, which has no logits \
                        of starts and ends"
                    .to_owned(),
            );
        }
        for (name, value, most) in [
            ("top_k", options.top_k, MAX_ITEMS),
            ("max_answer_len", options.max_answer_len, MAX_ANSWER_LEN),
            ("max_question_len", options.max_question_len, usize::MAX),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("option `{name}` is {value}; it must be 1 to {most}"));
            }
        }
        let most = encoder.max_tokens();
        let max_seq_len = options.max_seq_len.unwrap_or(most.min(384));
        if !(8..=most).contains(&max_seq_len) {
            return Err(format!("option `max_seq_len` is {max_seq_len}; it must be 8 to {most}, what the model sees"));
        }
        let doc_stride = options.doc_stride.unwrap_or((max_seq_len / 2).min(128));
        if doc_stride > max_seq_len {
            return Err(format!("option `doc_stride` is {doc_stride}; it must not be more than `max_seq_len`, {max_seq_len}"));
        }
        Ok(Self { encoder, options, max_seq_len, doc_stride })
    }

    fn model(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Question, Rejection> {
        Ok(Question { question: fields.text("question")?, context: fields.text("context")? })
    }

    fn texts(ask: &Question) -> Vec<(&'static str, Option<usize>, &str)> {
        vec![("question", None, &ask.question), ("context", None, &ask.context)]
    }

    fn cost(&self, ask: &Question) -> usize {
        let question = tokens(&ask.question).min(self.options.max_question_len).min(self.max_seq_len);
        let room = self.max_seq_len - question;
        if self.options.too_long != TooLong::Window {
            return (tokens(&ask.context) + question).min(self.max_seq_len);
        }
        windowed(tokens(&ask.context), question, self.max_seq_len, self.doc_stride.min(room * 3 / 4))
    }

    async fn answer(&self, asks: Vec<Question>) -> Result<Vec<Result<Answered, Rejection>>, CallError> {
        let clean = |ask: &Question| Text::from(harmless(self.encoder.tokenizer(), ask.question.clone(), None));
        let questions = asks.iter().map(clean).collect();
        let questions = self.encoder.windows(questions, Cut::default()).await.map_err(call_error)?;
        let prepared: Vec<Result<Prepared, Rejection>> = asks
            .into_iter()
            .zip(questions)
            .map(|(ask, mut windows)| self.prepare(ask, windows.pop().unwrap_or_default()))
            .collect();
        let good: Vec<&Prepared> = prepared.iter().filter_map(|one| one.as_ref().ok()).collect();
        let mut windows = self.windows(&good).await?;
        let refused = policy::kept(self.options.too_long, self.max_seq_len, &mut windows);
        let answered = answers(&self.encoder, Head::Spans, windows).await?;
        let one = |((of, windows), refused): ((&Prepared, &Vec<Window>), Option<Rejection>)| match refused {
            Some(refused) => Err(refused),
            None => Ok(self.answered(of, windows)),
        };
        let found: Vec<Result<Answered, Rejection>> = good.into_iter().zip(&answered).zip(refused).map(one).collect();
        let mut found = found.into_iter();
        let missing = || CallError::Fatal("the model gave fewer answers than it was asked for".to_owned());
        let place = |one: Result<Prepared, Rejection>| match one {
            Ok(_) => found.next().ok_or_else(missing),
            Err(refused) => Ok(Err(refused)),
        };
        prepared.into_iter().map(place).collect()
    }

    fn prediction(&self, answer: Answered) -> Prediction {
        let one = |found: &Found| json!({ "answer": found.answer, "score": found.score, "start": found.start, "end": found.end });
        let mut fields = Map::new();
        let best = answer.answers.first();
        if let Some(Value::Object(best)) = best.map(one) {
            fields.extend(best);
        } else {
            fields.insert("answer".into(), Value::Null);
        }
        fields.insert("answers".into(), answer.answers.iter().map(one).collect());
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("truncated".into(), answer.truncated.into());
        fields.insert("windows".into(), answer.windows.into());
        Prediction { key: None, fields, label: None, score: best.map(|best| best.score), model: None }
    }

    fn bare(fields: &Value) -> Value {
        fields["answers"].clone()
    }

    fn example(&self) -> Value {
        json!({ "question": "Where does Anna live?", "context": "Anna lives in Paris. She works in London." })
    }
}
