//! Which columns of a table, or fields of an object, hold the text, the second text of a pair, and the label.

const TEXT_NAMES: [&str; 6] = ["text", "sentence", "content", "utterance", "message", "text_a"];
const LABEL_NAMES: [&str; 7] = ["label", "labels", "category", "intent", "score", "stars", "rating"];
/// As public data names two texts of a row. Looked for before a single text: one of two would be learnt in silence.
const PAIR_NAMES: [(&str, &str); 9] = [
    ("text", "text_pair"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("sentence_a", "sentence_b"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("query", "passage"),
];

/// Columns named by the user; `None` is guessed from what there is.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Of the text, or of both texts of a pair with a comma between the names.
    pub text: Option<String>,
    pub label: Option<String>,
}

impl Columns {
    /// The text and, of a pair, the second one; `at` is what stands under a name.
    pub(super) fn texts<T>(&self, at: impl Fn(&str) -> Option<T>) -> Option<(T, Option<T>)> {
        let both = |first: &str, second: &str| Some((at(first.trim())?, Some(at(second.trim())?)));
        let one = |name: &str| at(name).map(|text| (text, None));
        match &self.text {
            Some(asked) => one(asked).or_else(|| asked.split_once(',').and_then(|(first, second)| both(first, second))),
            None => {
                let pair = PAIR_NAMES.iter().find_map(|(first, second)| both(first, second));
                pair.or_else(|| TEXT_NAMES.iter().find_map(|name| one(name)))
            }
        }
    }

    /// The label.
    pub(super) fn label<T>(&self, at: impl Fn(&str) -> Option<T>) -> Option<T> {
        match &self.label {
            Some(asked) => at(asked),
            None => LABEL_NAMES.iter().find_map(|name| at(name)),
        }
    }
}
