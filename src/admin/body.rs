//! The body of a request: not larger than it may be, and not slower; and all that are there at the same time have a bound together.
//!
//! A body has a place before its first byte is read, as large as its head says, or as a body may be where it says nothing. Where there is
//! none it is refused, so that no number of connections and requests takes more memory than [`Bodies`] has places. The place is given back
//! when the body has become a request, of which as many are in work as may be, or when its client goes away.

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

    fn place(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(units(bytes)).ok()?;
        Arc::clone(&self.free).try_acquire_many_owned(units).ok()
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).max(1)
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
        // Who has shown the token is not kept out by who has not.
        let is_operator = head.extensions.get::<Operator>().is_some();
        Ok(Self(read(&head.headers, is_operator, body, served).await))
    }
}

async fn read(head: &HeaderMap, is_operator: bool, body: Stream, served: &Served) -> Result<Whole, ApiError> {
    let (most, within) = (served.admin.body_bytes, served.admin.body_timeout);
    let told = head.get(header::CONTENT_LENGTH).and_then(|told| told.to_str().ok()?.parse::<usize>().ok());
    let mut body = body.into_data_stream();
    let place = served.bodies.place(told.unwrap_or(most).min(most));
    let refused = if told.is_some_and(|told| told > most) {
        too_large(most)
    } else if place.is_none() && !is_operator {
        full(&served.bodies)
    } else {
        match timeout(within, gather(&mut body, told, most)).await {
            Ok(Ok(bytes)) => return Ok(Whole { bytes, _place: place }),
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

/// The pieces in one allocation, which is no larger than a body may be, however small they are.
async fn gather(body: &mut BodyDataStream, told: Option<usize>, most: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::with_capacity(told.unwrap_or(0));
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|cause| refused(400, "invalid_request", format!("the body did not come whole: {cause}")))?;
        let needed = bytes.len() + piece.len();
        if needed > most {
            return Err(too_large(most));
        }
        if needed > bytes.capacity() {
            let room = needed.max(bytes.capacity() * 2).min(most);
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
        "bodies of other requests take the {} bytes that there are for all together; ask again in a moment, with `Content-Length` if \
         this one has none",
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
