//! Protobuf: `.proto` text into messages, and bytes into JSON as proto3's mapping has it, but that 64-bit integers are numbers.

use crate::config::Limits;
use crate::event::Rejection;
use prost_reflect::{DescriptorPool, DynamicMessage, FileDescriptor, MessageDescriptor, ReflectMessage, SerializeOptions, Value};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the main file is called while it is compiled; no import has this name.
const MAIN: &str = "millrace-main.proto";
/// Brackets in a schema's text that are open at a time. The compiler goes one step deeper with each.
const NESTING: usize = 60;
/// Files that are imported, directly or not.
const FILES: usize = 250;
/// Files that are always there, as serialisers have them too.
const BUILT_IN: [(&str, &str); 2] = [
    ("confluent/meta.proto", include_str!("confluent/meta.proto")),
    ("confluent/type/decimal.proto", include_str!("confluent/decimal.proto")),
];

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
            name => {
                (self.1)(name).or_else(|| BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
            }
        };
        let text = text.ok_or_else(|| protox::Error::file_not_found(name))?;
        if nests_too_deep(&text) {
            return Err(protox::Error::new(format!("{name}: more than {NESTING} brackets are open at a time")));
        }
        File::from_source(name, &text)
    }
}

fn nests_too_deep(text: &str) -> bool {
    let mut open = 0usize;
    text.bytes().any(|byte| {
        match byte {
            b'{' | b'[' | b'(' | b'<' => open += 1,
            b'}' | b']' | b')' | b'>' => open = open.saturating_sub(1),
            _ => {}
        }
        open > NESTING
    })
}

impl Messages {
    /// Compiles a file; `import` gives the text of those that it imports.
    pub fn compile(text: &str, import: impl Fn(&str) -> Option<String> + 'static) -> Result<Self, String> {
        let mut resolver = ChainFileResolver::new();
        resolver.add(Imports(text.to_owned(), import, AtomicUsize::new(0)));
        resolver.add(GoogleFileResolver::new());
        // Whatever the text does to the compiler is the text's end alone.
        let compiled = catch_unwind(AssertUnwindSafe(move || {
            let mut compiler = protox::Compiler::with_file_resolver(resolver);
            compiler.include_imports(true).include_source_info(false).open_file(MAIN).map_err(|cause| cause.to_string())?;
            Ok::<_, String>(compiler.descriptor_pool())
        }));
        let pool = compiled.map_err(|_| "the compiler panicked".to_owned())??;
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
        let mut found: Option<MessageDescriptor> = None;
        for place in places {
            let place = usize::try_from(place).map_err(|_| wrong("below 0"))?;
            let next = match &found {
                None => self.main.messages().nth(place),
                Some(outer) => outer.child_messages().nth(place),
            };
            found = Some(next.ok_or_else(|| wrong("no message stands there"))?);
        }
        let message = found.ok_or_else(|| wrong("none"))?;
        json(message, left, limits)
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
    let options = SerializeOptions::new().stringify_64_bit_integers(false).skip_default_fields(false);
    let written = message.serialize_with_options(&mut serde_json::Serializer::new(&mut out), &options);
    if out.full {
        return Err(refused("too_large", &format!("as JSON it is longer than the limit of {}", limits.body_bytes)));
    }
    // What is said here may quote the value.
    written.map_err(|_| {
        refused("invalid_protobuf", "a well-known type in it is out of range, or an Any is of a type that the schema has not")
    })?;
    String::from_utf8(out.text).map_err(|_| refused("invalid_utf8", "a string is not UTF-8"))
}

/// Text that does not grow beyond its limit.
struct Bounded {
    text: Vec<u8>,
    most: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            self.full = true;
            return Err(std::io::Error::other("full"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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
