//! BERT and the families that share its layers: they differ in the names of their tensors, in how they count positions, and in what
//! stands before the first layer.

use super::embed::{Embeddings, Tables};
use super::layers::{BERT, Names, Sizes, Stack, Wanted};
use super::{Network, Plan, Reader, Scratch, Sequence, mpnet};
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::Activation;
use crate::inference::weights::Tensors;
use crate::inference::words::WordTable;

/// An encoder of layers with a norm behind each half.
pub struct Bert {
    embeddings: Embeddings,
    stack: Stack,
}

/// What has to be in a file for a prefix to be the file's own.
const KNOWN: &str = "embeddings.word_embeddings.weight";

impl Bert {
    /// Of the family that `config.json` names.
    pub fn load(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        config.refuse_other_maths()?;
        match config.family()? {
            "distilbert" => Self::distilbert(config, tensors),
            "roberta" | "xlm-roberta" | "camembert" => Self::roberta(config, tensors),
            "albert" => Self::albert(config, tensors),
            "electra" => Self::electra(config, tensors),
            "mpnet" => Self::mpnet(config, tensors),
            _ => Self::plain(config, tensors),
        }
    }

    /// The same network by another plan; its answers agree up to rounding.
    pub fn planned(self, plan: Plan) -> Self {
        Self { stack: self.stack.planned(plan), ..self }
    }

    fn plain(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let (reader, sizes) = (Reader::below(tensors, "bert.", KNOWN), Sizes::read(config)?);
        let embeddings = Embeddings::load(&reader, tables(config, sizes.hidden, sizes.epsilon)?, None)?;
        let stack = Stack::load(&reader, places(config, "encoder.layer", "num_hidden_layers")?, &BERT, sizes)?;
        Ok(Self { embeddings, stack })
    }

    /// Without segments; the epsilon stands in the family's code.
    fn distilbert(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        const NAMES: Names = Names {
            query: "attention.q_lin",
            key: "attention.k_lin",
            value: "attention.v_lin",
            attended: "attention.out_lin",
            attended_norm: "sa_layer_norm",
            up: "ffn.lin1",
            down: "ffn.lin2",
            down_norm: "output_layer_norm",
        };
        let reader = Reader::below(tensors, "distilbert.", KNOWN);
        let sizes = Sizes {
            hidden: config.count("dim")?,
            heads: config.count("n_heads")?,
            wide: config.count("hidden_dim")?,
            epsilon: 1e-12,
            activation: Activation::named(config, "activation")?,
        }
        .checked(config)?;
        let tables = Tables { segments: false, ..tables(config, sizes.hidden, sizes.epsilon)? };
        let embeddings = Embeddings::load(&reader, tables, None)?;
        let stack = Stack::load(&reader, places(config, "transformer.layer", "n_layers")?, &NAMES, sizes)?;
        Ok(Self { embeddings, stack })
    }

    fn roberta(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let (reader, sizes) = (Reader::below(tensors, "roberta.", KNOWN), Sizes::read(config)?);
        let padding = config.id_or("pad_token_id", 1)?;
        let tables = Tables { padding: Some(padding), ..tables(config, sizes.hidden, sizes.epsilon)? };
        if tables.positions <= padding + 1 {
            let cause = format!("positions begin behind pad_token_id {padding}, but there are {} of them", tables.positions);
            return Err(config.unsupported(cause));
        }
        let embeddings = Embeddings::load(&reader, tables, None)?;
        let stack = Stack::load(&reader, places(config, "encoder.layer", "num_hidden_layers")?, &BERT, sizes)?;
        Ok(Self { embeddings, stack })
    }

    /// A narrow word table, widened once, and few layers that run many times.
    fn albert(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        const NAMES: Names = Names {
            query: "attention.query",
            key: "attention.key",
            value: "attention.value",
            attended: "attention.dense",
            attended_norm: "attention.LayerNorm",
            up: "ffn",
            down: "ffn_output",
            down_norm: "full_layer_layer_norm",
        };
        let reader = Reader::below(tensors, "albert.", KNOWN);
        if config.get("hidden_act").is_none() {
            // The family's own default is not that of the others.
            return Err(config.unsupported("`hidden_act` is missing; it must be the name of an activation".to_owned()));
        }
        let sizes = Sizes::read(config)?;
        let width = config.count_or("embedding_size", 128)?;
        let [rounds, groups, inner] = ["num_hidden_layers", "num_hidden_groups", "inner_group_num"];
        let (rounds, groups, inner) = (layers(config, rounds)?, layers(config, groups)?, layers(config, inner)?);
        let group =
            |group: usize| (0..inner).map(move |inner| format!("encoder.albert_layer_groups.{group}.albert_layers.{inner}"));
        let places = (0..groups).flat_map(group);
        // In floating point, as the family's code has it.
        let of_round = |round: usize| (round as f64 / (rounds as f64 / groups as f64)) as usize;
        let order = (0..rounds).map(of_round).flat_map(|group| group.min(groups - 1) * inner..(group + 1).min(groups) * inner);
        let widen = reader.linear("encoder.embedding_hidden_mapping_in", width, sizes.hidden)?;
        let embeddings = Embeddings::load(&reader, tables(config, width, sizes.epsilon)?, Some(widen))?;
        let stack = Stack::load(&reader, places, &NAMES, sizes)?.in_order(order.collect());
        Ok(Self { embeddings, stack })
    }

    /// As BERT, with a word table that may be narrower than the layers.
    fn electra(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let (reader, sizes) = (Reader::below(tensors, "electra.", KNOWN), Sizes::read(config)?);
        let width = config.count_or("embedding_size", 128)?;
        let widen = (width != sizes.hidden).then(|| reader.linear("embeddings_project", width, sizes.hidden)).transpose()?;
        let embeddings = Embeddings::load(&reader, tables(config, width, sizes.epsilon)?, widen)?;
        let stack = Stack::load(&reader, places(config, "encoder.layer", "num_hidden_layers")?, &BERT, sizes)?;
        Ok(Self { embeddings, stack })
    }

    /// Positions are counted as in RoBERTa, always from 1, and attention adds terms for the distance of two tokens.
    fn mpnet(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        const NAMES: Names = Names {
            query: "attention.attn.q",
            key: "attention.attn.k",
            value: "attention.attn.v",
            attended: "attention.attn.o",
            attended_norm: "attention.LayerNorm",
            ..BERT
        };
        let (reader, sizes) = (Reader::below(tensors, "mpnet.", KNOWN), Sizes::read(config)?);
        let tables = Tables { segments: false, padding: Some(1), ..tables(config, sizes.hidden, sizes.epsilon)? };
        let embeddings = Embeddings::load(&reader, tables, None)?;
        let distances = mpnet::distances(config, &reader, sizes.heads, embeddings.max_tokens())?;
        let stack = Stack::load(&reader, places(config, "encoder.layer", "num_hidden_layers")?, &NAMES, sizes)?;
        Ok(Self { embeddings, stack: stack.with_distances(distances) })
    }
}

/// With segments, and positions from 0 on.
fn tables(config: &ModelConfig, width: usize, epsilon: f32) -> Result<Tables, InferenceError> {
    let (vocabulary, positions) = (config.count("vocab_size")?, config.count("max_position_embeddings")?);
    Ok(Tables { width, vocabulary, positions, epsilon, segments: true, padding: None })
}

/// `NAME.0`, `NAME.1` and so on, as many as `key` says.
fn places(config: &ModelConfig, name: &'static str, key: &str) -> Result<impl Iterator<Item = String> + use<>, InferenceError> {
    Ok((0..layers(config, key)?).map(move |layer| format!("{name}.{layer}")))
}

/// A number of layers. One that no model has is refused before anything of that length is made.
fn layers(config: &ModelConfig, key: &str) -> Result<usize, InferenceError> {
    match config.count(key)? {
        n if n <= 1000 => Ok(n),
        n => Err(config.unsupported(format!("`{key}` is {n}; at most 1000 are possible"))),
    }
}

impl Network for Bert {
    fn hidden(&self) -> usize {
        self.stack.hidden()
    }

    fn max_tokens(&self) -> usize {
        self.embeddings.max_tokens()
    }

    fn vocabulary(&self) -> usize {
        self.embeddings.vocabulary()
    }

    fn words(&self) -> &WordTable {
        self.embeddings.words()
    }

    fn activations(&self, tokens: usize, longest: usize) -> Option<usize> {
        Some(self.stack.activations(tokens, longest, self.embeddings.width()))
    }

    fn encode(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        self.embeddings.look_up(texts, scratch)?;
        self.stack.run(texts, Wanted::All, scratch);
        Ok(())
    }

    fn encode_firsts(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        self.embeddings.look_up(texts, scratch)?;
        self.stack.run(texts, Wanted::Firsts, scratch);
        Ok(())
    }
}
