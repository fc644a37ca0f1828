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

/// Names of columns that are told at most.
const TOLD: usize = 8;

/// Which columns of a file were taken, and which were not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    pub text: String,
    /// Of the second text of a pair.
    pub pair: Option<String>,
    pub label: Option<String>,
    /// That of second texts, which holds none.
    empty: Option<String>,
    /// Names that stand for texts or labels too.
    passed: Vec<String>,
    others: Vec<String>,
}

impl Taken {
    /// `names` are those of all columns.
    pub(super) fn new<'n>((text, pair): (&str, Option<&str>), label: Option<&str>, names: impl Iterator<Item = &'n str>) -> Self {
        let own = |name: &&str| *name != text && Some(*name) != pair && Some(*name) != label;
        Self {
            text: text.to_owned(),
            pair: pair.map(str::to_owned),
            label: label.map(str::to_owned),
            empty: None,
            passed: Vec::new(),
            others: names.filter(own).map(str::to_owned).collect(),
        }
    }

    /// Of the names that `columns` leave open those that would have been taken, had there been no other.
    pub(super) fn guessed(mut self, columns: &Columns) -> Self {
        let pairs = || PAIR_NAMES.iter().flat_map(|(first, second)| [first, second]);
        let is = |name: &str, known: &&str| name.eq_ignore_ascii_case(known);
        let of_text = |name: &str| TEXT_NAMES.iter().chain(pairs()).any(|known| is(name, known));
        let of_label = |name: &str| LABEL_NAMES.iter().any(|known| is(name, known));
        let candidate = |name: &String| columns.text.is_none() && of_text(name) || columns.label.is_none() && of_label(name);
        (self.passed, self.others) = self.others.into_iter().partition(candidate);
        self
    }

    /// There is one text a row after all.
    pub(super) fn without_second(&mut self) {
        self.empty = self.pair.take();
    }

    /// Whether the same columns were taken.
    pub fn is_as(&self, other: &Self) -> bool {
        (&self.text, &self.pair, &self.label) == (&other.text, &other.pair, &other.label)
    }

    /// A line for people.
    pub fn said(&self) -> String {
        let Self { text, pair, label, empty, passed, others } = self;
        let mut line = format!("texts from {text}");
        line += &pair.as_ref().map(|pair| format!(" and {pair}")).unwrap_or_default();
        line += &label.as_ref().map(|label| format!(", label from {label}")).unwrap_or_default();
        line += &empty.as_ref().map(|empty| format!("; {empty} is empty in all rows, and no second text")).unwrap_or_default();
        for (what, names) in [("passed over", passed), ("not read", others)] {
            let told: Vec<&str> = names.iter().take(TOLD).map(String::as_str).collect();
            let more = if names.len() > TOLD { format!(" and {} more", names.len() - TOLD) } else { String::new() };
            line += &if told.is_empty() { String::new() } else { format!("; {what}: {}{more}", told.join(", ")) };
        }
        line
    }
}
