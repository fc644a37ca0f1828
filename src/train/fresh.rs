//! The shape of a network that is trained from nothing.

use serde_json::{Value, json};
use std::str::FromStr;

/// A BERT encoder by its numbers, as `layers=1,hidden=96,heads=1,wide=192`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct New {
    pub layers: usize,
    /// Numbers of a token.
    pub hidden: usize,
    pub heads: usize,
    /// Numbers between the two products of a layer.
    pub wide: usize,
}

const FORM: &str =
    "it is layers=N,hidden=N and, if not the usual ones, heads=N (hidden / 64) and wide=N (4 × hidden), each 1 to 65536";

impl FromStr for New {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut layers, mut hidden, mut heads, mut wide) = (None, None, None, None);
        for part in text.split(',') {
            let (name, number) = part.split_once('=').ok_or(FORM)?;
            let number = number.trim().parse::<usize>().ok().filter(|number| (1..=65_536).contains(number)).ok_or(FORM)?;
            let place = match name.trim() {
                "layers" => &mut layers,
                "hidden" => &mut hidden,
                "heads" => &mut heads,
                "wide" => &mut wide,
                _ => return Err(FORM.to_owned()),
            };
            if place.replace(number).is_some() {
                return Err(format!("{name} stands twice"));
            }
        }
        let (layers, hidden) = layers.zip(hidden).ok_or(FORM)?;
        let heads = heads.unwrap_or_else(|| (hidden / 64).max(1));
        if !hidden.is_multiple_of(heads) {
            return Err(format!("hidden={hidden} is no multiple of heads={heads}"));
        }
        Ok(Self { layers, hidden, heads, wide: wide.unwrap_or(4 * hidden) })
    }
}

impl std::fmt::Display for New {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { layers, hidden, heads, wide } = self;
        write!(out, "layers={layers},hidden={hidden},heads={heads},wide={wide}")
    }
}

impl New {
    /// As config.json has it, for a vocabulary of so many tokens and texts of so many.
    pub fn config(self, vocabulary: usize, positions: usize) -> Value {
        json!({
            "model_type": "bert",
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.wide,
            "hidden_act": "gelu",
            "max_position_embeddings": positions,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "initializer_range": 0.02,
            "pad_token_id": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_named_and_the_usual_ones_left_out() {
        let all = New { layers: 1, hidden: 96, heads: 1, wide: 192 };
        assert_eq!("layers=1,hidden=96,heads=1,wide=192".parse(), Ok(all));
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!("hidden=256,layers=2".parse(), Ok(New { layers: 2, hidden: 256, heads: 4, wide: 1024 }));
        for wrong in ["", "layers=1", "layers=1,hidden=0", "layers=1,hidden=96,heads=5", "layers=1,layers=2,hidden=8", "depth=1"]
        {
            assert!(wrong.parse::<New>().is_err(), "{wrong}");
        }
    }
}
