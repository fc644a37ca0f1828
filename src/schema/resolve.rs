//! From an id to a schema that values can be read by: the text, all that it refers to, and what becomes of them.

use super::Schema;
use super::avro::Plan;
use super::protobuf::Messages;
use super::registry::{Away, Reference, Registry, Stored};
use crate::config::Format;
use crate::event::Rejection;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Schemas that one may refer to, directly or not.
const REFERENCES: usize = 200;
/// Text of a schema and of all that it refers to, bytes.
const TEXT_BYTES: usize = 4 << 20;
/// A registry of several servers may know a new schema on one of them first.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What is known of an id, for good: a schema and the length of its text, or why values with it cannot be read.
pub type Known = Result<(Schema, usize), Rejection>;

/// Asks for all that belongs to an id. Whether it can be read is known then; that the registry is away is no answer.
pub async fn resolve(registry: &Registry, format: Format, id: u32) -> Result<Known, Away> {
    let mut stored = registry.schema(id).await?;
    if stored.is_none() {
        tokio::time::sleep(SECOND_LOOK).await;
        stored = registry.schema(id).await?;
    }
    let Some(stored) = stored else {
        return Ok(Err(Rejection::new("schema_unknown", format!("the registry has no schema {id}"))));
    };
    let invalid = |what: String| Rejection::new("schema_invalid", format!("schema {id}: {what}"));
    let kind = stored.kind.as_deref().unwrap_or("AVRO");
    let wanted = match format {
        Format::Protobuf => "PROTOBUF",
        Format::Avro | Format::Json | Format::JsonSchema => "AVRO",
    };
    if !kind.eq_ignore_ascii_case(wanted) {
        return Ok(Err(invalid(format!("it is for another format, and this pipeline reads {}", format.as_str()))));
    }
    let mut gathered = Gathered { registry, seen: BTreeSet::new(), texts: Vec::new(), bytes: stored.schema.len(), refused: None };
    gathered.all(&stored, 0).await?;
    let Gathered { texts, bytes, refused, .. } = gathered;
    if let Some(what) = refused {
        return Ok(Err(invalid(what)));
    }
    // Off the runtime's threads: a large schema takes its time, and one that panics is this schema's end.
    let compiled = tokio::task::spawn_blocking(move || compile(format, &stored.schema, texts)).await;
    Ok(match compiled {
        Ok(compiled) => compiled.map(|schema| (schema, bytes)).map_err(invalid),
        Err(_) => Err(invalid("it cannot be read: the reader panicked".into())),
    })
}

fn compile(format: Format, text: &str, references: Vec<(String, String)>) -> Result<Schema, String> {
    match format {
        Format::Protobuf => {
            let imports: BTreeMap<String, String> = references.into_iter().collect();
            Messages::compile(text, move |name| imports.get(name).cloned()).map(Schema::Protobuf)
        }
        Format::Avro | Format::Json | Format::JsonSchema => {
            let references: Vec<&str> = references.iter().map(|(_, text)| text.as_str()).collect();
            Plan::parse(&references, text).map(Schema::Avro)
        }
    }
}

/// What a schema refers to, each after what it refers to itself.
struct Gathered<'a> {
    registry: &'a Registry,
    seen: BTreeSet<(String, i64)>,
    texts: Vec<(String, String)>,
    bytes: usize,
    refused: Option<String>,
}

impl Gathered<'_> {
    fn all<'s>(&'s mut self, of: &'s Stored, depth: usize) -> BoxFuture<'s, Result<(), Away>> {
        async move {
            for reference in of.references.iter().flatten() {
                if self.refused.is_none() && self.seen.insert((reference.subject.clone(), reference.version)) {
                    self.one(reference, depth).await?;
                }
            }
            Ok(())
        }
        .boxed()
    }

    async fn one(&mut self, reference: &Reference, depth: usize) -> Result<(), Away> {
        let Reference { name, subject, version } = reference;
        if self.seen.len() > REFERENCES || depth > REFERENCES {
            self.refused = Some(format!("it refers to more than {REFERENCES} others"));
            return Ok(());
        }
        let Some(found) = self.registry.version(subject, *version).await? else {
            self.refused = Some(format!("it refers to version {version} of {subject:?}, which the registry has not"));
            return Ok(());
        };
        self.bytes += found.schema.len();
        if self.bytes > TEXT_BYTES {
            self.refused = Some(format!("with what it refers to it is longer than {TEXT_BYTES} bytes"));
            return Ok(());
        }
        self.all(&found, depth + 1).await?;
        self.texts.push((name.clone(), found.schema));
        Ok(())
    }
}
