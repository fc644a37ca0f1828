//! Connections: how many there may be, and how long each may take for the head of a request.
//!
//! A connection on which no request is in work waits for one, be it the first or the next. It may wait for
//! [`head_timeout`](Connections::head_timeout), however many bytes of a head come meanwhile; the time of a body is another matter
//! (`body.rs`). Where all places are taken, the one that has waited the longest gives its place to who comes, so that connections on
//! which nothing happens keep nobody out.

use axum::Router;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What connections may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many there may be at the same time.
    pub most: usize,
    /// How long one may be without a request in work.
    pub head_timeout: Duration,
    /// Largest head of a request, bytes; 8,192 at least.
    pub head_bytes: usize,
}

/// How long whoever was ended may take to give its place back before another is.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Before the next try where the system gives no further connection, as when a process has all the files that it may have.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// Serves until the token is cancelled, then lets running requests end.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Connections, stop: CancellationToken) {
    let (places, waiting, all) = (Arc::new(Semaphore::new(limits.most.max(1))), Arc::default(), TaskTracker::new());
    loop {
        let (socket, place) = tokio::select! {
            () = stop.cancelled() => break,
            come = come(&listener, &places, &waiting) => come,
        };
        let one = Connection { limits, waiting: Arc::clone(&waiting), stop: stop.clone(), _place: place };
        all.spawn(one.run(socket, router.clone()));
    }
    drop(listener);
    all.close();
    all.wait().await;
}

/// The next connection, with a place.
async fn come(listener: &TcpListener, places: &Arc<Semaphore>, waiting: &Waiting) -> (TcpStream, OwnedSemaphorePermit) {
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
            return (socket, place);
        }
        waiting.end_oldest();
        // Who was ended may have been given a request just before: then another must go, or end by itself.
        if let Ok(Ok(place)) = tokio::time::timeout(LOOK_AGAIN, Arc::clone(places).acquire_owned()).await {
            return (socket, place);
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
        let (in_work, mut changes) = watch::channel(0_usize);
        let (in_work, router) = (Arc::new(in_work), TowerToHyperService::new(router));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let held = InWork::new(&in_work);
            let answer = router.call(request);
            async move { answer.await.map(|answer| answer.map(|body| Held { body, _in_work: held })) }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().max_buf_size(self.limits.head_bytes.max(LEAST_HEAD));
        builder.http2().max_header_list_size(u32::try_from(self.limits.head_bytes).unwrap_or(u32::MAX));
        let mut served = pin!(builder.serve_connection(TokioIo::new(socket), service));
        let (end, mut stopping) = (CancellationToken::new(), false);
        loop {
            let waits = *changes.borrow_and_update() == 0;
            let _entered = waits.then(|| self.waiting.enter(&end));
            tokio::select! {
                ended = served.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "A connection has failed.");
                    }
                    return;
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    served.as_mut().graceful_shutdown();
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = end.cancelled(), if waits => return,
                () = tokio::time::sleep(self.limits.head_timeout), if waits => return,
            }
        }
    }
}

/// The least that hyper's buffer may hold.
const LEAST_HEAD: usize = 8_192;

/// A request in work, from its head to the end of its answer.
struct InWork(Arc<watch::Sender<usize>>);

impl InWork {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The body of an answer, which is in work until it has been sent.
struct Held {
    body: Body,
    _in_work: InWork,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
