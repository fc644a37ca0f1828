//! What each token adds to a text, as bytes, by the kind of the tokeniser's decoder.

use serde_json::Value;
use std::collections::HashMap;

/// The largest id that is believed.
const MAX_ID: u32 = 1 << 24;

enum Kind {
    /// A character a byte.
    ByteLevel,
    /// U+2581 is a blank, `<0x0A>` a byte.
    Pieces,
    /// The token is the text.
    Plain,
}

/// By id; `None` where there is no token, or a special one.
pub fn by_id(tokens: &HashMap<String, u32>, special: &[u32], decoder: &Value) -> Result<Vec<Option<Box<[u8]>>>, String> {
    let kind = kind(decoder)?;
    let highest = tokens.values().copied().max().unwrap_or(0);
    if highest > MAX_ID {
        return Err(format!("a token has id {highest}"));
    }
    let mut all: Vec<Option<Box<[u8]>>> = vec![None; highest as usize + 1];
    let of_byte = byte_characters();
    for (token, id) in tokens.iter().filter(|(_, id)| !special.contains(id)) {
        let bytes: Vec<u8> = match kind {
            Kind::Plain => token.clone().into_bytes(),
            Kind::ByteLevel => token
                .chars()
                .map(|c| of_byte.get(&c).copied())
                .collect::<Option<_>>()
                .unwrap_or_else(|| token.clone().into_bytes()),
            Kind::Pieces => match one_byte(token) {
                Some(byte) => vec![byte],
                None => token.replace('\u{2581}', " ").into_bytes(),
            },
        };
        all[*id as usize] = Some(bytes.into());
    }
    Ok(all)
}

fn kind(decoder: &Value) -> Result<Kind, String> {
    let mut kinds = Vec::new();
    let mut collect = |value: &Value| kinds.extend(value["type"].as_str().map(str::to_owned));
    match decoder["decoders"].as_array() {
        Some(list) => list.iter().for_each(&mut collect),
        None => collect(decoder),
    }
    let has = |name: &str| kinds.iter().any(|kind| kind == name);
    match () {
        () if has("ByteLevel") => Ok(Kind::ByteLevel),
        () if has("ByteFallback") || has("Metaspace") || has("Replace") => Ok(Kind::Pieces),
        () if kinds.iter().all(|kind| kind == "Fuse") => Ok(Kind::Plain),
        () => Err(format!(
            "its decoder is of kind {}; causal models have ByteLevel, ByteFallback, Metaspace or Fuse",
            kinds.join(", ")
        )),
    }
}

fn one_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// GPT-2's table: bytes that print stand for themselves, the others for the characters from U+0100 on.
fn byte_characters() -> HashMap<char, u8> {
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    let mut of = |byte: u8| {
        if prints(byte) {
            return (char::from(byte), byte);
        }
        let character = char::from_u32(next).unwrap_or('\u{fffd}');
        next += 1;
        (character, byte)
    };
    (0..=255).map(&mut of).collect()
}
