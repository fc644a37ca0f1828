//! Logical types: what an int, a long, bytes or a fixed stand for, as JSON.

use serde_json::{Map, Value};

/// What the bytes below stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Logical {
    /// A number with so many digits behind the point, in bytes of a fixed size or of their own.
    Decimal {
        scale: usize,
        fixed: Option<usize>,
    },
    /// Sixteen bytes; a uuid that is a string is one.
    Uuid,
    Date,
    /// Parts of a second: 1,000, or 1,000,000.
    Time(i64),
    /// Parts of a second since 1970, and whether in UTC.
    Timestamp(i64, bool),
    /// Months, days and milliseconds.
    Duration,
}

/// Digits behind the point at most; a schema that asks for more has plain bytes.
const SCALE: usize = 128;
/// Bytes of a decimal at most: 154 digits.
const DECIMAL_BYTES: usize = 64;

impl Logical {
    /// One that is not known, or does not fit what it stands on, is what it stands on: so the specification has it.
    pub fn of(object: &Map<String, Value>, fixed: Option<usize>, on: &str) -> Option<Self> {
        let number = |name: &str| object.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        Some(match (object.get("logicalType")?.as_str()?, on) {
            ("decimal", "bytes" | "fixed") => {
                let scale = if object.contains_key("scale") { number("scale")? } else { 0 };
                let fits = scale <= SCALE && number("precision").is_some_and(|precision| precision >= scale.max(1));
                return (fits && fixed.is_none_or(|size| size <= DECIMAL_BYTES)).then_some(Self::Decimal { scale, fixed });
            }
            ("uuid", "fixed") if fixed == Some(16) => Self::Uuid,
            ("duration", "fixed") if fixed == Some(12) => Self::Duration,
            ("date", "int") => Self::Date,
            ("time-millis", "int") => Self::Time(1_000),
            ("time-micros", "long") => Self::Time(1_000_000),
            ("timestamp-millis", "long") => Self::Timestamp(1_000, true),
            ("timestamp-micros", "long") => Self::Timestamp(1_000_000, true),
            ("timestamp-nanos", "long") => Self::Timestamp(1_000_000_000, true),
            ("local-timestamp-millis", "long") => Self::Timestamp(1_000, false),
            ("local-timestamp-micros", "long") => Self::Timestamp(1_000_000, false),
            ("local-timestamp-nanos", "long") => Self::Timestamp(1_000_000_000, false),
            _ => return None,
        })
    }

    /// A number of days, of parts of a second: as a JSON string. What no calendar of four-digit years has, and what is no time of a day, is
    /// the number as it stands: some writers mean "never" by it.
    pub fn of_number(self, number: i64) -> String {
        self.named(number).map_or_else(|| number.to_string(), |text| format!("\"{text}\""))
    }

    fn named(self, number: i64) -> Option<String> {
        let day = jiff::civil::date(1970, 1, 1);
        Some(match self {
            Self::Date => day.checked_add(jiff::Span::new().try_days(number).ok()?).ok()?.to_string(),
            Self::Time(parts) => {
                (0..86_400 * parts).contains(&number).then_some(())?;
                jiff::civil::Time::midnight().checked_add(since(number, parts)?).ok()?.to_string()
            }
            Self::Timestamp(parts, utc) => {
                let at = day.at(0, 0, 0, 0).checked_add(since(number, parts)?).ok()?;
                if utc { format!("{at}Z") } else { at.to_string() }
            }
            Self::Decimal { .. } | Self::Uuid | Self::Duration => return None,
        })
    }

    /// Bytes, as JSON. `None` is too long.
    pub fn of_bytes(self, bytes: &[u8]) -> Option<String> {
        Some(match (self, bytes) {
            (Self::Decimal { scale, .. }, bytes) if bytes.len() <= DECIMAL_BYTES => decimal(bytes, scale),
            (Self::Uuid, bytes) => format!("\"{}\"", uuid::Uuid::from_slice(bytes).ok()?.hyphenated()),
            (Self::Duration, [a, b, c, d, e, f, g, h, i, j, k, l]) => {
                let part = |bytes: [&u8; 4]| u32::from_le_bytes(bytes.map(|byte| *byte));
                let (months, days, ms) = (part([a, b, c, d]), part([e, f, g, h]), part([i, j, k, l]));
                format!("\"P{months}M{days}DT{}.{:03}S\"", ms / 1_000, ms % 1_000)
            }
            _ => return None,
        })
    }
}

/// A number of so many parts of a second.
fn since(number: i64, parts: i64) -> Option<jiff::SignedDuration> {
    let nanos = number.rem_euclid(parts) * (1_000_000_000 / parts);
    Some(jiff::SignedDuration::new(number.div_euclid(parts), i32::try_from(nanos).ok()?))
}

/// A two's complement number, big end first, with `scale` digits behind the point: all its digits, as a JSON number.
fn decimal(bytes: &[u8], scale: usize) -> String {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut left = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in left.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let mut digits = Vec::new();
    while left.iter().any(|byte| *byte != 0) {
        let mut rest = 0u32;
        for byte in &mut left {
            let at = rest << 8 | u32::from(*byte);
            (*byte, rest) = ((at / 10) as u8, at % 10);
        }
        digits.push(b'0' + rest as u8);
    }
    while digits.len() <= scale {
        digits.push(b'0');
    }
    let mut text = String::with_capacity(digits.len() + 2);
    if negative {
        text.push('-');
    }
    for (place, digit) in digits.iter().enumerate().rev() {
        text.push(char::from(*digit));
        if place == scale && scale > 0 {
            text.push('.');
        }
    }
    text
}

/// A float as JSON; what JSON has no number for is a string, as in Protobuf's mapping.
pub(super) fn float(number: impl Into<f64> + Copy + serde::Serialize) -> String {
    let wide: f64 = number.into();
    match serde_json::to_string(&number) {
        Ok(text) if wide.is_finite() => text,
        _ if wide.is_nan() => "\"NaN\"".into(),
        _ if wide > 0.0 => "\"Infinity\"".into(),
        _ => "\"-Infinity\"".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a sign that is lost, zeros that are, a point in the wrong place.
    #[test]
    fn decimals_keep_all_their_digits() {
        for (bytes, scale, text) in [
            (&[][..], 0, "0"),
            (&[0], 2, "0.00"),
            (&[0x04, 0xd2], 2, "12.34"),
            (&[0xff], 0, "-1"),
            (&[0xff], 3, "-0.001"),
            (&[0x80], 0, "-128"),
            (&[0x00, 0xff], 0, "255"),
            (&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1, "236118324143482260684.7"),
        ] {
            assert_eq!(decimal(bytes, scale), text);
        }
        assert_eq!(decimal(&[0x7f; 64], 0).len(), 154);
    }

    /// Would catch: a time of the wrong unit, one beyond what can be written that is written wrong or panics.
    #[test]
    fn times_are_written_as_people_and_time_fields_read_them() {
        let of = |logical: Logical, number| logical.of_number(number);
        assert_eq!(of(Logical::Date, 19_723), "\"2024-01-01\"");
        assert_eq!(of(Logical::Date, -1), "\"1969-12-31\"");
        assert_eq!(of(Logical::Time(1_000), 3_723_004), "\"01:02:03.004\"");
        assert_eq!(of(Logical::Time(1_000_000), 1), "\"00:00:00.000001\"");
        assert_eq!(of(Logical::Timestamp(1_000, true), 1_704_067_200_123), "\"2024-01-01T00:00:00.123Z\"");
        assert_eq!(of(Logical::Timestamp(1_000_000, true), -1), "\"1969-12-31T23:59:59.999999Z\"");
        assert_eq!(of(Logical::Timestamp(1_000_000_000, false), 5), "\"1970-01-01T00:00:00.000000005\"");
        for logical in [Logical::Date, Logical::Time(1_000), Logical::Time(1_000_000), Logical::Timestamp(1_000, true)] {
            assert_eq!(of(logical, i64::MAX), i64::MAX.to_string());
            assert_eq!(of(logical, i64::MIN), i64::MIN.to_string(), "{logical:?}");
        }
        assert_eq!(of(Logical::Timestamp(1_000, true), 253_402_300_799_999), "\"9999-12-31T23:59:59.999Z\"");
        assert_eq!(of(Logical::Timestamp(1_000_000, false), 253_402_300_799_999_999), "\"9999-12-31T23:59:59.999999\"");
        assert_eq!(of(Logical::Timestamp(1_000, true), 253_402_300_800_000), "253402300800000");
        assert_eq!(of(Logical::Timestamp(1_000, true), -62_135_596_800_000), "\"0001-01-01T00:00:00Z\"");
        assert_eq!((of(Logical::Date, 2_932_896).as_str(), of(Logical::Date, 2_932_897).as_str()), ("\"9999-12-31\"", "2932897"));
        assert_eq!(of(Logical::Time(1_000), 86_400_000), "86400000");
        assert_eq!(Logical::Duration.of_bytes(&[1, 0, 0, 0, 2, 0, 0, 0, 0xbc, 0x0b, 0, 0]).as_deref(), Some("\"P1M2DT3.004S\""));
    }
}
