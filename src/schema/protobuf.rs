//! Protobuf: `.proto` text into messages, and bytes into JSON as proto3's mapping has it, but that 64-bit integers are numbers.

use super::built_in;
use crate::config::Limits;
use crate::event::Rejection;
use json::Bounded;
use prost_reflect::{DescriptorPool, DynamicMessage, FileDescriptor, MessageDescriptor, ReflectMessage, Value};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use std::sync::atomic::{AtomicUsize, Ordering};

mod brackets;
mod json;

/// What the main file is called while it is compiled; no import has this name.
const MAIN: &str = "millrace-main.proto";
/// Files that are imported, directly or not.
const FILES: usize = 250;
/// The compiler's stack: what brackets and imports may take of it, many times over. It is reserved, and taken as it is needed.
const STACK_BYTES: usize = 64 << 20;

/// The messages of a file.
#[derive(Debug)]
pub struct Messages {
    pub(super) pool: DescriptorPool,
    main: FileDescriptor,
}

/// The main file's text, what gives the others, and how many were opened.
struct Imports<F>(String, F, AtomicUsize);

impl<F: Fn(&str) -> Option<String>> FileResolver for Imports<F> {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        // The compiler goes one step deeper with each that imports another.
        if self.2.fetch_add(1, Ordering::Relaxed) > FILES {
            return Err(protox::Error::new(format!("it imports more than {FILES} files")));
        }
        let text = match name {
            MAIN => Some(self.0.clone()),
            name => (self.1)(name).or_else(|| built_in::text(name).map(str::to_owned)),
        };
        let text = text.ok_or_else(|| protox::Error::file_not_found(name))?;
        brackets::check(&text).map_err(|what| protox::Error::new(format!("{name}: {what}")))?;
        File::from_source(name, &text)
    }
}

impl Messages {
    /// Compiles a file; `import` gives the text of those that it imports.
    pub fn compile(text: &str, import: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Result<Self, String> {
        let imports = Imports(text.to_owned(), import, AtomicUsize::new(0));
        let compiler = std::thread::Builder::new().name("proto compiler".into()).stack_size(STACK_BYTES);
        let running =
            compiler.spawn(move || Self::compiled(imports)).map_err(|cause| format!("no thread to compile it: {cause}"))?;
        // Whatever the text does to the compiler is the text's end alone.
        running.join().unwrap_or_else(|_| Err("the compiler panicked".into()))
    }

    fn compiled(imports: impl FileResolver + 'static) -> Result<Self, String> {
        let mut resolver = ChainFileResolver::new();
        resolver.add(imports);
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).include_source_info(false).open_file(MAIN).map_err(|cause| cause.to_string())?;
        let pool = compiler.descriptor_pool();
        let main = pool.get_file_by_name(MAIN).ok_or("the compiled file is not there")?;
        Ok(Self { pool, main })
    }

    pub fn has(&self, name: &str) -> bool {
        self.pool.get_message_by_name(name).is_some()
    }

    /// Full names of the messages of the main file.
    pub fn names(&self) -> Vec<String> {
        self.main.messages().map(|message| message.full_name().to_owned()).collect()
    }

    /// A value that is this message.
    pub fn named(&self, name: &str, value: &[u8], limits: &Limits) -> Result<String, Rejection> {
        match self.pool.get_message_by_name(name) {
            Some(message) => json(message, value, limits),
            None => Err(Rejection::new("schema_invalid", format!("there is no message `{name}`"))),
        }
    }

    /// A value behind the places of its message in the file.
    pub fn indexed(&self, value: &[u8], limits: &Limits) -> Result<String, Rejection> {
        let wrong = |what: &str| Rejection::new("invalid_protobuf", format!("the message's place in its file: {what}"));
        let mut left = value;
        let count = zigzag(&mut left).ok_or_else(|| wrong("no number"))?;
        // One zero stands for the file's first message.
        let places: Vec<i64> = match count {
            0 => vec![0],
            1..=64 => (0..count).map(|_| zigzag(&mut left)).collect::<Option<_>>().ok_or_else(|| wrong("too few numbers"))?,
            _ => return Err(wrong("a count that no message has")),
        };
        let places: Option<Vec<usize>> = places.into_iter().map(|place| usize::try_from(place).ok()).collect();
        let places = places.ok_or_else(|| wrong("below 0"))?;
        let message =
            self.at(&places, true).or_else(|| self.at(&places, false)).ok_or_else(|| wrong("no message stands there"))?;
        json(message, left, limits)
    }

    /// The message at a place. The registry's own format counts what the text declares, and so do its Java clients. Others count the
    /// entries of maps too, which the compiler makes messages of; that is tried where the text declares no such message.
    fn at(&self, places: &[usize], declared: bool) -> Option<MessageDescriptor> {
        let (first, rest) = places.split_first()?;
        let mut found = self.main.messages().nth(*first)?;
        for place in rest {
            let inside = found.child_messages().filter(|child| !declared || !child.is_map_entry()).nth(*place);
            found = inside?;
        }
        (!found.is_map_entry()).then_some(found)
    }
}

/// A number as the prefix writes it.
fn zigzag(left: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = left.split_first()?;
        *left = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

fn json(descriptor: MessageDescriptor, value: &[u8], limits: &Limits) -> Result<String, Rejection> {
    let name = descriptor.full_name().to_owned();
    let refused = |code, what: &str| Rejection::new(code, format!("as message `{name}`: {what}"));
    // The library bounds the nesting, and what is read is never longer than the bytes; its words may tell of fields, never of what is in them.
    let message = DynamicMessage::decode(descriptor, value).map_err(|cause| refused("invalid_protobuf", &cause.to_string()))?;
    if !nests_within(&message, limits.depth) {
        return Err(refused("too_deep", &format!("nested more than {} levels", limits.depth)));
    }
    let mut out = Bounded { text: Vec::with_capacity(2 * value.len()), most: limits.body_bytes, full: false };
    let written = json::message(&mut out, &message);
    if out.full {
        return Err(refused("too_large", &format!("as JSON it is longer than the limit of {}", limits.body_bytes)));
    }
    // What is said here may quote the value.
    written.map_err(|_| refused("invalid_protobuf", "a well-known type in it is out of range"))?;
    String::from_utf8(out.text).map_err(|_| refused("invalid_utf8", "a string is not UTF-8"))
}

/// Levels of messages in a value, what is packed into an `Any` among them: each is unpacked when JSON is written, one inside the other.
/// A `Struct` takes three of these for a level of its JSON.
fn nests_within(message: &DynamicMessage, depth: usize) -> bool {
    within(message, 3 * depth)
}

fn within(message: &DynamicMessage, left: usize) -> bool {
    let Some(left) = left.checked_sub(1) else { return false };
    if message.descriptor().full_name() == "google.protobuf.Any" {
        return packed(message).is_none_or(|inner| within(&inner, left));
    }
    message.fields().all(|(_, value)| value_within(value, left))
}

fn value_within(value: &Value, left: usize) -> bool {
    match value {
        Value::Message(message) => within(message, left),
        Value::List(values) => values.iter().all(|value| value_within(value, left)),
        Value::Map(values) => values.values().all(|value| value_within(value, left)),
        _ => true,
    }
}

/// What an `Any` holds, if it can be read.
fn packed(any: &DynamicMessage) -> Option<DynamicMessage> {
    let kind = any.get_field_by_number(1)?;
    let bytes = any.get_field_by_number(2)?;
    let name = kind.as_str()?.rsplit('/').next()?;
    let descriptor = any.descriptor().parent_pool().get_message_by_name(name)?;
    DynamicMessage::decode(descriptor, bytes.as_bytes()?.as_ref()).ok()
}
