//! `generate`: a causal network goes on with a text, or answers a conversation by its own template.
//!
//! An event with a `text` is a prompt, or one message of a user where the model has a chat template. An event with `messages`
//! (`role`, `content`) is a conversation; when the last message is the assistant's, the answer goes on with it.

mod options;
mod plan;
mod prompt;
mod reply;
#[cfg(test)]
mod tests;

pub use options::Options;

use super::fields::Places;
use super::options::{Common, read, shown};
use super::requests::{About, BadParameter, Pieces, Requests};
use super::texts::call_error;
use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec, passed, schema};
use crate::event::Rejection;
use crate::inference::causal;
use crate::inference::generate::{Finish, Sampler, Sink, Writer, seed_of};
use crate::inference::{Digest, InferenceError};
use futures_util::future::{BoxFuture, try_join_all};
use plan::Plan;
use prompt::Asked;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "generate";
const VERSION: u32 = 1;
const LIMITS: Limits = Limits { slice: 16, calls_in_flight: 4, timeout: Duration::from_secs(600) };
const FIELDS: [&str; 2] = ["text", "messages"];
/// Tokens that all prompts begin with are worth remembering from here on.
const REMEMBERED: usize = 16;

/// Fields: `generated_text`, `finish_reason`, `generated_tokens`, `prompt_tokens`, `seed`, `truncated`; `label` or `value` where the
/// output is held to labels or to a schema; `tokens` with their log-probabilities when asked for.
pub struct Generate {
    spec: Spec,
    writer: Arc<Writer>,
    common: Common,
    places: Places,
    plan: Plan,
    /// As they were given, and the digest of them that seeds are made with.
    options: Map<String, Value>,
    settings: String,
}

impl Generate {
    /// Uses an open model; the error says what to change in the options.
    pub fn new(writer: Arc<Writer>, options: &Map<String, Value>) -> Result<Self, String> {
        let new = Self::build(writer, options)?;
        let beginning = new.plan.beginning(&new.writer);
        if beginning.len() >= REMEMBERED {
            // Without room for it every prompt is computed whole, which is slower and no other answer.
            new.writer.remember(beginning).ok();
        }
        Ok(new)
    }

    fn build(writer: Arc<Writer>, options: &Map<String, Value>) -> Result<Self, String> {
        let (common, own) = read::<Options>(NAME, &FIELDS, options)?;
        let plan = Plan::new(own, &writer).map_err(|cause| format!("{NAME}: {cause}"))?;
        let spec = Spec { name: NAME, version: VERSION, model: writer.id().to_owned(), limits: LIMITS };
        let places = Places::new(&FIELDS, &common.fields);
        let written = Value::Object(options.clone()).to_string();
        let settings = Digest::of(format!("{}\n{written}", writer.id()).as_bytes()).as_str().to_owned();
        Ok(Self { spec, writer, common, places, plan, options: options.clone(), settings })
    }

    /// Opens a model folder under the folder's own name. Blocks while it reads.
    pub fn open(folder: &Path) -> Result<Arc<Writer>, InferenceError> {
        let name = folder.file_name().map_or(NAME.into(), |name| name.to_string_lossy());
        Ok(Arc::new(Writer::open(&name, folder, None, &causal::Options::default())?))
    }

    /// The same with some options changed for one request.
    pub fn changed(&self, parameters: &Map<String, Value>) -> Result<Self, BadParameter> {
        if let Some(name) = parameters.keys().find(|name| !options::PARAMETERS.contains(&name.as_str())) {
            return Err(BadParameter::unknown(NAME, name, &options::PARAMETERS));
        }
        let mut options = self.options.clone();
        options.extend(parameters.clone());
        Self::build(Arc::clone(&self.writer), &options).map_err(|message| {
            let named = parameters.keys().find(|name| message.contains(&format!("`{name}`")));
            BadParameter { name: named.or_else(|| parameters.keys().next()).cloned().unwrap_or_default(), message }
        })
    }

    /// Answers one input; the sink is given each piece of text as it comes.
    pub async fn answer(&self, input: &Input, sink: Option<Sink>) -> Result<Outcome, CallError> {
        let asked = self.places.of(input).and_then(|fields| Asked::read(&fields, &self.common.texts));
        let prompt = match asked.and_then(|asked| self.plan.prompt(&self.writer, asked, input.event.event_time_ms)) {
            Ok(prompt) => prompt,
            Err(refused) => return Ok(Outcome::Reject(refused)),
        };
        let plan = &self.plan;
        let seed = plan.options.seed.unwrap_or_else(|| seed_of(&input.event.id, NAME, &self.settings));
        let vocabulary = self.writer.vocabulary();
        let mut sampler = Sampler::new(Arc::clone(&plan.sampling), Arc::clone(vocabulary), seed, plan.max_new_tokens)
            .top_logprobs(plan.options.top_logprobs)
            .stops(&plan.options.stop.0);
        if let Some(guide) = plan.guide(vocabulary) {
            sampler = sampler.guide(guide);
        }
        if let Some(sink) = sink {
            sampler = sampler.sink(sink);
        }
        let prompt_tokens = prompt.ids.len();
        let trace = self.writer.write(prompt.ids, plan.max_new_tokens, sampler).await.map_err(call_error)?;
        if trace.finish == Finish::Broken {
            let detail = "the model gave no finite number for any token that may come; its weights are damaged";
            return Ok(Outcome::Reject(Rejection::new("not_finite", detail)));
        }
        let label = trace.value.clone().map(Into::into);
        let fields = reply::fields(plan, vocabulary, trace, &reply::About { prompt_tokens, seed, truncated: prompt.truncated });
        Ok(Outcome::Emit(vec![Prediction { key: None, fields, label, score: None }]))
    }
}

impl Function for Generate {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            // All of a slice at the same time: the generator writes them together.
            let outcomes = try_join_all(slice.iter().map(|input| self.answer(input, None))).await?;
            Ok(passed::add(slice, outcomes, self.common.texts.pass_event, &self.common.texts.output_key))
        })
    }

    fn requests(&self) -> Option<&dyn Requests> {
        Some(self)
    }
}

impl Requests for Generate {
    fn about(&self) -> About {
        let example = match self.plan.chat {
            true => json!({ "messages": [{ "role": "user", "content": "Where is my parcel?" }] }),
            false => json!("Once upon a time"),
        };
        About { fields: &FIELDS, parameters: &options::PARAMETERS, options: shown::<Options>(&self.options), example }
    }

    fn tuned(&self, parameters: &Map<String, Value>) -> Result<Arc<dyn Function>, BadParameter> {
        Ok(Arc::new(self.changed(parameters)?))
    }

    /// As text-generation has it.
    fn bare(&self, fields: &Value) -> Value {
        let mut bare = json!({ "generated_text": fields["generated_text"] });
        if self.plan.options.details {
            bare["details"] = json!({
                "finish_reason": fields["finish_reason"], "generated_tokens": fields["generated_tokens"], "seed": fields["seed"],
                "tokens": fields.get("tokens").cloned().unwrap_or_else(|| json!([])),
            });
        }
        bare
    }

    fn types(&self) -> Map<String, Value> {
        schema::types::<Options>()
    }

    fn pieces(&self) -> Option<&dyn Pieces> {
        Some(self)
    }
}

impl Pieces for Generate {
    fn answer_in_pieces<'a>(&'a self, input: &'a Input, sink: Sink) -> BoxFuture<'a, Result<Outcome, CallError>> {
        Box::pin(self.answer(input, Some(sink)))
    }
}
