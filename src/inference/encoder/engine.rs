//! What a model thread does with a request: tokens, batches, one pass of the network each, and what a head reads from it.

use super::together::Together;
use super::{Answer, Head, scores};
use crate::inference::InferenceError;
use crate::inference::backbone::{Backbone, Pooling};
use crate::inference::batch;
use crate::inference::handle::Model;
use crate::inference::heads::{Heads, Labelled, Rows, mean};
use crate::inference::network::{Network, Sequence};
use crate::inference::results::{Key, Results};
use crate::inference::tokenizer::{Cut, Text, Tokens};
use crate::inference::worked;
use std::sync::Arc;

/// A network with a model's heads, shared by its threads.
pub struct Shared {
    pub backbone: Arc<Backbone>,
    pub heads: Heads,
    pub token_budget: usize,
    /// Whether a batch holds texts of similar length.
    pub sorted: bool,
    /// Whether the last layer works for first tokens alone where a head reads no others.
    pub firsts: bool,
    /// Vectors that are kept.
    pub results: Results,
    /// Whether vectors that somebody computes already are waited for.
    pub merge: bool,
}

pub enum Request {
    Texts(Head, Vec<Text>, Cut),
    Tokens(Head, Vec<Tokens>),
    Windows(Vec<Text>, Cut),
    /// The vectors, and the scores of heads that stand on the same encoder.
    Together(Vec<Arc<Shared>>, Vec<Text>),
}

/// All but one are empty, and `vectors`.
#[derive(Default)]
pub struct Reply {
    pub answers: Vec<Answer>,
    /// Where answers are vectors: under which keys those are kept. Empty where they are none, or nothing is kept.
    pub vectors: Vec<Key>,
    pub windows: Vec<Vec<Tokens>>,
    pub together: Vec<Together>,
}

/// A model thread.
pub struct Engine {
    pub shared: Arc<Shared>,
}

impl Model for Engine {
    type Input = Request;
    type Output = Reply;

    fn infer(&mut self, request: Request) -> Result<Reply, InferenceError> {
        let (head, tokens) = match request {
            Request::Together(heads, texts) => return self.together(&heads, &texts),
            Request::Windows(texts, cut) => {
                let tokenizer = &self.shared.backbone.tokenizer;
                let windows = texts.iter().map(|text| tokenizer.windows(text, &cut)).collect::<Result<_, _>>()?;
                return Ok(Reply { windows, ..Reply::default() });
            }
            Request::Tokens(head, tokens) => (head, tokens),
            Request::Texts(head, texts, cut) => (head, self.shared.tokens(&texts, &cut)?),
        };
        let (values, vectors) = match self.shared.reads_embedding(head) {
            true => {
                let (vectors, keys) = self.shared.vectors(&tokens)?;
                let keys = if head == Head::Embed && self.shared.results.is_on() { keys } else { Vec::new() };
                (self.shared.of_embeddings(head, vectors)?, keys)
            }
            false => (self.shared.values(head, &tokens)?, Vec::new()),
        };
        let answer = |(values, tokens): (_, &Tokens)| Answer { values, tokens: tokens.ids.len(), truncated: tokens.truncated };
        let answers: Vec<Answer> = values.into_iter().zip(&tokens).map(answer).collect();
        match answers.iter().any(|a| a.values.iter().any(|v| !v.is_finite())) {
            true => Err(not_finite()),
            false => Ok(Reply { answers, vectors, ..Reply::default() }),
        }
    }
}

pub fn not_finite() -> InferenceError {
    InferenceError::Poison("an answer is not a finite number".to_owned())
}

impl Shared {
    /// What the network sees of each text: its first window.
    pub fn tokens(&self, texts: &[Text], cut: &Cut) -> Result<Vec<Tokens>, InferenceError> {
        texts.iter().map(|text| Ok(self.backbone.tokenizer.windows(text, cut)?.swap_remove(0))).collect()
    }

    /// What a head reads from the network's output, one vector a text.
    fn values(&self, head: Head, tokens: &[Tokens]) -> Result<Vec<Vec<f32>>, InferenceError> {
        let mut all = vec![Vec::new(); tokens.len()];
        let loaded = self.backbone.lease()?;
        let mut scratch = loaded.scratch();
        for batch in self.batches(tokens.iter()) {
            let texts: Vec<Sequence<'_>> = batch.iter().map(|&i| tokens[i].sequence()).collect();
            let network = &*loaded.network;
            worked::add(total(&texts));
            let values = match self.reads_firsts(head) {
                true => {
                    network.encode_firsts(&texts, &mut scratch)?;
                    self.read(head, network, &firsts(&texts), &scratch.x)?
                }
                false => {
                    network.encode(&texts, &mut scratch)?;
                    self.read(head, network, &texts, &scratch.x)?
                }
            };
            batch.into_iter().zip(values).for_each(|(index, values)| all[index] = values);
        }
        loaded.put_back(scratch);
        Ok(all)
    }

    /// Which texts go through the network together, by their places.
    pub fn batches<'a>(&self, tokens: impl Iterator<Item = &'a Tokens>) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = tokens.map(|tokens| tokens.ids.len()).collect();
        match self.sorted {
            true => batch::by_token_budget(&lengths, self.token_budget),
            false => batch::as_they_come(&lengths, self.token_budget),
        }
    }

    /// Whether all that a head reads of a text is the first token's vector.
    fn reads_firsts(&self, head: Head) -> bool {
        let sequence = self.heads.sequence.as_ref().filter(|_| matches!(head, Head::Logits | Head::Classify));
        self.firsts && sequence.is_some_and(|of| of.head.rows == Rows::First)
    }

    /// One vector a text from what the network left, `[total_tokens, hidden]`.
    pub fn read(
        &self,
        head: Head,
        network: &dyn Network,
        texts: &[Sequence<'_>],
        x: &[f32],
    ) -> Result<Vec<Vec<f32>>, InferenceError> {
        if self.reads_embedding(head) {
            return self.of_embeddings(head, self.embeddings(texts, x));
        }
        let none = |what: &str| Err(InferenceError::Poison(format!("the model has no head for {what}")));
        let logits = |labelled: &Labelled| labelled.head.logits(network, x, texts, None);
        let heads = &self.heads;
        match (head, &heads.sequence, &heads.tokens, &heads.spans, &heads.mask) {
            (Head::Logits, Some(of), ..) => Ok(logits(of)),
            (Head::Classify, Some(of), ..) => Ok(logits(of).into_iter().map(|row| scores(row, of.problem)).collect()),
            (Head::Tokens, _, Some(of), ..) => Ok(logits(of)),
            (Head::Spans, _, _, Some(of), _) => Ok(of.read(network, x, texts)),
            (Head::Mask, .., Some(of)) => {
                let masks = |text: &Sequence<'_>| {
                    (0..text.ids.len()).filter(|&i| Some(text.ids[i]) == self.backbone.mask_token).collect()
                };
                let only: Vec<Vec<usize>> = texts.iter().map(masks).collect();
                Ok(of.logits(network, x, texts, Some(&only)))
            }
            (Head::Pooled, ..) => Ok(self.pooled(texts, x)),
            (Head::Embed | Head::Classify | Head::Logits, ..) => none("labels of a text"),
            (Head::Tokens, ..) => none("labels of tokens"),
            (Head::Spans, ..) => none("answers in a text"),
            (Head::Mask, ..) => none("words behind a mask"),
        }
    }

    /// Pooled vectors of length 1.
    pub fn embeddings(&self, texts: &[Sequence<'_>], x: &[f32]) -> Vec<Vec<f32>> {
        let mut vectors = self.pooled(texts, x);
        for vector in &mut vectors {
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|v| *v /= norm);
        }
        vectors
    }

    /// Pooled vectors.
    fn pooled(&self, texts: &[Sequence<'_>], x: &[f32]) -> Vec<Vec<f32>> {
        let hidden = self.backbone.hidden;
        let mut rest = x;
        let one = |text: &Sequence<'_>| {
            let (rows, after) = rest.split_at(text.ids.len() * hidden);
            rest = after;
            match self.backbone.pooling {
                Pooling::Mean => mean(rows, hidden),
                Pooling::FirstToken => rows[..hidden].to_vec(),
            }
        };
        texts.iter().map(one).collect()
    }
}

/// Tokens of all texts.
pub fn total(texts: &[Sequence<'_>]) -> usize {
    texts.iter().map(|text| text.ids.len()).sum()
}

/// The same texts with their first tokens alone: a head reads those rows as it would read texts of one token.
pub fn firsts<'a>(texts: &[Sequence<'a>]) -> Vec<Sequence<'a>> {
    texts.iter().map(|text| Sequence { ids: &text.ids[..1], types: &[] }).collect()
}
