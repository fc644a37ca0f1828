//! What is under way on a connection: requests in work, and bytes that its client has not taken.
//!
//! The server gives the body of an answer back as soon as it has its last piece, long before the client has that. So a request is in
//! work until the last of its pieces is sent, and bytes that the socket does not take are work too.

use axum::body::{Body, Bytes};
use hyper::body::{Buf, Frame, SizeHint};
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

/// What a connection does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now {
    /// Requests in work, and one more while the socket takes no bytes.
    pub works: usize,
    /// Whether there has been a request.
    pub served: bool,
    /// Since when the next head comes; of HTTP/1 alone, since the frames of HTTP/2 need not be of a head.
    pub begun: Option<Instant>,
}

/// A connection's, shared by its socket, its requests and the pieces of their answers.
pub struct Traffic {
    now: watch::Sender<Now>,
    sent: Mutex<Sent>,
}

struct Sent {
    /// What is ready and waits for the client: pieces, bodies that are asked for none, the socket.
    waiting: usize,
    /// When the client took something, or what waits began to.
    moved: Instant,
}

impl Traffic {
    pub fn new() -> (Arc<Self>, watch::Receiver<Now>) {
        let (now, changes) = watch::channel(Now::default());
        let sent = Mutex::new(Sent { waiting: 0, moved: Instant::now() });
        (Arc::new(Self { now, sent }), changes)
    }

    /// When the client will have taken nothing for so long, if it goes on so.
    pub fn stalls_at(&self, timeout: Duration) -> Instant {
        let sent = self.sent();
        (if sent.waiting == 0 { Instant::now() } else { sent.moved }) + timeout
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) {
        self.sent().moved = Instant::now();
    }

    fn works(self: &Arc<Self>) -> Works {
        self.now.send_modify(|now| now.works += 1);
        Works(Arc::clone(self))
    }

    fn waits(self: &Arc<Self>) -> Waits {
        let mut sent = self.sent();
        if sent.waiting == 0 {
            sent.moved = Instant::now();
        }
        sent.waiting += 1;
        Waits(Arc::clone(self))
    }

    /// A request, from its head.
    pub fn request(self: &Arc<Self>) -> Works {
        self.now.send_modify(|now| (now.served, now.begun) = (true, None));
        self.works()
    }
}

/// Work on a connection, while it lives.
pub struct Works(Arc<Traffic>);

impl Drop for Works {
    fn drop(&mut self) {
        self.0.now.send_modify(|now| now.works = now.works.saturating_sub(1));
    }
}

/// Something that is ready for the client, while it lives.
struct Waits(Arc<Traffic>);

impl Drop for Waits {
    fn drop(&mut self) {
        let mut sent = self.0.sent();
        sent.waiting = sent.waiting.saturating_sub(1);
    }
}

/// The body of an answer. While it is asked for nothing it waits for the client; when it has nothing to give, nobody does.
pub struct Held {
    body: Body,
    works: Arc<Works>,
    waits: Option<Waits>,
}

impl Held {
    pub fn new(body: Body, works: Works) -> Self {
        let waits = Some(works.0.waits());
        Self { body, works: Arc::new(works), waits }
    }
}

impl hyper::body::Body for Held {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Piece>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.works.0.moved();
                if self.waits.is_none() {
                    self.waits = Some(self.works.0.waits());
                }
                Poll::Ready(Some(Ok(frame.map_data(|bytes| self.piece(bytes)))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.waits = None;
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Held {
    fn piece(&self, bytes: Bytes) -> Piece {
        Piece { bytes, works: Arc::clone(&self.works), _waits: self.works.0.waits() }
    }
}

/// A piece of an answer, until it is sent.
pub struct Piece {
    bytes: Bytes,
    works: Arc<Works>,
    _waits: Waits,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.works.0.moved();
    }
}

/// A socket that tells what it reads and does not take.
pub struct Socket {
    stream: TcpStream,
    traffic: Arc<Traffic>,
    /// The first bytes that came, which tell HTTP/2 from HTTP/1.
    first: Vec<u8>,
    full: Option<(Works, Waits)>,
}

/// No method of HTTP/1 begins so.
const HTTP2: &[u8] = b"PRI";

impl Socket {
    pub fn new(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic, first: Vec::with_capacity(HTTP2.len()), full: None }
    }

    fn read(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let missing = HTTP2.len() - self.first.len();
        self.first.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        if self.first != HTTP2 {
            self.traffic.now.send_if_modified(|now| {
                let begins = now.works == 0 && now.begun.is_none();
                if begins {
                    now.begun = Some(Instant::now());
                }
                begins
            });
        }
    }

    fn wrote(&mut self, polled: Poll<Result<usize>>) -> Poll<Result<usize>> {
        match &polled {
            Poll::Pending if self.full.is_none() => self.full = Some((self.traffic.works(), self.traffic.waits())),
            Poll::Pending => {}
            Poll::Ready(written) => {
                let was_full = self.full.take().is_some();
                // Answers to pings of HTTP/2 go out where a client lets no answer come: they are no sign of it.
                if (was_full || self.first != HTTP2) && written.as_ref().is_ok_and(|count| *count > 0) {
                    self.traffic.moved();
                }
            }
        }
        polled
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.read(&buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
