//! `[hub]`: models that are named as `org/name@revision`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Where the hub and its cache are, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_CACHE` and `HF_HOME` say, as for its other clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// Whether a model that is in no place may be fetched. Default false; never while `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is on.
    pub allow_download: bool,
}
