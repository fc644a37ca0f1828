//! Chooses the tokens of one text and keeps its record. It runs on the model's thread; the record is read by who waits for it.

use super::decode::{Decoder, Stops};
use super::guide::Guide;
use super::processors::log_softmax;
use super::sampling::{Sampling, chance};
use super::vocabulary::Vocabulary;
use super::{Choice, Choose};
use std::sync::{Arc, Mutex, PoisonError};

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finish {
    /// As many tokens as were allowed.
    #[default]
    Length,
    /// A token that ends a text, or nothing may come after a label or a JSON value.
    End,
    StopString,
    /// Nobody reads any more.
    Gone,
    /// The network gave no number for any token that may come.
    Broken,
}

impl Finish {
    /// As text-generation of Hugging Face names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::End => "eos_token",
            Self::StopString => "stop_sequence",
            Self::Gone => "cancelled",
            Self::Broken => "error",
        }
    }
}

/// A token as it was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub id: u32,
    /// Natural logarithm of its probability before any change to the logits.
    pub log_probability: f32,
    /// Whether it ended the text, and adds nothing to it.
    pub is_end: bool,
    /// The most probable tokens at its place, the first first.
    pub top: Vec<(u32, f32)>,
}

/// What is known of a text, now or at its end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// Without what ends it: no end token, no stop string.
    pub text: String,
    pub tokens: Vec<Token>,
    pub finish: Finish,
    /// The label, where the output is held to labels.
    pub value: Option<String>,
}

/// Is given each piece of text as it comes; `false` ends the text.
pub type Sink = Box<dyn FnMut(&str) -> bool + Send>;

/// How one text is chosen.
pub struct Sampler {
    sampling: Arc<Sampling>,
    vocabulary: Arc<Vocabulary>,
    seed: u64,
    max_new_tokens: usize,
    top_logprobs: usize,
    guide: Option<Box<dyn Guide>>,
    decoder: Decoder,
    stops: Stops,
    sink: Option<Sink>,
    trace: Arc<Mutex<Trace>>,
}

impl Sampler {
    pub fn new(sampling: Arc<Sampling>, vocabulary: Arc<Vocabulary>, seed: u64, max_new_tokens: usize) -> Self {
        Self {
            sampling,
            vocabulary,
            seed,
            max_new_tokens,
            top_logprobs: 0,
            guide: None,
            decoder: Decoder::default(),
            stops: Stops::default(),
            sink: None,
            trace: Arc::default(),
        }
    }

    /// Keeps so many alternatives of every token.
    pub fn top_logprobs(mut self, count: usize) -> Self {
        self.top_logprobs = count;
        self
    }

    pub fn stops(mut self, strings: &[String]) -> Self {
        self.stops = Stops::new(strings);
        self
    }

    pub fn guide(mut self, guide: Box<dyn Guide>) -> Self {
        self.guide = Some(guide);
        self
    }

    pub fn sink(mut self, sink: Sink) -> Self {
        self.sink = Some(sink);
        self
    }

    /// The record, to be read when the text has ended.
    pub fn trace(&self) -> Arc<Mutex<Trace>> {
        Arc::clone(&self.trace)
    }

    /// The logits of this step as they are chosen from; what a form asks for goes before every penalty and ban.
    fn narrow(&mut self, ids: &[u32], prompt: usize, logits: &mut [f32], left: usize) {
        let ends = self.vocabulary.ends();
        let Some(guide) = &mut self.guide else { return self.sampling.process(logits, ids, prompt, ends, left) };
        let ended: Vec<(u32, f32)> = match guide.may_end() {
            true => ends.iter().filter_map(|id| Some((*id, *logits.get(*id as usize)?))).collect(),
            false => Vec::new(),
        };
        guide.mask(logits, left);
        for (id, logit) in ended {
            logits[id as usize] = logit;
        }
        let allowed = logits.to_vec();
        self.sampling.process(logits, ids, prompt, ends, left);
        for (logit, allowed) in logits.iter_mut().zip(&allowed) {
            if *allowed == f32::NEG_INFINITY {
                *logit = f32::NEG_INFINITY;
            }
        }
        if logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            logits.copy_from_slice(&allowed);
        }
    }

    fn end(&mut self, finish: Finish) -> Choice {
        let mut rest = String::new();
        if finish != Finish::StopString {
            let (out, stopped) = self.stops.push(self.decoder.end());
            rest = out;
            if !stopped {
                rest += &self.stops.end();
            }
        }
        self.let_out(&rest);
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        trace.finish = finish;
        trace.value = self.guide.as_ref().and_then(|guide| guide.value());
        Choice::Stop
    }

    /// Whether somebody still reads.
    fn let_out(&mut self, text: &str) -> bool {
        if text.is_empty() {
            return true;
        }
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).text.push_str(text);
        self.sink.as_mut().is_none_or(|sink| sink(text))
    }
}

impl Choose for Sampler {
    fn choose(&mut self, ids: &[u32], prompt: usize, logits: &mut [f32]) -> Choice {
        let step = ids.len().saturating_sub(prompt);
        let left = self.max_new_tokens.saturating_sub(step);
        if left == 0 {
            return self.end(Finish::Length);
        }
        logits.iter_mut().filter(|logit| logit.is_nan()).for_each(|logit| *logit = f32::NEG_INFINITY);
        let raw = log_softmax(logits);
        let top = most_probable(logits, self.top_logprobs).into_iter().map(|id| (id, raw(id))).collect();
        self.narrow(ids, prompt, logits, left);
        if self.sampling.temperature != 0.0 {
            self.sampling.filter(logits);
        }
        let Some(id) = self.sampling.pick(logits, chance(self.seed, step as u64)) else {
            let is_whole = self.guide.as_ref().is_some_and(|guide| guide.may_end());
            return self.end(if is_whole { Finish::End } else { Finish::Broken });
        };
        let log_probability = raw(id);
        let is_end = self.vocabulary.ends().contains(&id);
        let token = Token { id, log_probability, is_end, top };
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).tokens.push(token);
        if is_end {
            return self.end(Finish::End);
        }
        let text = self.vocabulary.bytes(id).map(|bytes| self.decoder.push(bytes)).unwrap_or_default();
        let (out, stopped) = self.stops.push(&text);
        if !self.let_out(&out) {
            return self.end(Finish::Gone);
        }
        if stopped {
            return self.end(Finish::StopString);
        }
        if let Some(guide) = &mut self.guide
            && !guide.advance(id)
        {
            return self.end(Finish::End);
        }
        if left == 1 {
            return self.end(Finish::Length);
        }
        Choice::Token { id, log_probability }
    }
}

fn most_probable(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(count + 1);
    if count == 0 {
        return best;
    }
    for id in 0..logits.len() as u32 {
        let logit = logits[id as usize];
        if best.len() == count && best.last().is_some_and(|last| logits[*last as usize] >= logit) {
            continue;
        }
        let at = best.partition_point(|other| logits[*other as usize] >= logit);
        best.insert(at, id);
        best.truncate(count);
    }
    best
}
