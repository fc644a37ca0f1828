//! Looks at the counts once a second, remembers, and tells those who listen: one text for all of them, made once.

use super::cells;
use super::history::History;
use super::overview::overview;
use super::view::{self, View};
use crate::admin::api::Events;
use crate::admin::server::AdminState;
use futures_util::stream::StreamExt;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(1);
/// Every so many events has everything: who missed one is right again.
const WHOLE: u64 = 15;
/// Readers at most, whatever the connections.
const READERS: usize = 64;

/// See the module.
pub struct Live {
    history: Mutex<History>,
    /// The newest event. Who is slow misses some, and holds none.
    news: watch::Sender<Arc<str>>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// An event.
#[derive(Serialize)]
struct News<'a> {
    /// Of which pipelines.
    set: String,
    #[serde(flatten)]
    live: &'a cells::Live,
}

impl Live {
    /// For a server of so many connections: a quarter of them at most are readers, so that there is room for others.
    pub fn new(connections: usize, stop: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new((connections / 4).clamp(1, READERS)));
        Self { history: Mutex::default(), news: watch::Sender::new("".into()), places, stop }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view(&self, state: &AdminState, now: Instant) -> View {
        View::of(state, &self.history(), now)
    }

    /// Looks until the server ends.
    pub async fn follow(self: Arc<Self>, state: AdminState) {
        let (mut sent, mut before) = (0, None);
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = period.tick() => self.look(&state, &mut sent, &mut before),
            }
        }
    }

    fn look(&self, state: &AdminState, sent: &mut u64, before: &mut Option<cells::Live>) {
        let now = Instant::now();
        let (counts, lags) = (view::counts(state.metrics.tallies(), now), view::lags(&state.status));
        self.history().tick(now, &counts, &lags);
        if self.news.receiver_count() == 0 {
            *before = None;
            return;
        }
        let view = self.view(state, now);
        let live = overview(&view, &[]).live;
        *sent += 1;
        let news =
            before.as_ref().filter(|_| !sent.is_multiple_of(WHOLE)).map_or_else(|| live.clone(), |before| live.news(before));
        match serde_json::to_string(&News { set: view.set(), live: &news }) {
            Ok(text) => {
                self.news.send_replace(text.into());
            }
            Err(error) => tracing::warn!(%error, "The page's figures could not be written."),
        }
        *before = Some(live);
    }

    /// The events from now on; `None` where as many as may be listen already. Ends with the server.
    pub(super) fn listen(&self) -> Option<Events> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut news = self.news.subscribe();
        news.mark_unchanged();
        let next = |(mut news, place, stop): (watch::Receiver<Arc<str>>, _, CancellationToken)| async move {
            let changed = tokio::select! {
                () = stop.cancelled() => return None,
                changed = news.changed() => changed,
            };
            changed.ok()?;
            let text = news.borrow_and_update().to_string();
            Some((text, (news, place, stop)))
        };
        Some(futures_util::stream::unfold((news, place, self.stop.clone()), next).boxed())
    }
}
