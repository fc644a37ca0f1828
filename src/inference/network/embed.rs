//! From ids to vectors: word, position and segment are added and normalised, and where a family's table is narrower than its
//! layers, a product widens them.

use super::{Reader, Scratch, Sequence, check};
use crate::inference::InferenceError;
use crate::inference::ops::{Linear, Norm, add};
use crate::inference::words::WordTable;

/// Where a family's tables are, and how it counts.
pub struct Tables {
    /// Numbers in a word's vector.
    pub width: usize,
    pub vocabulary: usize,
    pub positions: usize,
    pub epsilon: f32,
    /// Whether there is a table of segments.
    pub segments: bool,
    /// RoBERTa counts positions from the padding token's id on, and leaves that token out of the count.
    pub padding: Option<usize>,
}

/// The tables of one encoder.
pub struct Embeddings {
    words: WordTable,
    /// `[positions, width]`
    positions: Vec<f32>,
    /// `[segments, width]`; empty for a family without segments.
    types: Vec<f32>,
    norm: Norm,
    tables: Tables,
    /// From `width` to the layers' width.
    widen: Option<Linear>,
}

impl Embeddings {
    /// Reads what stands below `embeddings.`.
    pub fn load(reader: &Reader<'_>, tables: Tables, widen: Option<Linear>) -> Result<Self, InferenceError> {
        let at = |name: &str| format!("embeddings.{name}_embeddings.weight");
        let width = tables.width;
        let types = match tables.segments {
            true => reader.f32(&at("token_type"), &[reader.rows(&at("token_type"))?.max(1), width])?,
            false => Vec::new(),
        };
        Ok(Self {
            words: reader.words(&at("word"), [tables.vocabulary, width])?,
            positions: reader.f32(&at("position"), &[tables.positions, width])?,
            types,
            norm: reader.norm("embeddings.LayerNorm", width)?,
            tables,
            widen,
        })
    }

    pub fn words(&self) -> &WordTable {
        &self.words
    }

    /// Numbers in a word's vector.
    pub fn width(&self) -> usize {
        self.tables.width
    }

    pub fn vocabulary(&self) -> usize {
        self.tables.vocabulary
    }

    /// Positions that a text can take.
    pub fn max_tokens(&self) -> usize {
        let before = self.tables.padding.map_or(0, |padding| padding + 1);
        self.tables.positions.saturating_sub(before)
    }

    /// Leaves `[total_tokens, hidden]` in `scratch.x`.
    pub fn look_up(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        check(texts, self.max_tokens(), self.vocabulary())?;
        let Scratch { x, y, .. } = scratch;
        x.clear();
        y.clear();
        let width = self.tables.width;
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        x.reserve_exact(tokens * width);
        y.reserve_exact(tokens * width);
        for text in texts {
            let mut next = self.tables.padding.map_or(0, |padding| padding + 1);
            for (place, &id) in text.ids.iter().enumerate() {
                self.words.push(id as usize, x);
                // `check` keeps `next` below the number of positions: a text is at most that long.
                let position = match self.tables.padding {
                    Some(padding) if padding == id as usize => padding,
                    _ => {
                        next += 1;
                        next - 1
                    }
                };
                let start = y.len();
                y.extend_from_slice(row(&self.positions, position, width));
                if let Some(types) = self.segment(text, place)? {
                    add(&mut y[start..], types);
                }
            }
        }
        self.norm.add_and_apply(x, y, self.tables.epsilon);
        if let Some(widen) = &self.widen {
            widen.forward(x, y);
            std::mem::swap(x, y);
        }
        Ok(())
    }

    /// The segment's vector of a token. Where there is one segment only, all are of it.
    fn segment(&self, text: &Sequence<'_>, place: usize) -> Result<Option<&[f32]>, InferenceError> {
        let (width, segments) = (self.tables.width, self.types.len() / self.tables.width);
        match text.types.get(place).copied().unwrap_or(0) as usize {
            _ if segments == 0 => Ok(None),
            _ if segments == 1 => Ok(Some(&self.types)),
            segment if segment < segments => Ok(Some(row(&self.types, segment, width))),
            segment => Err(InferenceError::Poison(format!("the model has no segment {segment}"))),
        }
    }
}

fn row(table: &[f32], at: usize, width: usize) -> &[f32] {
    &table[at * width..(at + 1) * width]
}
