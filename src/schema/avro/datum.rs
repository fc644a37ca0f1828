//! One value: bytes in, JSON out, in one pass. What the bytes claim is believed as far as they reach.

use super::logical::{Logical, float};
use super::plan::{Plan, Type};
use crate::config::Limits;
use crate::event::Rejection;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// Why a value is none, and in which field.
#[derive(Debug, PartialEq)]
struct Fault {
    code: &'static str,
    what: String,
    at_byte: usize,
    /// Names from the inside out.
    path: Vec<Box<str>>,
}

type Read<T> = Result<T, Fault>;

impl Plan {
    /// The value as JSON. The refusal names the field and the byte, and nothing of what stands there.
    pub fn json(&self, value: &[u8], limits: &Limits) -> Result<String, Rejection> {
        let mut reader = Reader { plan: self, all: value, left: value, out: String::with_capacity(2 * value.len()), limits };
        let read = reader.value(self.root, 0).and_then(|()| match reader.left.len() {
            0 => Ok(()),
            more => Err(reader.fault(format!("{more} bytes stand behind the value"))),
        });
        read.map(|()| reader.out).map_err(|fault| {
            let detail = format!("byte {} of {}: {}", fault.at_byte, value.len(), fault.what);
            let path: Vec<&str> = fault.path.iter().rev().map(|name| &**name).collect();
            let refused = Rejection::new(fault.code, detail);
            if path.is_empty() { refused } else { refused.at(path.join(".")) }
        })
    }
}

struct Reader<'a> {
    plan: &'a Plan,
    all: &'a [u8],
    left: &'a [u8],
    out: String,
    limits: &'a Limits,
}

impl<'a> Reader<'a> {
    fn fault(&self, what: impl Into<String>) -> Fault {
        self.coded("invalid_avro", what)
    }

    fn coded(&self, code: &'static str, what: impl Into<String>) -> Fault {
        Fault { code, what: what.into(), at_byte: self.all.len() - self.left.len(), path: Vec::new() }
    }

    fn value(&mut self, place: usize, depth: usize) -> Read<()> {
        if self.out.len() > self.limits.body_bytes {
            return Err(self.coded("too_large", format!("as JSON it is longer than the limit of {}", self.limits.body_bytes)));
        }
        let plan = self.plan;
        match plan.at(place) {
            Type::Null => self.out.push_str("null"),
            Type::Boolean => match self.take(1)? {
                [0] => self.out.push_str("false"),
                [1] => self.out.push_str("true"),
                _ => return Err(self.fault("a boolean that is neither 0 nor 1")),
            },
            Type::Int => {
                let number = self.int()?;
                write!(self.out, "{number}").unwrap_or_default();
            }
            Type::Long => {
                let number = self.long()?;
                write!(self.out, "{number}").unwrap_or_default();
            }
            Type::Float => {
                let number = f32::from_le_bytes(self.array()?);
                self.out.push_str(&float(number));
            }
            Type::Double => {
                let number = f64::from_le_bytes(self.array()?);
                self.out.push_str(&float(number));
            }
            Type::Bytes => {
                let bytes = self.run()?;
                self.base64(bytes);
            }
            Type::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.base64(bytes);
            }
            Type::String => {
                let text = self.text()?;
                self.string(text)?;
            }
            Type::Enum(symbols) => {
                let number = self.int()?;
                match usize::try_from(number).ok().and_then(|number| symbols.get(number)) {
                    Some(symbol) => self.string(symbol)?,
                    None => return Err(self.fault(format!("symbol {number} of an enum that has {}", symbols.len()))),
                }
            }
            Type::Union(branches) => {
                let number = self.long()?;
                match usize::try_from(number).ok().and_then(|number| branches.get(number)) {
                    // Unions hold no unions but through something that nests.
                    Some(branch) => self.value(*branch, self.deeper(depth)?)?,
                    None => return Err(self.fault(format!("branch {number} of a union that has {}", branches.len()))),
                }
            }
            Type::Record(fields) => self.record(fields, self.deeper(depth)?)?,
            Type::Array(items) => self.items(*items, depth, false)?,
            Type::Map(values) => self.items(*values, depth, true)?,
            Type::Logical(logical) => self.logical(*logical)?,
            Type::Open => return Err(self.coded("schema_invalid", "the schema uses a type before it is defined")),
        }
        Ok(())
    }

    /// Twice the levels of JSON: a union between two levels shows in none.
    fn deeper(&self, depth: usize) -> Read<usize> {
        if depth >= 2 * self.limits.depth {
            return Err(self.coded("too_deep", format!("nested more than {} levels", self.limits.depth)));
        }
        Ok(depth + 1)
    }

    fn record(&mut self, fields: &[(Box<str>, usize)], depth: usize) -> Read<()> {
        self.out.push('{');
        for (index, (name, kind)) in fields.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.string(name)?;
            self.out.push(':');
            self.value(*kind, depth).map_err(|fault| within(fault, name))?;
        }
        self.out.push('}');
        Ok(())
    }

    /// The blocks of an array or a map. Every item takes a byte or writes one, so that a claimed count ends with the bytes or at the limit.
    fn items(&mut self, kind: usize, depth: usize, named: bool) -> Read<()> {
        let depth = self.deeper(depth)?;
        let (open, close) = if named { ('{', '}') } else { ('[', ']') };
        self.out.push(open);
        let mut first = true;
        loop {
            let count = self.long()?;
            if count < 0 {
                // The block's size in bytes, for readers that skip it.
                self.long()?;
            }
            if count == 0 {
                break;
            }
            for _ in 0..count.unsigned_abs() {
                if !std::mem::take(&mut first) {
                    self.out.push(',');
                }
                if named {
                    let name = self.text()?;
                    self.string(name)?;
                    self.out.push(':');
                }
                // A key is what somebody wrote, and is not repeated.
                self.value(kind, depth).map_err(|fault| within(fault, "*"))?;
            }
        }
        self.out.push(close);
        Ok(())
    }

    fn logical(&mut self, logical: Logical) -> Read<()> {
        let text = match logical {
            Logical::Date | Logical::Time(1_000) => {
                let number = self.int()?;
                Some(logical.of_number(i64::from(number)))
            }
            Logical::Time(_) | Logical::Timestamp(..) => {
                let number = self.long()?;
                Some(logical.of_number(number))
            }
            Logical::Decimal { fixed: None, .. } => logical.of_bytes(self.run()?),
            Logical::Decimal { fixed: Some(size), .. } => logical.of_bytes(self.take(size)?),
            Logical::Uuid => logical.of_bytes(self.take(16)?),
            Logical::Duration => logical.of_bytes(self.take(12)?),
        };
        match text {
            Some(text) => self.out.push_str(&text),
            None => return Err(self.fault("a decimal that is too long")),
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Read<&'a [u8]> {
        match self.left.split_at_checked(bytes) {
            Some((taken, left)) => {
                self.left = left;
                Ok(taken)
            }
            None => Err(self.fault(format!("{bytes} bytes are wanted, {} are left", self.left.len()))),
        }
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.fault("too few bytes"))
    }

    /// A length, and so many bytes.
    fn run(&mut self) -> Read<&'a [u8]> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(self.fault("a length below 0")),
        }
    }

    fn text(&mut self) -> Read<&'a str> {
        let bytes = self.run()?;
        std::str::from_utf8(bytes).map_err(|_| self.coded("invalid_utf8", "a string is not UTF-8"))
    }

    fn int(&mut self) -> Read<i32> {
        let number = self.long()?;
        i32::try_from(number).map_err(|_| self.fault("an int that has more than 32 bits"))
    }

    fn long(&mut self) -> Read<i64> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(self.fault("a number that has more than 64 bits"))
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.out.push('"');
        STANDARD.encode_string(bytes, &mut self.out);
        self.out.push('"');
    }

    fn string(&mut self, text: &str) -> Read<()> {
        match serde_json::to_string(text) {
            Ok(text) => self.out.push_str(&text),
            Err(_) => return Err(self.fault("a string that is none")),
        }
        Ok(())
    }
}

fn within(mut fault: Fault, name: &str) -> Fault {
    fault.path.push(name.into());
    fault
}
