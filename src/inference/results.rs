//! Answers that are kept, so that what was asked before is not computed again. They have the same bits as new ones: an encoder's numbers
//! do not depend on what else is asked at the same time.

use super::encoder::Answer;
use super::tokenizer::{Cut, Give, Text, Tokens};
use super::weights::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// What a cached answer costs beside its numbers, about: its key twice, its counters, the tables' empty places and the allocator's rounding.
const OVERHEAD: usize = 320;

/// The answers of this process's encoders, those that were used last, up to a number of bytes. Clones share them. The default keeps
/// nothing.
#[derive(Clone, Default)]
pub struct Results(Arc<Shared>);

#[derive(Default)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: HashMap<Key, Kept>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, Key>,
    clock: u64,
    counts: Counts,
}

struct Kept {
    what: What,
    used: u64,
}

enum What {
    Answer(Answer),
    /// The answer is a vector that is kept under this key, for all who ask the encoder for it; and whether the text was cut.
    Vector(Key, bool),
}

/// How a cache did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Inputs that were answered out of it.
    pub hits: u64,
    /// Inputs that were not kept; equal ones of a call are computed once and count each.
    pub misses: u64,
    /// Texts that were not kept for the question, and whose vector was, since another question had been asked about them.
    pub vectors: u64,
    /// Answers that are kept now.
    pub answers: usize,
    /// Their memory in bytes, about; never above the capacity.
    pub bytes: usize,
}

/// What is asked of which model: everything of a key that is not the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question([u8; 16]);

impl Question {
    /// `contents` are the digests of the models that answer, `what` is the question.
    pub fn new<'a>(contents: impl IntoIterator<Item = &'a Digest>, what: &str) -> Self {
        let mut hash = Sha256::new();
        for digest in contents {
            hash.update(digest.as_str());
        }
        hash.update(what);
        Self(half(hash))
    }

    /// The same with how a text is cut.
    pub fn cut(&self, cut: &Cut) -> Self {
        let give = match cut.give {
            Give::Longest => "longest",
            Give::First => "first",
            Give::Second => "second",
        };
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(format!("{give} {:?} {:?}", cut.stride, cut.max_tokens));
        Self(half(hash))
    }
}

/// 128 bits of a hash that nobody can steer, and the length of what was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    question: Question,
    text: [u8; 16],
    bytes: usize,
}

impl Key {
    pub fn of_text(question: Question, text: &Text) -> Self {
        let mut hash = Sha256::new();
        let second = text.second.as_deref();
        // The length tells where the first ends; a text alone is not a pair with an empty one.
        hash.update((text.first.len() as u64).to_le_bytes());
        hash.update([u8::from(second.is_some())]);
        hash.update(&text.first);
        hash.update(second.unwrap_or_default());
        Self { question, text: half(hash), bytes: text.first.len() + second.map_or(0, str::len) }
    }

    /// Of one window: what the network sees, and whether it is part of more.
    pub fn of_tokens(question: Question, tokens: &Tokens) -> Self {
        Self::of_window(question, tokens, tokens.truncated)
    }

    /// Of what the network sees alone, whatever it is part of.
    pub fn of_ids(question: Question, tokens: &Tokens) -> Self {
        Self::of_window(question, tokens, false)
    }

    fn of_window(question: Question, tokens: &Tokens, truncated: bool) -> Self {
        let mut hash = Sha256::new();
        hash.update([u8::from(truncated)]);
        for number in tokens.ids.iter().chain(&tokens.types) {
            hash.update(number.to_le_bytes());
        }
        Self { question, text: half(hash), bytes: tokens.ids.len() }
    }
}

fn half(hash: Sha256) -> [u8; 16] {
    let whole = hash.finalize();
    std::array::from_fn(|i| whole[i])
}

impl std::fmt::Debug for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Results({} bytes)", self.0.capacity)
    }
}

impl Results {
    /// Keeps answers in so many bytes; with 0 none.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared { capacity, state: Mutex::default() }))
    }

    pub fn is_on(&self) -> bool {
        self.0.capacity > 0
    }

    pub fn counts(&self) -> Counts {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    /// The answers that are kept of these; `None` for each other one.
    pub(super) fn find(&self, keys: &[Key]) -> Vec<Option<Answer>> {
        if !self.is_on() {
            return vec![None; keys.len()];
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|key| state.find(key)).collect()
    }

    /// The vector that is kept under this key.
    pub(super) fn vector(&self, key: &Key) -> Option<Vec<f32>> {
        if !self.is_on() {
            return None;
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = state.look(key)?.values;
        state.counts.vectors += 1;
        Some(found)
    }

    /// Keeps answers. One that would take more than an eighth of the room is not kept: it would cost many others.
    pub(super) fn keep<'a>(&self, answers: impl IntoIterator<Item = (Key, &'a Answer)>) {
        let answers = answers.into_iter().filter(|(_, answer)| size(answer) <= self.0.capacity / 8);
        self.enter(answers.map(|(key, answer)| (key, What::Answer(answer.clone()))));
    }

    /// Keeps the vector of a text of so many tokens, as an answer.
    pub(super) fn keep_vector(&self, key: Key, vector: &[f32], tokens: usize) {
        if self.is_on() {
            self.keep([(key, &Answer { values: vector.to_vec(), tokens, truncated: false })]);
        }
    }

    /// Keeps for each key that its answer is a vector which is kept under another key; and whether the text was cut.
    pub(super) fn refer(&self, answers: impl IntoIterator<Item = (Key, Key, bool)>) {
        if !self.is_on() {
            return;
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, vector, truncated) in answers {
            if state.kept.contains_key(&vector) {
                state.keep(key, What::Vector(vector, truncated), self.0.capacity);
                // It goes after what refers to it.
                state.use_now(&vector);
            }
        }
    }

    fn enter(&self, answers: impl IntoIterator<Item = (Key, What)>) {
        if !self.is_on() {
            return;
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        answers.into_iter().for_each(|(key, what)| state.keep(key, what, self.0.capacity));
    }
}

/// Bytes that a kept answer takes.
fn size(answer: &Answer) -> usize {
    answer.values.len() * size_of::<f32>() + OVERHEAD
}

impl What {
    fn size(&self) -> usize {
        match self {
            Self::Answer(answer) => size(answer),
            Self::Vector(..) => OVERHEAD,
        }
    }

    /// How many answers it counts as.
    fn answers(&self) -> usize {
        usize::from(matches!(self, Self::Answer(_)))
    }
}

impl State {
    fn find(&mut self, key: &Key) -> Option<Answer> {
        let found = self.look(key);
        let count = if found.is_some() { &mut self.counts.hits } else { &mut self.counts.misses };
        *count += 1;
        found
    }

    /// What is kept under a key, which is now the one that was used last.
    fn look(&mut self, key: &Key) -> Option<Answer> {
        self.use_now(key);
        match &self.kept.get(key)?.what {
            What::Answer(answer) => Some(answer.clone()),
            // What it refers to is an answer, and may be gone.
            What::Vector(vector, truncated) => {
                let (vector, truncated) = (*vector, *truncated);
                Some(Answer { truncated, ..self.look(&vector)? })
            }
        }
    }

    fn use_now(&mut self, key: &Key) {
        let Some(kept) = self.kept.get_mut(key) else { return };
        self.clock += 1;
        self.order.remove(&kept.used);
        kept.used = self.clock;
        self.order.insert(self.clock, *key);
    }

    fn keep(&mut self, key: Key, what: What, capacity: usize) {
        if self.kept.contains_key(&key) {
            return;
        }
        self.counts.bytes += what.size();
        self.counts.answers += what.answers();
        self.clock += 1;
        self.order.insert(self.clock, key);
        self.kept.insert(key, Kept { what, used: self.clock });
        while self.counts.bytes > capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            let Some(gone) = self.kept.remove(&oldest) else { continue };
            self.counts.bytes -= gone.what.size();
            self.counts.answers -= gone.what.answers();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(first: f32, numbers: usize) -> Answer {
        Answer { values: [vec![first], vec![0.0; numbers - 1]].concat(), tokens: 3, truncated: false }
    }

    fn key(text: &str) -> Key {
        Key::of_text(Question::new([&Digest::of(b"a")], "embed"), &Text::from(text))
    }

    /// Would catch: a cache that grows, one that drops what was just used, one that is emptied by a single long answer.
    #[test]
    fn the_least_recently_used_goes_first() {
        let one = size(&answer(0.0, 100));
        let results = Results::new(10 * one);
        let first = |text: &str| results.find(&[key(text)]).remove(0).map(|answer| answer.values[0]);
        for i in 0..10 {
            results.keep([(key(&i.to_string()), &answer(i as f32, 100))]);
        }
        assert_eq!((first("0"), results.counts().answers, results.counts().bytes), (Some(0.0), 10, 10 * one));
        results.keep([(key("ten"), &answer(10.0, 100)), (key("ten"), &answer(11.0, 100))]);
        assert_eq!((first("1"), first("0"), first("ten")), (None, Some(0.0), Some(10.0)));
        results.keep([(key("long"), &answer(1.0, 1000))]);
        assert_eq!(first("long"), None);
        let counts = results.counts();
        assert_eq!((counts.hits, counts.misses, counts.answers, counts.bytes), (3, 2, 10, 10 * one));
        let off = Results::default();
        off.keep([(key("x"), &answer(1.0, 4))]);
        assert!(off.find(&[key("x")])[0].is_none() && off.counts() == Counts::default());
    }

    /// Would catch: a vector that is kept twice, a reference that outlives it and is taken for an answer, another text's mark of a cut.
    #[test]
    fn what_refers_to_a_vector_goes_with_it() {
        let one = size(&answer(0.0, 100));
        let results = Results::new(8 * one);
        let (vector, short, long) = (key("vector"), key("short"), key("long"));
        results.refer([(short, vector, false)]);
        assert!(results.find(&[short])[0].is_none());
        results.keep_vector(vector, &[1.0; 100], 3);
        results.refer([(short, vector, false), (long, vector, true)]);
        let found = results.find(&[short, long]).into_iter().flatten();
        let told: Vec<_> = found.map(|answer| (answer.values.len(), answer.tokens, answer.truncated)).collect();
        assert_eq!(told, [(100, 3, false), (100, 3, true)]);
        let counts = results.counts();
        assert_eq!((counts.answers, counts.bytes, counts.vectors), (1, one + 2 * OVERHEAD, 0));
        assert_eq!((results.vector(&vector).map(|of| of.len()), results.counts().vectors), (Some(100), 1));
        for i in 0..8 {
            results.keep([(key(&i.to_string()), &answer(0.0, 100))]);
        }
        assert!(results.find(&[short, long]).iter().all(Option::is_none) && results.vector(&vector).is_none());
    }

    /// Would catch: an answer of another model, of another question, or of another text that looks alike.
    #[test]
    fn keys_differ_where_answers_may() {
        let digest = |of: &str| Digest::of(of.as_bytes());
        let mut questions = vec![Question::new([&digest("a")], "embed"), Question::new([&digest("b")], "embed")];
        questions.push(Question::new([&digest("a")], "scores"));
        questions.push(Question::new([&digest("a"), &digest("b")], "embed"));
        for cut in [
            Cut::default(),
            Cut { give: Give::First, ..Cut::default() },
            Cut { stride: Some(3), ..Cut::default() },
            Cut { max_tokens: Some(3), ..Cut::default() },
        ] {
            questions.push(questions[0].cut(&cut));
        }
        assert!((1..questions.len()).all(|i| !questions[..i].contains(&questions[i])));
        let of = |text: &Text| Key::of_text(questions[0], text);
        let texts = [Text::from("ab"), Text::pair("ab", ""), Text::pair("a", "b"), Text::pair("", "ab"), Text::from("ba")];
        let keys: Vec<Key> = texts.iter().map(of).collect();
        assert!((1..keys.len()).all(|i| !keys[..i].contains(&keys[i])));
        let tokens =
            |ids: &[u32], truncated| Tokens { ids: ids.into(), types: vec![0; ids.len()], truncated, ..Tokens::default() };
        let windows = [tokens(&[1, 2], false), tokens(&[1, 2], true), tokens(&[2, 1], false), tokens(&[1], false)];
        let keys: Vec<Key> = windows.iter().map(|window| Key::of_tokens(questions[0], window)).collect();
        assert!((1..keys.len()).all(|i| !keys[..i].contains(&keys[i])));
    }
}
