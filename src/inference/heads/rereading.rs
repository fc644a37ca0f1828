//! Heads of BART and T5. The text stands in its last ending token, which the tokenisers put behind each text.

use super::kit::{Class, Kit};
use super::{Heads, Rows};
use crate::inference::InferenceError;
use crate::inference::ops::Activation;

pub fn load(kit: &Kit<'_>) -> Result<Heads, InferenceError> {
    match kit.class() {
        Class::Sequence => {
            let dense = kit.dense("classification_head.dense", Activation::Tanh)?;
            kit.sequence(Rows::Last, vec![dense], "classification_head.out_proj")
        }
        Class::Spans => kit.spans(Vec::new(), "qa_outputs"),
        // BART has no such class.
        Class::Tokens => kit.tokens(Vec::new(), "classifier"),
        Class::Mask | Class::Bare => Ok(Heads::default()),
    }
}
