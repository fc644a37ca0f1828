//! The vectors of texts, once for all models that stand on an encoder: what is kept, or what somebody computes just now, is not computed
//! again. A vector has the same bits wherever it comes from.

#[cfg(test)]
mod tests;

use super::Head;
use super::engine::{Shared, firsts, not_finite, total};
use crate::inference::InferenceError;
use crate::inference::backbone::Pooling;
use crate::inference::flights::{Claim, Ticket};
use crate::inference::heads::Rows;
use crate::inference::network::Sequence;
use crate::inference::results::{Key, Question};
use crate::inference::tokenizer::Tokens;
use crate::inference::worked;

impl Tokens {
    /// As a network sees it.
    pub(super) fn sequence(&self) -> Sequence<'_> {
        Sequence { ids: &self.ids, types: &self.types }
    }
}

/// A text whose vector this thread computes: its place, and its claim where others may wait for it.
type Own<'a> = (usize, Option<Ticket<'a>>);

impl Shared {
    /// Whether all that a head reads of a text is its vector.
    pub fn reads_embedding(&self, head: Head) -> bool {
        match (head, &self.heads.sequence) {
            (Head::Embed, _) => true,
            (Head::Classify | Head::Logits, Some(of)) => of.head.rows == Rows::Embedding,
            _ => false,
        }
    }

    /// What such a head says of texts with these vectors.
    pub fn of_embeddings(&self, head: Head, vectors: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, InferenceError> {
        if head == Head::Embed {
            return Ok(vectors);
        }
        let of = self.heads.sequence.as_ref();
        let logits = of.and_then(|of| Some((of.head.of_embeddings(vectors.concat())?, of.problem)));
        let (logits, problem) =
            logits.ok_or_else(|| InferenceError::Poison("the model has no head for the vector of a text".to_owned()))?;
        Ok(if head == Head::Logits { logits } else { logits.into_iter().map(|row| super::scores(row, problem)).collect() })
    }

    /// One vector a text, of length 1, and the keys under which they are kept. Blocks while others compute some of them.
    pub fn vectors(&self, tokens: &[Tokens]) -> Result<(Vec<Vec<f32>>, Vec<Key>), InferenceError> {
        let question = Question::new([&self.backbone.contents], "vector");
        let keys = match self.merge || self.results.is_on() {
            true => tokens.iter().map(|tokens| Key::of_ids(question, tokens)).collect(),
            false => Vec::new(),
        };
        let mut vectors = vec![Vec::new(); tokens.len()];
        let mut open: Vec<usize> = (0..tokens.len()).collect();
        while !open.is_empty() {
            let (mut own, mut others): (Vec<Own<'_>>, Vec<_>) = (Vec::new(), Vec::new());
            let wanted: Vec<Key> = open.iter().filter_map(|&at| keys.get(at)).copied().collect();
            if self.merge {
                for (at, claim) in open.drain(..).zip(self.backbone.flights.claim(&wanted, &self.results)) {
                    match claim {
                        Claim::Known(vector) => vectors[at] = vector,
                        Claim::Own(ticket) => own.push((at, Some(ticket))),
                        Claim::Others(waiting) => others.push((at, waiting)),
                    }
                }
            } else {
                for at in open.drain(..) {
                    match keys.get(at).and_then(|key| self.results.vector(key)) {
                        Some(vector) => vectors[at] = vector,
                        None => own.push((at, None)),
                    }
                }
            }
            self.compute(tokens, own, &keys, &mut vectors)?;
            // With nothing claimed and no lease on the network: whoever computes them needs neither from us.
            for (at, waiting) in others {
                match waiting.vector() {
                    Some(vector) => vectors[at] = vector,
                    None => open.push(at),
                }
            }
        }
        Ok((vectors, keys))
    }

    /// Runs the network. Claims end here, with a vector or without.
    fn compute(
        &self,
        tokens: &[Tokens],
        own: Vec<Own<'_>>,
        keys: &[Key],
        vectors: &mut [Vec<f32>],
    ) -> Result<(), InferenceError> {
        if own.is_empty() {
            return Ok(());
        }
        let first = self.firsts && self.backbone.pooling == Pooling::FirstToken;
        let batches = self.batches(own.iter().map(|(at, _)| &tokens[*at]));
        let mut own: Vec<Option<Own<'_>>> = own.into_iter().map(Some).collect();
        let loaded = self.backbone.lease()?;
        let (network, mut scratch) = (&*loaded.network, loaded.scratch());
        for batch in batches {
            let batch: Vec<Own<'_>> = batch.into_iter().filter_map(|place| own[place].take()).collect();
            let texts: Vec<Sequence<'_>> = batch.iter().map(|(at, _)| tokens[*at].sequence()).collect();
            worked::add(total(&texts));
            let found = match first {
                true => {
                    network.encode_firsts(&texts, &mut scratch)?;
                    self.embeddings(&firsts(&texts), &scratch.x)
                }
                false => {
                    network.encode(&texts, &mut scratch)?;
                    self.embeddings(&texts, &scratch.x)
                }
            };
            for ((at, ticket), vector) in batch.into_iter().zip(found) {
                // What is no number is nobody's vector.
                if vector.iter().any(|v| !v.is_finite()) {
                    return Err(not_finite());
                }
                let count = tokens[at].ids.len();
                match (ticket, keys.get(at)) {
                    (Some(ticket), _) => ticket.land(&vector, count, &self.results),
                    (None, Some(key)) => self.results.keep_vector(*key, &vector, count),
                    (None, None) => {}
                }
                vectors[at] = vector;
            }
        }
        loaded.put_back(scratch);
        Ok(())
    }
}
