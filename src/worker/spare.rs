//! When a worker has nothing to do: no call of any pipeline's stream is under way.

use crate::function::requests::Requests;
use crate::function::{CallError, Function, Input, Outcome, Spec};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between the end of a call and spare time: what waits for a call has begun one by then.
const BREATH: Duration = Duration::from_millis(5);

/// Counts the calls of a worker's streams. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Work(watch::Sender<Level>);

#[derive(Debug, Clone, Copy, Default)]
struct Level {
    under_way: usize,
    begun: u64,
}

impl Work {
    /// Until the guard is dropped there is no spare time.
    pub fn begin(&self) -> AtWork {
        self.0.send_modify(|level| {
            level.under_way += 1;
            level.begun += 1;
        });
        AtWork(self.clone())
    }

    /// Waits for spare time.
    pub async fn spare(&self) {
        let mut levels = self.0.subscribe();
        loop {
            // It ends only with its sender, which is here.
            let Ok(begun) = levels.wait_for(|level| level.under_way == 0).await.map(|level| level.begun) else { return };
            tokio::time::sleep(BREATH).await;
            let level = *levels.borrow();
            if level.under_way == 0 && level.begun == begun {
                return;
            }
        }
    }
}

/// A call that is under way.
pub struct AtWork(Work);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.send_modify(|level| level.under_way = level.under_way.saturating_sub(1));
    }
}

/// A function whose calls count as work.
pub struct Counted {
    pub function: Arc<dyn Function>,
    pub work: Work,
}

impl Function for Counted {
    fn spec(&self) -> &Spec {
        self.function.spec()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            let _at_work = self.work.begin();
            self.function.call(slice).await
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    /// Would catch: spare time while a call is under way or has just been followed by the next, one that never comes.
    #[tokio::test(start_paused = true)]
    async fn there_is_spare_time_when_no_call_has_begun_for_a_moment() {
        let work = Work::default();
        let call = work.begin();
        let other = work.clone().begin();
        let mut spare = Box::pin(work.spare());
        tokio::time::sleep(BREATH * 3).await;
        assert!(spare.as_mut().now_or_never().is_none());
        drop(call);
        tokio::time::sleep(BREATH * 3).await;
        assert!(spare.as_mut().now_or_never().is_none(), "the other goes on");
        drop(other);
        assert!(spare.as_mut().now_or_never().is_none(), "the next may follow at once");
        tokio::time::sleep(BREATH / 2).await;
        drop(work.begin());
        tokio::time::sleep(BREATH * 2).await;
        assert!(spare.as_mut().now_or_never().is_none(), "one did");
        tokio::time::sleep(BREATH * 2).await;
        assert!(spare.as_mut().now_or_never().is_some());
    }
}
