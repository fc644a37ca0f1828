//! By a model that writes the summary anew. It may say what the text does not.

use super::{Document, Options, Summary};
use crate::event::Rejection;
use crate::function::CallError;
use crate::function::generate::Generate;
use crate::function::options::TooLong;
use crate::function::rewrite::{self, Rewritten, Search};
use crate::function::task::tokens;
use crate::inference::generate::Writer;
use crate::inference::seq2seq::{GenerateOptions, TextToText};
use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What a model with a chat template is told.
const TOLD: &str = "Summarize this text in one or two short sentences. Say nothing that it does not say.\n\n{text}";
/// What a model without one goes on with.
const BEGUN: &str = "{text}\n\nIn short:";

/// A network that reads a text and writes another.
pub struct Rewrite {
    model: Arc<TextToText>,
    options: GenerateOptions,
    prefix: String,
    too_long: TooLong,
    clean: bool,
}

impl Rewrite {
    pub fn new(model: Arc<TextToText>, options: &Options) -> Result<Self, String> {
        if model.family() == "marian" {
            return Err("the model is of Marian's family, which translates; sum up with T5, BART or a causal model".to_owned());
        }
        if options.prompt.is_some() {
            return Err("option `prompt` is for models that go on with a text; this one takes a `prefix`".to_owned());
        }
        let search = options.search.clone().with(&options.generate_parameters)?;
        let told = model.task("summarization");
        let defaults = model.transducer().defaults().clone();
        let defaults = told.map_or(Ok(defaults.clone()), |told| defaults.for_task(told))?;
        let usual = if model.family() == "t5" { "summarize: " } else { "" };
        let told = told.and_then(|told| told.get("prefix")?.as_str());
        let prefix = options.prefix.clone().unwrap_or_else(|| told.unwrap_or(usual).to_owned());
        let too_long = options.too_long;
        Ok(Self { options: search.over(defaults, &model)?, model, prefix, too_long, clean: options.clean_up_tokenization_spaces })
    }

    pub fn cost(&self, ask: &Document) -> usize {
        rewrite::cost(&self.model, &ask.0, &self.prefix, &self.options, self.too_long)
    }

    /// One answer or refusal for each, in order.
    pub async fn answer(&self, asks: Vec<Document>) -> Result<Vec<Result<Summary, Rejection>>, CallError> {
        let ask = |ask: Document| rewrite::ask(&self.model, ask.0, self.prefix.clone(), None, self.too_long);
        let written = rewrite::rewrite(&self.model, asks.into_iter().map(ask).collect(), &self.options, self.too_long).await?;
        Ok(written.into_iter().map(|written| written.map(|written| self.summary(written))).collect())
    }

    fn summary(&self, written: Rewritten) -> Summary {
        let Rewritten { text, tokens, generated_tokens, finish_reason, truncated, windows } = written;
        let summary_text = if self.clean { rewrite::without_blanks(&text) } else { text };
        let finish_reason = Some(finish_reason.to_owned());
        Summary { summary_text, tokens, generated_tokens, finish_reason, truncated, windows, ..Summary::default() }
    }
}

/// A network that goes on with a text, by its chat template where it has one.
pub struct Prompted {
    generate: Generate,
    prompt: usize,
    written: usize,
}

impl Prompted {
    pub fn new(writer: Arc<Writer>, options: &Options) -> Result<Self, String> {
        for (name, set) in
            [("prefix", options.prefix.is_some()), ("clean_up_tokenization_spaces", options.clean_up_tokenization_spaces)]
        {
            if set {
                return Err(format!("option `{name}` is for models that write a text from a text; this one takes a `prompt`"));
            }
        }
        // There they count the prompt too.
        if let Some(name) = ["max_length", "min_length"].into_iter().find(|name| options.generate_parameters.contains_key(*name))
        {
            return Err(format!(
                "option `generate_parameters`: `{name}` is not for causal models; write `max_new_tokens` or `min_new_tokens`"
            ));
        }
        let usual = if writer.template().is_some() { TOLD } else { BEGUN };
        let prompt = options.prompt.as_deref().unwrap_or(usual);
        let search: Search = options.search.clone().with(&options.generate_parameters)?;
        let mut own = Map::new();
        if let Ok(Value::Object(search)) = serde_json::to_value(&search) {
            own.extend(search.into_iter().filter(|(_, value)| !value.is_null()));
        }
        let (beams, most) = (search.num_beams.unwrap_or(1), search.max_new_tokens.unwrap_or(64));
        own.insert("prompt".into(), prompt.into());
        own.insert("too_long".into(), json!(options.too_long));
        // The text was checked before it came here.
        own.insert("max_text_tokens".into(), u32::MAX.into());
        own.insert("complete_sentence".into(), true.into());
        let generate = Generate::new(writer, &own)?;
        Ok(Self { generate, prompt: tokens(prompt), written: 2 * beams * most })
    }

    pub fn cost(&self, ask: &Document, most: usize) -> usize {
        (tokens(&ask.0) + self.prompt).min(most) + self.written
    }

    /// One answer or refusal for each, in order.
    pub async fn answer(&self, asks: Vec<Document>) -> Result<Vec<Result<Summary, Rejection>>, CallError> {
        let texts: Vec<Value> = asks.into_iter().map(|ask| json!({ "text": ask.0 })).collect();
        // All at the same time: the generator writes them together.
        let written = try_join_all(texts.iter().map(|text| self.generate.told(text, 0))).await?;
        let summary = |written: crate::function::generate::Generated| Summary {
            summary_text: written.text.trim().to_owned(),
            tokens: written.prompt_tokens,
            generated_tokens: written.generated_tokens,
            finish_reason: Some(written.finish_reason),
            truncated: written.truncated,
            windows: 1,
            ..Summary::default()
        };
        Ok(written.into_iter().map(|written| written.map(summary)).collect())
    }
}
