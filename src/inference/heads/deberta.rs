//! DeBERTa's heads. The masked one has two forms: `legacy`, as in BERT, and that of the files that were trained.

use super::kit::{Class, Kit};
use super::{Dense, Heads, Rows};
use crate::inference::InferenceError;
use crate::inference::ops::Activation;

pub fn load(kit: &Kit<'_>) -> Result<Heads, InferenceError> {
    let hidden = kit.network.hidden();
    if kit.config.count_or("pooler_hidden_size", hidden)? != hidden {
        return Err(kit.config.unsupported(format!("pooler_hidden_size must be hidden_size, {hidden}")));
    }
    // The files that were trained are older than the key.
    let trained = kit.top().has("lm_predictions.lm_head.dense.weight");
    match kit.class() {
        Class::Sequence => {
            let pooler = kit.dense("pooler.dense", Activation::named(kit.config, "pooler_hidden_act")?)?;
            kit.sequence(Rows::First, vec![pooler], "classifier")
        }
        Class::Tokens => kit.tokens(Vec::new(), "classifier"),
        Class::Spans => kit.spans(Vec::new(), "qa_outputs"),
        Class::Mask if kit.config.flag_or("legacy", !trained)? => {
            let dense = transform(kit, "cls.predictions.transform", kit.network.words().width())?;
            kit.mask(vec![dense], "cls.predictions.decoder", Some("cls.predictions.bias"))
        }
        Class::Mask => {
            let dense = transform(kit, "lm_predictions.lm_head", hidden)?;
            kit.mask(vec![dense], "lm_predictions.lm_head.decoder", Some("lm_predictions.lm_head.bias"))
        }
        Class::Bare => Ok(Heads::default()),
    }
}

/// From a token's vector to one as wide as those of the word table.
fn transform(kit: &Kit<'_>, name: &str, outputs: usize) -> Result<Dense, InferenceError> {
    let linear = kit.top().linear(&format!("{name}.dense"), kit.network.hidden(), outputs)?;
    let norm = kit.top().norm(&format!("{name}.LayerNorm"), outputs)?;
    let epsilon = kit.config.number_or("layer_norm_eps", 1e-7)? as f32;
    Ok(Dense { linear, activation: Activation::named(kit.config, "hidden_act")?, norm: Some((norm, epsilon)) })
}
