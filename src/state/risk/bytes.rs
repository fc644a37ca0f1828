//! How the entries of a key are written. Version 1:
//!
//! `1 · rows · (columns · cut · (time since the row before · id · columns…)…)`, the bracket only when there are rows. Numbers are
//! variable-length, ids eight bytes little-endian. A column's two lowest bits say how it is written: 0 a whole number, 1 hundredths, 2 the
//! eight bytes of the word, 3 no value. Each word has one spelling, so equal rows have equal bytes.

use super::plan::FIRST_COLUMN;
use super::rows::Rows;
use crate::state::{Stored, StoredError};

const VERSION: u8 = 1;
/// Whole numbers and hundredths up to here; beyond, eight bytes are shorter.
const SMALL: u64 = 1 << 40;

impl Stored for Rows {
    fn encode(&self, into: &mut Vec<u8>) {
        into.push(VERSION);
        put(self.len() as u64, into);
        if self.is_empty() {
            return;
        }
        put((self.width() - FIRST_COLUMN) as u64, into);
        put(self.cut_ms().map_or(0, |cut| cut as u64 + 1), into);
        // A time takes 6 bytes at most, most columns 3 or 4.
        into.reserve(self.len() * (14 + 4 * (self.width() - FIRST_COLUMN)));
        let mut before = 0;
        for row in self.rows(0, self.len()) {
            put(row[0] - before, into);
            before = row[0];
            into.extend(row[1].to_le_bytes());
            row[FIRST_COLUMN..].iter().for_each(|word| put_word(*word, into));
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let mut from = bytes;
        if take::<1>(&mut from)? != [VERSION] {
            return Err(StoredError("it is of another version"));
        }
        let count = get(&mut from)? as usize;
        if count == 0 {
            return if from.is_empty() { Ok(Self::default()) } else { Err(StoredError("it has bytes too many")) };
        }
        let width = (get(&mut from)? as usize).saturating_add(FIRST_COLUMN);
        let cut_ms = get(&mut from)?.checked_sub(1).map(|cut| cut as i64);
        // A word takes a byte at least.
        if count.saturating_mul(width) > from.len() {
            return Err(StoredError("it ends too early"));
        }
        let (mut words, mut before) = (Vec::with_capacity(count * width), 0u64);
        for _ in 0..count {
            before = before.checked_add(get(&mut from)?).ok_or(StoredError("a time is too large"))?;
            words.push(before);
            words.push(u64::from_le_bytes(take(&mut from)?));
            for _ in FIRST_COLUMN..width {
                words.push(get_word(&mut from)?);
            }
        }
        if from.is_empty() { Ok(Self::from_parts(words, width, cut_ms)) } else { Err(StoredError("it has bytes too many")) }
    }

    fn cost_bytes(&self) -> usize {
        size_of::<Self>() + self.capacity() * size_of::<u64>()
    }
}

fn put_word(word: u64, into: &mut Vec<u8>) {
    let number = f64::from_bits(word);
    let (whole, hundred) = (number as i64, number * 100.0);
    // Only where a hundredth is meant this is the nearest whole number for sure, and only then it is looked at.
    let hundredths = (hundred + 0.5f64.copysign(hundred)) as i64;
    let zigzag = |whole: i64| ((whole << 1) ^ (whole >> 63)) as u64;
    if word == f64::NAN.to_bits() {
        put(3, into);
    } else if whole.unsigned_abs() < SMALL && (whole as f64).to_bits() == word {
        put(zigzag(whole) << 2, into);
    } else if hundredths.unsigned_abs() < SMALL && (hundredths as f64 / 100.0).to_bits() == word {
        put(zigzag(hundredths) << 2 | 1, into);
    } else {
        put(2, into);
        into.extend(word.to_le_bytes());
    }
}

fn get_word(from: &mut &[u8]) -> Result<u64, StoredError> {
    let tagged = get(from)?;
    let zigzag = tagged >> 2;
    let whole = ((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)) as f64;
    Ok(match tagged & 3 {
        0 => whole.to_bits(),
        1 => (whole / 100.0).to_bits(),
        2 => u64::from_le_bytes(take(from)?),
        _ => f64::NAN.to_bits(),
    })
}

fn put(mut rest: u64, into: &mut Vec<u8>) {
    while rest >= 0x80 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

fn get(from: &mut &[u8]) -> Result<u64, StoredError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(from)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(StoredError("a number has too many bytes"))
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], StoredError> {
    let (taken, rest) = from.split_first_chunk().ok_or(StoredError("it ends too early"))?;
    *from = rest;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a value that comes back as another one, the zero below zero among them.
    #[test]
    fn every_value_comes_back_to_the_bit() {
        let small = SMALL as f64;
        let edges = [0.0, -0.0, 0.005, 0.295, -57.16, 1.005, small / 100.0, (small - 1.0) / 100.0, small, small - 1.0, -small];
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, f64::EPSILON, 1.0 / 7.0];
        for word in edges.into_iter().chain(odd).map(f64::to_bits).chain([f64::NAN.to_bits() ^ 1]) {
            let mut bytes = Vec::new();
            put_word(word, &mut bytes);
            assert_eq!(get_word(&mut &bytes[..]).map(f64::from_bits).map(f64::to_bits), Ok(word), "{}", f64::from_bits(word));
        }
    }
}
