//! Networks that write a text from a text: an encoder over packed texts, and a decoder that reads what it has written so far and,
//! across, what the encoder made of the source. Ids in, ids out; nothing is padded and no text sees its batch mates.
//!
//! A decoder keeps keys and values of what is written for each hypothesis by itself (`decode::Past`), and those of the source once a
//! text (`decode::Sources`). A row has the same bits in any company, so that what is written never depends on batch mates.

mod beam;
mod decode;
mod encode;
mod generate;
mod layers;
#[cfg(test)]
mod memory_tests;
mod options;
#[cfg(test)]
mod parity;
mod rereading;
mod rules;
mod sizes;
mod spec;
mod texts;
mod transducer;

pub use options::{EarlyStopping, GenerateOptions};
pub use rereading::Rereading;
pub use sizes::Sizes;
pub use texts::{Ask, Read, TextToText, Written, most_before};
pub use transducer::Transducer;

use super::InferenceError;
use super::checkpoint::ModelConfig;
use super::network::{Reader, Sequence, check};
use super::weights::Tensors;
use super::worked;
use decode::{Decoder, Row};
use encode::Encoder;
use spec::Spec;

/// Model types that [`Seq2Seq::load`] runs.
pub const FAMILIES: &[&str] = &["bart", "marian", "t5"];

/// The weights of a network that writes, read only, shared by all model threads.
pub struct Seq2Seq {
    encoder: Encoder,
    decoder: Decoder,
    spec: Spec,
}

impl Seq2Seq {
    /// Loads the network that `config.json` names. A key that changes the maths and is absent or not run here is an error by its name.
    pub fn load(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let spec = Spec::read(config)?;
        let reader = Reader::top(tensors);
        let encoder = Encoder::load(&reader, &spec)?;
        Ok(Self { decoder: Decoder::load(config, &reader, &spec, &encoder, true)?, encoder, spec })
    }

    /// What can be known of it without it.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            hidden: self.hidden(),
            vocabulary: self.vocabulary(),
            target_vocabulary: self.target_vocabulary(),
            max_tokens: self.max_tokens(),
        }
    }

    /// Numbers in a token's vector.
    pub fn hidden(&self) -> usize {
        self.spec.hidden
    }

    /// Number of ids that a source may have.
    pub fn vocabulary(&self) -> usize {
        self.encoder.words.words()
    }

    /// Number of ids that can be written.
    pub fn target_vocabulary(&self) -> usize {
        self.decoder.vocabulary()
    }

    /// Tokens of a source at most, and tokens that can be written at most.
    pub fn max_tokens(&self) -> usize {
        self.spec.longest
    }

    /// The encoder's last layer, `[total_tokens, hidden]`, text after text. A text that is empty, too long or holds an id outside the
    /// vocabulary is [`InferenceError::Poison`].
    pub fn encode(&self, texts: &[&[u32]]) -> Result<Vec<f32>, InferenceError> {
        let texts: Vec<Sequence<'_>> = texts.iter().map(|&ids| Sequence::from(ids)).collect();
        check(&texts, self.spec.longest, self.vocabulary())?;
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        worked::add(lengths.iter().sum());
        Ok(self.encoder.encode(texts.iter().flat_map(|text| text.ids), &lengths))
    }

    /// The logits after each token of `target`, `[target, target_vocabulary]` row-major, when the network has read `source` and the
    /// target so far. The start token is the first of `target`, where it is wanted.
    pub fn logits(&self, source: &[u32], target: &[u32]) -> Result<Vec<f32>, InferenceError> {
        check(&[Sequence::from(target)], self.spec.longest, self.target_vocabulary())?;
        let encoded = self.encode(&[source])?;
        let sources = self.decoder.sources(&encoded, &[source.len()]);
        let (mut past, mut all) = (self.decoder.past(), Vec::new());
        for &token in target {
            all.extend(self.decoder.step(&mut [Row { token, past: &mut past, source: 0 }], &sources));
        }
        Ok(all)
    }

    /// The ids written for one source: without the start token, with the token that ended it, if one did.
    pub fn generate(&self, ids: &[u32], options: &GenerateOptions) -> Result<Vec<u32>, InferenceError> {
        Ok(self.generate_batch(&[ids], options)?.swap_remove(0))
    }

    /// The same for several sources, in their order. Each is written as if it were alone; those that still are go through the network
    /// together.
    pub fn generate_batch(&self, texts: &[&[u32]], options: &GenerateOptions) -> Result<Vec<Vec<u32>>, InferenceError> {
        options.check(&self.sizes())?;
        let encoded = self.encode(texts)?;
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let sources = self.decoder.sources(&encoded, &lengths);
        generate::run(&self.decoder, &sources, texts.len(), options)
    }
}
