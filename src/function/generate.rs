//! `generate`: a causal network goes on with a text, or answers a conversation by its own template.
//!
//! An event with a `text` is a prompt, or one message of a user where the model has a chat template. An event with `messages`
//! (`role`, `content`) is a conversation; when the last message is the assistant's, the answer goes on with it.

mod options;
mod plan;
mod prompt;
mod reply;
mod said;
#[cfg(test)]
mod tests;

pub use options::Options;
pub use said::Generated;

use super::fields::Places;
use super::offline::input;
use super::options::{Common, read, shown};
use super::requests::{About, BadParameter, Pieces, Requests, Sink, Written};
use super::texts::call_error;
use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec, passed, schema};
use crate::event::Rejection;
use crate::inference::causal;
use crate::inference::generate::{self as writing, Finish, Sampler, Steering, Trace, Writer, seed_of};
use crate::inference::{Digest, InferenceError};
use futures_util::future::{BoxFuture, try_join_all};
use plan::Plan;
use prompt::Asked;
use said::Said;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const NAME: &str = "generate";
const VERSION: u32 = 1;
const LIMITS: Limits = Limits { slice: 16, calls_in_flight: 4, timeout: Duration::from_secs(600) };
const FIELDS: [&str; 2] = ["text", "messages"];
/// Tokens that all prompts begin with are worth remembering from here on.
const REMEMBERED: usize = 16;

/// Fields: `generated_text`, `finish_reason`, `generated_tokens`, `prompt_tokens`, `seed`, `truncated`; `label` or `value` where the
/// output is held to labels or to a schema; `tokens` with their log-probabilities when asked for; `score` with beams. Where there are several
/// answers, these are the first one's, and `answers` has all.
pub struct Generate {
    spec: Spec,
    writer: Arc<Writer>,
    common: Common,
    places: Places,
    plan: Arc<Plan>,
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
        let (common, mut own) = read::<Options>(NAME, &FIELDS, options)?;
        if !options.contains_key("max_new_tokens") {
            // A model that sees little still has room for a prompt.
            own.max_new_tokens = own.max_new_tokens.min(writer.room() / 2);
        }
        let plan = Arc::new(Plan::new(own, &writer).map_err(|cause| format!("{NAME}: {cause}"))?);
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

    /// Answers one input; the sink is given each piece of text as it comes, where there is one answer.
    pub async fn answer(&self, input: &Input, sink: Option<Sink>) -> Result<Outcome, CallError> {
        let asked = self.places.of(input).and_then(|fields| Asked::read(&fields, &self.common.texts));
        let asked = match asked {
            Ok(asked) => asked,
            Err(refused) => return Ok(Outcome::Reject(self.places.located(refused))),
        };
        Ok(match self.say(asked, &input.event.id, input.event.event_time_ms, sink).await? {
            Ok(prediction) => Outcome::Emit(vec![prediction]),
            Err(refused) => Outcome::Reject(self.places.located(refused)),
        })
    }

    /// Answers what is asked by the event of that name and time.
    async fn say(
        &self,
        asked: Asked,
        event: &str,
        time_ms: i64,
        sink: Option<Sink>,
    ) -> Result<Result<Prediction, Rejection>, CallError> {
        let (plan, writer) = (Arc::clone(&self.plan), Arc::clone(&self.writer));
        let prompt = self.writer.aside(move || plan.prompt(&writer, asked, time_ms)).await.map_err(call_error)?;
        let prompt = match prompt {
            Ok(prompt) => prompt,
            Err(refused) => return Ok(Err(refused)),
        };
        let (plan, vocabulary) = (&self.plan, self.writer.vocabulary());
        let seed = plan.options.seed.unwrap_or_else(|| seed_of(event, NAME, &self.settings));
        let about = reply::About { prompt_tokens: prompt.ids.len(), truncated: prompt.truncated };
        let said = match plan.beams {
            Some(beams) => {
                let (most, stops) = (plan.options.num_return_sequences, &plan.options.stop.0);
                let (sampling, words) = (Arc::clone(&plan.sampling), Arc::clone(vocabulary));
                let steering = Steering::new(sampling, words, stops, plan.max_new_tokens);
                let found = self.writer.search(prompt.ids, plan.max_new_tokens, beams, steering).await.map_err(call_error)?;
                found.into_iter().take(most).map(|found| said::searched(vocabulary, seed, &found, stops)).collect()
            }
            None => self.sampled(prompt.ids, seed, sink).await?,
        };
        if said.is_empty() || said.iter().any(|said: &Said| said.trace.finish == Finish::Broken) {
            let detail = "the model gave no finite number for any token that may come; its weights are damaged";
            return Ok(Err(Rejection::new("not_finite", detail)));
        }
        let label = said[0].trace.value.clone().map(Into::into);
        let fields = reply::fields(plan, vocabulary, &said, &about);
        Ok(Ok(Prediction { key: None, fields, label, score: None, model: None }))
    }

    /// As many answers as are wanted, each by a chance of its own; the first as if it were alone.
    async fn sampled(&self, prompt: Vec<u32>, seed: u64, mut sink: Option<Sink>) -> Result<Vec<Said>, CallError> {
        let (plan, vocabulary) = (&self.plan, self.writer.vocabulary());
        let seeds = (0..plan.options.num_return_sequences)
            .map(|n| if n == 0 { seed } else { seed_of(&n.to_string(), NAME, &seed.to_string()) });
        let seeds: Vec<u64> = seeds.collect();
        let mut samplers = Vec::with_capacity(seeds.len());
        for seed in &seeds {
            let mut sampler = Sampler::new(Arc::clone(&plan.sampling), Arc::clone(vocabulary), *seed, plan.max_new_tokens)
                .top_logprobs(plan.options.top_logprobs)
                .stops(&plan.options.stop.0);
            if let Some(guide) = plan.guide(vocabulary) {
                sampler = sampler.guide(guide);
            }
            if let Some(sink) = sink.take() {
                let trace = sampler.trace();
                sampler = sampler.sink(self.with_tokens(sink, trace));
            }
            samplers.push(sampler);
        }
        let traces = self.writer.write(prompt, plan.max_new_tokens, samplers).await.map_err(call_error)?;
        Ok(traces.into_iter().zip(seeds).map(|(trace, seed)| Said { trace, seed, score: None }).collect())
    }

    /// A sink of texts that gives each on with its tokens, out of the record of the answer, where they are told.
    fn with_tokens(&self, mut sink: Sink, trace: Arc<Mutex<Trace>>) -> writing::Sink {
        let (plan, vocabulary, mut told) = (Arc::clone(&self.plan), Arc::clone(self.writer.vocabulary()), 0);
        Box::new(move |text| {
            let mut written = Written { text: text.to_owned(), tokens: Vec::new() };
            if plan.tells_tokens() {
                let trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
                written.tokens = reply::tokens(&plan, &vocabulary, trace.tokens.get(told..).unwrap_or_default());
                told += written.tokens.len();
            }
            sink(written)
        })
    }

    /// Goes on with one text outside of a stream, or answers a conversation; `number` is the event's name.
    pub(super) async fn told(&self, asked: &Value, number: usize) -> Result<Result<Generated, Rejection>, CallError> {
        Ok(match self.answer(&input(number, asked), None).await? {
            Outcome::Emit(mut predictions) => {
                let fields = predictions.pop().map(|prediction| prediction.fields).unwrap_or_default();
                let read = serde_json::from_value(Value::Object(fields));
                Ok(read.map_err(|cause| CallError::Fatal(cause.to_string()))?)
            }
            Outcome::Reject(refused) => Err(refused),
            Outcome::Skip(reason) => Err(Rejection::new("skipped", reason)),
        })
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

    fn labels(&self) -> Vec<String> {
        self.plan.options.labels.0.clone()
    }

    /// The generator lets go of a text within a token.
    fn gives_up(&self) -> bool {
        true
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
        if let Some(answers) = fields["answers"].as_array() {
            return answers.iter().map(|answer| self.bare(answer)).collect();
        }
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

    /// One answer goes out as it is written; which of several is best is known at their end.
    fn pieces(&self) -> Option<&dyn Pieces> {
        (self.plan.options.num_return_sequences == 1 && self.plan.beams.is_none()).then_some(self)
    }
}

impl Pieces for Generate {
    fn answer_in_pieces<'a>(&'a self, input: &'a Input, sink: Sink) -> BoxFuture<'a, Result<Outcome, CallError>> {
        Box::pin(self.answer(input, Some(sink)))
    }
}
