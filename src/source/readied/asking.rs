//! What is asked for while events wait: what the next event of each partition needs, some of what those behind it will, and nothing that
//! nobody needs any more.

use super::Needs;
use crate::event::RawEvent;
use futures_util::future::{AbortHandle, BoxFuture, abortable, pending};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Of each partition that waits, so many of its next events are looked at for what they will need.
const AHEAD_EVENTS: usize = 200;
/// So much is asked for ahead at a time. What the next event of a partition needs is asked for in any case.
pub(super) const AHEAD: usize = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Asking {
    /// What is being fetched, and what ends that.
    asked: BTreeMap<u32, AbortHandle>,
    /// Each tells what it was for, or nothing if nobody needed it any more.
    fetching: FuturesUnordered<BoxFuture<'static, Option<u32>>>,
}

impl Asking {
    /// Ends when something is at hand that was asked for.
    pub async fn fetched(&mut self) {
        while let Some(ended) = self.fetching.next().await {
            if let Some(what) = ended {
                self.asked.remove(&what);
                return;
            }
        }
        pending().await
    }

    /// By what waits, partition by partition, in order.
    pub fn mind<'a>(&mut self, needs: &dyn Needs, waiting: impl Iterator<Item = impl Iterator<Item = &'a RawEvent>>) {
        let (mut next, mut ahead) = (BTreeSet::new(), Vec::new());
        for records in waiting {
            let mut missing = records.take(AHEAD_EVENTS).filter_map(|raw| needs.missing(raw));
            next.extend(missing.next());
            ahead.extend(missing);
        }
        let needed: BTreeSet<u32> = next.iter().chain(&ahead).copied().collect();
        self.asked.retain(|what, fetch| {
            let stays = needed.contains(what);
            if !stays {
                fetch.abort();
            }
            stays
        });
        for what in next {
            self.ask(needs, what);
        }
        for what in ahead {
            if self.asked.len() < AHEAD {
                self.ask(needs, what);
            }
        }
    }

    fn ask(&mut self, needs: &dyn Needs, what: u32) {
        if let Entry::Vacant(free) = self.asked.entry(what) {
            let (fetch, handle) = abortable(needs.fetch(what));
            free.insert(handle);
            self.fetching.push(fetch.map(move |ended| ended.ok().map(|()| what)).boxed());
        }
    }
}
