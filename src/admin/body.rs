//! The body of a request: not larger than it may be, and not slower.

use super::api::ApiError;
use super::server::AdminState;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde_json::Value;
use std::convert::Infallible;

/// The bytes of a body, or why they were not read.
pub struct Body(pub Result<Bytes, ApiError>);

impl FromRequest<AdminState> for Body {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, Infallible> {
        let most = state.body_timeout;
        Ok(Self(match tokio::time::timeout(most, Bytes::from_request(request, state)).await {
            Ok(read) => read.map_err(|cause| refused(&cause, state)),
            Err(_) => {
                let message = format!("the body did not come within {most:?}, the limit `body_timeout_ms` of [admin]");
                Err(ApiError { status: 408, kind: "timeout", message, param: None })
            }
        }))
    }
}

fn refused(cause: &BytesRejection, state: &AdminState) -> ApiError {
    let (status, kind, message) = match cause.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let most = state.body_bytes;
            let message = format!("the body has more than {most} bytes, the limit `body_bytes` of [admin]; send fewer inputs");
            (413, "too_large", message)
        }
        status => (status.as_u16(), "invalid_request", cause.body_text()),
    };
    ApiError { status, kind, message, param: None }
}

impl Body {
    pub fn json(self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.0?).map_err(|cause| {
            let message = format!("the body is not JSON at line {} column {}", cause.line(), cause.column());
            ApiError { status: 400, kind: "invalid_request", message, param: None }
        })
    }
}
