//! Questions with windows of their contexts, as a network that finds answers reads them.
//!
//! For training each question has one window a pass, drawn so that the answer is anywhere in it; of contexts that do not fit, every
//! fourth window is one without the answer, so that such windows learn to point at the first token, as functions compare them.

use super::batches::{Example, Target};
use super::learner::Examples;
use super::lengths::Lengths;
use super::squad::{self, Asked, Squad};
use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::borrow::Cow;
use std::collections::HashSet;
use tokenizers::Tokenizer;

/// Tokens of a question at most, as the function `answer` has it.
const QUESTION: usize = 64;
/// One in so many windows of a context that does not fit is without the answer.
const WITHOUT: u32 = 4;

/// The special tokens around a pair, with their segments.
pub(super) struct Frame {
    pub before: Vec<(u32, u32)>,
    pub between: Vec<(u32, u32)>,
    pub after: Vec<(u32, u32)>,
    /// Of the first and the second text.
    types: (u32, u32),
}

impl Frame {
    fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let pair = tokenizer.encode(("a", "a"), true).map_err(anyhow::Error::msg)?;
        let sides = pair.get_sequence_ids();
        let place = |side: usize| {
            let first = sides.iter().position(|of| *of == Some(side));
            Some((first?, sides.iter().rposition(|of| *of == Some(side))?))
        };
        let (Some(first), Some(second)) = (place(0), place(1)) else {
            anyhow::bail!("the tokenizer has no way to write a pair of texts (post_processor)");
        };
        ensure!(first.0 > 0 && first.1 < second.0, "the tokenizer puts no special token before the first text of a pair");
        let special = |range: std::ops::Range<usize>| range.map(|i| (pair.get_ids()[i], pair.get_type_ids()[i])).collect();
        Ok(Self {
            before: special(0..first.0),
            between: special(first.1 + 1..second.0),
            after: special(second.1 + 1..sides.len()),
            types: (pair.get_type_ids()[first.0], pair.get_type_ids()[second.0]),
        })
    }

    fn count(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }
}

pub(super) struct Tokens {
    pub ids: Vec<u32>,
    /// Bytes.
    pub offsets: Vec<(usize, usize)>,
}

pub(super) struct Prepared {
    /// Which of the questions of the file it is.
    pub asked: usize,
    ids: Vec<u32>,
    pub context: usize,
    /// The answer's first and last token in the context.
    span: Option<(usize, usize)>,
}

/// Questions as tokens.
pub struct Questions {
    pub(super) frame: Frame,
    pub(super) contexts: Vec<Tokens>,
    pub(super) prepared: Vec<Prepared>,
    /// Tokens of a window at most.
    pub(super) most: usize,
    seed: u64,
    /// Questions that were left out: their answer is longer than a window.
    pub left_out: usize,
}

impl Questions {
    /// `most` tokens a window, special ones included.
    pub fn new(squad: &Squad, tokenizer: &Tokenizer, most: usize, seed: u64) -> Result<Self> {
        let frame = Frame::of(tokenizer)?;
        ensure!(
            most >= QUESTION + frame.count() + 16,
            "windows of {most} tokens are too short; take {} or more",
            QUESTION + frame.count() + 16
        );
        let plain = |text: &str| -> Result<Tokens> {
            let encoding = tokenizer.encode(text, false).map_err(anyhow::Error::msg)?;
            Ok(Tokens { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
        };
        let wanted: HashSet<usize> = squad.asked.iter().map(|asked| asked.context).collect();
        let of = |(number, context): (usize, &squad::Context)| plain(if wanted.contains(&number) { &context.text } else { "" });
        let contexts: Vec<Tokens> = squad.contexts.iter().enumerate().map(of).collect::<Result<_>>()?;
        let (mut prepared, mut left_out) = (Vec::with_capacity(squad.asked.len()), 0);
        for (number, asked) in squad.asked.iter().enumerate() {
            let mut ids = plain(&asked.question)?.ids;
            ids.truncate(QUESTION);
            let room = most - frame.count() - ids.len();
            let span = span(asked, &squad.contexts[asked.context].text, &contexts[asked.context])?;
            match span {
                Some((first, last)) if last - first >= room => left_out += 1,
                _ => prepared.push(Prepared { asked: number, ids, context: asked.context, span }),
            }
        }
        ensure!(!prepared.is_empty(), "no question has an answer that fits into {most} tokens");
        Ok(Self { frame, contexts, prepared, most, seed, left_out })
    }

    /// Tokens of each question with all of its context.
    pub fn lengths(&self) -> Lengths {
        let length = |of: &Prepared| self.frame.count() + of.ids.len() + self.contexts[of.context].ids.len();
        Lengths::new(self.prepared.iter().map(length).collect())
    }

    /// Tokens of a window at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Every token that occurs.
    pub fn used(&self) -> impl Iterator<Item = u32> + '_ {
        let frame = [&self.frame.before, &self.frame.between, &self.frame.after].into_iter().flatten().map(|(id, _)| *id);
        let texts = self.contexts.iter().map(|tokens| &tokens.ids).chain(self.prepared.iter().map(|one| &one.ids));
        frame.chain(texts.flatten().copied())
    }

    /// Gives every token another number.
    pub fn renumber(&mut self, new: impl Fn(u32) -> Result<u32>) -> Result<()> {
        let Frame { before, between, after, .. } = &mut self.frame;
        let frame = [before, between, after].into_iter().flatten().map(|(id, _)| id);
        let contexts = self.contexts.iter_mut().flat_map(|tokens| tokens.ids.iter_mut());
        let questions = self.prepared.iter_mut().flat_map(|one| one.ids.iter_mut());
        for id in frame.chain(contexts).chain(questions) {
            *id = new(*id)?;
        }
        Ok(())
    }

    /// Tokens of the context beside a question.
    pub(super) fn room(&self, of: &Prepared) -> usize {
        self.most - self.frame.count() - of.ids.len()
    }

    /// The question with the tokens of its context from `start` on.
    pub(super) fn window(&self, of: &Prepared, start: usize) -> Example {
        let context = &self.contexts[of.context].ids;
        let end = context.len().min(start + self.room(of));
        let (first, second) = self.frame.types;
        let question = of.ids.iter().map(|id| (*id, first));
        let seen = context[start..end].iter().map(|id| (*id, second));
        let Frame { before, between, after, .. } = &self.frame;
        let tokens =
            before.iter().copied().chain(question).chain(between.iter().copied()).chain(seen).chain(after.iter().copied());
        let (ids, types) = tokens.unzip();
        let offset = self.offset(of);
        let target = match of.span {
            Some((first, last)) if first >= start && last < end => {
                Target::Span((offset + first - start) as u32, (offset + last - start) as u32)
            }
            _ => Target::Span(0, 0),
        };
        Example { ids, types, target }
    }

    /// Where the context begins in a window.
    pub(super) fn offset(&self, of: &Prepared) -> usize {
        self.frame.before.len() + of.ids.len() + self.frame.between.len()
    }

    fn drawn(&self, epoch: usize, of: &Prepared) -> usize {
        let (tokens, room) = (self.contexts[of.context].ids.len(), self.room(of));
        if tokens <= room {
            return 0;
        }
        let place = (epoch as u64) << 32 | of.asked as u64;
        let mut rng = StdRng::seed_from_u64(self.seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let last_start = tokens - room;
        let Some((first, last)) = of.span else { return rng.random_range(0..=last_start) };
        // Starts of windows that hold all of the answer.
        let (least, most) = ((last + 1).saturating_sub(room), first.min(last_start));
        // Starts of windows that hold nothing of it: so far before that they end there, or behind it.
        let (before, behind) = ((first + 1).saturating_sub(room), last_start.saturating_sub(last));
        if rng.random_range(0..WITHOUT) == 0 && before + behind > 0 {
            let place = rng.random_range(0..before + behind);
            return if place < before { place } else { last + 1 + place - before };
        }
        rng.random_range(least..=most)
    }
}

impl Examples for Questions {
    fn count(&self) -> usize {
        self.prepared.len()
    }

    fn length(&self, _: usize, example: usize) -> usize {
        let of = &self.prepared[example];
        self.frame.count() + of.ids.len() + self.contexts[of.context].ids.len().min(self.room(of))
    }

    fn get(&self, epoch: usize, example: usize) -> Cow<'_, Example> {
        let of = &self.prepared[example];
        Cow::Owned(self.window(of, self.drawn(epoch, of)))
    }
}

/// The first answer's first and last token in the context; `None` for a question without one.
fn span(asked: &Asked, text: &str, tokens: &Tokens) -> Result<Option<(usize, usize)>> {
    let Some(given) = asked.answers.first() else { return Ok(None) };
    let start: usize = text.chars().take(given.start).map(char::len_utf8).sum();
    let end = start + given.text.len();
    let first = tokens.offsets.iter().position(|offset| offset.1 > start);
    let last = tokens.offsets.iter().rposition(|offset| offset.0 < end);
    match (first, last) {
        (Some(first), Some(last)) if first <= last => Ok(Some((first, last))),
        _ => anyhow::bail!("{}: the answer {:?} has no token that the tokenizer knows", asked.place, given.text),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::train::squad::{Context, Given};
    use crate::train::vocabulary::tests::small;
    use crate::train::vocabulary::tokenizer;

    /// `a film a film ... ! re` : the answer `!` is word 30 of 40.
    pub(crate) fn long(answered: bool) -> Squad {
        let words: Vec<&str> = (0..400).map(|i| if i == 300 { "!" } else { ["a", "film", "re"][i % 3] }).collect();
        let text = words.join(" ");
        let start = text.chars().position(|c| c == '!').unwrap();
        let answers = if answered { vec![Given { text: "!".into(), start }] } else { vec![] };
        let asked = Asked { context: 0, question: "films re".into(), answers, place: "here".into() };
        Squad { contexts: vec![Context { title: String::new(), text }], asked: vec![asked] }
    }

    /// Would catch: a target that is shifted by the question or the window, windows that always begin alike, a window beyond the end.
    #[test]
    fn windows_hold_the_answer_somewhere_or_point_at_the_first_token() {
        let tokenizer = tokenizer(&small()).unwrap();
        let squad = long(true);
        let questions = Questions::new(&squad, &tokenizer, 96, 7).unwrap();
        let mark = tokenizer.token_to_id("!").unwrap();
        let (mut places, mut without) = (HashSet::new(), 0);
        for epoch in 0..400 {
            let example = questions.get(epoch, 0);
            assert_eq!((example.ids.len(), questions.length(epoch, 0)), (96, 96));
            assert_eq!(example.types.iter().filter(|of| **of == 0).count(), 5, "[CLS] film ##s re [SEP]");
            match example.target {
                Target::Span(0, 0) => {
                    assert!(!example.ids.contains(&mark));
                    without += 1;
                }
                Target::Span(first, last) => {
                    assert_eq!((first, example.ids[first as usize]), (last, mark));
                    places.insert(first);
                }
                _ => unreachable!(),
            }
            assert_eq!(questions.get(epoch, 0), questions.get(epoch, 0));
        }
        assert!((60..140).contains(&without), "{without}");
        assert!(places.len() > 60 && places.iter().all(|place| (5..95).contains(place)), "{places:?}");
        let impossible = long(false);
        let none = Questions::new(&impossible, &tokenizer, 96, 7).unwrap();
        assert!((0..20).all(|epoch| none.get(epoch, 0).target == Target::Span(0, 0)));
    }

    #[test]
    fn an_answer_that_no_window_holds_is_left_out_or_refused() {
        let tokenizer = tokenizer(&small()).unwrap();
        let mut squad = long(true);
        let text = squad.contexts[0].text.clone();
        squad.asked.push(Asked { answers: vec![Given { text, start: 0 }], ..squad.asked[0].clone() });
        assert_eq!(Questions::new(&squad, &tokenizer, 96, 7).unwrap().left_out, 1);
        assert!(Questions::new(&squad, &tokenizer, 40, 7).err().unwrap().to_string().contains("too short"));
    }
}
