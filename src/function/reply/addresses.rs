//! Links and e-mail addresses in a text.

use std::collections::BTreeSet;

/// In small letters.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub links: BTreeSet<String>,
    pub mails: BTreeSet<String>,
}

/// The addresses of a text, and the text without them.
pub fn take(text: &str) -> (Addresses, String) {
    let letters = with_dots(text);
    let (mut found, mut rest, mut at) = (Addresses::default(), String::with_capacity(text.len()), 0);
    while at < letters.len() {
        // Text of other scripts may stand beside an address without a blank, so that first the usual letters are looked at alone.
        let run = run(&letters[at..], |letter| letter.is_ascii_alphanumeric() || MARKS.contains(letter));
        let wide = self::run(&letters[at..], |letter| letter.is_alphanumeric() || letter == '.' || letter == '-');
        let foreign = wide.len() > run.len() && dotted(wide, |one, other| !one.is_ascii() || !other.is_ascii());
        let taken = if foreign { wide } else { run };
        if taken.is_empty() {
            rest.push(letters[at]);
            at += 1;
            continue;
        }
        at += taken.len();
        let word: String = taken.iter().collect::<String>().to_lowercase();
        let word = word.trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '/');
        if word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()) {
            found.mails.insert(word.to_owned());
        } else if foreign || word.contains("://") || word.starts_with("www.") || dotted(taken, |_, _| true) || numbered(word) {
            found.links.insert(word.to_owned());
        } else {
            rest.extend(taken);
            continue;
        }
        rest.push(' ');
    }
    (found, rest)
}

/// The letters of a text. Other scripts' full stops between letters of ASCII are dots, as browsers read them.
fn with_dots(text: &str) -> Vec<char> {
    let letters: Vec<char> = text.chars().collect();
    let ascii = |place: Option<usize>| place.and_then(|place| letters.get(place)).is_some_and(char::is_ascii_alphanumeric);
    let one = |(place, letter): (usize, &char)| match letter {
        '。' | '．' | '｡' if ascii(place.checked_sub(1)) && ascii(Some(place + 1)) => '.',
        other => *other,
    };
    letters.iter().enumerate().map(one).collect()
}

/// Whether a host is four numbers, or numbers with dots before a path or a port.
fn numbered(word: &str) -> bool {
    let host = word.split(['/', ':']).next().unwrap_or_default();
    let parts: Vec<&str> = host.split('.').collect();
    let digits = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    digits && (parts.len() == 4 || (parts.len() > 1 && word.len() > host.len() && word[host.len()..].starts_with('/')))
}

/// What may stand in an address beside letters and digits.
const MARKS: &str = "-._~:/?#@!&'*+=%";

/// The letters from the beginning on that are of one kind.
fn run(letters: &[char], is: impl Fn(char) -> bool) -> &[char] {
    let end = letters.iter().position(|letter| !is(*letter)).unwrap_or(letters.len());
    &letters[..end]
}

/// Whether a dot stands as in the name of a host: a letter or digit before it, and two letters or more after it.
fn dotted(letters: &[char], fits: impl Fn(char, char) -> bool) -> bool {
    letters.windows(4).any(|four| {
        let [before, dot, first, second] = four else { return false };
        *dot == '.' && before.is_alphanumeric() && first.is_alphabetic() && second.is_alphabetic() && fits(*before, *first)
    })
}
