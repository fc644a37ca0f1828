//! What a model thread does with a request: tokens, batches, one pass of the network each, and what a head reads from it.

use super::together::Together;
use super::{Answer, Head, scores};
use crate::inference::InferenceError;
use crate::inference::backbone::{Backbone, Pooling};
use crate::inference::batch;
use crate::inference::handle::Model;
use crate::inference::heads::{Heads, Labelled, Rows, mean};
use crate::inference::network::{Network, Sequence};
use crate::inference::tokenizer::{Cut, Text, Tokens};
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
}

pub enum Request {
    Texts(Head, Vec<Text>, Cut),
    Tokens(Head, Vec<Tokens>),
    Windows(Vec<Text>, Cut),
    /// The vectors, and the scores of heads that stand on the same encoder.
    Together(Vec<Arc<Shared>>, Vec<Text>),
}

/// All but one are empty.
#[derive(Default)]
pub struct Reply {
    pub answers: Vec<Answer>,
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
        let mut answers: Vec<Answer> =
            tokens.iter().map(|t| Answer { values: Vec::new(), tokens: t.ids.len(), truncated: t.truncated }).collect();
        let loaded = self.shared.backbone.lease()?;
        let mut scratch = loaded.scratch();
        for batch in self.shared.batches(&tokens) {
            let texts: Vec<Sequence<'_>> =
                batch.iter().map(|&i| Sequence { ids: &tokens[i].ids, types: &tokens[i].types }).collect();
            let values = match self.shared.reads_firsts(head) {
                true => {
                    loaded.network.encode_firsts(&texts, &mut scratch)?;
                    // A head reads these rows as it would read texts of one token.
                    let firsts: Vec<Sequence<'_>> =
                        texts.iter().map(|text| Sequence { ids: &text.ids[..1], types: &[] }).collect();
                    self.shared.read(head, &*loaded.network, &firsts, &scratch.x)?
                }
                false => {
                    loaded.network.encode(&texts, &mut scratch)?;
                    self.shared.read(head, &*loaded.network, &texts, &scratch.x)?
                }
            };
            for (index, values) in batch.into_iter().zip(values) {
                answers[index].values = values;
            }
        }
        loaded.put_back(scratch);
        match answers.iter().any(|a| a.values.iter().any(|v| !v.is_finite())) {
            true => Err(InferenceError::Poison("an answer is not a finite number".to_owned())),
            false => Ok(Reply { answers, ..Reply::default() }),
        }
    }
}

impl Shared {
    /// What the network sees of each text: its first window.
    pub fn tokens(&self, texts: &[Text], cut: &Cut) -> Result<Vec<Tokens>, InferenceError> {
        texts.iter().map(|text| Ok(self.backbone.tokenizer.windows(text, cut)?.swap_remove(0))).collect()
    }

    /// Which texts go through the network together.
    pub fn batches(&self, tokens: &[Tokens]) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = tokens.iter().map(|tokens| tokens.ids.len()).collect();
        match self.sorted {
            true => batch::by_token_budget(&lengths, self.token_budget),
            false => batch::as_they_come(&lengths, self.token_budget),
        }
    }

    /// Whether all that a head reads of a text is the first token's vector.
    fn reads_firsts(&self, head: Head) -> bool {
        let rows = match (head, &self.heads.sequence) {
            (Head::Embed, _) => Rows::Embedding,
            (Head::Logits | Head::Classify, Some(of)) => of.head.rows,
            _ => Rows::All,
        };
        let pooled = rows == Rows::Embedding && self.backbone.pooling == Pooling::FirstToken;
        self.firsts && (rows == Rows::First || pooled)
    }

    /// One vector a text from what the network left, `[total_tokens, hidden]`.
    pub fn read(
        &self,
        head: Head,
        network: &dyn Network,
        texts: &[Sequence<'_>],
        x: &[f32],
    ) -> Result<Vec<Vec<f32>>, InferenceError> {
        let none = |what: &str| Err(InferenceError::Poison(format!("the model has no head for {what}")));
        let logits = |labelled: &Labelled| match labelled.head.rows {
            Rows::Embedding => {
                let rows = self.embeddings(texts, x).concat();
                labelled.head.finish(network, rows, &vec![1; texts.len()])
            }
            _ => labelled.head.logits(network, x, texts, None),
        };
        let heads = &self.heads;
        match (head, &heads.sequence, &heads.tokens, &heads.spans, &heads.mask) {
            (Head::Embed, ..) => Ok(self.embeddings(texts, x)),
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
            (Head::Classify | Head::Logits, ..) => none("labels of a text"),
            (Head::Tokens, ..) => none("labels of tokens"),
            (Head::Spans, ..) => none("answers in a text"),
            (Head::Mask, ..) => none("words behind a mask"),
        }
    }

    /// Pooled vectors of length 1.
    fn embeddings(&self, texts: &[Sequence<'_>], x: &[f32]) -> Vec<Vec<f32>> {
        let hidden = self.backbone.hidden;
        let mut rest = x;
        let one = |text: &Sequence<'_>| {
            let (rows, after) = rest.split_at(text.ids.len() * hidden);
            rest = after;
            let mut vector = match self.backbone.pooling {
                Pooling::Mean => mean(rows, hidden),
                Pooling::FirstToken => rows[..hidden].to_vec(),
            };
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|v| *v /= norm);
            vector
        };
        texts.iter().map(one).collect()
    }
}
