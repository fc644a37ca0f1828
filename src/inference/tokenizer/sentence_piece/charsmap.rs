//! The table of normalisation inside a SentencePiece model: a double array over the bytes of what is replaced, whose values point into
//! a text of replacements. The normaliser that runs it trusts it, so every way through it is walked once before.

use tokenizers::normalizers::Precompiled;

/// The normaliser of a table.
pub fn normaliser(table: &[u8]) -> Result<Precompiled, String> {
    check(table).ok_or("its table of normalisation is damaged")?;
    Precompiled::from(table).map_err(|e| e.to_string())
}

/// `None` where a way leads out of the table or of its text. Layout: length of the array in bytes, array of 32-bit units, text.
fn check(table: &[u8]) -> Option<()> {
    let (length, rest) = table.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let (array, text) = rest.split_at_checked(length / 4 * 4)?;
    let text = std::str::from_utf8(text).ok()?;
    let units: Vec<u32> = array.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    let offset = |unit: u32| ((unit >> 10) << ((unit & 0x200) >> 6)) as usize;
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(*units.first()?)];
    while let Some(place) = open.pop() {
        if std::mem::replace(seen.get_mut(place)?, true) {
            continue;
        }
        for byte in 1..=255usize {
            let child = place ^ byte;
            let unit = *units.get(child)?;
            if unit & 0x8000_00ff != byte as u32 {
                continue;
            }
            let next = child ^ offset(unit);
            if unit & 0x100 != 0 {
                let value = (*units.get(next)? & 0x7fff_ffff) as usize;
                (value <= text.len() && text.is_char_boundary(value)).then_some(())?;
            }
            open.push(next);
        }
    }
    Some(())
}
