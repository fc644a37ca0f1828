//! Connections: how many there may be, and how long each may take for the head of a request, and to take an answer.
//!
//! A connection on which no request is in work waits for one: for its first as long as [`head_timeout`](Connections::head_timeout),
//! however many bytes of a head come meanwhile; for each that follows as long as [`keep_alive`](Connections::keep_alive), and no longer
//! than `head_timeout` from the first byte of its head. The time of a body is another matter (`body.rs`). A client for which something
//! is ready, and which takes none of it within [`write_timeout`](Connections::write_timeout), is closed; an answer in pieces that has
//! none to give is not meant. Where all places are taken, the one that has waited the longest gives its place to who comes, so that
//! connections on which nothing happens keep nobody out; where all are in work, probes have places of their own.

mod traffic;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use traffic::{Held, Now, Socket, Traffic};

/// What connections may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many there may be at the same time.
    pub most: usize,
    /// How long the head of a request may take to come, and a first one to begin.
    pub head_timeout: Duration,
    /// How long one that has served a request may be without the next.
    pub keep_alive: Duration,
    /// How long a client may take no byte of what is ready for it.
    pub write_timeout: Duration,
    /// Largest head of a request, bytes; 8,192 at least.
    pub head_bytes: usize,
}

/// How long whoever was ended may take to give its place back before another is.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// From a goodbye to the end, where someone waits for the place, and where nobody does.
const GRACE_AT_FULL: Duration = Duration::from_millis(25);
const GRACE: Duration = Duration::from_secs(1);
/// Before the next try where the system gives no further connection, as when a process has all the files that it may have.
const EXHAUSTED: Duration = Duration::from_secs(1);
/// Requests of one connection at the same time, where HTTP/2 lets there be several.
const STREAMS: u32 = 16;
/// Places for probes where all others are in work, and how long each step of one may take there.
const SPARE: usize = 4;
const SPARE_TIME: Duration = Duration::from_secs(2);

/// What is served: all, and the little that there is where every place is in work.
pub struct Routes {
    pub all: Router,
    pub spare: Router,
}

/// Serves until the token is cancelled, then lets running requests end.
pub(super) async fn serve(listener: TcpListener, routes: Routes, limits: Connections, stop: CancellationToken) {
    let (places, spare) = (Arc::new(Semaphore::new(limits.most.max(1))), Arc::new(Semaphore::new(SPARE)));
    let (waiting, all) = (Arc::new(Waiting::default()), TaskTracker::new());
    let of_spare = Connections { head_timeout: SPARE_TIME, keep_alive: Duration::ZERO, write_timeout: SPARE_TIME, ..limits };
    loop {
        let (socket, place) = tokio::select! {
            () = stop.cancelled() => break,
            come = come(&listener, [&places, &spare], &waiting) => come,
        };
        // One in a spare place waits among none: it is not ended for who comes.
        let (limits, router, place, waiting) = match place {
            Place::Usual(place) => (limits, &routes.all, place, Arc::clone(&waiting)),
            Place::Spare(place) => (of_spare, &routes.spare, place, Arc::default()),
        };
        let one = Connection { limits, waiting, stop: stop.clone(), _place: place };
        all.spawn(one.run(socket, router.clone()));
    }
    drop(listener);
    all.close();
    all.wait().await;
}

enum Place {
    Usual(OwnedSemaphorePermit),
    Spare(OwnedSemaphorePermit),
}

/// The next connection, with a place.
async fn come(listener: &TcpListener, [places, spare]: [&Arc<Semaphore>; 2], waiting: &Waiting) -> (TcpStream, Place) {
    let socket = loop {
        match listener.accept().await {
            Ok((socket, _)) => break socket,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                tracing::warn!(%error, "No further connection can be taken; trying again in a second.");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    };
    loop {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return (socket, Place::Usual(place));
        }
        waiting.end_oldest();
        // Who was ended may have been given a request just before: then another must go, or end by itself.
        if let Ok(Ok(place)) = tokio::time::timeout(LOOK_AGAIN, Arc::clone(places).acquire_owned()).await {
            return (socket, Place::Usual(place));
        }
        if let Ok(place) = Arc::clone(spare).try_acquire_owned() {
            return (socket, Place::Spare(place));
        }
    }
}

/// Connections without a request in work, the one that has waited the longest first.
#[derive(Default)]
struct Waiting(Mutex<(u64, BTreeMap<u64, CancellationToken>)>);

impl Waiting {
    fn enter(&self, end: &CancellationToken) -> Entered<'_> {
        let (next, all) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        all.insert(*next, end.clone());
        Entered { waiting: self, number: *next }
    }

    fn end_oldest(&self) {
        if let Some((_, end)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).1.pop_first() {
            end.cancel();
        }
    }
}

/// A connection's entry among those that wait.
struct Entered<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
    }
}

struct Connection {
    limits: Connections,
    waiting: Arc<Waiting>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, socket: TcpStream, router: Router) {
        // Pieces of an answer go out as they come.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "A connection has ended before it was served.");
            return;
        }
        let (traffic, mut changes) = Traffic::new();
        let (of_requests, router) = (Arc::clone(&traffic), TowerToHyperService::new(router));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let works = of_requests.request();
            let answer = router.call(request);
            async move { answer.await.map(|answer| answer.map(|body| Held::new(body, works))) }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().max_buf_size(self.limits.head_bytes.max(LEAST_HEAD));
        builder.http2().max_concurrent_streams(STREAMS);
        builder.http2().max_header_list_size(u32::try_from(self.limits.head_bytes).unwrap_or(u32::MAX));
        let socket = TokioIo::new(Socket::new(socket, Arc::clone(&traffic)));
        let mut served = pin!(builder.serve_connection(socket, service));
        let end = CancellationToken::new();
        let (mut since, mut entered, mut closes_at) = (Instant::now(), None, None);
        loop {
            let now = *changes.borrow_and_update();
            let waits = now.works == 0;
            if !waits {
                entered = None;
            } else if entered.is_none() {
                since = Instant::now();
                entered = Some(self.waiting.enter(&end));
            }
            let until = match closes_at {
                _ if !waits => traffic.stalls_at(self.limits.write_timeout),
                Some(at) => at,
                None => self.limits.waits_until(now, since),
            };
            let grace = tokio::select! {
                biased;
                ended = served.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "A connection has failed.");
                    }
                    return;
                }
                changed = changes.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = self.stop.cancelled(), if closes_at.is_none() => GRACE,
                () = end.cancelled(), if waits && closes_at.is_none() => {
                    if now.served { GRACE_AT_FULL } else { Duration::ZERO }
                }
                () = tokio::time::sleep_until(until) => {
                    if !waits && traffic.stalls_at(self.limits.write_timeout) > Instant::now() {
                        continue;
                    }
                    if !waits || closes_at.is_some() {
                        tracing::debug!(in_work = !waits, "A connection has been silent for too long.");
                        return;
                    }
                    GRACE
                }
            };
            // HTTP/2 says goodbye, so that no request is sent into a connection that ends.
            served.as_mut().graceful_shutdown();
            closes_at = Some(Instant::now() + grace);
        }
    }
}

impl Connections {
    fn waits_until(&self, now: Now, since: Instant) -> Instant {
        if !now.served {
            return since + self.head_timeout;
        }
        let of_head = now.begun.map(|begun| begun + self.head_timeout);
        of_head.into_iter().fold(since + self.keep_alive, Instant::min)
    }
}

/// The least that hyper's buffer may hold.
const LEAST_HEAD: usize = 8_192;

#[cfg(test)]
mod tests;
