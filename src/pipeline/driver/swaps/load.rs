//! Versions that are needed are built beside the one that serves, and tried again when they cannot be.

use super::super::Driver;
use crate::pipeline::version::Version;
use futures_util::FutureExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A version that could not be built is tried again after this, then after twice as long each time.
const AGAIN: Duration = Duration::from_secs(10);
/// The longest such wait.
const AGAIN_AT_MOST: Duration = Duration::from_secs(300);

/// A version that is needed and not there.
#[derive(Default)]
pub(super) struct Absent {
    loading: bool,
    /// Why it could not be used when it was tried last.
    pub(super) failed: Option<String>,
    again: Option<Instant>,
    wait: Option<Duration>,
}

/// A version that was built, or why it was not.
pub(in crate::pipeline::driver) type LoadDone = (Arc<str>, Result<Version, String>);

impl Absent {
    /// It may have been mended: it is tried again at once.
    pub(super) fn forget_waiting(&mut self) {
        (self.again, self.wait) = (None, None);
    }
}

impl Driver {
    pub(super) fn load(&mut self, needed: &BTreeSet<Arc<str>>) {
        let (swaps, now) = (&mut self.swaps, Instant::now());
        // What is in force stays until what is wanted is there, also where no partition needs it.
        let serves = swaps.serves.clone();
        swaps.ready.others.retain(|name, _| needed.contains(name) || serves.as_ref() == Some(name));
        // One that is being built is let go when it is there.
        swaps.absent.retain(|name, absent| needed.contains(name) || absent.loading);
        for name in needed.iter().filter(|name| swaps.ready.get(name).is_none()) {
            let absent = swaps.absent.entry(name.clone()).or_default();
            if absent.loading || absent.again.is_some_and(|again| now < again) {
                continue;
            }
            absent.loading = true;
            let (load, of) = (self.parts.versions.load(name.clone()), name.clone());
            swaps.loads.push(async move { (of, load.await) }.boxed());
        }
    }

    pub(in crate::pipeline::driver) fn on_load(&mut self, (name, result): LoadDone) {
        let pipeline = &*self.settings.provenance.pipeline;
        match result {
            Ok(version) => {
                tracing::info!(
                    pipeline,
                    version = &*name,
                    model = version.model.as_deref(),
                    "A version of the pipeline is loaded."
                );
                self.swaps.absent.remove(&name);
                self.swaps.ready.others.insert(name, Arc::new(version));
            }
            Err(why) => {
                self.parts.observer.retried("version");
                let absent = self.swaps.absent.entry(name.clone()).or_default();
                let wait = absent.wait.map_or(AGAIN, |wait| (wait * 2).min(AGAIN_AT_MOST));
                (absent.loading, absent.again, absent.wait) = (false, Some(Instant::now() + wait), Some(wait));
                if absent.failed.as_ref() != Some(&why) {
                    tracing::error!(
                        pipeline,
                        version = &*name,
                        why,
                        "A version of the pipeline cannot be used; it is tried again after 10 s and then ever less often, each 5 minutes at last, and what served before goes on."
                    );
                    absent.failed = Some(why);
                }
            }
        }
        self.follow_swaps();
    }
}
