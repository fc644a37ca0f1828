//! `?version=NAME` of a call, and which version has answered.

use super::api::ApiError;
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};

/// The header that names the version of the pipeline that has answered.
pub const VERSION: &str = "x-millrace-version";
/// The header with the digest of its settings, which a record has as `config`.
pub const CONFIG: &str = "x-millrace-config";

/// The version that a path names in its query. What else stands there is not read.
pub fn named(path: &Uri) -> Result<Option<String>, ApiError> {
    let all = url::form_urlencoded::parse(path.query().unwrap_or_default().as_bytes());
    let mut all = all.filter(|(name, _)| name == "version").map(|(_, value)| value.into_owned());
    match (all.next(), all.next()) {
        (_, Some(_)) => Err(ApiError::refused("version", "`version` is given more than once; name one".to_owned())),
        (one, None) => Ok(one),
    }
}

/// A version as answers name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredBy {
    pub version: String,
    /// Digest of its settings.
    pub config: String,
}

/// An answer, and which version gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    pub by: AnsweredBy,
    pub answer: T,
}

impl<T> Versioned<T> {
    /// The same of what is made of the answer.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Versioned<U> {
        Versioned { by: self.by, answer: of(self.answer) }
    }
}

impl<T: IntoResponse> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = self.answer.into_response();
        for (name, value) in [(VERSION, &self.by.version), (CONFIG, &self.by.config)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a name that is cut or passed over, two of which one is taken, an empty one that is taken for none.
    #[test]
    fn one_version_is_named_or_none() {
        let of = |path: &str| named(&path.parse().unwrap()).map_err(|error| error.status);
        assert_eq!(of("/v1/functions/x"), Ok(None));
        assert_eq!(of("/v1/functions/x?other=1&version=v%2E2"), Ok(Some("v.2".to_owned())));
        assert_eq!(of("/hf/x?version="), Ok(Some(String::new())));
        assert_eq!(of("/hf/x?version=a&version=b"), Err(400));
    }
}
