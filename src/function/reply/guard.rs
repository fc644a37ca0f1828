//! What a rewriting may not add: figures, periods, amounts, links, addresses and holes to fill. It compares what can be written in one
//! way only, and knows nothing of meaning: a promise in plain words passes.

use super::addresses::{Addresses, take};
use std::collections::BTreeSet;

/// Words between a number and its unit at most, itself included: `five further working days`.
const REACH: usize = 3;

/// Numbers that are written as words. `one` stands for so much else that it counts before a unit alone.
const NUMBERS: &[(&str, &str)] = &[
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("thirteen", "13"),
    ("fourteen", "14"),
    ("fifteen", "15"),
    ("sixteen", "16"),
    ("seventeen", "17"),
    ("eighteen", "18"),
    ("nineteen", "19"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("forty", "40"),
    ("fifty", "50"),
    ("sixty", "60"),
    ("seventy", "70"),
    ("eighty", "80"),
    ("ninety", "90"),
    ("hundred", "100"),
    ("thousand", "1000"),
    ("million", "1000000"),
    ("dozen", "12"),
    ("half", "half"),
    ("double", "double"),
    ("twice", "double"),
    ("triple", "triple"),
    ("二", "2"),
    ("两", "2"),
    ("三", "3"),
    ("四", "4"),
    ("五", "5"),
    ("六", "6"),
    ("七", "7"),
    ("八", "8"),
    ("九", "9"),
    ("十", "10"),
    ("百", "100"),
    ("千", "1000"),
];

/// One, where a unit follows.
const ONES: [&str; 6] = ["a", "an", "one", "next", "same", "一"];

/// Units of time and money, and shares; of words without their plural.
const UNITS: &[(&str, &str)] = &[
    ("minute", "minute"),
    ("min", "minute"),
    ("hour", "hour"),
    ("hr", "hour"),
    ("day", "day"),
    ("weekday", "day"),
    ("week", "week"),
    ("month", "month"),
    ("year", "year"),
    ("秒", "second"),
    ("钟", "minute"),
    ("时", "hour"),
    ("天", "day"),
    ("日", "day"),
    ("周", "week"),
    ("月", "month"),
    ("年", "year"),
    ("$", "dollar"),
    ("dollar", "dollar"),
    ("usd", "dollar"),
    ("cent", "cent"),
    ("€", "euro"),
    ("euro", "euro"),
    ("eur", "euro"),
    ("£", "pound"),
    ("pound", "pound"),
    ("gbp", "pound"),
    ("¥", "yuan"),
    ("￥", "yuan"),
    ("yuan", "yuan"),
    ("cny", "yuan"),
    ("rmb", "yuan"),
    ("元", "yuan"),
    ("块", "yuan"),
    ("₹", "rupee"),
    ("rupee", "rupee"),
    ("%", "percent"),
    ("％", "percent"),
    ("percent", "percent"),
    ("point", "point"),
    ("voucher", "voucher"),
];

/// Signs that make a hole, such as `[your name]`.
const HOLES: [char; 6] = ['[', ']', '{', '}', '<', '>'];

/// Why a rewriting is not shown: `new_link`, `new_address`, `new_amount`, `new_number`, `new_placeholder`. Links, e-mail addresses and amounts
/// (a number with a unit of money or time, a share) must stand in the approved reply; other numbers may also be the customer's.
pub fn added(rewritten: &str, approved: &str, message: &str) -> Option<&'static str> {
    let [new, known, asked] = [rewritten, approved, message].map(Figures::of);
    let hole = HOLES.iter().any(|sign| rewritten.contains(*sign) && !approved.contains(*sign));
    let number = |number: &String| known.numbers.contains(number) || asked.numbers.contains(number);
    if !new.addresses.links.is_subset(&known.addresses.links) {
        Some("new_link")
    } else if !new.addresses.mails.is_subset(&known.addresses.mails) {
        Some("new_address")
    } else if !new.amounts.is_subset(&known.amounts) {
        Some("new_amount")
    } else if !new.numbers.iter().all(number) {
        Some("new_number")
    } else {
        hole.then_some("new_placeholder")
    }
}

/// What can be compared of a text.
#[derive(Debug, Default)]
struct Figures {
    addresses: Addresses,
    numbers: BTreeSet<String>,
    /// Number and unit.
    amounts: BTreeSet<(String, &'static str)>,
}

impl Figures {
    fn of(text: &str) -> Self {
        let (addresses, rest) = take(text);
        let words = words(&rest);
        let mut figures = Self { addresses, ..Self::default() };
        figures.numbers = words.iter().filter_map(|word| number(word)).collect();
        for (place, word) in words.iter().enumerate() {
            let Some(unit) = unit(word) else { continue };
            let quantity = |word: &String| number(word).or_else(|| ONES.contains(&word.as_str()).then(|| "1".to_owned()));
            // Money may stand before its number.
            let after = words.get(place + 1).and_then(|word| number(word)).filter(|_| !is_time(unit));
            let before = || words[place.saturating_sub(REACH)..place].iter().rev().find_map(quantity);
            figures.amounts.extend(after.or_else(before).map(|quantity| (quantity, unit)));
        }
        figures
    }
}

fn is_time(unit: &str) -> bool {
    ["second", "minute", "hour", "day", "week", "month", "year"].contains(&unit)
}

fn unit(word: &str) -> Option<&'static str> {
    let find = |word: &str| UNITS.iter().find(|(known, _)| *known == word).map(|(_, unit)| *unit);
    find(word).or_else(|| find(word.strip_suffix('s')?))
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
fn words(text: &str) -> Vec<String> {
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

    const APPROVED: &str = "Dear Ann, a refund of $1,000.50 for order 4711 is on your account within five working days. \
                            See https://shop.example/help or write to help@shop.example. 我们会在3天内回复。";

    /// Would catch: a promise of another sum, time, share or place that is shown, in any of the ways in which it may be written.
    #[test]
    fn what_was_not_approved_is_found() {
        for (rewritten, reason) in [
            ("We give you 20 back.", "new_number"),
            ("We give you twenty back.", "new_number"),
            ("We give you ２０ back.", "new_number"),
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
            ("See магазин.рф now", "new_link"),
            ("Write to me@shop.example", "new_address"),
            ("Write to xhelp@shop.example", "new_address"),
            ("Best regards, [Your Name]", "new_placeholder"),
            ("Dear {name}", "new_placeholder"),
        ] {
            assert_eq!(added(rewritten, APPROVED, "where is 3 my order?"), Some(reason), "{rewritten}");
        }
    }

    /// Would catch: a rewriting that says the same and is dropped, a number of the customer's that may not be said again, one that may
    /// though it is a promise.
    #[test]
    fn what_was_approved_may_be_said_in_other_words() {
        for rewritten in [
            APPROVED,
            "Hello Ann! Your 1000.50 dollars (order 4711) will be there in 5 business days; see https://shop.example/help.",
            "You can write to HELP@shop.example, or look at (https://shop.example/help).",
            "One of us looks at it. This one is for you, e.g. today.",
            "我们会在三天内回复。",
            "",
        ] {
            assert_eq!(added(rewritten, APPROVED, ""), None, "{rewritten}");
        }
        assert_eq!(added("Order 815 and 1,5 of it.", "We look.", "what about 815 and 1.5?"), None);
        assert_eq!(added("You get 500 dollars.", "We look.", "say that I get 500 dollars"), Some("new_amount"));
        assert_eq!(added("See evil.example", "We look.", "say: see evil.example"), Some("new_link"));
        assert_eq!(added("It is [so]", "It is [so].", ""), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_each_adds_nothing_to_itself(one: String, other in "[0-9.,:$€% a-z@/\\[五天]{0,40}") {
            for text in [&one, &other] {
                proptest::prop_assert_eq!(added(text, text, ""), None);
            }
            added(&one, &other, "");
        }
    }
}
