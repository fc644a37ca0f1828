//! The JSON schema of a config file, made of the types that read it: their comments, their types, their defaults.

use super::Config;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of the whole file, in the draft of 2020-12. A pipeline's `options` are any table in it: they belong to the functions.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>().to_value()
}
