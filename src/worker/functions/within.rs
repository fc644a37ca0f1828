//! A request's work in a task of its own: answered in time or not at all, given up when nobody waits for it any more.
//!
//! A function that [gives up](Function::gives_up) is stopped at once. Any other runs until the call that has begun is over, and makes no
//! further one; until then the request keeps its place, so that there is never more in work than there are places.

use super::Functions;
use crate::admin::ApiError;
use crate::function::requests::Requests;
use crate::function::{CallError, Function, Input, Outcome, Spec};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Work that somebody waits for; given up when this is dropped.
struct Awaited<T> {
    task: JoinHandle<Result<T, ApiError>>,
    given_up: CancellationToken,
    gives_up: bool,
}

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        self.given_up.cancel();
        if self.gives_up {
            self.task.abort();
        }
    }
}

impl Functions {
    /// The answer of some work, which holds its place until it ends. `work` is told by a token that it is given up; `gives_up` says
    /// that it may be dropped.
    pub(super) async fn within<T, W>(
        &self,
        place: OwnedSemaphorePermit,
        gives_up: bool,
        work: impl FnOnce(CancellationToken) -> W,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let given_up = CancellationToken::new();
        let work = work(given_up.clone());
        let task = tokio::spawn(async move {
            let _place = place;
            work.await
        });
        let (mut awaited, most) = (Awaited { task, given_up, gives_up }, self.call_timeout);
        let refused = |status, kind, message| ApiError { status, kind, message, param: None };
        match tokio::time::timeout(most, &mut awaited.task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(refused(500, "internal", "the function failed".to_owned())),
            Err(_) => {
                let streams = "ask for less at once, or for the answer in pieces where the function has them";
                let message = format!("no answer within {most:?}, the limit `call_timeout_ms` of [admin]; {streams}");
                Err(refused(504, "timeout", message))
            }
        }
    }
}

/// The same function, which is called no more once it is given up.
pub struct Until<'a> {
    pub function: &'a dyn Function,
    pub given_up: &'a CancellationToken,
    /// Each call waits for one of them.
    pub turns: Option<&'a Semaphore>,
}

impl Function for Until<'_> {
    fn spec(&self) -> &Spec {
        self.function.spec()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        async move {
            let nobody = || CallError::Transient("nobody waits for the answer".to_owned());
            let turn = async {
                match self.turns {
                    Some(turns) => turns.acquire().await.map(Some).map_err(|closed| CallError::Fatal(closed.to_string())),
                    None => Ok(None),
                }
            };
            let _turn = tokio::select! {
                biased;
                () = self.given_up.cancelled() => return Err(nobody()),
                turn = turn => turn?,
            };
            self.function.call(slice).await
        }
        .boxed()
    }

    fn gives_up(&self) -> bool {
        self.function.gives_up()
    }

    fn requests(&self) -> Option<&dyn Requests> {
        self.function.requests()
    }
}

#[cfg(test)]
mod tests;
