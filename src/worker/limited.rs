//! A function with the limits that a pipeline sets for its stream.

use crate::config::Pipeline;
use crate::function::requests::Requests;
use crate::function::{CallError, Function, Input, Outcome, Spec};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

struct Limited {
    function: Arc<dyn Function>,
    spec: Spec,
}

/// The function with `slice` and `call_timeout_ms` of the pipeline in the place of its own. What HTTP asks of a function keeps the function's.
pub fn limited(function: Arc<dyn Function>, pipeline: &Pipeline) -> Arc<dyn Function> {
    if pipeline.slice.is_none() && pipeline.call_timeout_ms.is_none() {
        return function;
    }
    let mut spec = function.spec().clone();
    spec.limits.slice = pipeline.slice.unwrap_or(spec.limits.slice);
    spec.limits.timeout = pipeline.call_timeout_ms.map_or(spec.limits.timeout, Duration::from_millis);
    Arc::new(Limited { function, spec })
}

impl Function for Limited {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        self.function.call(slice)
    }

    fn gives_up(&self) -> bool {
        self.function.gives_up()
    }

    fn requests(&self) -> Option<&dyn Requests> {
        self.function.requests()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::copy::Copy;

    /// Would catch: limits of a pipeline that are read and do nothing, or that change what was left out.
    #[test]
    fn what_the_pipeline_sets_takes_the_place_of_the_functions_own() {
        let of = |lines: &str| {
            let text = format!("name = \"p\"\ntopic = \"in\"\nevent = \"transaction\"\nfunction = \"copy\"\n{lines}");
            let pipeline: Pipeline = toml::from_str(&text).unwrap();
            let function: Arc<dyn Function> = Arc::new(Copy::new(&serde_json::Map::new()).unwrap());
            let own = function.spec().limits.clone();
            let limits = limited(function, &pipeline).spec().limits.clone();
            (limits.slice, limits.timeout, own)
        };
        let (slice, timeout, own) = of("");
        assert_eq!((slice, timeout), (own.slice, own.timeout));
        let (slice, timeout, own) = of("slice = 7");
        assert_eq!((slice, timeout), (7, own.timeout));
        let (slice, timeout, own) = of("call_timeout_ms = 1234");
        assert_eq!((slice, timeout), (own.slice, Duration::from_millis(1_234)));
    }
}
