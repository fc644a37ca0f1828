//! From an id to a schema that values can be read by: the text, all that it refers to, and what becomes of them.

use super::Schema;
use super::avro::Plan;
use super::protobuf::Messages;
use super::registry::{Answer, Away, Reference, Registry, Stored};
use crate::config::Format;
use crate::event::Rejection;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Schemas that one may refer to, directly or not.
const REFERENCES: usize = 200;
/// A registry of several servers may know a new schema on one of them first.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What a format's schemas may take. Measured with texts that are nothing but small definitions.
struct Size {
    /// Text of a schema and of all that it refers to.
    text_bytes: usize,
    /// What is read of it takes its text's bytes so many times at most.
    times: usize,
}

const AVRO: Size = Size { text_bytes: 4 << 20, times: 30 };
const PROTOBUF: Size = Size { text_bytes: 1 << 20, times: 200 };

/// What is known of an id: a schema and what it may take of the memory, or why values with it cannot be read.
pub type Known = Result<(Schema, usize), Refused>;

/// Why values with an id cannot be read.
#[derive(Debug, Clone)]
pub struct Refused {
    pub because: Rejection,
    /// Something is not there that may be there later; else it is so for good.
    pub may_change: bool,
}

impl Refused {
    pub fn unknown(what: String) -> Self {
        Self { because: Rejection::new("schema_unknown", what), may_change: true }
    }

    fn invalid(id: u32, what: &str, may_change: bool) -> Self {
        Self { because: Rejection::new("schema_invalid", format!("schema {id}: {what}")), may_change }
    }
}

/// Asks for all that belongs to an id. Whether it can be read is known then; that the registry is away is no answer. `reading` lets so many
/// texts be read at a time.
pub async fn resolve(
    registry: &Registry,
    format: Format,
    id: u32,
    second_look: bool,
    reading: &Arc<Semaphore>,
) -> Result<Known, Away> {
    // Registries count with 31 bits, and answer to more as to a wrong address.
    if i32::try_from(id).is_err() {
        let what = format!("no registry has a schema {id}: ids end at {}", i32::MAX);
        return Ok(Err(Refused { may_change: false, ..Refused::unknown(what) }));
    }
    let mut answer = registry.schema(id).await?;
    if second_look && matches!(answer, Answer::NotThere) {
        tokio::time::sleep(SECOND_LOOK).await;
        answer = registry.schema(id).await?;
    }
    let stored = match answer {
        Answer::Found(stored) => stored,
        Answer::NotThere => return Ok(Err(Refused::unknown(format!("the registry has no schema {id}")))),
        Answer::Unfit(what) => return Ok(Err(Refused::invalid(id, &what, false))),
    };
    let kind = stored.kind.as_deref().unwrap_or("AVRO");
    let (wanted, size) = match format {
        Format::Protobuf => ("PROTOBUF", PROTOBUF),
        Format::Avro | Format::Json | Format::JsonSchema => ("AVRO", AVRO),
    };
    if !kind.eq_ignore_ascii_case(wanted) {
        let what = format!("it is for another format, and this pipeline reads {}", format.as_str());
        return Ok(Err(Refused::invalid(id, &what, false)));
    }
    let mut gathered =
        Gathered { registry, seen: BTreeSet::new(), texts: Vec::new(), bytes: 0, most: size.text_bytes, refused: None };
    gathered.counts(&stored);
    gathered.all(&stored, 0).await?;
    let Gathered { texts, bytes, refused, .. } = gathered;
    if let Some((what, may_change)) = refused {
        return Ok(Err(Refused::invalid(id, &what, may_change)));
    }
    let turn = reading.clone().acquire_owned().await;
    // Off the runtime's threads: a large schema takes its time, and one that panics is this schema's end. The turn ends with it, also when
    // nobody waits for it any more.
    let compiled = tokio::task::spawn_blocking(move || {
        let compiled = compile(format, &stored.schema, texts);
        drop(turn);
        compiled
    });
    let compiled = compiled.await;
    let compiled = compiled.unwrap_or_else(|_| Err("it cannot be read: the reader panicked".into()));
    Ok(compiled.map(|schema| (schema, bytes * size.times)).map_err(|what| Refused::invalid(id, &what, false)))
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
    /// So many may be.
    most: usize,
    /// What is wrong with them, and whether that may change.
    refused: Option<(String, bool)>,
}

impl Gathered<'_> {
    fn counts(&mut self, stored: &Stored) {
        self.bytes += stored.schema.len();
        if self.bytes > self.most {
            self.refused = Some((format!("with what it refers to it is longer than {} bytes", self.most), false));
        }
    }

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
            self.refused = Some((format!("it refers to more than {REFERENCES} others"), false));
            return Ok(());
        }
        let found = match self.registry.version(subject, *version).await? {
            Answer::Found(found) => found,
            Answer::NotThere => {
                let what = format!("it refers to version {version} of {subject:?}, which the registry has not");
                self.refused = Some((what, true));
                return Ok(());
            }
            Answer::Unfit(what) => {
                self.refused = Some((format!("version {version} of {subject:?}, to which it refers: {what}"), false));
                return Ok(());
            }
        };
        self.counts(&found);
        self.all(&found, depth + 1).await?;
        self.texts.push((name.clone(), found.schema));
        Ok(())
    }
}
