//! What a rewriting may not add: figures, periods, amounts, links, addresses, holes to fill, words that promise, and signs that are not
//! what they look like; nor may it deny more or less often than the approved reply. It compares what is written and knows nothing of meaning: a promise in other words passes. Numbers as words, units
//! and words that promise are known in English and Chinese; in other languages figures and addresses alone are compared.

use super::addresses::{Addresses, take};
use super::denials::denials;
use super::signs::Signs;
use super::words::{BEFORE_ONE, MULTIPLIERS, NUMBERS, ONES, PROMISES, SAID, unit};
use std::collections::{BTreeMap, BTreeSet};

/// Words between a number and its unit at most, itself included: `five further working days`.
const REACH: usize = 3;

/// Signs that make a hole, such as `[your name]`.
const HOLES: [char; 9] = ['[', ']', '{', '}', '<', '>', '［', '］', '_'];

/// An approved reply, with what a rewriting of it is compared with.
pub struct Approved {
    text: String,
    figures: Figures,
    signs: Signs,
    /// How often it denies something.
    denials: usize,
    /// How often each sign of [`HOLES`] stands there.
    holes: [usize; HOLES.len()],
}

impl Approved {
    pub fn of(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            figures: Figures::of(text),
            signs: Signs::of(text),
            denials: denials(text),
            holes: holes(text),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Why a rewriting is not shown: `new_sign`, `new_link`, `new_address`, `new_amount`, `new_number`, `new_promise`, `negation`, `new_placeholder`. All of it
    /// must stand in the approved reply: what the customer wrote must not become a promise. A number that should be repeated stands in a
    /// placeholder of the reply, and so is approved.
    pub fn added(&self, rewritten: &str) -> Option<&'static str> {
        if self.signs.strange(rewritten) {
            return Some("new_sign");
        }
        let (new, known) = (Figures::of(rewritten), &self.figures);
        if !new.addresses.links.is_subset(&known.addresses.links) {
            Some("new_link")
        } else if !new.addresses.mails.is_subset(&known.addresses.mails) {
            Some("new_address")
        } else if !new.amounts.is_subset(&known.amounts) {
            Some("new_amount")
        } else if new.numbers.iter().any(|(number, count)| known.numbers.get(number).is_none_or(|had| had < count)) {
            Some("new_number")
        } else if !new.promises.is_subset(&known.promises) {
            Some("new_promise")
        } else if denials(rewritten) != self.denials {
            Some("negation")
        } else {
            let hole = holes(rewritten).iter().zip(&self.holes).any(|(new, known)| new > known);
            hole.then_some("new_placeholder")
        }
    }
}

fn holes(text: &str) -> [usize; HOLES.len()] {
    HOLES.map(|sign| text.matches(sign).count())
}

/// What can be compared of a text.
#[derive(Debug, Default)]
struct Figures {
    addresses: Addresses,
    /// Runs of numbers that follow each other, such as `3 100` for three hundred, with how often they stand there.
    numbers: BTreeMap<String, usize>,
    /// Number and unit.
    amounts: BTreeSet<(String, &'static str)>,
    promises: BTreeSet<&'static str>,
}

impl Figures {
    fn of(text: &str) -> Self {
        let (addresses, rest) = take(text);
        let words = words(&rest);
        let mut figures = Self { addresses, ..Self::default() };
        figures.promises.extend(PROMISES.iter().copied().filter(|known| words.iter().any(|word| word == known)));
        figures.promises.extend(SAID.iter().copied().filter(|known| rest.contains(known)));
        let runs = runs(&words);
        let mut counted = BTreeSet::new();
        for run in runs.iter().flatten() {
            if counted.insert(run.0) {
                *figures.numbers.entry(run.1.clone()).or_default() += 1;
            }
        }
        for (place, word) in words.iter().enumerate() {
            let Some(unit) = unit(word) else { continue };
            let run = |place: usize| runs.get(place)?.as_ref().map(|(_, run)| run.clone());
            let one = |place: usize| match words[place].as_str() {
                "a" | "an" => place > 0 && BEFORE_ONE.contains(&words[place - 1].as_str()),
                word => ONES.contains(&word),
            };
            let quantity = |place: usize| run(place).or_else(|| one(place).then(|| "1".to_owned()));
            // Money may stand before its number, and a sign of it behind.
            let after = run(place + 1).filter(|_| !unit.is_time);
            let before = (place.saturating_sub(REACH)..place).rev().find_map(quantity);
            figures.amounts.extend(after.into_iter().chain(before).map(|quantity| (quantity, unit.name)));
        }
        figures
    }
}

/// Of each word that is a number, where its run begins and what all of the run says.
fn runs(words: &[String]) -> Vec<Option<(usize, String)>> {
    let mut found: Vec<Option<(usize, String)>> = vec![None; words.len()];
    let mut place = 0;
    while place < words.len() {
        let Some(first) = number(&words[place]) else {
            place += 1;
            continue;
        };
        let (start, mut run) = (place, vec![first]);
        place += 1;
        while let Some(word) = words.get(place) {
            let Some(next) = number(word).or_else(|| MULTIPLIERS.contains(&word.as_str()).then(|| word.clone())) else { break };
            run.push(next);
            place += 1;
        }
        found[start..place].fill(Some((start, run.join(" "))));
    }
    found
}

/// A number as it is compared: `1,000` is `1000`, `five` is `5`.
fn number(word: &str) -> Option<String> {
    if let Some((_, number)) = NUMBERS.iter().find(|(known, _)| *known == word) {
        return Some((*number).to_owned());
    }
    word.starts_with(char::is_numeric).then(|| {
        let mut parts = word.split(',');
        let first = parts.next().unwrap_or_default();
        let thousands = parts.clone().all(|part| part.split('.').next().is_some_and(|digits| digits.len() == 3));
        match thousands {
            true => std::iter::once(first).chain(parts).collect(),
            false => word.replace(',', "."),
        }
    })
}

/// Words in small letters, numbers with what groups their digits, and signs of units. Letters of scripts without blanks are words.
pub fn words(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().map(plain).collect();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < letters.len() {
        let start = at;
        let letter = letters[at];
        at += 1;
        if letter.is_numeric() {
            let goes_on = |at: usize| letters.get(at).is_some_and(|letter| letter.is_numeric());
            while goes_on(at) || (matches!(letters.get(at), Some('.' | ',' | ':')) && goes_on(at + 1)) {
                at += 1;
            }
        } else if letter.is_alphabetic() && letter < '\u{2e80}' {
            while letters.get(at).is_some_and(|letter| letter.is_alphabetic() && *letter < '\u{2e80}') {
                at += 1;
            }
        } else if !letter.is_alphabetic() && unit(&letter.to_string()).is_none() {
            continue;
        }
        words.push(letters[start..at].iter().collect::<String>().to_lowercase());
    }
    words
}

/// A digit of another script as the one that all know.
fn plain(letter: char) -> char {
    match letter {
        '\u{ff10}'..='\u{ff19}' => char::from(b'0' + (letter as u32 - 0xff10) as u8),
        '\u{660}'..='\u{669}' => char::from(b'0' + (letter as u32 - 0x660) as u8),
        '\u{6f0}'..='\u{6f9}' => char::from(b'0' + (letter as u32 - 0x6f0) as u8),
        '\u{966}'..='\u{96f}' => char::from(b'0' + (letter as u32 - 0x966) as u8),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(rewritten: &str, approved: &str) -> Option<&'static str> {
        Approved::of(approved).added(rewritten)
    }

    const APPROVED: &str = "Dear Ann, a refund of $1,000.50 for order 4711 is on your account within five working days. \
                            See https://shop.example/help or write to help@shop.example. 我们会在3天内回复。";

    /// Would catch: a promise of another sum, time, share or place that is shown, in any of the ways in which it may be written.
    #[test]
    fn what_was_not_approved_is_found() {
        for (rewritten, reason) in [
            ("We give you 20 back.", "new_number"),
            ("We give you twenty back.", "new_number"),
            ("We give you ２０ back.", "new_sign"),
            ("We give you $1,000.50k back.", "new_amount"),
            ("We give you $1,000.50 billion back.", "new_amount"),
            ("It takes 5 5 working days.", "new_amount"),
            ("It takes five hundred working days.", "new_amount"),
            ("Your order 4711, 4711.", "new_number"),
            ("我们会在3天内退还3万元。", "new_amount"),
            ("It is there within five\u{200b}5 days.", "new_sign"),
            ("It is there within five working dаys.", "new_sign"),
            ("See shop.example。evil", "new_link"),
            ("It comes tomorrow.", "new_promise"),
            ("It is for free.", "new_promise"),
            ("It is there within five seconds.", "new_amount"),
            ("See 1.2.3.4/login", "new_link"),
            ("Order 47111 is on its way.", "new_number"),
            ("It costs $4711.", "new_amount"),
            ("It costs 4711 euros.", "new_amount"),
            ("It costs EUR 4711.", "new_amount"),
            ("You get 5 % off.", "new_amount"),
            ("A refund of 1000.50€ is yours.", "new_amount"),
            ("It is there within 5 hours.", "new_amount"),
            ("It is there within five to ten days.", "new_amount"),
            ("It is there in one day.", "new_amount"),
            ("It is there in a working day.", "new_amount"),
            ("It is there the next day.", "new_amount"),
            ("You have it in 3 weeks.", "new_amount"),
            ("我们会在三天内退还3元。", "new_amount"),
            ("我们会在两天内回复。", "new_amount"),
            ("You get double.", "new_number"),
            ("See https://shop.example/help2.", "new_link"),
            ("See http://shop.example/help", "new_link"),
            ("See www.shop.example", "new_link"),
            ("See (evil.example) please", "new_link"),
            ("请看evil.example吧", "new_link"),
            ("See магазин.рф now", "new_sign"),
            ("Write to me@shop.example", "new_address"),
            ("Write to xhelp@shop.example", "new_address"),
            ("Best regards, [Your Name]", "new_placeholder"),
            ("Dear {name}", "new_placeholder"),
            ("You get zero dollars.", "new_amount"),
            ("A refund of $1,000.50 is not on your account.", "negation"),
            ("A refund of $1,000.50 isn’t on your account.", "negation"),
            ("我们不会在3天内回复。", "negation"),
        ] {
            assert_eq!(added(rewritten, APPROVED), Some(reason), "{rewritten}");
        }
    }

    /// Would catch: a rewriting that says the same and is dropped, a word of the customer's that becomes a promise.
    #[test]
    fn what_was_approved_may_be_said_in_other_words() {
        for rewritten in [
            APPROVED,
            "Hello Ann! Your refund of 1000.50 dollars (order 4711) will be there in 5 business days; see https://shop.example/help.",
            "You can write to HELP@shop.example, or look at (https://shop.example/help).",
            "One of us looks at it. This one is for you, Ann’s own – have a great day! 😊",
            "Have a nice day, and a good weekend.",
            "我们会在三天内回复。",
            "",
        ] {
            assert_eq!(added(rewritten, APPROVED), None, "{rewritten}");
        }
        for (rewritten, reason) in [
            ("Order 815.", "new_number"),
            ("You get 500 dollars.", "new_amount"),
            ("You get 500 bucks.", "new_amount"),
            ("See evil.example", "new_link"),
            ("It takes 2 to 5 days.", "new_amount"),
        ] {
            assert_eq!(added(rewritten, "We look."), Some(reason), "{rewritten}");
        }
        assert_eq!(added("It takes 2 to 5 days.", "It takes 5 days."), Some("new_number"));
        assert_eq!((added("It is [so]", "It is [so]."), added("[a] [b]", "[a]")), (None, Some("new_placeholder")));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_each_adds_nothing_to_itself(one: String, other in "[0-9.,:$€% a-z@/\\[五天]{0,40}") {
            for text in [&one, &other] {
                proptest::prop_assert_eq!(added(text, text), None);
            }
            // What cannot be seen, or looks like something else, is never let through.
            for sign in ["\u{200b}", "\u{2060}", "\u{202e}", "а", "５"] {
                proptest::prop_assume!(!other.contains(sign));
                proptest::prop_assert_eq!(added(&format!("{other}{sign}"), &other), Some("new_sign"));
            }
            added(&one, &other);
        }
    }
}
