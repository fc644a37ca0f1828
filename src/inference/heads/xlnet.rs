//! XLNet's heads. The text stands in its last token.

use super::kit::{Class, Kit};
use super::{Beams, Heads, Rows, Spans};
use crate::inference::InferenceError;
use crate::inference::ops::Activation;

pub fn load(kit: &Kit<'_>) -> Result<Heads, InferenceError> {
    match kit.class() {
        Class::Sequence => sequence(kit),
        Class::Tokens => kit.tokens(Vec::new(), "classifier"),
        Class::Spans if kit.config.architecture() == Some("XLNetForQuestionAnswering") => {
            Ok(Heads { spans: Some(Spans::Beams(Box::new(Beams::load(kit)?))), ..Heads::default() })
        }
        Class::Spans => kit.spans(Vec::new(), "qa_outputs"),
        Class::Mask | Class::Bare => Ok(Heads::default()),
    }
}

fn sequence(kit: &Kit<'_>) -> Result<Heads, InferenceError> {
    let rows = match kit.config.text_or("summary_type", "last")? {
        "last" => Rows::Last,
        "first" => Rows::First,
        "mean" => Rows::Mean,
        other => return Err(kit.config.unsupported(format!("summary_type is `{other}`; known: last, first, mean"))),
    };
    let activation = match kit.config.get("summary_activation") {
        None => Activation::None,
        Some(_) => Activation::named(kit.config, "summary_activation")?,
    };
    let dense = match kit.config.flag_or("summary_use_proj", true)? {
        true => vec![kit.dense("sequence_summary.summary", activation)?],
        false if activation == Activation::None => Vec::new(),
        false => return Err(kit.config.unsupported("summary_use_proj is false, but summary_activation is given".to_owned())),
    };
    kit.sequence(rows, dense, "logits_proj")
}
