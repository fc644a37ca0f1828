//! The body of a request: not larger than it may be, and not slower; and all that are there at the same time have a bound together.
//!
//! A body has a place for what has come of it, which grows before the memory does. Where there is none it is refused, so that no number of
//! connections and requests takes more memory than [`Bodies`] has places; one that is announced and does not come takes none. The place is given
//! back when the body has become a request, of which as many are in work as may be, or when its client goes away.

use super::api::ApiError;
use super::server::Served;
use super::token::Operator;
use axum::body::{Body as Stream, BodyDataStream};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use futures_util::stream::StreamExt;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of all bodies together; not less than so many whole ones.
const ALL_BYTES: usize = 64 << 20;
const LEAST_WHOLE: usize = 4;
/// What a place is counted in, bytes.
const UNIT: usize = 1_024;
/// How long the rest of a refused body is taken and forgotten, so that a client which still sends reads the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Places of bodies.
pub struct Bodies {
    bytes: usize,
    free: Arc<Semaphore>,
}

impl Bodies {
    /// Where a body may have so many bytes.
    pub fn new(body_bytes: usize) -> Self {
        let bytes = ALL_BYTES.max(body_bytes.saturating_mul(LEAST_WHOLE));
        Self { bytes, free: Arc::new(Semaphore::new(units(bytes))) }
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}

/// The place of one body.
struct Place<'a> {
    bodies: &'a Bodies,
    held: Option<OwnedSemaphorePermit>,
    /// Who has shown the token is not kept out by who has not.
    is_operator: bool,
}

impl Place<'_> {
    /// Whether the body may have so many bytes in all.
    fn grow(&mut self, bytes: usize) -> bool {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(units(bytes).saturating_sub(held)).ok();
        let more = more.and_then(|more| Arc::clone(&self.bodies.free).try_acquire_many_owned(more).ok());
        let Some(more) = more else { return self.is_operator };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        true
    }
}

/// A body, or why it was not read.
pub struct Body(pub Result<Whole, ApiError>);

/// A body that has come, and its place while it is there.
pub struct Whole {
    pub bytes: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Served> for Body {
    type Rejection = Infallible;

    async fn from_request(request: Request, served: &Served) -> Result<Self, Infallible> {
        let (head, body) = request.into_parts();
        let is_operator = head.extensions.get::<Operator>().is_some();
        Ok(Self(read(&head.headers, is_operator, body, served).await))
    }
}

async fn read(head: &HeaderMap, is_operator: bool, body: Stream, served: &Served) -> Result<Whole, ApiError> {
    let (most, within) = (served.admin.body_bytes, served.admin.body_timeout);
    let told = head.get(header::CONTENT_LENGTH).and_then(|told| told.to_str().ok()?.parse::<usize>().ok());
    let mut body = body.into_data_stream();
    let mut place = Place { bodies: &served.bodies, held: None, is_operator };
    let refused = if told.is_some_and(|told| told > most) {
        too_large(most)
    } else {
        match timeout(within, gather(&mut body, told.unwrap_or(most), most, &mut place)).await {
            Ok(Ok(bytes)) => return Ok(Whole { bytes, _place: place.held }),
            Ok(Err(refused)) => refused,
            Err(_) => return Err(late(within)),
        }
    };
    drop(place);
    // A client that waits to be told to send needs no more than the answer.
    if !head.contains_key(header::EXPECT) {
        pass_over(body).await;
    }
    Err(refused)
}

/// The pieces in one allocation, which is no larger than the body says, or than a body may be, however small they are.
async fn gather(body: &mut BodyDataStream, told: usize, most: usize, place: &mut Place<'_>) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|cause| refused(400, "invalid_request", format!("the body did not come whole: {cause}")))?;
        let needed = bytes.len() + piece.len();
        if needed > most {
            return Err(too_large(most));
        }
        if needed > bytes.capacity() {
            let room = needed.max((bytes.capacity() * 2).min(told));
            if !place.grow(room) {
                return Err(full(place.bodies));
            }
            bytes.reserve_exact(room - bytes.len());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

async fn pass_over(mut body: BodyDataStream) {
    let rest = async { while let Some(Ok(_)) = body.next().await {} };
    if timeout(LINGER, rest).await.is_err() {
        tracing::debug!("The rest of a refused body did not come; its connection is closed.");
    }
}

fn refused(status: u16, kind: &'static str, message: String) -> ApiError {
    ApiError { status, kind, message, param: None }
}

fn too_large(most: usize) -> ApiError {
    let message = format!("the body has more than {most} bytes, the limit `body_bytes` of [admin]; send fewer inputs");
    refused(413, "too_large", message)
}

fn full(bodies: &Bodies) -> ApiError {
    let message = format!(
        "bodies of other requests take the {} bytes that there are for all together; ask again in a moment",
        bodies.bytes
    );
    refused(503, "overloaded", message)
}

fn late(within: Duration) -> ApiError {
    refused(408, "timeout", format!("the body did not come within {within:?}, the limit `body_timeout_ms` of [admin]"))
}

impl Body {
    pub fn json(self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.0?.bytes).map_err(|cause| {
            let message = format!("the body is not JSON at line {} column {}", cause.line(), cause.column());
            refused(400, "invalid_request", message)
        })
    }
}

#[cfg(test)]
mod tests;
