//! Drives the searches of several texts through one decoder, step by step.

use super::beam::Beams;
use super::decode::{Decoder, Past, Row, Sources};
use super::options::GenerateOptions;
use super::rules;
use crate::inference::InferenceError;
use crate::inference::worked;

/// The search for one text.
enum Way<'a> {
    /// The likeliest token each time; what is written begins with the start token.
    Greedy {
        written: Vec<u32>,
        done: bool,
    },
    Beams(Beams<'a>),
}

struct Search<'a> {
    way: Way<'a>,
    /// One for each running hypothesis.
    pasts: Vec<Past>,
    source: usize,
}

impl<'a> Search<'a> {
    fn new(options: &'a GenerateOptions, past: &Past, source: usize) -> Self {
        let way = match options.beams {
            1 => Way::Greedy { written: vec![options.start], done: false },
            _ => Way::Beams(Beams::new(options)),
        };
        Self { way, pasts: vec![past.clone(); options.beams], source }
    }

    fn done(&self) -> bool {
        match &self.way {
            Way::Greedy { done, .. } => *done,
            Way::Beams(beams) => beams.done(),
        }
    }

    fn rows(&mut self) -> impl Iterator<Item = Row<'_>> {
        let tokens: Vec<u32> = match &self.way {
            Way::Greedy { written, .. } => written.last().copied().into_iter().collect(),
            Way::Beams(beams) => beams.tokens().collect(),
        };
        let source = self.source;
        tokens.into_iter().zip(&mut self.pasts).map(move |(token, past)| Row { token, past, source })
    }

    fn advance(&mut self, options: &GenerateOptions, logits: &mut [f32]) {
        match &mut self.way {
            Way::Greedy { written, done } => {
                rules::apply(options, written, logits);
                let likeliest = (0..logits.len()).reduce(|best, at| if logits[at] > logits[best] { at } else { best });
                written.extend(likeliest.map(|at| at as u32));
                *done =
                    written.last().is_some_and(|token| options.ends.contains(token)) || written.len() > options.max_new_tokens;
            }
            Way::Beams(beams) => {
                let parents = beams.advance(logits);
                let mut old: Vec<Option<Past>> = std::mem::take(&mut self.pasts).into_iter().map(Some).collect();
                for (place, &parent) in parents.iter().enumerate() {
                    let again = parents[place + 1..].contains(&parent);
                    let past = if again { old[parent].clone() } else { old[parent].take() };
                    self.pasts.extend(past);
                }
            }
        }
    }

    fn output(self) -> Vec<u32> {
        match self.way {
            Way::Greedy { mut written, .. } => written.split_off(1),
            Way::Beams(beams) => beams.output().to_vec(),
        }
    }
}

/// The outputs of `texts` sources. The options have been checked.
pub fn run(
    decoder: &Decoder,
    sources: &Sources,
    texts: usize,
    options: &GenerateOptions,
) -> Result<Vec<Vec<u32>>, InferenceError> {
    let past = decoder.past();
    let mut searches: Vec<Search<'_>> = (0..texts).map(|source| Search::new(options, &past, source)).collect();
    let width = options.beams * decoder.vocabulary();
    loop {
        let mut open: Vec<&mut Search<'_>> = searches.iter_mut().filter(|search| !search.done()).collect();
        if open.is_empty() {
            return Ok(searches.into_iter().map(Search::output).collect());
        }
        let mut rows: Vec<Row<'_>> = open.iter_mut().flat_map(|search| search.rows()).collect();
        worked::add(rows.len());
        let mut logits = decoder.step(&mut rows, sources);
        if logits.iter().any(|v| !v.is_finite()) {
            return Err(InferenceError::Poison("a logit is not a finite number".to_owned()));
        }
        for (search, logits) in open.into_iter().zip(logits.chunks_exact_mut(width)) {
            search.advance(options, logits);
        }
    }
}
