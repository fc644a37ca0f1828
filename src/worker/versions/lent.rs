//! Versions that were loaded for calls over HTTP, and not by any stream.

use crate::function::Function;
use futures_util::future::{BoxFuture, Shared};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long one stays that nobody calls.
const KEPT: Duration = Duration::from_secs(600);
const SWEPT: Duration = Duration::from_secs(30);
/// One that could not be loaded is tried again after this, however many ask for it.
const AGAIN: Duration = Duration::from_secs(10);

/// The function, or why it cannot be used; who asks meanwhile waits for the same.
pub type Loading = Shared<BoxFuture<'static, Result<Arc<dyn Function>, String>>>;

/// By pipeline and version; those of all pipelines of a worker.
#[derive(Default)]
pub struct Lent(Mutex<BTreeMap<(String, Arc<str>), One>>);

struct One {
    loading: Loading,
    begun: Instant,
    used: Instant,
}

impl Lent {
    /// The version, which `load` begins to load when it is not there.
    pub fn get(&self, pipeline: &str, version: &Arc<str>, load: impl FnOnce() -> Loading) -> Loading {
        let (key, now) = ((pipeline.to_owned(), version.clone()), Instant::now());
        let mut all = self.all();
        if let Some(one) = all.get_mut(&key).filter(|one| !one.is_to_be_tried_again(now)) {
            one.used = now;
            return one.loading.clone();
        }
        let loading = load();
        all.insert(key, One { loading: loading.clone(), begun: now, used: now });
        loading
    }

    /// Lets all of them go; calls that are under way end with what they have.
    pub fn let_go(&self) {
        let gone = std::mem::take(&mut *self.all());
        // Weights are given back with nobody waiting for the lock.
        drop(gone);
    }

    /// Lets those go that nobody has called for a while, until it is closed.
    pub async fn tidy(self: Arc<Self>, closing: CancellationToken) {
        let mut often = tokio::time::interval(SWEPT);
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while closing.run_until_cancelled(often.tick()).await.is_some() {
            let now = Instant::now();
            let gone: Vec<_> = self.all().extract_if(.., |_, one| now - one.used >= KEPT).collect();
            for ((pipeline, version), _) in &gone {
                tracing::info!(
                    pipeline,
                    version = &**version,
                    "A version that calls had named is let go: nobody has called it for 10 minutes."
                );
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(String, Arc<str>), One>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl One {
    fn is_to_be_tried_again(&self, now: Instant) -> bool {
        self.loading.peek().is_some_and(Result::is_err) && now - self.begun >= AGAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::copy::Copy;
    use futures_util::FutureExt;

    fn loads(of: Result<(), &'static str>) -> Loading {
        let copy = || Ok(Arc::new(Copy::new(&serde_json::Map::new()).map_err(|wrong| wrong.to_string())?) as Arc<dyn Function>);
        async move { of.map_err(str::to_owned).and_then(|()| copy()) }.boxed().shared()
    }

    fn none() -> Loading {
        panic!("it was loaded again")
    }

    /// Would catch: a version that each call loads anew, one that stays for ever, one that broken files have loaded with every call, or never again;
    /// one that goes while it is called.
    #[tokio::test(start_paused = true)]
    async fn a_version_is_loaded_once_and_goes_when_nobody_calls_it() {
        let (lent, closing) = (Arc::new(Lent::default()), CancellationToken::new());
        tokio::spawn(lent.clone().tidy(closing.clone()));
        let v2: Arc<str> = "v2".into();
        let kept = lent.get("p", &v2, || loads(Ok(()))).await.ok().map(|function| Arc::downgrade(&function)).unwrap();
        for _ in 0..3 {
            tokio::time::sleep(KEPT - SWEPT * 2).await;
            assert!(lent.get("p", &v2, none).await.is_ok());
        }
        assert_eq!(kept.strong_count(), 1);
        tokio::time::sleep(KEPT + SWEPT * 2).await;
        assert_eq!(kept.strong_count(), 0);
        assert_eq!(lent.get("p", &v2, || loads(Err("broken"))).await.err().as_deref(), Some("broken"));
        assert_eq!(lent.get("p", &v2, none).await.err().as_deref(), Some("broken"));
        tokio::time::sleep(AGAIN).await;
        let again = lent.get("p", &v2, || loads(Ok(()))).await.ok().unwrap();
        lent.let_go();
        assert_eq!(Arc::strong_count(&again), 1, "a stream wants the room");
        closing.cancel();
    }
}
