//! Which version of a pipeline answers a call: the one that is named, else the one that is in force on its stream.

use super::{Functions, Known};
use crate::admin::{AnsweredBy, ApiError};

impl Functions {
    /// A pipeline's function as it is in a version. May wait while that is loaded, within the time of a call.
    pub(super) async fn at(&self, known: Known, version: Option<&str>) -> Result<(Known, AnsweredBy), ApiError> {
        let picked = tokio::time::timeout(self.call_timeout, known.shelf.pick(version, &known.function)).await;
        let picked = picked.unwrap_or_else(|_| {
            let message = format!(
                "the version was not loaded within {:?}, the limit `call_timeout_ms` of [admin]; it is being loaded, ask again in a moment",
                self.call_timeout
            );
            Err(ApiError { status: 503, kind: "loading", message, param: Some("version".to_owned()) })
        })?;
        let by = AnsweredBy { version: picked.version.to_string(), config: picked.config.to_string() };
        Ok((Known { function: picked.function, ..known }, by))
    }
}
