//! ModernBERT's heads: all go through `head` first, and all but the masked one are named `classifier`.

use super::kit::{Class, Kit};
use super::{Dense, Heads, Rows};
use crate::inference::InferenceError;
use crate::inference::network::modernbert::{epsilon, norm};
use crate::inference::ops::{Activation, Linear};

pub fn load(kit: &Kit<'_>) -> Result<Heads, InferenceError> {
    let rows = match kit.config.text_or("classifier_pooling", "cls")? {
        "cls" => Rows::First,
        "mean" => Rows::Mean,
        other => return Err(kit.config.unsupported(format!("classifier_pooling is `{other}`; known: cls, mean"))),
    };
    match kit.class() {
        Class::Sequence => kit.sequence(rows, vec![head(kit)?], "classifier"),
        Class::Tokens => kit.tokens(vec![head(kit)?], "classifier"),
        Class::Spans => kit.spans(vec![head(kit)?], "classifier"),
        Class::Mask => {
            let bias = kit.config.flag_or("decoder_bias", true)?.then_some("decoder.bias");
            kit.mask(vec![head(kit)?], "decoder", bias)
        }
        Class::Bare => Ok(Heads::default()),
    }
}

fn head(kit: &Kit<'_>) -> Result<Dense, InferenceError> {
    let hidden = kit.network.hidden();
    let part = match kit.config.flag_or("classifier_bias", false)? {
        true => kit.top().part("head.dense", hidden, hidden)?,
        false => kit.top().part_without_bias("head.dense", hidden, hidden)?,
    };
    Ok(Dense {
        linear: Linear::join(&[part], hidden),
        activation: Activation::named(kit.config, "classifier_activation")?,
        norm: Some((norm(&kit.top(), kit.config, "head.norm")?, epsilon(kit.config)?)),
    })
}
