//! Schemas from files: one for all values of a pipeline, which then have no prefix.

use super::SchemaError;
use super::avro::Plan;
use super::protobuf::Messages;
use crate::config::Limits;
use crate::event::{Body, Rejection};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Values that are Avro by this schema.
#[derive(Debug)]
pub struct AvroFile(Plan);

impl Body for AvroFile {
    fn json<'a>(&self, value: &'a [u8], limits: &Limits) -> Result<Cow<'a, str>, Rejection> {
        self.0.json(value, limits).map(Cow::Owned)
    }
}

/// Values that are this message.
#[derive(Debug)]
pub struct ProtobufFile(Messages, String);

impl Body for ProtobufFile {
    fn json<'a>(&self, value: &'a [u8], limits: &Limits) -> Result<Cow<'a, str>, Rejection> {
        self.0.named(&self.1, value, limits).map(Cow::Owned)
    }
}

pub fn avro(path: &Path) -> Result<AvroFile, SchemaError> {
    let invalid = |what| SchemaError::Invalid { path: path.into(), what };
    Plan::parse(&[], &read(path)?).map(AvroFile).map_err(invalid)
}

/// Imports are looked for beside the file and in the folders above it.
pub fn protobuf(path: &Path, message: &str) -> Result<ProtobufFile, SchemaError> {
    let invalid = |what| SchemaError::Invalid { path: path.into(), what };
    let text = read(path)?;
    let beside = path.parent().map(PathBuf::from).unwrap_or_default();
    let messages = Messages::compile(&text, move |name| {
        // A name that leads out of these folders names no import.
        let inside = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let mut folders = beside.ancestors().filter(|_| inside);
        folders.find_map(|folder| std::fs::read_to_string(folder.join(name)).ok())
    })
    .map_err(invalid)?;
    if !messages.has(message) {
        return Err(invalid(format!("there is no message {message:?}; it has {}", messages.names().join(", "))));
    }
    Ok(ProtobufFile(messages, message.to_owned()))
}

fn read(path: &Path) -> Result<String, SchemaError> {
    std::fs::read_to_string(path).map_err(|cause| SchemaError::Read { path: path.into(), cause })
}
