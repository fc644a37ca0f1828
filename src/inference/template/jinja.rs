//! The Jinja that transformers runs templates with: its settings, its three functions, its `tojson`.

use super::{TemplateError, bounded};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde_json::Map;

const NAME: &str = "chat";
/// Steps of a template for one conversation; those that are in use take 20 to 200 for a message. They bound its time. Nothing here bounds
/// its memory: one step may make a text twice as long as one before it.
const STEPS: u64 = 2_000_000;
/// What a template may write, bytes: more than any model reads.
const WRITTEN: usize = 16 << 20;

/// One template, compiled, on a thread of its own.
pub struct Engine(bounded::Deep<Compiled>);

struct Compiled(Environment<'static>);

impl Engine {
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        bounded::check(source).map_err(TemplateError::Syntax)?;
        let source = source.to_owned();
        Ok(Self(bounded::Deep::new(move || Compiled::new(&source)).map_err(TemplateError::Thread)??))
    }

    pub fn render(&self, mut variables: Map<String, serde_json::Value>, time_ms: i64) -> Result<String, TemplateError> {
        variables.insert(TIME.to_owned(), time_ms.into());
        self.0.with(|compiled| compiled.render(variables)).map_err(TemplateError::Refused)?
    }
}

impl Compiled {
    fn new(source: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(STEPS));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", now);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, without_generation(source)).map_err(|error| TemplateError::Syntax(told(&error)))?;
        Ok(Self(environment))
    }

    fn render(&self, variables: Map<String, serde_json::Value>) -> Result<String, TemplateError> {
        let mut written = Written::default();
        let rendered =
            self.0.get_template(NAME).and_then(|template| template.render_captured_to(variables, &mut written).map(drop));
        let endless = |limit: String| {
            format!("it was stopped after {limit}; a template that ends is far below that, so take another, or mend this one")
        };
        match rendered {
            _ if written.is_full => Err(TemplateError::Endless(endless(format!("{WRITTEN} bytes of text")))),
            Ok(()) => String::from_utf8(written.bytes).map_err(|error| TemplateError::Refused(error.to_string())),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => Err(TemplateError::Endless(endless(format!("{STEPS} steps")))),
            Err(error) => Err(TemplateError::Refused(told(&error))),
        }
    }
}

/// What a template has written, up to a limit.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    is_full: bool,
}

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > WRITTEN {
            self.is_full = true;
            return Err(std::io::Error::other("the text is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The variable that `strftime_now` reads.
const TIME: &str = "__time_ms";

fn now(state: &State<'_, '_>, format: &str) -> Result<String, Error> {
    let invalid = |cause: String| Error::new(ErrorKind::InvalidOperation, cause);
    let time_ms = state.lookup(TIME).and_then(|value| i64::try_from(value).ok()).unwrap_or(0);
    let time = jiff::Timestamp::from_millisecond(time_ms).map_err(|error| invalid(error.to_string()))?;
    jiff::fmt::strtime::format(format, &time.to_zoned(jiff::tz::TimeZone::UTC)).map_err(|error| invalid(error.to_string()))
}

/// The message of an error and what caused it, on one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text.replace('\n', " ")
}

/// `{% generation %}` only marks what an assistant said, for training; here it is a block that is always taken.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out += before;
        let Some(end) = tag.find("%}").map(|end| end + 2) else {
            rest = tag;
            break;
        };
        let (tag, behind) = tag.split_at(end);
        let inner = tag.trim_start_matches("{%").trim_end_matches("%}");
        let word = inner.trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        match word {
            "generation" => out += &tag.replace("generation", "if true"),
            "endgeneration" => out += &tag.replace("endgeneration", "endif"),
            _ => out += tag,
        }
        rest = behind;
    }
    out + rest
}

/// As Python's `json.dumps` with `ensure_ascii=False`: blanks after commas and colons, nothing escaped for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.as_str(), colon.as_str()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators are two texts")),
        None if indent.is_some() => (",", ": "),
        None => (", ", ": "),
    };
    let mut writer =
        Writer { out: String::new(), indent, comma, colon, ascii: ascii == Some(true), sorted: sorted == Some(true) };
    writer.value(value, 0)?;
    Ok(Value::from_safe_string(writer.out))
}

struct Writer<'a> {
    out: String,
    indent: Option<usize>,
    comma: &'a str,
    colon: &'a str,
    ascii: bool,
    sorted: bool,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > 64 {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: nested too deep"));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.all(&items, ['[', ']'], depth, |writer, item| writer.value(item, depth + 1))
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort_by_key(ToString::to_string);
                }
                let colon = self.colon;
                self.all(&keys, ['{', '}'], depth, |writer, key| {
                    writer.text(&key.to_string());
                    writer.out.push_str(colon);
                    writer.value(&value.get_item(key)?, depth + 1)
                })
            }
            ValueKind::String => {
                self.text(value.as_str().unwrap_or_default());
                Ok(())
            }
            ValueKind::None | ValueKind::Undefined => {
                self.out.push_str("null");
                Ok(())
            }
            ValueKind::Bool | ValueKind::Number => {
                self.out.push_str(
                    &serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?,
                );
                Ok(())
            }
            other => Err(Error::new(ErrorKind::BadSerialization, format!("tojson: a {other} is no JSON"))),
        }
    }

    fn all(
        &mut self,
        items: &[Value],
        [open, close]: [char; 2],
        depth: usize,
        mut one: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push_str(self.comma);
            }
            self.line(depth + 1);
            one(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', (indent * depth).min(1 << 10)));
        }
    }

    fn text(&mut self, text: &str) {
        // Writing a text as JSON cannot fail.
        let json = serde_json::to_string(text).unwrap_or_default();
        let mut units = [0; 2];
        for character in json.chars() {
            match self.ascii && !character.is_ascii() {
                true => {
                    for unit in character.encode_utf16(&mut units) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                false => self.out.push(character),
            }
        }
    }
}
