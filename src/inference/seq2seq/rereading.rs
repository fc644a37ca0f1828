//! T5 and BART under heads of texts, tokens and spans, instead of writing. Most heads stand on the decoder, which reads the text again
//! behind a start token; T5's token head, and T5 files without a decoder, stand on the encoder alone.

use super::decode::Decoder;
use super::encode::Encoder;
use super::spec::{Family, Spec, Stack};
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::network::{Network, Reader, Scratch, Sequence, check};
use crate::inference::weights::Tensors;
use crate::inference::words::WordTable;

/// A network that reads a text once or twice.
pub struct Rereading {
    encoder: Encoder,
    /// With the token that it reads before the text.
    decoder: Option<(Decoder, u32)>,
    spec: Spec,
}

impl Rereading {
    pub fn load(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let spec = Spec::read(config)?;
        // T5 below most of its heads has a prefix, and none below others.
        let reader = match spec.family {
            Family::T5 => Reader::below(tensors, "transformer.", "encoder.final_layer_norm.weight"),
            _ => Reader::top(tensors),
        };
        let encoder = Encoder::load(&reader, &spec)?;
        let decoder = match twice(config, &spec) {
            true => Some((Decoder::load(config, &reader, &spec, &encoder, false)?, start(config, &spec)?)),
            false => None,
        };
        Ok(Self { encoder, decoder, spec })
    }
}

/// By the class that was saved.
fn twice(config: &ModelConfig, spec: &Spec) -> bool {
    let class = config.architecture().unwrap_or_default();
    spec.family != Family::T5 || class.contains("ForSequenceClassification") || class.contains("ForQuestionAnswering")
}

/// T5 begins with the padding token, whether the file says so or not.
fn start(config: &ModelConfig, spec: &Spec) -> Result<u32, InferenceError> {
    let padding = if spec.family == Family::T5 { config.get("pad_token_id") } else { None };
    let id = config.get("decoder_start_token_id").or(padding).and_then(serde_json::Value::as_u64);
    let id = id.filter(|&id| id < spec.vocabulary as u64).and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| config.unsupported("decoder_start_token_id must be a token id of the vocabulary".to_owned()))
}

/// Numbers that a stack holds at most, as it is run (`layers::Around`): the stream of vectors, what goes into a part of a layer and what
/// comes out, and, within it, queries, keys, values and what is mixed of them, or the feed-forward part's own; and the scores of one head
/// of one text.
fn numbers(spec: &Spec, stack: Stack, tokens: usize, longest: usize) -> usize {
    let attended = 3 * spec.hidden + 4 * spec.inner;
    let fed = 2 * spec.hidden + if spec.gated { 3 * stack.wide } else { stack.wide };
    tokens * attended.max(fed) + longest * longest
}

impl Network for Rereading {
    fn hidden(&self) -> usize {
        self.spec.hidden
    }

    fn max_tokens(&self) -> usize {
        self.spec.longest
    }

    fn vocabulary(&self) -> usize {
        self.spec.vocabulary
    }

    fn words(&self) -> &WordTable {
        &self.encoder.words
    }

    fn activations(&self, tokens: usize, longest: usize) -> Option<usize> {
        let spec = &self.spec;
        let once = numbers(spec, spec.encoder, tokens, longest);
        // The decoder has what the encoder made of all texts, and keys and values of it for each layer, before its first layer runs.
        let kept = tokens * (spec.hidden + 2 * spec.inner * spec.decoder.layers);
        let twice = self.decoder.as_ref().map_or(0, |_| kept + numbers(spec, spec.decoder, tokens, longest));
        Some(size_of::<f32>() * once.max(twice))
    }

    /// The families have no segments; those of a pair are not looked at.
    fn encode(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        check(texts, self.spec.longest, self.spec.vocabulary)?;
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        scratch.x = self.encoder.encode(texts.iter().flat_map(|text| text.ids), &lengths);
        if let Some((decoder, start)) = &self.decoder {
            let sources = decoder.sources(&scratch.x, &lengths);
            let moved = texts.iter().flat_map(|text| std::iter::once(start).chain(&text.ids[..text.ids.len() - 1]));
            scratch.x = decoder.whole(moved, &sources);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::network::parity_relative::{fixtures, folder};
    use crate::inference::weights::Weights;

    /// Would catch: a figure that leaves out what the decoder keeps of the source, which is most of it, or one far above what is there. The
    /// buffers of a layer are counted, the rest is what the networks hold.
    #[test]
    fn activations_are_those_of_both_readings() {
        for name in ["t5", "bart"] {
            let folder = folder(&fixtures().join(name), "sequence", "v5");
            let (config, weights) = (ModelConfig::open(folder.path()).unwrap(), Weights::open(folder.path(), None).unwrap());
            let network = Rereading::load(&config, &weights.tensors().unwrap()).unwrap();
            let (count, longest) = (10, 20);
            let told = network.activations(count * longest, longest).unwrap();
            let ids: Vec<u32> = (0..longest as u32).map(|i| 5 + i % 40).collect();
            let lengths = vec![longest; count];
            let encoded = network.encoder.encode(ids.iter().cycle().take(count * longest), &lengths);
            let (decoder, _) = network.decoder.as_ref().expect("a sequence head stands on the decoder");
            let sources = decoder.sources(&encoded, &lengths);
            // The stream, and what is read of it.
            let least = size_of::<f32>() * (2 * encoded.capacity() + sources.numbers());
            assert!(told > least && told < 4 * least, "{name}: told {told}, at least {least}");
            assert!(network.activations(2 * count * longest, longest).unwrap() > told);
        }
    }
}
