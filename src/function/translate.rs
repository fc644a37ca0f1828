//! `translate`: a text in another language, by a network that reads the one and writes the other.
//!
//! Marian's networks write the language that they were trained for; where that is several, each has a code, and `tgt_lang` names one. T5
//! is told in words what to do: `prefix`, or the sentence that `src_lang` and `tgt_lang` make. An event's own languages come before those
//! of the options. A text that is longer than the model reads is cut at its end, or with `too_long = "window"` translated in parts of whole
//! sentences.

use super::fields::Fields;
use super::options::TooLong;
use super::rewrite::{self, Rewritten, SEARCH, Search};
use super::task::Task;
use super::{CallError, Limits, Prediction};
use crate::event::Rejection;
use crate::inference::seq2seq::{GenerateOptions, TextToText};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Languages of T5's training, by the codes of its tasks.
const NAMES: [(&str, &str); 4] = [("de", "German"), ("en", "English"), ("fr", "French"), ("ro", "Romanian")];

/// Bytes of a language's name at most.
const MAX_LANGUAGE: usize = 40;

/// Codes that an error lists at most.
const LISTED: usize = 20;

/// Options of `translate`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// The language of the texts: for T5 a code of its tasks or a name, such as "en" or "English". Marian's models do not ask for it.
    pub src_lang: Option<String>,
    /// The language to be written: for Marian one of the model's codes, such as "fra"; for T5 as `src_lang`.
    pub tgt_lang: Option<String>,
    /// What is said before each text instead, such as "translate English to German: ". For models other than Marian's.
    pub prefix: Option<String>,
    /// `truncate`, `window` (parts of whole sentences) or `reject`.
    pub too_long: TooLong,
    /// Takes out blanks before marks. Default false.
    pub clean_up_tokenization_spaces: bool,
    /// More of the same by the names of transformers.
    pub generate_parameters: Map<String, Value>,
    #[serde(flatten)]
    pub search: Search,
}

/// A text to be translated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Original {
    pub text: String,
    pub src_lang: Option<String>,
    pub tgt_lang: Option<String>,
}

impl Original {
    /// Into this language.
    pub fn to(self, language: impl Into<String>) -> Self {
        Self { tgt_lang: Some(language.into()), ..self }
    }

    /// Out of this one.
    pub fn of(self, language: impl Into<String>) -> Self {
        Self { src_lang: Some(language.into()), ..self }
    }
}

impl<T: AsRef<str>> From<T> for Original {
    fn from(text: T) -> Self {
        Self { text: text.as_ref().to_owned(), ..Self::default() }
    }
}

/// Fields: `translation_text`, `tokens` (read), `generated_tokens`, `finish_reason`, `truncated`, `windows`.
pub struct Translate {
    model: Arc<TextToText>,
    options: Options,
    search: Search,
    /// Where a task of the configuration says nothing else.
    plain: GenerateOptions,
}

/// How one text is translated.
#[derive(Debug, Default)]
struct Way {
    prefix: String,
    language: Option<String>,
    /// Bytes of a code that the text begins with.
    code: usize,
    /// The task of the configuration, whose options count.
    task: Option<String>,
}

impl Translate {
    fn way(&self, ask: &Original) -> Result<Way, Rejection> {
        let (src, tgt) =
            (ask.src_lang.as_ref().or(self.options.src_lang.as_ref()), ask.tgt_lang.as_ref().or(self.options.tgt_lang.as_ref()));
        if let Some(marian) = self.model.marian() {
            let known = marian.languages();
            return match tgt {
                Some(language) if known.contains(language) => Ok(Way { language: Some(language.clone()), ..Way::default() }),
                Some(_) => Err(Rejection::new("unknown_language", self.languages()).at("tgt_lang")),
                None if known.is_empty() => Ok(Way::default()),
                // The code stands before the text, and is put before each of its parts.
                None => match marian.language_of(&ask.text) {
                    Some(language) if ask.text[language.len() + 4..].trim().is_empty() => {
                        Err(Rejection::new("empty_text", "behind its code the text is empty or only white space").at("text"))
                    }
                    Some(language) => Ok(Way { code: language.len() + 4, language: Some(language.to_owned()), ..Way::default() }),
                    None => Err(Rejection::new("missing_field", self.languages()).at("tgt_lang")),
                },
            };
        }
        if let Some(prefix) = &self.options.prefix {
            return Ok(Way { prefix: prefix.clone(), ..Way::default() });
        }
        let (src, tgt) = match (src, tgt) {
            (Some(src), Some(tgt)) => (src, tgt),
            (src, _) => {
                let detail = "the model is told in words what to do: name `src_lang` and `tgt_lang`, or set the option `prefix`";
                return Err(Rejection::new("missing_field", detail).at(if src.is_none() { "src_lang" } else { "tgt_lang" }));
            }
        };
        for (field, language) in [("src_lang", src), ("tgt_lang", tgt)] {
            let letters = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '(' | ')');
            if language.is_empty() || language.len() > MAX_LANGUAGE || !language.chars().all(letters) {
                let detail = format!("a language's code or name is expected: letters, at most {MAX_LANGUAGE} bytes");
                return Err(Rejection::new("unknown_language", detail).at(field));
            }
        }
        let code =
            |language: &str| NAMES.iter().find(|(_, name)| *name == language).map_or(language, |(code, _)| code).to_owned();
        let task = format!("translation_{}_to_{}", code(src), code(tgt));
        match self.model.task(&task) {
            Some(told) => {
                let prefix = told.get("prefix").and_then(Value::as_str).unwrap_or_default().to_owned();
                Ok(Way { prefix, task: Some(task), ..Way::default() })
            }
            None => {
                let name = |language: &str| {
                    NAMES.iter().find(|(code, _)| *code == language).map_or(language, |(_, name)| name).to_owned()
                };
                Ok(Way { prefix: format!("translate {} to {}: ", name(src), name(tgt)), ..Way::default() })
            }
        }
    }

    /// What `tgt_lang` may be.
    fn languages(&self) -> String {
        let known = self.model.marian().map_or(&[][..], |marian| marian.languages());
        let more = if known.len() > LISTED { ", ..." } else { "" };
        match known.len() {
            0 => "the model writes one language; leave `tgt_lang` out".to_owned(),
            count => format!(
                "the model writes {count} languages, of which `tgt_lang` names one: {}{more}",
                known[..count.min(LISTED)].join(", ")
            ),
        }
    }

    fn generation(&self, task: Option<&str>) -> Result<GenerateOptions, String> {
        let defaults = self.model.transducer().defaults().clone();
        let told = task.and_then(|task| self.model.task(task));
        let defaults = told.map_or(Ok(defaults.clone()), |told| defaults.for_task(told))?;
        self.search.over(defaults, &self.model)
    }
}

impl Task for Translate {
    const NAME: &'static str = "translate";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["text", "src_lang", "tgt_lang"];
    const PARAMETERS: &'static [&'static str] = &[
        "src_lang",
        "tgt_lang",
        "prefix",
        "too_long",
        "clean_up_tokenization_spaces",
        "generate_parameters",
        SEARCH[0],
        SEARCH[1],
        SEARCH[2],
        SEARCH[3],
        SEARCH[4],
        SEARCH[5],
        SEARCH[6],
    ];
    type Model = TextToText;
    type Options = Options;
    type Ask = Original;
    type Answer = Rewritten;

    fn new(model: Arc<TextToText>, options: Options) -> Result<Self, String> {
        if model.family() == "bart" {
            return Err("the model is of BART's family, which sums up; translate with one of T5's or Marian's".to_owned());
        }
        let search = options.search.clone().with(&options.generate_parameters)?;
        let plain = search.over(model.transducer().defaults().clone(), &model)?;
        if let Some(marian) = model.marian() {
            if options.prefix.is_some() {
                return Err(
                    "option `prefix` is for models that are told in words what to do; Marian's have `tgt_lang`".to_owned()
                );
            }
            let known = |language: &String| marian.languages().contains(language);
            if options.tgt_lang.as_ref().is_some_and(|language| !known(language)) {
                let new = Self { model, options, search, plain };
                return Err(format!("option `tgt_lang`: {}", new.languages()));
            }
        } else if options.prefix.is_some() && (options.src_lang.is_some() || options.tgt_lang.is_some()) {
            return Err("option `prefix` says it all; leave `src_lang` and `tgt_lang` out".to_owned());
        }
        let new = Self { model, options, search, plain };
        // What a task of the configuration says must be fit too.
        let tasks: Vec<&str> = new.model.tasks().filter(|task| task.starts_with("translation_")).collect();
        for task in tasks {
            new.generation(Some(task)).map_err(|cause| format!("task `{task}` of config.json: {cause}"))?;
        }
        Ok(new)
    }

    fn model(&self) -> &Arc<TextToText> {
        &self.model
    }

    fn limits(&self) -> Limits {
        rewrite::LIMITS
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Original, Rejection> {
        Ok(Original {
            text: fields.text("text")?,
            src_lang: fields.optional("src_lang")?,
            tgt_lang: fields.optional("tgt_lang")?,
        })
    }

    fn texts(ask: &Original) -> Vec<(&'static str, Option<usize>, &str)> {
        let languages = [("src_lang", &ask.src_lang), ("tgt_lang", &ask.tgt_lang)].into_iter();
        let languages = languages.filter_map(|(name, language)| Some((name, None, language.as_deref()?)));
        std::iter::once(("text", None, ask.text.as_str())).chain(languages).collect()
    }

    fn cost(&self, ask: &Original) -> usize {
        // What is refused costs nothing.
        let Ok(way) = self.way(ask) else { return 0 };
        let of_task = way.task.as_deref().and_then(|task| self.generation(Some(task)).ok());
        rewrite::cost(&self.model, &ask.text, &way.prefix, of_task.as_ref().unwrap_or(&self.plain), self.options.too_long)
    }

    async fn answer(&self, asks: Vec<Original>) -> Result<Vec<Result<Rewritten, Rejection>>, CallError> {
        let mut answers: Vec<Option<Result<Rewritten, Rejection>>> = Vec::with_capacity(asks.len());
        let mut by_task: BTreeMap<Option<String>, (Vec<usize>, Vec<_>)> = BTreeMap::new();
        for (place, ask) in asks.into_iter().enumerate() {
            match self.way(&ask) {
                Err(refused) => answers.push(Some(Err(refused))),
                Ok(Way { prefix, language, code, task }) => {
                    let (places, group) = by_task.entry(task).or_default();
                    places.push(place);
                    let text = ask.text[code..].to_owned();
                    group.push(rewrite::ask(&self.model, text, prefix, language, self.options.too_long));
                    answers.push(None);
                }
            }
        }
        for (task, (places, group)) in by_task {
            let options = self.generation(task.as_deref()).map_err(CallError::Fatal)?;
            let written = rewrite::rewrite(&self.model, group, &options, self.options.too_long).await?;
            places.into_iter().zip(written).for_each(|(place, written)| answers[place] = Some(written));
        }
        let missing = || CallError::Fatal("the model gave fewer answers than it was asked for".to_owned());
        let clean = |mut answer: Rewritten| {
            if self.options.clean_up_tokenization_spaces {
                answer.text = rewrite::without_blanks(&answer.text);
            }
            answer
        };
        answers.into_iter().map(|answer| answer.map(|answer| answer.map(clean)).ok_or_else(missing)).collect()
    }

    fn prediction(&self, answer: Rewritten) -> Prediction {
        let mut fields = Map::new();
        fields.insert("translation_text".into(), answer.text.into());
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("generated_tokens".into(), answer.generated_tokens.into());
        fields.insert("finish_reason".into(), answer.finish_reason.into());
        fields.insert("truncated".into(), answer.truncated.into());
        fields.insert("windows".into(), answer.windows.into());
        Prediction { key: None, fields, label: None, score: None, model: None }
    }

    fn bare(fields: &Value) -> Value {
        json!({ "translation_text": fields["translation_text"] })
    }

    fn example(&self) -> Value {
        let text = "Where is my parcel?";
        match self.model.marian().map(|marian| marian.languages()) {
            Some([]) => json!(text),
            Some([first, ..]) if self.options.tgt_lang.is_none() => json!({ "text": text, "tgt_lang": first }),
            None if self.options.prefix.is_none() && self.options.tgt_lang.is_none() => {
                json!({ "text": text, "src_lang": "en", "tgt_lang": "de" })
            }
            _ => json!(text),
        }
    }
}
