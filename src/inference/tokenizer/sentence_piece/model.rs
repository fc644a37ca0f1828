//! The file of a SentencePiece model, read field by field (protocol buffers; the numbers are those of `sentencepiece_model.proto`).

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Normal,
    Unknown,
    /// Never made from text, such as `<s>`.
    Control,
    /// Always a piece of its own.
    UserDefined,
    Unused,
    /// `<0x41>`: stands for a byte of what is unknown.
    Byte,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: Type,
}

/// How pieces are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Unigram,
    Bpe,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub pieces: Vec<Piece>,
    pub algorithm: Algorithm,
    pub unk_id: usize,
    pub unk_piece: String,
    pub byte_fallback: bool,
    /// The table of normalisation; empty for none.
    pub charsmap: Vec<u8>,
}

/// One field of a message.
enum Field<'a> {
    Number(u64),
    Four([u8; 4]),
    Bytes(&'a [u8]),
}

/// The fields of a message, one by one.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next field with its number; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Bytes(&[])
            }
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).map_err(|_| cut())?)?)
            }
            5 => Field::Four(self.take(4)?.try_into().map_err(|_| cut())?),
            other => return Err(format!("it has a field of type {other}; it is no SentencePiece model")),
        };
        Ok(Some((key >> 3, field)))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("it has a number of more than 64 bits; it is no SentencePiece model".to_owned())
    }
}

fn cut() -> String {
    "it ends inside a field; it was cut off, or is no SentencePiece model".to_owned()
}

impl Model {
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            unk_id: 0,
            unk_piece: "<unk>".to_owned(),
            byte_fallback: false,
            charsmap: Vec::new(),
        };
        let mut fields = Fields::of(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(piece)) => {
                    let piece = Piece::read(piece).map_err(|e| format!("piece {}: {e}", model.pieces.len()))?;
                    model.pieces.push(piece);
                }
                (2, Field::Bytes(trainer)) => model.trainer(trainer)?,
                (3, Field::Bytes(normalizer)) => model.normalizer(normalizer)?,
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err("it has no pieces; it is no SentencePiece model".to_owned());
        }
        if model.unk_id >= model.pieces.len() {
            return Err(format!("its unknown piece is {}, but it has {} pieces", model.unk_id, model.pieces.len()));
        }
        Ok(model)
    }

    fn trainer(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut fields = Fields::of(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (3, Field::Number(1)) => self.algorithm = Algorithm::Unigram,
                (3, Field::Number(2)) => self.algorithm = Algorithm::Bpe,
                (3, Field::Number(other)) => return Err(format!("it is of type {other}; unigram (1) and BPE (2) are read")),
                (35, Field::Number(on)) => self.byte_fallback = on != 0,
                (40, Field::Number(id)) => self.unk_id = usize::try_from(id).unwrap_or(usize::MAX),
                (45, Field::Bytes(piece)) => self.unk_piece = text(piece)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut fields = Fields::of(bytes);
        while let Some(field) = fields.next()? {
            if let (2, Field::Bytes(charsmap)) = field {
                self.charsmap = charsmap.to_vec();
            }
        }
        Ok(())
    }
}

impl Piece {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: Type::Normal };
        let mut fields = Fields::of(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(bytes)) => piece.text = text(bytes)?,
                (2, Field::Four(bytes)) => piece.score = f32::from_le_bytes(bytes),
                (3, Field::Number(kind)) => {
                    piece.kind = match kind {
                        1 => Type::Normal,
                        2 => Type::Unknown,
                        3 => Type::Control,
                        4 => Type::UserDefined,
                        5 => Type::Unused,
                        6 => Type::Byte,
                        other => return Err(format!("its type is {other}; 1 to 6 are known")),
                    };
                }
                _ => {}
            }
        }
        match (piece.text.is_empty(), piece.score.is_finite()) {
            (true, _) => Err("it is empty".to_owned()),
            (_, false) => Err(format!("its score is {}", piece.score)),
            _ => Ok(piece),
        }
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string())
}
