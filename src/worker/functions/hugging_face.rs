//! The bare shape: requests and answers as the clients of Hugging Face write and read them, where these differ from the function's own.
//!
//! Shapes as `huggingface_hub` 2.4 and `huggingface.js` (`packages/tasks` and `packages/inference`) have them: labels, vectors and summaries
//! of one text come in a list of one, a single answer to a question comes without a list.

use super::call::{Body, of_model, refused};
use crate::admin::ApiError;
use crate::function::Function;
use serde_json::{Map, Value, json};

/// What a request of these clients wants beside the parameters of the function.
#[derive(Default)]
pub struct Wanted {
    /// `return_full_text`: the prompt before the answer.
    full_text: bool,
    /// `truncate` false: a text that the model does not see to its end is refused.
    whole_text: bool,
    /// The request brings the labels.
    zero_shot: bool,
}

fn not_done(name: &str, what: &str) -> ApiError {
    refused(400, "invalid_request", format!("`{name}` {what}"), &format!("parameters.{name}"))
}

impl Wanted {
    /// Takes out of a request what the function does not know, and puts in what means the same.
    pub fn of(function: &dyn Function, body: &mut Body) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        let extracts = || function.requests().is_some_and(|requests| requests.about().options["method"] == "extract");
        match function.spec().name {
            "embed" => wanted.vectors(&mut body.parameters)?,
            "generate" => wanted.text(&mut body.parameters)?,
            "summarize" if extracts() => {
                // Sentences are taken as they stand: there is nothing to clean up.
                body.parameters.remove("clean_up_tokenization_spaces");
            }
            _ => {}
        }
        let labels = "candidate_labels";
        wanted.zero_shot = body.parameters.contains_key(labels) || body.inputs.iter().any(|input| input.get(labels).is_some());
        if wanted.full_text && !body.inputs.iter().all(Value::is_string) {
            return Err(not_done("return_full_text", "is for prompts; a conversation has no text to go before"));
        }
        Ok(wanted)
    }

    /// Parameters of feature-extraction.
    fn vectors(&mut self, parameters: &mut Map<String, Value>) -> Result<(), ApiError> {
        for (name, meant, what) in [
            ("truncation_direction", json!("right"), "is `right`: a text is cut at its end"),
            ("encoding_format", json!("float"), "is `float` here; /v1/embeddings has base64"),
        ] {
            if parameters.remove(name).is_some_and(|given| !given.is_null() && given != meant) {
                return Err(not_done(name, what));
            }
        }
        self.whole_text = parameters.remove("truncate") == Some(false.into());
        // These are the function's own; what is null is as configured.
        for name in ["normalize", "dimensions", "prompt_name"] {
            if parameters.get(name).is_some_and(Value::is_null) {
                parameters.remove(name);
            }
        }
        Ok(())
    }

    /// Parameters of text-generation.
    fn text(&mut self, parameters: &mut Map<String, Value>) -> Result<(), ApiError> {
        for (name, meant, what) in [
            ("best_of", json!(1), "is 1: one answer a request"),
            ("decoder_input_details", json!(false), "is false: the tokens of a prompt have no log-probabilities"),
            ("watermark", json!(false), "is false: texts are not marked"),
            ("truncate", Value::Null, "is not taken; `too_long` says what becomes of a long prompt"),
            ("adapter_id", Value::Null, "is not taken: a pipeline has one model"),
        ] {
            if parameters.remove(name).is_some_and(|given| !given.is_null() && given != meant) {
                return Err(not_done(name, what));
            }
        }
        self.full_text = parameters.remove("return_full_text") == Some(true.into());
        match parameters.remove("do_sample") {
            Some(Value::Bool(false)) => {
                parameters.insert("temperature".into(), 0.into());
            }
            Some(Value::Bool(true)) => {
                parameters.entry("temperature").or_insert_with(|| 1.into());
            }
            _ => {}
        }
        if let Some(top) = parameters.remove("top_n_tokens") {
            parameters.insert("top_logprobs".into(), top);
        }
        if parameters.get("details") == Some(&true.into()) {
            parameters.entry("logprobs").or_insert(Value::Bool(true));
        }
        if let Some(grammar) = parameters.remove("grammar").filter(|grammar| !grammar.is_null()) {
            let schema = match grammar["type"].as_str() {
                Some("json") => grammar["value"].clone(),
                Some("json_schema") => grammar["value"]["schema"].clone(),
                _ => return Err(not_done("grammar", "is of type json or json_schema; regular expressions are not held to")),
            };
            if !schema.is_object() {
                return Err(not_done("grammar", "needs a JSON schema as its `value`"));
            }
            parameters.insert("schema".into(), schema);
        }
        Ok(())
    }

    /// The answers as the clients read them; `many` where the inputs were a list.
    pub fn answer(&self, function: &dyn Function, body: &Body, outputs: &[Value]) -> Result<Value, ApiError> {
        for (index, output) in outputs.iter().enumerate() {
            self.check(index, output, &function.spec().model)?;
        }
        let Some(requests) = function.requests() else { return Ok(own(body.many, outputs.to_vec())) };
        let name = function.spec().name;
        let single = name == "answer" && requests.about().options["top_k"] == 1;
        let one = |(output, input): (&Value, &Value)| {
            let mut bare = requests.bare(output);
            if single {
                return bare.get(0).cloned().unwrap_or_else(nothing);
            }
            // Of text-generation there may be several.
            match &mut bare {
                Value::Array(answers) => answers.iter_mut().for_each(|answer| self.complete(answer, input)),
                one => self.complete(one, input),
            }
            bare
        };
        let all: Vec<Value> = outputs.iter().zip(&body.inputs).map(one).collect();
        Ok(own(body.many || listed(name, self.zero_shot), all))
    }

    /// What a text that was written has beside it.
    fn complete(&self, bare: &mut Value, input: &Value) {
        let Some(fields) = bare.as_object_mut() else { return };
        if let (true, Some(prompt)) = (self.full_text, input.as_str()) {
            let text = fields.get("generated_text").and_then(Value::as_str).unwrap_or_default();
            fields.insert("generated_text".into(), format!("{prompt}{text}").into());
        }
        if let Some(details) = fields.get_mut("details").and_then(Value::as_object_mut) {
            details.insert("prefill".into(), json!([]));
        }
    }

    fn check(&self, index: usize, output: &Value, model: &str) -> Result<(), ApiError> {
        if self.whole_text && output["truncated"] == true {
            let (of, seen) = (of_model(model), &output["tokens"]);
            let message =
                format!("input {index}{of}: the text is longer than the {seen} tokens that are seen, and `truncate` is false");
            return Err(refused(413, "too_large", message, &format!("inputs.{index}")));
        }
        Ok(())
    }

    /// The events of an answer in pieces, numbered from 1. Pieces are texts: which tokens they were is not told.
    pub fn piece(&self, number: usize, prompt: &Value, piece: Result<&str, &Value>) -> Value {
        let token = |text: &str, special: bool| json!({ "id": null, "text": text, "logprob": null, "special": special });
        let output = match piece {
            Ok(text) => return json!({ "index": number, "token": token(text, false), "generated_text": null, "details": null }),
            Err(output) => output,
        };
        let before = prompt.as_str().filter(|_| self.full_text).unwrap_or_default();
        json!({
            "index": number,
            "token": token("", true),
            "generated_text": format!("{before}{}", output["generated_text"].as_str().unwrap_or_default()),
            "details": {
                "finish_reason": output["finish_reason"], "generated_tokens": output["generated_tokens"],
                "input_length": output["prompt_tokens"], "seed": output["seed"],
            },
        })
    }
}

fn own(many: bool, mut all: Vec<Value>) -> Value {
    if many { all.into() } else { all.pop().unwrap_or_default() }
}

/// Whether the answer to a single input stands in a list of one.
fn listed(function: &str, zero_shot: bool) -> bool {
    match function {
        "sentiment" | "embed" | "summarize" | "translate" => true,
        "classify" => !zero_shot,
        _ => false,
    }
}

/// A question without an answer.
fn nothing() -> Value {
    json!({ "answer": "", "score": 0.0, "start": 0, "end": 0 })
}

/// The JSON schema of a whole answer in this shape, out of that of one input's.
pub fn schema(function: &str, bare: &Value) -> Value {
    let many = |bare: &Value| json!({ "type": "array", "items": bare });
    match function {
        "classify" => json!({ "anyOf": [bare, many(bare)] }),
        "answer" => {
            // One answer, or several, to each question.
            let each = json!({ "anyOf": [bare["items"], bare] });
            json!({ "anyOf": [each, many(&each)] })
        }
        listed_always if listed(listed_always, false) => many(bare),
        _ => json!({ "anyOf": [bare, many(bare)] }),
    }
}
