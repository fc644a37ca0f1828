//! The parts of a SentencePiece model that a BPE vocabulary needs, out of its protobuf (`sentencepiece_model.proto`).

use super::{Fault, damaged, unsupported};

/// Pieces and the settings that decide how a text becomes pieces.
#[derive(Debug, Default)]
pub struct SentencePiece {
    pub pieces: Vec<Piece>,
    pub dummy_prefix: bool,
    pub squeeze: bool,
    pub charsmap: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: u64,
}

/// Kinds of pieces.
pub const UNKNOWN: u64 = 2;
pub const CONTROL: u64 = 3;
pub const USER_DEFINED: u64 = 4;

/// The model type of the trainer for BPE.
const BPE: u64 = 2;
const MAX_PIECES: usize = 1 << 20;

impl SentencePiece {
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut model = Self { dummy_prefix: true, squeeze: true, ..Self::default() };
        // The default of the format is Unigram.
        let mut kind = 1;
        for field in fields(bytes) {
            match field? {
                (1, Field::Bytes(piece)) => {
                    model.pieces.push(Piece::parse(piece)?);
                    if model.pieces.len() > MAX_PIECES {
                        return Err(damaged(format!("it has more than {MAX_PIECES} pieces")));
                    }
                }
                (2, Field::Bytes(trainer)) => {
                    for field in fields(trainer) {
                        if let (3, Field::Number(number)) = field? {
                            kind = number;
                        }
                    }
                }
                (3, Field::Bytes(normalizer)) => {
                    for field in fields(normalizer) {
                        match field? {
                            (2, Field::Bytes(table)) => model.charsmap = table.to_vec(),
                            (3, Field::Number(flag)) => model.dummy_prefix = flag != 0,
                            (4, Field::Number(flag)) => model.squeeze = flag != 0,
                            (5, Field::Number(0)) => return Err(unsupported("it does not escape blanks, which is not read")),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        match (kind, model.pieces.is_empty()) {
            (_, true) => Err(damaged("it holds no pieces; it is no SentencePiece model")),
            (BPE, false) => Ok(model),
            _ => Err(unsupported(format!("it is a SentencePiece model of type {kind}; BPE (2) alone is read here"))),
        }
    }
}

impl Piece {
    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut piece = Self { kind: 1, ..Self::default() };
        for field in fields(bytes) {
            match field? {
                (1, Field::Bytes(text)) => {
                    piece.text = std::str::from_utf8(text).map_err(|_| damaged("a piece is not UTF-8"))?.to_owned();
                }
                (2, Field::Fixed32(bytes)) => piece.score = f32::from_le_bytes(bytes),
                (3, Field::Number(kind)) => piece.kind = kind,
                _ => {}
            }
        }
        match piece.score.is_finite() {
            true => Ok(piece),
            false => Err(damaged("the score of a piece is not a finite number")),
        }
    }
}

enum Field<'a> {
    Number(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers, until the first fault.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Field<'_>), Fault>> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let field = field(&mut left);
        if field.is_none() {
            left = &[];
        }
        Some(field.ok_or_else(|| damaged("its protobuf cannot be read; it is cut off or no SentencePiece model")))
    })
}

fn field<'a>(left: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(left)?;
    let mut take = |count: usize| {
        let (taken, rest) = left.split_at_checked(count)?;
        *left = rest;
        Some(taken)
    };
    let field = match tag & 7 {
        1 => {
            take(8)?;
            Field::Fixed64
        }
        5 => Field::Fixed32(take(4)?.try_into().ok()?),
        0 => Field::Number(varint(left)?),
        2 => {
            let length = usize::try_from(varint(left)?).ok()?;
            let (taken, rest) = left.split_at_checked(length)?;
            *left = rest;
            Field::Bytes(taken)
        }
        _ => return None,
    };
    Some((tag >> 3, field))
}

fn varint(left: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = left.split_first()?;
        *left = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Would catch: a panic or a loop on bytes that are no model.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            SentencePiece::parse(&bytes).ok();
        }
    }

    #[test]
    fn a_cut_off_model_is_refused() {
        let whole = [0x0a, 0x08, 0x0a, 0x01, b'a', 0x15, 0, 0, 0x80, 0xbf, 0x12, 0x02, 0x18, 0x02];
        let model = SentencePiece::parse(&whole).unwrap();
        assert_eq!((model.pieces[0].text.as_str(), model.pieces[0].score, model.squeeze), ("a", -1.0, true));
        for length in 0..whole.len() {
            assert!(SentencePiece::parse(&whole[..length]).is_err(), "{length}");
        }
    }
}
