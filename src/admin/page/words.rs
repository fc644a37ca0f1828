//! Numbers as people read them.

/// With a thin place between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

pub fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", count(number.unsigned_abs()))
}

/// A rate: small ones with a digit after the point.
pub fn rate(number: f64) -> String {
    if number < 10.0 && number > 0.0 { format!("{number:.1}") } else { count(number.round().max(0.0) as u64) }
}

pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0 s".to_owned(),
        s if s < 0.001 => "under 1 ms".to_owned(),
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p > 0.0 && p < 0.1 => "under 0.1 %".to_owned(),
        p if p > 0.0 && p < 1.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

pub fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e3 => format!("{bytes} B"),
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// What is not known.
pub fn or_dash(known: Option<String>) -> String {
    known.unwrap_or_else(|| "\u{2013}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(7), count(1_234_567)], ["7", "1\u{202f}234\u{202f}567"]);
        assert_eq!(signed(-1_000), "-1\u{202f}000");
        assert_eq!([rate(0.0), rate(2.55), rate(12.4)], ["0", "2.5", "12"]);
        assert_eq!(
            [0.0, 0.000_2, 0.035, 1.25, 61.0, 180.0, 7_200.0].map(seconds),
            ["0 s", "under 1 ms", "35 ms", "1.2 s", "61 s", "3 min", "2 h"]
        );
        assert_eq!([0.0, 0.004, 0.5].map(percent), ["0 %", "0.4 %", "50 %"]);
        assert_eq!([bytes(10), bytes(22_700_000)], ["10 B", "23 MB"]);
    }
}
