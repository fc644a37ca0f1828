//! A program with a function that never answers for one event, for `stuck.rs`: `own:hangs` passes ids on, and waits for ever at the event whose id is `options.at`.

use futures_util::future::BoxFuture;
use millrace::cli;
use millrace::function::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use millrace::worker::Own;
use serde_json::Map;
use std::process::ExitCode;
use std::time::Duration;

struct Hangs {
    spec: Spec,
    at: String,
}

impl Hangs {
    async fn all(&self, slice: &[Input]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for input in slice {
            if *input.event.id == *self.at {
                std::future::pending::<()>().await;
            }
            let fields = Map::from_iter([("event_id".to_owned(), input.event.id.to_string().into())]);
            outcomes.push(Outcome::Emit(vec![Prediction { key: None, fields, label: None, score: None, model: None }]));
        }
        outcomes
    }
}

impl Function for Hangs {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async { Ok(self.all(slice).await) })
    }
}

fn main() -> ExitCode {
    cli::program(Own::new().with("hangs", |pipeline| {
        let at = pipeline.options.get("at").and_then(|at| at.as_str()).ok_or("options.at is no text")?.to_owned();
        let limits = Limits { slice: 64, calls_in_flight: 2, timeout: Duration::from_secs(60) };
        Ok(Hangs { spec: Spec { name: "hangs", version: 1, model: String::new(), limits }, at })
    }))
}
