//! Signs that are not what they look like: what cannot be seen, digits and letters of scripts that the approved reply does not have.

use std::collections::BTreeSet;

/// The signs of an approved reply.
pub struct Signs {
    /// Each once, in order.
    signs: Vec<char>,
    /// Each once.
    scripts: Vec<Script>,
}

impl Signs {
    pub fn of(approved: &str) -> Self {
        let signs: BTreeSet<char> = approved.chars().collect();
        let mut scripts = Vec::new();
        for script in signs.iter().copied().filter_map(script) {
            if !scripts.contains(&script) {
                scripts.push(script);
            }
        }
        Self { signs: signs.into_iter().collect(), scripts }
    }

    /// Whether a rewriting has a sign that neither stands in the approved reply nor is usual in a text of its scripts.
    pub fn strange(&self, rewritten: &str) -> bool {
        let wide = self.scripts.contains(&Script::Wide);
        let usual = |sign: char| match script(sign) {
            Some(script) => self.scripts.contains(&script) || script == Script::Latin && self.scripts.is_empty(),
            None => sign.is_ascii() || TYPOGRAPHY.contains(sign) || (wide && WIDE.contains(sign)) || is_picture(sign),
        };
        rewritten.chars().any(|sign| !usual(sign) && self.signs.binary_search(&sign).is_err())
    }
}

/// Quotes, dashes and dots of usual typography, and signs of money, whose amounts are compared.
const TYPOGRAPHY: &str = "‘’“”«»–—…·•€£¥₹°\u{a0}";

/// Marks in texts whose letters are wide.
const WIDE: &str = "，。！？、：；（）《》「」『』～％￥\u{3000}";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    /// Chinese, Japanese, Korean.
    Wide,
    /// By block of 256.
    Other(u32),
}

/// The script of a letter or a digit; digits of ASCII are of all scripts.
fn script(sign: char) -> Option<Script> {
    if sign.is_ascii() && !sign.is_ascii_alphabetic() || !sign.is_alphanumeric() {
        return None;
    }
    Some(match sign {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Script::Latin,
        '\u{370}'..='\u{3ff}' => Script::Greek,
        '\u{400}'..='\u{52f}' => Script::Cyrillic,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{20000}'..='\u{3ffff}' => Script::Wide,
        other => Script::Other(other as u32 >> 8),
    })
}

fn is_picture(sign: char) -> bool {
    matches!(sign, '\u{1f300}'..='\u{1faff}' | '\u{2600}'..='\u{27bf}')
}
