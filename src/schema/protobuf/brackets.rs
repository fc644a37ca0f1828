//! How deep a `.proto` text nests, before a compiler that goes one step deeper with each bracket sees it.
//!
//! What the compiler would refuse anyway is refused here where the two could read it differently: a string or a comment without an end, a
//! bracket that closes another. So what is left is counted as the compiler counts it.

/// Brackets that are open at a time.
pub const NESTING: usize = 60;

/// Whether the text's brackets close each other, at most [`NESTING`] deep. What stands in strings and comments is none.
pub fn check(text: &str) -> Result<(), String> {
    let mut open = Vec::new();
    let mut left = text.as_bytes();
    while let [first, rest @ ..] = left {
        left = match (first, rest) {
            (b'/', [b'/', ..]) | (b'#', _) => after_line(rest),
            (b'/', [b'*', rest @ ..]) => after_comment(rest).ok_or("a comment has no end, or another in it")?,
            (b'"' | b'\'', _) => after_string(rest, *first).ok_or("a string has no end on its line, or a wrong escape")?,
            _ => {
                bracket(*first, &mut open)?;
                rest
            }
        };
    }
    if open.is_empty() { Ok(()) } else { Err(format!("{} brackets are not closed", open.len())) }
}

fn bracket(byte: u8, open: &mut Vec<u8>) -> Result<(), String> {
    match byte {
        b'{' => open.push(b'}'),
        b'[' => open.push(b']'),
        b'(' => open.push(b')'),
        b'<' => open.push(b'>'),
        b'}' | b']' | b')' | b'>' if open.pop() != Some(byte) => return Err(format!("a `{}` closes nothing", char::from(byte))),
        _ => {}
    }
    if open.len() > NESTING { Err(format!("more than {NESTING} brackets are open at a time")) } else { Ok(()) }
}

fn after_line(left: &[u8]) -> &[u8] {
    let end = left.iter().position(|byte| *byte == b'\n');
    end.and_then(|end| left.get(end..)).unwrap_or_default()
}

fn after_comment(mut left: &[u8]) -> Option<&[u8]> {
    loop {
        left = match left {
            [b'*', b'/', rest @ ..] => return Some(rest),
            [b'/', b'*', ..] | [] => return None,
            [_, rest @ ..] => rest,
        };
    }
}

fn after_string(mut left: &[u8], quote: u8) -> Option<&[u8]> {
    loop {
        left = match left {
            [byte, rest @ ..] if *byte == quote => return Some(rest),
            [b'\\', rest @ ..] => after_escape(rest)?,
            [b'\n' | 0, ..] | [] => return None,
            [_, rest @ ..] => rest,
        };
    }
}

/// Behind what makes it an escape; digits that may follow are like any others.
fn after_escape(left: &[u8]) -> Option<&[u8]> {
    let (first, rest) = left.split_first()?;
    let digits = match first {
        b'x' | b'X' => 1,
        b'u' => 4,
        b'U' => 8,
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'?' | b'\\' | b'\'' | b'"' | b'0'..=b'7' => 0,
        _ => return None,
    };
    let (hex, rest) = rest.split_at_checked(digits)?;
    hex.iter().all(u8::is_ascii_hexdigit).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: brackets that are counted where they are none, or not counted where they are.
    #[test]
    fn only_brackets_of_the_language_count() {
        for good in [
            "a // {{{{ <\n/* ([{< \n */ message A { string s = 1 [default = '}\\'\\\"\\x7d{']; map<string, A> m = 2; }",
            "option (m) = { s: \"\\u007b\\\\\" b < c: [1, 2] > } # }",
            "// no end of the line {",
            &"// <\n".repeat(1_000),
            &"a = '{' ".repeat(1_000),
            &(("{".repeat(NESTING)) + &"}".repeat(NESTING)),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "}",
            "{ ]",
            "{",
            "'",
            "'\n'",
            "'\\q'",
            "'\\u12'",
            "'\\",
            "/* ",
            "/* /* */ */",
            &"{ > ".repeat(100),
            &"a { s: \"}\" ".repeat(61),
            &("{".repeat(NESTING + 1) + &"}".repeat(NESTING + 1)),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
