//! The plan of a packed pass: which rows belong to which text, at which positions, and which are read at the end.

use super::spec::Rotary;

/// Rows of one text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Its first row.
    pub(super) start: usize,
    pub(super) len: usize,
    /// The position of its first row in the text.
    pub(super) position: usize,
    /// Whether the text is turned as a long one.
    pub(super) long: bool,
}

/// What the rows of one rotary setting are turned by.
pub(super) struct Turns {
    /// The angle per position of each turned pair.
    short: Vec<f32>,
    /// The same in long texts.
    long: Vec<f32>,
    /// What cosines and sines are multiplied by.
    factor: f32,
}

impl Turns {
    pub(super) fn of(rotary: &Rotary) -> Self {
        Self { short: rotary.frequencies(), long: rotary.long_frequencies(), factor: rotary.attention_factor() }
    }
}

/// Rows of a pass, text after text.
#[derive(Default)]
pub(super) struct Rows {
    segments: Vec<Segment>,
    positions: Vec<usize>,
    /// Rows that are read at the end, ascending.
    read: Vec<usize>,
    /// Cosines and sines by rotary setting: `[rows, pairs]`.
    angles: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Rows {
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.positions.clear();
        self.read.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Adds `len` tokens from `position` on, of which all or the last are read.
    pub(super) fn add(&mut self, position: usize, len: usize, long: bool, all: bool) {
        let start = self.positions.len();
        self.segments.push(Segment { start, len, position, long });
        self.positions.extend(position..position + len);
        let skipped = if all { 0 } else { len.saturating_sub(1) };
        self.read.extend(start + skipped..start + len);
    }

    /// Computes the angles of all rows, by rotary setting. In `f32`, as transformers does.
    pub(super) fn turn(&mut self, turns: &[Turns]) {
        self.angles.resize_with(turns.len(), Default::default);
        for ((cosines, sines), turns) in self.angles.iter_mut().zip(turns) {
            cosines.clear();
            sines.clear();
            for text in &self.segments {
                let frequencies = if text.long { &turns.long } else { &turns.short };
                for position in text.position..text.position + text.len {
                    for frequency in frequencies {
                        let (sine, cosine) = (position as f32 * frequency).sin_cos();
                        cosines.push(cosine * turns.factor);
                        sines.push(sine * turns.factor);
                    }
                }
            }
        }
    }

    /// Cosines and sines of a row; `None` where positions are learned.
    pub(super) fn angle(&self, setting: usize, row: usize) -> Option<(&[f32], &[f32])> {
        let (cosines, sines) = self.angles.get(setting)?;
        let pairs = cosines.len() / self.positions.len();
        Some((&cosines[row * pairs..(row + 1) * pairs], &sines[row * pairs..(row + 1) * pairs]))
    }

    /// Moves the rows of `x` that are read to its front, and cuts the rest.
    pub(super) fn keep(&self, x: &mut Vec<f32>, width: usize) {
        for (to, &from) in self.read.iter().enumerate() {
            x.copy_within(from * width..(from + 1) * width, to * width);
        }
        x.truncate(self.read.len() * width);
    }
}
