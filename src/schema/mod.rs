//! Values in Avro and Protobuf into JSON, by schemas from files or from a registry. Knows nothing of streams.
//!
//! What makes JSON is pure and never waits ([`crate::event::Body`]); what asks the registry is apart from it, and goes before.

mod avro;
mod built_in;
mod cache;
mod file;
mod protobuf;
mod registry;
mod resolve;
mod schemas;

pub use registry::{Away, Registry};
pub use schemas::Schemas;

#[cfg(test)]
mod tests;

use crate::config::{Config, Format, Limits, Pipeline};
use crate::event::{Body, Prefixed, Rejection};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a pipeline's values cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("cannot read {}: {cause}; check `schema` of the pipeline and the file's rights", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{}: {what}", path.display())]
    Invalid { path: PathBuf, what: String },
    #[error("[schema_registry] {0}")]
    Registry(String),
}

/// A schema that values are read by.
#[derive(Debug)]
enum Schema {
    Avro(avro::Plan),
    Protobuf(protobuf::Messages),
}

impl Schema {
    /// A value that comes with the schema's id.
    fn json(&self, value: &[u8], limits: &Limits) -> Result<String, Rejection> {
        match self {
            Self::Avro(plan) => plan.json(value, limits),
            Self::Protobuf(messages) => messages.indexed(value, limits),
        }
    }
}

/// How the values of a pipeline are read.
#[derive(Debug, Clone)]
pub enum Reading {
    /// They are JSON.
    Plain,
    /// All that is needed is here.
    Known(Arc<dyn Body>),
    /// By the id in front of each; a schema that is not known has to be fetched first.
    Registry(Arc<Schemas>),
}

impl Reading {
    /// Reads the file that the pipeline names, or makes a client of the registry. Asks nobody yet.
    pub fn of(config: &Config, pipeline: &Pipeline) -> Result<Self, SchemaError> {
        Ok(match (pipeline.format, &pipeline.schema) {
            (Format::Json, _) => Self::Plain,
            (Format::JsonSchema, _) => Self::Known(Arc::new(Prefixed)),
            (Format::Avro, Some(path)) => Self::Known(Arc::new(file::avro(&config.base.join(path))?)),
            (Format::Protobuf, Some(path)) => {
                let message = pipeline.message.as_deref().unwrap_or_default();
                Self::Known(Arc::new(file::protobuf(&config.base.join(path), message)?))
            }
            (format, None) => {
                let registry = Registry::new(&config.schema_registry, &config.base)?;
                // What a fold has seen must not depend on when the registry was asked; see `docs/formats.md`.
                let waits = config.risk_of(pipeline).is_some()
                    || config.recommend_of(pipeline).is_some()
                    || config.dialogue_of(pipeline).is_some();
                let refused = config.schema_registry.unknown_ids.iter().copied();
                Self::Registry(Arc::new(Schemas::new(registry, format).waiting(waits, refused)))
            }
        })
    }

    /// What makes JSON of a value; `None` where it is JSON.
    pub fn body(&self) -> Option<Arc<dyn Body>> {
        match self {
            Self::Plain => None,
            Self::Known(body) => Some(body.clone()),
            Self::Registry(schemas) => Some(schemas.clone()),
        }
    }

    /// What has to be asked before a value can be read.
    pub fn schemas(&self) -> Option<&Arc<Schemas>> {
        match self {
            Self::Registry(schemas) => Some(schemas),
            Self::Plain | Self::Known(_) => None,
        }
    }
}
