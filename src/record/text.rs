//! Strings, numbers and times as JSON text, written straight into the record.

use serde_json::Value;
use std::fmt::Write;

/// A JSON string.
pub(super) fn push_str(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// What stands between the quotes of a JSON string; most needs no escape.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    // Looked at to its end, without a branch for each byte.
    if text.bytes().fold(false, |found, b| found | (b < 0x20) | (b == b'"') | (b == b'\\')) {
        let quoted = Value::from(text).to_string();
        out.push_str(&quoted[1..quoted.len() - 1]);
    } else {
        out.push_str(text);
    }
}

pub(super) fn push_int(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    push_digits(out, number.unsigned_abs(), 1);
}

/// At least `width` digits, at most the 20 of a `u64`.
fn push_digits(out: &mut String, mut number: u64, width: usize) {
    let (mut digits, mut from) = ([b'0'; 20], 20);
    while number > 0 {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.push_str(std::str::from_utf8(&digits[from.min(20 - width)..]).unwrap_or_default());
}

/// The first millisecond after the year 9999.
const YEAR_10000_MS: i64 = 253_402_300_800_000;

/// RFC 3339 with milliseconds; `null` for no time and for times beyond the calendar.
pub(super) fn push_time(out: &mut String, ms: i64) {
    if (0..YEAR_10000_MS).contains(&ms) {
        return push_civil(out, ms as u64);
    }
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) if ms != -1 => put(out, format_args!("\"{time:.3}\"")),
        _ => out.push_str("null"),
    }
}

/// A time from 1970 on, in years of four digits. Years start in March here, so that the leap day ends them.
fn push_civil(out: &mut String, ms: u64) {
    let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
    let since_year_0 = days + 719_468;
    let (era, day) = (since_year_0 / 146_097, since_year_0 % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let parts = [
        ('"', year, 4),
        ('-', month, 2),
        ('-', day - (153 * march + 2) / 5 + 1, 2),
        ('T', ms / 3_600_000, 2),
        (':', ms / 60_000 % 60, 2),
        (':', ms / 1_000 % 60, 2),
        ('.', ms % 1_000, 3),
    ];
    for (before, number, width) in parts {
        out.push(before);
        push_digits(out, number, width);
    }
    out.push_str("Z\"");
}

/// Writing into a `String` cannot fail.
pub(super) fn put(out: &mut String, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Would catch: a calendar of our own that differs from the real one.
        #[test]
        fn a_time_is_written_as_the_calendar_has_it(day in 0i64..2_932_897, ms in 0i64..86_400_000, any: i64) {
            for time in [day * 86_400_000 + ms, day * 86_400_000 - 1, any] {
                let mut out = String::new();
                push_time(&mut out, time);
                let expected = match jiff::Timestamp::from_millisecond(time) {
                    Ok(found) if time != -1 => format!("\"{found:.3}\""),
                    _ => "null".to_owned(),
                };
                proptest::prop_assert_eq!(out, expected);
            }
        }
    }
}
