//! One request: `{"inputs": ..., "parameters": {...}}`.

use super::Known;
use super::hugging_face::Wanted;
use super::pieces::{Piece, begun, pieces};
use super::within::Until;
use crate::admin::{Answered, ApiError, Events, Shape};
use crate::function::offline;
use crate::function::{CallError, Function, Outcome};
use futures_util::stream::StreamExt;
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

pub(super) fn refused(status: u16, kind: &'static str, message: String, param: &str) -> ApiError {
    ApiError { status, kind, message, param: Some(param.to_owned()) }
}

/// What a request says.
pub struct Body {
    pub inputs: Vec<Value>,
    /// Whether the inputs were a list.
    pub many: bool,
    pub parameters: Map<String, Value>,
}

/// Members of a request; `options` is how older clients of Hugging Face ask to wait for a model, and says nothing here.
const MEMBERS: [&str; 4] = ["inputs", "parameters", "stream", "options"];

impl Body {
    /// `function` is the name of the one that is asked.
    fn read(function: &str, input: &Value, shape: Shape) -> Result<Self, ApiError> {
        let (inputs, many) = match input.get("inputs") {
            Some(Value::Array(inputs)) => (inputs.clone(), true),
            Some(one) => (vec![one.clone()], false),
            None => {
                let message =
                    "the body must be {\"inputs\": TEXT} or {\"inputs\": [TEXT, ...]}, or events instead of texts".to_owned();
                return Err(refused(400, "invalid_request", message, "inputs"));
            }
        };
        if inputs.is_empty() {
            return Err(refused(400, "invalid_request", "`inputs` is an empty list".to_owned(), "inputs"));
        }
        let mut parameters = match input.get("parameters") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(parameters)) => parameters.clone(),
            Some(_) => {
                return Err(refused(400, "invalid_request", "`parameters` must be an object".to_owned(), "parameters"));
            }
        };
        for (name, value) in input.as_object().into_iter().flatten().filter(|(name, _)| !MEMBERS.contains(&name.as_str())) {
            // Of all tasks feature-extraction alone has its parameters beside the inputs.
            if shape != Shape::Bare || function != "embed" {
                let message = format!("`{name}` is not read; known: inputs, parameters, stream. Options stand in `parameters`");
                return Err(refused(400, "invalid_request", message, name));
            }
            parameters.insert(name.clone(), value.clone());
        }
        Ok(Self { inputs, many, parameters })
    }

    /// The same, and what the bare shape wants beside it.
    fn read_for(known: &Known, input: &Value, shape: Shape) -> Result<(Self, Wanted), ApiError> {
        let name = known.function.spec().name;
        let mut body = Self::read(name, input, shape)?;
        let wanted = match shape {
            Shape::Whole => Wanted::default(),
            Shape::Bare => Wanted::of(&*known.function, &mut body)?,
        };
        Ok((body, wanted))
    }
}

/// The answer to a request; nothing more is called once it is given up.
pub async fn call(
    known: &Known,
    name: &str,
    input: &Value,
    shape: Shape,
    given_up: &CancellationToken,
) -> Result<Answered, ApiError> {
    let (body, wanted) = Body::read_for(known, input, shape)?;
    let function = known.builds.tuned(&known.function, &body.parameters).await?;
    let spec = function.spec();
    if body.inputs.len() > spec.limits.slice {
        let (count, most, of) = (body.inputs.len(), spec.limits.slice, of_model(&spec.model));
        let message = format!("{count} inputs were given; {name}{of} takes {most} at most");
        return Err(refused(413, "too_large", message, "inputs"));
    }
    let outputs = match shape {
        Shape::Whole => outputs(known, &*function, &body.inputs, given_up).await?,
        Shape::Bare => {
            let events: Vec<Value> = body.inputs.iter().map(|input| known.event(input)).collect();
            outputs(known, &*function, &events, given_up).await?
        }
    };
    let rejections: Vec<(usize, &Value)> =
        outputs.iter().enumerate().filter_map(|(index, output)| Some((index, output.get("rejected")?))).collect();
    // In a batch a refusal has its place beside the answers; alone, or where there is no such place, it is the answer.
    if let Some((index, rejected)) = rejections.first().filter(|_| rejections.len() == outputs.len() || shape == Shape::Bare) {
        return Err(rejection("inputs", *index, rejected, &spec.model));
    }
    let cut = cut(&outputs);
    if shape == Shape::Bare {
        return Ok(Answered { body: wanted.answer(&*function, &body, &outputs)?, truncated: cut });
    }
    let tokens: u64 = outputs.iter().map(tokens).sum();
    let truncated: Vec<bool> = outputs.iter().map(|output| output["truncated"] == true).collect();
    let body = json!({ "outputs": outputs, "model": spec.model, "usage": { "tokens": tokens }, "truncated": truncated });
    Ok(Answered { body, truncated: cut })
}

/// Which of the answers say that some of their input was not seen.
pub fn cut(outputs: &[Value]) -> Vec<usize> {
    outputs.iter().enumerate().filter(|(_, output)| output["truncated"] == true).map(|(index, _)| index).collect()
}

/// Tokens that the network saw, and those that it wrote, in all answers.
fn tokens(output: &Value) -> u64 {
    let written = |output: &Value| output["generated_tokens"].as_u64().unwrap_or(0);
    let read: u64 = ["tokens", "prompt_tokens"].iter().filter_map(|name| output.get(name)?.as_u64()).sum();
    read + output["answers"]
        .as_array()
        .filter(|all| !all.is_empty())
        .map_or_else(|| written(output), |all| all.iter().map(written).sum())
}

/// The answer to one input in pieces: `{"text"}` for each, then `{"output", "model"}`, or `{"error"}`; bare ones as text-generation has
/// them. What is refused before the first piece has a status of its own.
pub async fn stream(known: &Known, input: &Value, shape: Shape, place: OwnedSemaphorePermit) -> Result<Events, ApiError> {
    let (body, wanted) = Body::read_for(known, input, shape)?;
    let [one] = &body.inputs[..] else {
        return Err(refused(400, "invalid_request", "`stream` answers one input".to_owned(), "inputs"));
    };
    let function = known.builds.tuned(&known.function, &body.parameters).await?;
    if function.requests().is_none_or(|requests| requests.pieces().is_none()) {
        let message = format!("{} does not answer in pieces; leave `stream` out", function.spec().name);
        return Err(refused(400, "invalid_request", message, "stream"));
    }
    let model = function.spec().model.clone();
    let event = match shape {
        Shape::Whole => one.clone(),
        Shape::Bare => known.event(one),
    };
    let input = known.offline.sitting().input(0, &event).map_err(|refused| {
        let output = offline::output(Outcome::Reject(refused));
        rejection("inputs", 0, &output["rejected"], &model)
    })?;
    let answered = {
        let model = model.clone();
        move |output: Value| match output.get("rejected") {
            None => Ok(output),
            Some(rejected) => Err(rejection("inputs", 0, rejected, &model)),
        }
    };
    let pieces = begun(pieces(function, input, place), answered).await?;
    let whole = move |piece: Piece| match piece {
        Piece::Text(written) => json!({ "text": written.text }),
        Piece::End(Ok(output)) => json!({ "output": output, "model": model }),
        Piece::End(Err(error)) => json!({ "error": { "type": error.kind, "message": error.message } }),
    };
    let prompt = one.clone();
    let bare = move |(number, piece): (usize, Piece)| match &piece {
        Piece::Text(written) => wanted.piece(number + 1, &prompt, Ok(&written.text)),
        Piece::End(Ok(output)) => wanted.piece(number + 1, &prompt, Err(output)),
        Piece::End(Err(error)) => error.bare(),
    };
    Ok(match shape {
        Shape::Whole => pieces.map(whole).map(|event| event.to_string()).boxed(),
        Shape::Bare => pieces.enumerate().map(bare).map(|event| event.to_string()).boxed(),
    })
}

/// One output an input.
pub async fn outputs(
    known: &Known,
    function: &dyn Function,
    inputs: &[Value],
    given_up: &CancellationToken,
) -> Result<Vec<Value>, ApiError> {
    // A function that gives up has turns of its own: it writes many answers side by side.
    let turns = (!function.gives_up()).then_some(&*known.turns);
    let function = Until { function, given_up, turns };
    let outputs = offline::call(&function, &mut *known.offline.sitting(), 0, inputs).await;
    outputs.map_err(failed)
}

/// What HTTP says of a call that failed as a whole.
pub fn failed(error: CallError) -> ApiError {
    match error {
        CallError::Transient(cause) => ApiError { status: 429, kind: "overloaded", message: cause, param: None },
        error => ApiError { status: 500, kind: "internal", message: error.to_string(), param: None },
    }
}

/// A model as messages name it.
pub fn of_model(model: &str) -> String {
    if model.is_empty() { String::new() } else { format!(" (model {model})") }
}

/// What HTTP says of an input that a function refuses: which one, which model does, and why; `detail` has the limit where there is one.
pub fn rejection(inputs: &str, index: usize, rejected: &Value, model: &str) -> ApiError {
    let (status, kind) = match rejected["code"].as_str().unwrap_or_default() {
        "text_too_long" | "question_too_long" | "query_too_long" | "label_too_long" | "prefix_too_long" | "too_expensive"
        | "too_many_items" | "too_many_masks" => (413, "too_large"),
        // Of the model, not of what was sent.
        "poison" | "not_finite" | "no_answer" => (500, "internal"),
        "missing_field" | "wrong_type" | "not_an_object" | "invalid_json" | "unexpected_field" => (400, "invalid_request"),
        _ => (422, "unprocessable"),
    };
    let field = rejected["field"].as_str().map_or_else(String::new, |field| format!(".{field}"));
    let message = format!("input {index}{}: {}", of_model(model), rejected["detail"].as_str().unwrap_or_default());
    ApiError { status, kind, message, param: Some(format!("{inputs}.{index}{field}")) }
}
