//! `tag`: the named pieces of a text, such as people and places, by a label for each token. Long texts are read in windows.

mod group;

use super::chars::Chars;
use super::control::harmless;
use super::fields::Fields;
use super::options::TooLong;
use super::task::{self, Task, check_list, windowed};
use super::texts::rounded;
use super::windows::{self, Seen, Window, answers, check_stride, in_place, softmax};
use super::{CallError, Prediction};
use crate::event::Rejection;
use crate::inference::{Encoder, Head, Text};
use group::{Entity, Token};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How the labels of tokens become entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Each token by itself.
    #[default]
    None,
    /// Neighbours of one label are one entity.
    Simple,
    /// The same, where a word has the label of its first token.
    First,
    /// The same, where a word has the label of the highest mean.
    Average,
    /// The same, where a word has the label of its surest token.
    Max,
}

/// Options of `tag`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// `none`, `simple`, `first`, `average` or `max`. Default `none`.
    pub aggregation_strategy: Strategy,
    /// Labels that are left out. Default `O`.
    pub ignore_labels: Vec<String>,
    /// `window` (default), `truncate` or `reject`.
    pub too_long: TooLong,
    /// Tokens by which windows overlap. Default: a quarter of what the model sees. Of entities that overlap the longer one stays, of
    /// equally long ones the surer.
    pub stride: Option<usize>,
    /// What joins the words of an event that comes in words. Default: a blank.
    pub delimiter: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            aggregation_strategy: Strategy::default(),
            ignore_labels: vec!["O".to_owned()],
            too_long: TooLong::Window,
            stride: None,
            delimiter: " ".to_owned(),
        }
    }
}

/// A text, or words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sentence {
    Text(String),
    /// Split already; the tokens of a word stay together.
    Words(Vec<String>),
}

impl<T: AsRef<str>> From<T> for Sentence {
    fn from(text: T) -> Self {
        Self::Text(text.as_ref().to_owned())
    }
}

/// A piece of the text with a label: `text[start..end] == word`, in characters.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagged {
    /// With `aggregation_strategy = "none"` the token's label, else that of the group, without `B-` and `I-`.
    pub entity: String,
    pub score: f64,
    pub word: String,
    pub start: usize,
    pub end: usize,
    /// The token's place in its window, special ones counted; with `none` only.
    pub index: Option<usize>,
}

/// What was found in one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Tags {
    /// In the order of the text.
    pub entities: Vec<Tagged>,
    /// Tokens that the network saw.
    pub tokens: usize,
    pub truncated: bool,
    pub windows: usize,
}

/// Fields: `entities` (`entity` or `entity_group`, `score`, `word`, `start`, `end`, `index`), `tokens`, `truncated`, `windows`.
pub struct Tag {
    encoder: Arc<Encoder>,
    options: Options,
    labels: Vec<String>,
}

impl Tag {
    /// The text that is read, and where its words end when it came in words.
    fn written(&self, ask: Sentence) -> (String, Option<Vec<usize>>) {
        match ask {
            Sentence::Text(text) => (text, None),
            Sentence::Words(words) => {
                let mut end = 0;
                let ends = words.iter().map(|word| {
                    end += word.len() + self.options.delimiter.len();
                    end
                });
                let ends = ends.collect();
                (words.join(&self.options.delimiter), Some(ends))
            }
        }
    }

    fn tags(&self, text: &str, ends: Option<&[usize]>, windows: &[Window]) -> Tags {
        let chars = Chars::new(text);
        let mut entities: Vec<Entity> = Vec::new();
        for window in windows {
            let mut tokens = tokens(window, self.labels.len());
            if let Some(ends) = ends {
                tokens.iter_mut().for_each(|token| token.word = Some(ends.partition_point(|end| *end <= token.start) as u32));
            }
            let found = group::entities(tokens, &self.labels, self.options.aggregation_strategy);
            entities.extend(found.into_iter().filter(|found| !self.options.ignore_labels.contains(&found.label)));
        }
        if windows.len() > 1 {
            entities = group::without_overlap(entities);
        }
        let one = |entity: Entity| {
            let span = chars.span(entity.start..entity.end);
            Tagged {
                entity: entity.label,
                score: rounded(entity.score),
                word: span.text,
                start: span.start,
                end: span.end,
                index: entity.index,
            }
        };
        let seen = Seen::of(windows);
        let entities = entities.into_iter().map(one).filter(|tagged| !tagged.word.is_empty()).collect();
        Tags { entities, tokens: seen.tokens, truncated: seen.truncated, windows: seen.windows }
    }
}

/// The tokens of a window with the probability of each label.
fn tokens(window: &Window, labels: usize) -> Vec<Token> {
    let of = &window.tokens;
    let one = |(index, row): (usize, &[f32])| {
        of.sides[index]?;
        let mut scores = row.to_vec();
        softmax(&mut scores);
        let (start, end) = of.offsets[index];
        Some(Token { index, start, end, word: of.words[index], scores })
    };
    window.answer.values.chunks_exact(labels).take(of.sides.len()).enumerate().filter_map(one).collect()
}

impl Task for Tag {
    const NAME: &'static str = "tag";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["text", "words"];
    const PARAMETERS: &'static [&'static str] = &["aggregation_strategy", "ignore_labels", "stride", "too_long", "delimiter"];
    type Model = Encoder;
    type Options = Options;
    type Ask = Sentence;
    type Answer = Tags;

    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        let Some(labels) = encoder.token_labels().map(<[String]>::to_vec) else {
            return Err("the model has no labels of tokens; it needs one fine-tuned for token classification".to_owned());
        };
        check_stride(&encoder, options.stride)?;
        if options.delimiter.contains('\0') {
            return Err("option `delimiter` holds U+0000".to_owned());
        }
        Ok(Self { encoder, options, labels })
    }

    fn model(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Sentence, Rejection> {
        if !fields.has("words") {
            return Ok(Sentence::Text(fields.text("text")?));
        }
        let words = fields.texts("words")?;
        check_list("words", words.len()).map(|()| Sentence::Words(words))
    }

    fn texts(ask: &Sentence) -> Vec<(&'static str, Option<usize>, &str)> {
        match ask {
            Sentence::Text(text) => vec![("text", None, text)],
            Sentence::Words(words) => {
                words.iter().enumerate().map(|(place, word)| ("words", Some(place), word.as_str())).collect()
            }
        }
    }

    fn cost(&self, ask: &Sentence) -> usize {
        let (most, text) = (self.encoder.max_tokens(), Self::texts(ask).iter().map(|(_, _, text)| task::tokens(text)).sum());
        match self.options.too_long {
            TooLong::Window => windowed(text, 0, most, self.options.stride.unwrap_or(most / 4)),
            TooLong::Truncate | TooLong::Reject => text.min(most),
        }
    }

    async fn answer(&self, asks: Vec<Sentence>) -> Result<Vec<Result<Tags, Rejection>>, CallError> {
        let written: Vec<(String, Option<Vec<usize>>)> = asks.into_iter().map(|ask| self.written(ask)).collect();
        let clean = |(text, _): &(String, _)| Text::from(harmless(self.encoder.tokenizer(), text.clone(), None));
        let policy = self.options.too_long;
        let cut = windows::cut(&self.encoder, policy, self.options.stride);
        let mut asked = windows::windows(&self.encoder, written.iter().map(clean).collect(), cut, policy).await?;
        let tokens = asked.iter_mut().filter_map(|asked| asked.as_mut().ok()).map(std::mem::take).collect();
        let answered = answers(&self.encoder, Head::Tokens, tokens).await?;
        let mut texts = Vec::with_capacity(answered.len());
        for (text, asked) in written.iter().zip(&asked) {
            if asked.is_ok() {
                texts.push(text);
            }
        }
        let one =
            |((text, ends), windows): (&(String, Option<Vec<usize>>), Vec<Window>)| self.tags(text, ends.as_deref(), &windows);
        let tags: Vec<Tags> = texts.into_iter().zip(answered).map(one).collect();
        Ok(in_place(asked, tags))
    }

    fn prediction(&self, answer: Tags) -> Prediction {
        let name = if self.options.aggregation_strategy == Strategy::None { "entity" } else { "entity_group" };
        let one = |tagged: &Tagged| {
            let mut one = json!({ "score": tagged.score, "word": tagged.word, "start": tagged.start, "end": tagged.end });
            one[name] = tagged.entity.as_str().into();
            if let Some(index) = tagged.index {
                one["index"] = index.into();
            }
            one
        };
        let mut fields = Map::new();
        fields.insert("entities".into(), answer.entities.iter().map(one).collect());
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("truncated".into(), answer.truncated.into());
        fields.insert("windows".into(), answer.windows.into());
        Prediction { key: None, fields, label: None, score: None, model: None }
    }

    fn bare(fields: &Value) -> Value {
        fields["entities"].clone()
    }

    fn example(&self) -> Value {
        json!("Anna lives in Paris.")
    }
}
