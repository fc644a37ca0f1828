//! What a fold of conversations says of a message, and what the function makes of it.

use crate::state::Features;
use serde_json::{Map, Value};

/// Characters of earlier messages at most that are read with a short one: a model reads the beginning of a text, and must come to its end.
const MOST_CHARACTERS: usize = 400;

/// A message within its conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// Which of the customer's messages of this session it is, from 1; `None` for one that was passed over.
    pub turn: Option<u64>,
    /// Milliseconds since the customer began to wait for an answer.
    pub waiting_ms: Option<i64>,
    /// `ok`; `late`, the message came after newer ones; `passed_over`, it was too old to be remembered, and stands alone.
    pub status: &'static str,
    /// The customer's messages before it, the oldest first.
    pub(super) earlier: Vec<String>,
    /// Likenesses of what the desk has written before it, and marks of the replies that it named.
    pub(super) sent: Vec<u64>,
}

impl Past {
    /// `None` where no fold has seen the message.
    pub fn of(features: Option<&Features>) -> Option<Self> {
        let features = features?;
        let told = features.document.as_ref()?.as_object()?;
        let list = |name: &str| told.get(name).and_then(Value::as_array).into_iter().flatten();
        Some(Self {
            turn: told.get("turn").and_then(Value::as_u64),
            waiting_ms: told.get("waiting_ms").and_then(Value::as_i64),
            status: status(features, told),
            earlier: list("earlier").filter_map(|text| text.as_str().map(str::to_owned)).collect(),
            sent: list("sent").filter_map(Value::as_u64).collect(),
        })
    }

    /// A message of fewer words than `least` with the earlier ones before it, from the newest back, until there are as many; and how
    /// many those are.
    pub fn in_context(&self, message: &str, least: usize) -> Option<(String, usize)> {
        let (mut have, mut room, mut taken) = (words(message), MOST_CHARACTERS, Vec::new());
        for earlier in self.earlier.iter().rev() {
            if have >= least || room == 0 {
                break;
            }
            let over = earlier.chars().count().saturating_sub(room);
            let end: String = earlier.chars().skip(over).collect();
            have += words(&end);
            room -= end.chars().count().min(room);
            taken.push(end);
        }
        if taken.is_empty() {
            return None;
        }
        let count = taken.len();
        taken.reverse();
        taken.push(message.to_owned());
        Some((taken.join("\n"), count))
    }
}

/// Why a message is not to be answered; a word for a metric.
pub fn skip(features: Option<&Features>) -> Option<&'static str> {
    match features?.document.as_ref()?.get("role")?.as_str()? {
        "agent" => Some("agent"),
        "ignored" => Some("ignored_role"),
        _ => None,
    }
}

fn status(features: &Features, told: &Map<String, Value>) -> &'static str {
    match (told.contains_key("folded"), features.late) {
        (true, _) => "passed_over",
        (false, true) => "late",
        (false, false) => "ok",
    }
}

/// Words of a text; in scripts that are written without blanks each letter is one.
fn words(text: &str) -> usize {
    let (mut count, mut in_word) = (0, false);
    for letter in text.chars() {
        let is_word = letter.is_alphanumeric();
        count += usize::from(is_word && (!in_word || letter >= '\u{2e80}'));
        in_word = is_word && letter < '\u{2e80}';
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Would catch: a long message that is mixed with others, a message that is pushed out by what came before it, letters that are no words.
    #[test]
    fn short_messages_are_read_with_what_came_before() {
        let past =
            |earlier: &[&str]| Past { earlier: earlier.iter().map(|text| (*text).to_owned()).collect(), ..Past::default() };
        let two = past(&["where is my parcel?", "hello"]);
        assert_eq!(two.in_context("and now it is really very late", 6), None);
        assert_eq!(two.in_context("and now?", 3), Some(("hello\nand now?".into(), 1)));
        assert_eq!(two.in_context("and now?", 6), Some(("where is my parcel?\nhello\nand now?".into(), 2)));
        assert_eq!((two.in_context("and now?", 0), past(&[]).in_context("now", 6)), (None, None));
        let long = past(&["never", &"é ".repeat(9_000), "x"]);
        let (text, count) = long.in_context("now", 99_999).unwrap();
        assert!(count == 2 && text.ends_with("é \nx\nnow") && text.chars().count() < MOST_CHARACTERS + 10, "{text}");
        assert_eq!(["", "?!", "naïve x1", "don't", "我的包裹在哪里", "在 here 呢"].map(words), [0, 0, 2, 2, 7, 3]);
    }

    /// Would catch: a desk that is answered, a word of the fold that is lost.
    #[test]
    fn what_the_fold_says_is_read() {
        let features = |document: Value, late: bool| Features { document: Some(document), late, ..Features::default() };
        let told = json!({ "role": "customer", "turn": 2, "waiting_ms": 7, "earlier": ["a"], "sent": [u64::MAX] });
        let past = Past::of(Some(&features(told.clone(), true))).unwrap();
        assert_eq!((past.turn, past.waiting_ms, past.status), (Some(2), Some(7), "late"));
        assert_eq!((past.earlier, past.sent), (vec!["a".to_owned()], vec![u64::MAX]));
        let passed = Past::of(Some(&features(json!({ "role": "customer", "folded": false }), true))).unwrap();
        assert_eq!(passed, Past { status: "passed_over", ..Past::default() });
        assert_eq!((Past::of(None), skip(None), skip(Some(&features(told, false)))), (None, None, None));
        assert_eq!(skip(Some(&features(json!({ "role": "agent" }), false))), Some("agent"));
        assert_eq!(skip(Some(&features(json!({ "role": "ignored" }), false))), Some("ignored_role"));
    }
}
