//! Words that deny, in English and Chinese. A rewriting must deny as often as the approved reply does: one denial more or less says the
//! contrary. That says nothing of what is denied, and drops rewritings that say the same with other words.

use super::guard::words;

/// English words, and Chinese letters, which are words here.
const DENIALS: [&str; 30] = [
    "not", "no", "never", "cannot", "without", "none", "nothing", "nobody", "neither", "nor", "unable", "dont", "doesnt",
    "didnt", "isnt", "arent", "wasnt", "cant", "wont", "couldnt", "wouldnt", "shouldnt", "hasnt", "无", "不", "没", "未", "别",
    "非", "勿",
];

/// Chinese words with one of these letters that deny nothing.
const OTHERS: [&str; 18] = [
    "非常",
    "特别",
    "别的",
    "分别",
    "区别",
    "个别",
    "类别",
    "级别",
    "性别",
    "告别",
    "未来",
    "无论",
    "不论",
    "不仅",
    "不但",
    "不过",
    "不断",
    "不好意思",
];

/// How often a text denies something.
pub fn denials(text: &str) -> usize {
    let text = OTHERS.iter().fold(text.to_owned(), |text, other| text.replace(other, " "));
    let words = words(&text);
    let is_denial = |(place, word): (usize, &String)| {
        // `don't` is `don` and `t` here.
        let short = word == "t" && place > 0 && words[place - 1].ends_with('n');
        short || DENIALS.contains(&word.as_str())
    };
    words.iter().enumerate().filter(|(place, word)| is_denial((*place, word))).count()
}

#[cfg(test)]
mod tests {
    use super::super::guard::Approved;
    use super::*;

    #[test]
    fn denials_are_counted_in_both_languages() {
        for (text, count) in [
            ("We cannot, can't, can’t and do not.", 4),
            ("Never without a receipt; no, none.", 4),
            ("It is in the tin, at noon, and known.", 0),
            ("We are unable to do that.", 1),
            ("我们不能退款，没有办法。", 2),
            ("非常感谢，特别是未来，不过无论如何。", 0),
            ("请勿回复，并非如此，别担心，尚未发货，无法处理。", 5),
            ("", 0),
        ] {
            assert_eq!(denials(text), count, "{text}");
        }
    }

    /// Would catch: a rewriting that says the contrary of what was approved.
    #[test]
    fn a_denial_is_neither_left_out_nor_doubled() {
        let denied = "We cannot change the address of a parcel that has left. 包裹发出后不能改地址。";
        for (rewritten, reason) in [
            ("Sorry, once it's on its way we can't change a parcel's address. 包裹发出后无法改地址。", None),
            ("We are unable to change the address. 不能。", None),
            ("We can change the address of a parcel. 包裹发出后不能改地址。", Some("negation")),
            ("We cannot change the address. 包裹发出后能改地址。", Some("negation")),
            ("We never say that we cannot change it. 不能。", Some("negation")),
        ] {
            assert_eq!(Approved::of(denied).added(rewritten), reason, "{rewritten}");
        }
    }
}
