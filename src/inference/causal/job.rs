//! What waits in a generator's queue.

use super::beams::{BeamOptions, Hypothesis};
use super::blocks::Blocks;
use super::request::{Choose, Generated, Steer, Token};
use crate::inference::InferenceError;
use crate::inference::worked::Meter;
use tokio::sync::{mpsc, oneshot};

type Reply<T> = oneshot::Sender<Result<T, InferenceError>>;

/// A text to go on with.
pub(super) struct Generate {
    pub(super) ids: Vec<u32>,
    pub(super) max_new_tokens: usize,
    pub(super) stop_ids: Vec<u32>,
    pub(super) choose: Box<dyn Choose>,
    /// More answers to the same prompt, which is computed once.
    pub(super) others: Vec<Other>,
    /// Hears of each token when it is chosen. Unbounded: the model thread never waits for a reader, and `max_new_tokens` is the bound.
    pub(super) stream: Option<mpsc::UnboundedSender<Token>>,
    pub(super) meter: Meter,
    pub(super) reply: Reply<Generated>,
}

/// Another answer to a prompt.
pub(super) struct Other {
    pub(super) choose: Box<dyn Choose>,
    pub(super) reply: Reply<Generated>,
}

/// Texts to be scored after the same prefix.
pub(super) struct Score {
    pub(super) prefix: Vec<u32>,
    /// None of them is empty.
    pub(super) continuations: Vec<Vec<u32>>,
    pub(super) meter: Meter,
    /// The log-probability of each token of each continuation.
    pub(super) reply: Reply<Vec<Vec<f32>>>,
}

/// A text to go on with in several ways.
pub(super) struct Search {
    pub(super) ids: Vec<u32>,
    pub(super) max_new_tokens: usize,
    pub(super) stop_ids: Vec<u32>,
    pub(super) options: BeamOptions,
    pub(super) steer: Option<Box<dyn Steer>>,
    pub(super) meter: Meter,
    pub(super) reply: Reply<Vec<Hypothesis>>,
}

pub(super) enum Job {
    Generate(Generate),
    Score(Score),
    Search(Search),
}

impl Generate {
    /// Whether nobody waits for the answer any more.
    pub(super) fn cancelled(&self) -> bool {
        self.reply.is_closed() || self.stream.as_ref().is_some_and(mpsc::UnboundedSender::is_closed)
    }
}

impl Score {
    /// Tokens of the longest text that has to be in the cache; the last token of each is only looked up.
    pub(super) fn longest(&self) -> usize {
        self.prefix.len() + self.continuations.iter().map(|c| c.len() - 1).max().unwrap_or(0)
    }

    /// Blocks without which it cannot begin: the prefix, and the longest continuation beside it.
    pub(super) fn blocks(&self) -> usize {
        Blocks::needed(self.prefix.len()) + Blocks::needed_to_fork(self.prefix.len(), self.longest())
    }
}

impl Job {
    pub(super) fn cancelled(&self) -> bool {
        match self {
            Self::Generate(job) => job.cancelled(),
            Self::Score(job) => job.reply.is_closed(),
            Self::Search(job) => job.reply.is_closed(),
        }
    }

    /// A caller that has gone away needs no answer.
    pub(super) fn fail(self, error: InferenceError) {
        match self {
            Self::Generate(job) => {
                job.others.into_iter().for_each(|other| _ = other.reply.send(Err(error.clone())));
                _ = job.reply.send(Err(error));
            }
            Self::Score(job) => _ = job.reply.send(Err(error)),
            Self::Search(job) => _ = job.reply.send(Err(error)),
        }
    }
}
