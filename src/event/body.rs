//! Values that are not plain JSON: what makes JSON of them, and the prefix that serialisers of a schema registry write.

use super::Rejection;
use crate::config::Limits;
use std::borrow::Cow;

/// The first byte of a value in the wire format of schema registries.
const MAGIC: u8 = 0;
/// The magic byte, and the schema's id in four.
const PREFIX_BYTES: usize = 5;

/// Makes JSON text of values. It is pure: what it needs to know is at hand when it is asked, and no call waits.
pub trait Body: Send + Sync + std::fmt::Debug {
    /// The value as JSON, or why it is none. It grows little beyond `limits.body_bytes` and nests no deeper than `limits.depth`, whatever
    /// the bytes claim.
    fn json<'a>(&self, value: &'a [u8], limits: &Limits) -> Result<Cow<'a, str>, Rejection>;
}

/// The schema's id in front of a value, and the value.
pub fn schema_id(value: &[u8]) -> Result<(u32, &[u8]), Rejection> {
    match value {
        [MAGIC, a, b, c, d, rest @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
        [MAGIC, ..] | [] => {
            let detail = format!("{} bytes are no value with a schema's id, which takes {PREFIX_BYTES}", value.len());
            Err(Rejection::new("no_schema_id", detail))
        }
        [other, ..] => {
            let detail = format!("the first byte is {other}, and a value with a schema's id begins with {MAGIC}");
            Err(Rejection::new("no_schema_id", detail))
        }
    }
}

/// JSON behind a schema's id, as a registry's JSON Schema serialiser writes it. The schema is not asked for.
#[derive(Debug)]
pub struct Prefixed;

impl Body for Prefixed {
    fn json<'a>(&self, value: &'a [u8], _: &Limits) -> Result<Cow<'a, str>, Rejection> {
        let (_, rest) = schema_id(value)?;
        let text = std::str::from_utf8(rest).map_err(|cause| {
            Rejection::new("invalid_utf8", format!("not UTF-8 from byte {} on", PREFIX_BYTES + cause.valid_up_to()))
        })?;
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: an id read in the wrong order, a short value that panics, another format taken for this one.
    #[test]
    fn the_prefix_is_read_or_refused() {
        assert_eq!(schema_id(&[0, 0, 1, 0, 2, 9]).unwrap(), (65_538, &[9][..]));
        assert_eq!(schema_id(&[0, 0, 0, 0, 2]).unwrap(), (2, &[][..]));
        for (value, said) in
            [(&b""[..], "0 bytes"), (b"\0\0\0\0", "4 bytes"), (b"{\"a\":1}", "byte is 123"), (b"\x01abcdef", "byte is 1,")]
        {
            let refused = schema_id(value).unwrap_err();
            assert!(refused.code == "no_schema_id" && refused.detail.contains(said), "{refused}");
        }
    }
}
