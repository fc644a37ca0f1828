//! A function whose models count the tokens that they work on for one pipeline's stream.

use crate::function::requests::Requests;
use crate::function::{CallError, Function, Input, Outcome, Spec};
use crate::inference::{Meter, metered};
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// Counts on `meter` what its calls ask of models; what HTTP asks of the function itself is not counted.
pub struct Metered {
    pub function: Arc<dyn Function>,
    pub meter: Meter,
}

impl Function for Metered {
    fn spec(&self) -> &Spec {
        self.function.spec()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(metered(self.meter.clone(), self.function.call(slice)))
    }

    fn labels(&self) -> Vec<String> {
        self.function.labels()
    }

    fn gives_up(&self) -> bool {
        self.function.gives_up()
    }

    fn requests(&self) -> Option<&dyn Requests> {
        self.function.requests()
    }
}
