//! `/v1/embeddings`: the function `embed` in the shape that clients of OpenAI's API write and read.

use super::{Functions, Known, call};
use crate::admin::{Answered, ApiError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::sync::PoisonError;
use tokio_util::sync::CancellationToken;

/// A request.
pub struct Asked {
    texts: Vec<Value>,
    /// A pipeline, its model, or `embed`.
    pub model: Option<String>,
    base64: bool,
    dimensions: Option<u64>,
}

fn refused(status: u16, message: String, param: &str) -> ApiError {
    let kind = if status == 404 { "not_found" } else { "invalid_request" };
    ApiError { status, kind, message, param: Some(param.to_owned()) }
}

impl Asked {
    pub fn read(input: &Value) -> Result<Self, ApiError> {
        let texts = match input.get("input") {
            Some(text @ Value::String(_)) => vec![text.clone()],
            Some(Value::Array(texts)) if !texts.is_empty() && texts.iter().all(Value::is_string) => texts.clone(),
            _ => {
                return Err(refused(
                    400,
                    "`input` must be a text or a list of texts; lists of tokens are not read".to_owned(),
                    "input",
                ));
            }
        };
        let base64 = match input.get("encoding_format").filter(|format| !format.is_null()) {
            None => false,
            Some(format) if format == "float" => false,
            Some(format) if format == "base64" => true,
            Some(_) => return Err(refused(400, "`encoding_format` must be float or base64".to_owned(), "encoding_format")),
        };
        let model = input.get("model").and_then(Value::as_str).map(str::to_owned);
        let dimensions = match input.get("dimensions").filter(|dimensions| !dimensions.is_null()) {
            None => None,
            Some(number) => match number.as_u64().filter(|number| *number > 0) {
                Some(number) => Some(number),
                None => return Err(refused(400, "`dimensions` must be a whole number, 1 or more".to_owned(), "dimensions")),
            },
        };
        Ok(Self { texts, model, base64, dimensions })
    }
}

impl Functions {
    /// The pipeline that runs this function: the one of that name, or the only one.
    pub(super) fn of_task(&self, task: &str, name: Option<&str>) -> Result<Known, ApiError> {
        let all = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner);
        let running = || all.iter().filter(|(_, known)| known.function.spec().name == task);
        let named = |(pipeline, known): &(&String, &Known)| name.is_none_or(|name| known.is_called(pipeline, name));
        // A pipeline's own name goes before that of a model or function, which several may share.
        let own = name.and_then(|name| running().find(|(pipeline, _)| *pipeline == name));
        let mut found = running().filter(named);
        match own.map_or_else(|| (found.next(), found.next()), |own| (Some(own), None)) {
            (Some((_, only)), None) => Ok(only.clone()),
            (Some(_), Some(_)) => {
                Err(refused(400, format!("several pipelines run `{task}`; name one of {}", names(running())), "model"))
            }
            (None, _) if self.loads(task, name) => {
                let message = format!("`{task}` is being loaded; ask again in a moment");
                Err(ApiError { status: 503, kind: "loading", message, param: Some("model".into()) })
            }
            (None, _) => {
                let known = names(running());
                let known = if known.is_empty() { format!("no pipeline runs `{task}`") } else { format!("known: {known}") };
                let asked = name.map_or_else(|| "a model".to_owned(), |name| format!("`{name}`"));
                Err(refused(404, format!("there is no {asked} here that runs `{task}`; {known}"), "model"))
            }
        }
    }
}

impl Functions {
    /// Whether a pipeline that is being loaded may be the one that is asked for; the names of its model are not known yet.
    fn loads(&self, task: &str, name: Option<&str>) -> bool {
        let expected = self.expected.read().unwrap_or_else(PoisonError::into_inner);
        let known = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner);
        let of_another =
            |name: &str| known.contains_key(name) || expected.iter().any(|(of, function)| of == name && function != task);
        expected.iter().any(|(_, function)| function == task) && name.is_none_or(|name| !of_another(name))
    }
}

fn names<'a>(of: impl Iterator<Item = (&'a String, &'a Known)>) -> String {
    of.map(|(pipeline, _)| pipeline.as_str()).collect::<Vec<_>>().join(", ")
}

pub async fn answer(known: &Known, asked: Asked, given_up: &CancellationToken) -> Result<Answered, ApiError> {
    let shortened = Map::from_iter(asked.dimensions.map(|wanted| ("dimensions".to_owned(), wanted.into())));
    // Its parameters are fields of the body here.
    let at_top = |error: ApiError| ApiError { param: Some("dimensions".to_owned()), ..error };
    let function = known.builds.tuned(&known.function, &shortened).await.map_err(at_top)?;
    let spec = function.spec();
    if asked.texts.len() > spec.limits.slice {
        let (count, most, of) = (asked.texts.len(), spec.limits.slice, call::of_model(&spec.model));
        let message = format!("{count} texts were given; {}{of} takes {most} at most", spec.name);
        return Err(refused(413, message, "input"));
    }
    let events: Vec<Value> = asked.texts.iter().map(|text| known.event(text)).collect();
    let outputs = call::outputs(known, &*function, &events, given_up).await?;
    let truncated = call::cut(&outputs);
    let (mut data, mut tokens) = (Vec::with_capacity(outputs.len()), 0);
    for (index, output) in outputs.into_iter().enumerate() {
        if let Some(rejected) = output.get("rejected") {
            let error = call::rejection("input", index, rejected, &spec.model);
            return Err(ApiError { param: Some(format!("input.{index}")), ..error });
        }
        tokens += output["tokens"].as_u64().unwrap_or(0);
        let embedding = if asked.base64 { packed(&output["embedding"]) } else { output["embedding"].clone() };
        data.push(json!({ "object": "embedding", "index": index, "embedding": embedding }));
    }
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    let mut body = json!({ "object": "list", "data": data, "model": spec.model, "usage": usage });
    if !truncated.is_empty() {
        body["truncated"] = truncated.clone().into();
    }
    Ok(Answered { body, truncated })
}

/// Numbers as 32-bit floats, little end first, in base64.
fn packed(embedding: &Value) -> Value {
    let numbers = embedding.as_array().map_or(&[][..], Vec::as_slice);
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| (n.as_f64().unwrap_or_default() as f32).to_le_bytes()).collect();
    STANDARD.encode(bytes).into()
}
