//! What the training loop sees of a causal network: windows of a stream of tokens, or conversations.

use super::data::Tokens;
use super::network::{Batch, DropOut, IGNORED, Network};
use crate::train::fit::Plan;
use crate::train::trainable::Trainable;
use anyhow::{Result, ensure};
use candle_core::{Tensor, Var};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Tokens that are measured on while training goes on; the whole is measured at its end.
const MEASURED: usize = 16_384;

/// Tokens to learn from.
#[derive(Debug, Clone, PartialEq)]
pub enum Examples {
    /// Texts one behind the other; an example is a window that begins anywhere.
    Stream { ids: Vec<u32>, context: usize },
    /// An example is a conversation.
    Chats(Vec<Tokens>),
}

impl Examples {
    /// Windows of `context` tokens over all texts; `end` stands behind each of several.
    pub fn stream(texts: &[Tokens], end: Option<u32>, context: usize) -> Result<Self> {
        let mut ids = Vec::new();
        for text in texts {
            ids.extend(&text.ids);
            ids.extend(end.filter(|_| texts.len() > 1));
        }
        ensure!(ids.len() > context, "{} tokens are too few for windows of {context} and a next one", ids.len());
        Ok(Self::Stream { ids, context })
    }

    /// Conversations of at most `most` tokens; of longer ones the end is cut off. Those where nothing is left to guess are not used: the
    /// second value is their number.
    pub fn chats(chats: Vec<Tokens>, most: usize) -> Result<(Self, usize)> {
        let before = chats.len();
        let cut = |mut chat: Tokens| {
            chat.ids.truncate(most);
            chat.guessed.truncate(most);
            chat
        };
        let kept: Vec<Tokens> = chats.into_iter().map(cut).filter(|chat| chat.guessed.contains(&true)).collect();
        ensure!(!kept.is_empty(), "no conversation has an answer within {most} tokens; raise --context");
        let lost = before - kept.len();
        Ok((Self::Chats(kept), lost))
    }

    /// Tokens, each counted once.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Stream { ids, .. } => ids.len(),
            Self::Chats(chats) => chats.iter().map(|chat| chat.ids.len()).sum(),
        }
    }

    /// The examples that are measured on: windows side by side, or conversations; evenly chosen where there are many.
    fn measured(&self) -> Vec<usize> {
        let (all, each): (Vec<usize>, usize) = match self {
            Self::Stream { ids, context } => ((0..ids.len() - context).step_by(*context).collect(), *context),
            Self::Chats(chats) => ((0..chats.len()).collect(), self.tokens() / chats.len().max(1)),
        };
        let wanted = (MEASURED / each.max(1)).clamp(1, all.len().max(1));
        (0..wanted).filter_map(|i| all.get(i * all.len() / wanted).copied()).collect()
    }

    fn batch(&self, part: &[usize]) -> Batch {
        let mut batch = Batch::default();
        for &example in part {
            let (ids, targets) = match self {
                Self::Stream { ids, context } => {
                    (ids[example..example + context].to_vec(), ids[example + 1..=example + context].to_vec())
                }
                Self::Chats(chats) => (chats[example].ids.clone(), chats[example].targets()),
            };
            batch.lengths.push(ids.len());
            batch.ids.extend(ids);
            batch.targets.extend(targets);
        }
        batch
    }

    /// Adds to a fingerprint what is learnt from.
    fn mark(&self, digest: &mut Sha256) {
        let mut add = |ids: &[u32]| ids.iter().for_each(|id| digest.update(id.to_le_bytes()));
        match self {
            Self::Stream { ids, context } => {
                add(ids);
                digest.update(format!("windows of {context}"));
            }
            Self::Chats(chats) => {
                for chat in chats {
                    add(&chat.ids);
                    add(&chat.targets());
                }
                digest.update(format!("{} chats", chats.len()));
            }
        }
    }

    fn weight(&self, example: usize) -> usize {
        match self {
            Self::Stream { context, .. } => *context,
            Self::Chats(chats) => chats[example].count(),
        }
    }
}

/// A causal network under training.
pub struct Learner<'a> {
    pub network: &'a Network,
    pub train: &'a Examples,
    pub dev: &'a Examples,
    /// Share of what goes through the network that is left out while it learns.
    pub drop_out: f32,
    pub seed: u64,
}

impl Learner<'_> {
    /// Of all that a run under `plan` follows from, as SHA-256.
    pub fn fingerprint(&self, plan: &Plan) -> Result<String> {
        let mut digest = Sha256::new();
        digest.update(format!("causal {plan:?} {} {}", self.drop_out, self.seed));
        self.network.mark(&mut digest)?;
        self.train.mark(&mut digest);
        self.dev.mark(&mut digest);
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The mean loss on what is measured, in nats a token; both cores work.
    pub fn dev_loss(&self) -> Result<f64> {
        let all = self.dev.measured();
        let sum = |part: &[usize]| -> Result<(f64, f64)> {
            let (mut nats, mut count) = (0.0, 0.0);
            for few in part.chunks(4) {
                let batch = self.dev.batch(few);
                let guessed = batch.targets.iter().filter(|target| **target != IGNORED).count() as f64;
                nats += guessed * self.network.measured(&batch)?;
                count += guessed;
            }
            Ok((nats, count))
        };
        let (first, second) = all.split_at(all.len().div_ceil(2));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| sum(second));
            let (nats, count) = sum(first)?;
            let (more, others) = other.join().map_err(|_| anyhow::anyhow!("a measuring thread panicked"))??;
            Ok((nats + more) / (count + others))
        })
    }
}

impl Trainable for Learner<'_> {
    fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.network.parameters
    }

    /// Of a stream as many windows as fill it once, each from a place drawn anew.
    fn batches(&self, size: usize, epoch: usize) -> Vec<Vec<usize>> {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_add(epoch as u64));
        let size = size.max(1);
        match self.train {
            Examples::Stream { ids, context } => {
                let places = ids.len() - context;
                let count = (ids.len() / context / size).max(1);
                (0..count).map(|_| (0..size).map(|_| rng.random_range(0..places)).collect()).collect()
            }
            Examples::Chats(chats) => {
                let mut all: Vec<usize> = (0..chats.len()).collect();
                all.shuffle(&mut rng);
                all.chunks(size).map(<[usize]>::to_vec).collect()
            }
        }
    }

    fn loss(&self, part: &[usize], draw: u64) -> Result<Tensor> {
        let drop = Some(DropOut { share: self.drop_out, seed: draw }).filter(|drop| drop.share > 0.0);
        self.network.loss(&self.train.batch(part), drop)
    }

    fn weight(&self, example: usize) -> f64 {
        self.train.weight(example) as f64
    }

    fn tokens(&self, example: usize) -> usize {
        match self.train {
            Examples::Stream { context, .. } => *context,
            Examples::Chats(chats) => chats[example].ids.len(),
        }
    }

    fn measure(&self) -> Result<f64> {
        Ok(-self.dev_loss()?)
    }

    fn said(&self, measure: f64) -> String {
        format!("loss {:.4} nats a token, perplexity {:.3}", -measure, (-measure).exp())
    }
}

#[cfg(test)]
mod tests;
