//! Where sentences begin and end: after marks that end one, and at empty lines. Points of abbreviations, initials and numbers end
//! none.

use std::ops::Range;

/// Words before a point that are seldom the last of a sentence.
const ABBREVIATIONS: [&str; 44] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "etc", "e.g", "i.e", "cf", "al", "approx", "no", "nos", "vol",
    "fig", "p", "pp", "ed", "inc", "ltd", "co", "corp", "dept", "est", "gen", "rep", "sen", "rev", "gov", "capt", "jan", "feb",
    "mar", "apr", "aug", "sept", "oct", "nov", "dec", "a.m",
];

/// Longest sentence, in bytes: a text without marks is cut after a blank beyond it.
const LONGEST: usize = 4_000;

/// Signs that are looked at behind a mark: the work stays in proportion to the text, whatever stands in it.
const AHEAD: usize = 64;

/// Bytes of each sentence, without white space at its ends; none is empty.
pub fn split(text: &str) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let (mut start, mut ended, mut lines) = (0, false, 0);
    for (place, sign) in text.char_indices() {
        if ended && !closes(sign) {
            push(text, start..place, &mut sentences);
            (start, ended) = (place, false);
        }
        lines = if sign == '\n' {
            lines + 1
        } else if sign.is_whitespace() {
            lines
        } else {
            0
        };
        let after = place + sign.len_utf8();
        ended |= match sign {
            '。' | '！' | '？' | '｡' | '؟' | '।' | '…' => true,
            '!' | '?' => ends_word(&text[after..]),
            '.' => ends_word(&text[after..]) && !abbreviated(&text[start..place], &text[after..]),
            '\n' => lines >= 2,
            _ => sign.is_whitespace() && place - start > LONGEST,
        };
    }
    push(text, start..text.len(), &mut sentences);
    sentences
}

fn push(text: &str, bytes: Range<usize>, sentences: &mut Vec<Range<usize>>) {
    let piece = &text[bytes.clone()];
    let start = bytes.start + (piece.len() - piece.trim_start().len());
    let length = piece.trim().len();
    if length > 0 {
        sentences.push(start..start + length);
    }
}

/// Signs that still belong to the sentence that a mark has ended.
fn closes(sign: char) -> bool {
    matches!(sign, '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '」' | '』' | '）' | '.' | '!' | '?' | '。' | '！' | '？' | '…')
}

/// Whether nothing but closing signs stand before the next blank or the end.
fn ends_word(rest: &str) -> bool {
    rest.chars().take(AHEAD).find(|sign| !closes(*sign)).is_none_or(char::is_whitespace)
}

/// Whether the point after `before` is that of an abbreviation, an initial, or stands before a small letter.
fn abbreviated(before: &str, after: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '"' | '“' | '[')).next().unwrap_or_default();
    let next = after.chars().take(AHEAD).find(|sign| !sign.is_whitespace() && !closes(*sign));
    if next.is_some_and(char::is_lowercase) {
        return true;
    }
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase) && next.is_some_and(char::is_uppercase);
    let lower = word.to_lowercase();
    // "No." and "St." before a name or a number; alone at the end of a text they end it.
    initial && word != "I" || (next.is_some() && ABBREVIATIONS.contains(&lower.as_str()))
}

/// Sentences in a row: a blank between them, but none after the marks of scripts that have none.
pub fn join<'a>(sentences: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for sentence in sentences {
        if text.chars().next_back().is_some_and(|last| !matches!(last, '。' | '！' | '？' | '」' | '』' | '）')) {
            text.push(' ');
        }
        text.push_str(sentence);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|bytes| &text[bytes]).collect()
    }

    #[test]
    fn points_that_end_nothing_are_passed() {
        for (text, expected) in [
            ("Dr. Smith paid $3.50. He left!", vec!["Dr. Smith paid $3.50.", "He left!"]),
            (
                "It was (e.g. red). J. R. Hartley wrote it. \"Really?\" she said.",
                vec!["It was (e.g. red).", "J. R. Hartley wrote it.", "\"Really?\"", "she said."],
            ),
            ("See www.a.com now. ok", vec!["See www.a.com now. ok"]),
            ("今天很好。我们走吧！你呢？（好。）对", vec!["今天很好。", "我们走吧！", "你呢？", "（好。）", "对"]),
            ("One line\nof a text\n\nAnother one", vec!["One line\nof a text", "Another one"]),
            ("Wait... What?! Yes.", vec!["Wait...", "What?!", "Yes."]),
            (" . \n", vec!["."]),
            ("", vec![]),
        ] {
            assert_eq!(sentences(text), expected, "{text}");
        }
        let marks = split(&"! . ".repeat(200_000));
        assert!(!marks.is_empty() && split(&"!".repeat(400_000)).len() == 1);
        assert_eq!(join(["今天。", "走！"].into_iter()), "今天。走！");
        assert_eq!(join(["A.", "B."].into_iter()), "A. B.");
    }

    proptest::proptest! {
        /// Would catch: text that is lost or doubled between sentences, a cut inside a character, an empty sentence.
        #[test]
        fn sentences_hold_all_of_the_text(text in "[aB .!?\n。！\"）😀中]{0,40}") {
            let found = split(&text);
            proptest::prop_assert!(found.iter().all(|bytes| !text[bytes.clone()].trim().is_empty()));
            proptest::prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let all: String = found.iter().map(|bytes| &text[bytes.clone()]).collect();
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            proptest::prop_assert_eq!(bare(&all), bare(&text));
        }
    }
}
