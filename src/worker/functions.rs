//! The functions of this worker's pipelines, for HTTP: the same objects that score the streams.

use crate::admin::{ApiError, FunctionApi};
use crate::function::offline::{self, Offline};
use crate::function::{CallError, Function};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Functions by the name of their pipeline. A request names a pipeline, or a function that is the same in all that run it.
#[derive(Default)]
pub struct Functions {
    by_pipeline: RwLock<BTreeMap<String, Known>>,
}

/// A pipeline's function, and how it is given JSON.
#[derive(Clone)]
struct Known {
    function: Arc<dyn Function>,
    offline: Arc<dyn Offline>,
}

impl Functions {
    pub fn add(&self, pipeline: &str, function: Arc<dyn Function>, offline: Arc<dyn Offline>) {
        let known = Known { function, offline };
        self.by_pipeline.write().unwrap_or_else(PoisonError::into_inner).insert(pipeline.to_owned(), known);
    }

    fn find(&self, name: &str) -> Result<Known, ApiError> {
        let all = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(name) {
            return Ok(known.clone());
        }
        let of_name: Vec<(&str, &Known)> = all
            .iter()
            .filter(|(_, known)| known.function.spec().name == name)
            .map(|(pipeline, of)| (pipeline.as_str(), of))
            .collect();
        let refused = |status, kind, message| Err(ApiError { status, kind, message, param: Some("name".into()) });
        match of_name[..] {
            [(_, only)] => Ok(only.clone()),
            [] => {
                let known: Vec<String> =
                    all.iter().map(|(pipeline, of)| format!("{pipeline} ({})", of.function.spec().name)).collect();
                let message = format!("there is no pipeline or function `{name}` here; known: {}", known.join(", "));
                refused(404, "not_found", message)
            }
            _ => {
                let pipelines: Vec<&str> = of_name.iter().map(|(pipeline, _)| *pipeline).collect();
                let message = format!("several pipelines run `{name}`; name one of them: {}", pipelines.join(", "));
                refused(409, "ambiguous", message)
            }
        }
    }
}

impl FunctionApi for Functions {
    fn list(&self) -> Value {
        let all = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner);
        let one = |(pipeline, known): (&String, &Known)| {
            let spec = known.function.spec();
            json!({ "pipeline": pipeline, "name": spec.name, "model": spec.model, "version": spec.version })
        };
        all.iter().map(one).collect()
    }

    fn call<'a>(&'a self, name: &'a str, input: Value) -> BoxFuture<'a, Result<Value, ApiError>> {
        async move {
            let Known { function, offline } = self.find(name)?;
            let refused = |status, kind, message| ApiError { status, kind, message, param: Some("inputs".into()) };
            let inputs = match input.get("inputs") {
                Some(Value::Array(inputs)) => inputs.clone(),
                Some(one) => vec![one.clone()],
                None => {
                    let message =
                        "the body must be {\"inputs\": TEXT} or {\"inputs\": [TEXT, ...]}, or events instead of texts".to_owned();
                    return Err(refused(400, "invalid_request", message));
                }
            };
            let spec = function.spec();
            if inputs.len() > spec.limits.slice {
                let message = format!("{} inputs were given; {name} takes {} at most", inputs.len(), spec.limits.slice);
                return Err(refused(413, "too_large", message));
            }
            match offline::call(&*function, &mut *offline.sitting(), 0, &inputs).await {
                Ok(outputs) => Ok(json!({ "outputs": outputs, "model": spec.model })),
                Err(CallError::Transient(cause)) => {
                    Err(ApiError { status: 429, kind: "overloaded", message: cause, param: None })
                }
                Err(error) => Err(ApiError { status: 500, kind: "internal", message: error.to_string(), param: None }),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::function::copy::Copy;
    use crate::inference::{Options, Registry};
    use crate::worker::{build, folds};

    /// Would catch: the last of two pipelines answering for both, a pipeline that cannot be named, a guess where nobody can know.
    #[tokio::test]
    async fn a_pipeline_is_named_and_a_shared_function_is_not_guessed() {
        let functions = Functions::default();
        let copy = |field: &str| Arc::new(Copy::new(json!({ "fields": [field] }).as_object().unwrap()).unwrap());
        functions.add("one", copy("a"), Arc::new(offline::Plain));
        let ask = async |name: &str| functions.call(name, json!({ "inputs": [{ "a": 1, "b": 2 }] })).await;
        assert_eq!(ask("copy").await.unwrap()["outputs"], ask("one").await.unwrap()["outputs"]);
        functions.add("two", copy("b"), Arc::new(offline::Plain));
        let (one, two) = (ask("one").await.unwrap().to_string(), ask("two").await.unwrap().to_string());
        assert!(one.contains("\"a\":1") && two.contains("\"b\":2"), "{one} {two}");
        let error = ask("copy").await.unwrap_err();
        assert_eq!((error.status, error.kind), (409, "ambiguous"));
        assert!(error.message.ends_with("one, two"), "{error}");
        assert_eq!(ask("three").await.unwrap_err().status, 404);
        assert_eq!(functions.list()[1]["pipeline"], "two");
    }

    /// Would catch: states that outlive a request, events that are not folded in their order, a refused one that shifts the answers.
    #[tokio::test]
    async fn a_fold_begins_anew_with_each_request() {
        let text = r#"
            [risk]
            feature = [{ name = "n", entity = "card", aggregate = "count", window = "1d" }]
            [[pipeline]]
            name = "stage"
            topic = "t"
            event = "json"
            fields = { time = "time" }
            function = "risk"
        "#;
        let config = Config::parse(text, "test.toml", &BTreeMap::new()).unwrap();
        let functions = Functions::default();
        let pipeline = &config.pipeline[0];
        let function = build::function(&config, pipeline, &Registry::new(Options::default())).unwrap();
        functions.add("stage", function, folds::offline(&config, pipeline));
        let pay = |card: &str| json!({ "time": 1_000, "card": card });
        let request = json!({ "inputs": [pay("a"), pay("b"), { "card": "a" }, pay("a")] });
        let counts = async || {
            let answer = functions.call("risk", request.clone()).await.unwrap();
            let of = |output: &Value| output["features"]["n"].as_f64().ok_or(output["rejected"]["field"].clone());
            answer["outputs"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        };
        let expected = [Ok(1.0), Ok(1.0), Err(json!("time")), Ok(2.0)];
        assert_eq!(counts().await, expected);
        assert_eq!(counts().await, expected);
        assert_eq!(functions.call("risk", json!({ "inputs": pay("a") })).await.unwrap()["outputs"][0]["features"]["n"], 1.0);
    }
}
