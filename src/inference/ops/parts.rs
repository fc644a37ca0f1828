//! What stands between the products of a layer: norms and activations.

use super::{add_layer_norm, gelu, gelu_tanh, layer_norm, relu, silu};
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;

/// Weight and bias of a layer norm.
pub struct Norm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Norm {
    /// `x = layer_norm(x + residual)`, row by row.
    pub fn add_and_apply(&self, x: &mut [f32], residual: &[f32], epsilon: f32) {
        add_layer_norm(x, residual, &self.weight, &self.bias, epsilon);
    }

    /// `x = layer_norm(x)`, row by row.
    pub fn apply(&self, x: &mut [f32], epsilon: f32) {
        layer_norm(x, &self.weight, &self.bias, epsilon);
    }
}

/// What stands between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// With the error function: `gelu` in a configuration.
    Gelu,
    /// With the hyperbolic tangent: `gelu_new` and its other names.
    GeluTanh,
    Silu,
    Relu,
    Tanh,
    None,
}

impl Activation {
    /// The activation that a key of `config.json` names; `gelu` where it is absent.
    pub fn named(config: &ModelConfig, key: &str) -> Result<Self, InferenceError> {
        match config.text_or(key, "gelu")? {
            "gelu" | "gelu_python" => Ok(Self::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => Ok(Self::GeluTanh),
            "silu" | "swish" => Ok(Self::Silu),
            "relu" => Ok(Self::Relu),
            "tanh" => Ok(Self::Tanh),
            other => {
                let known = "gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, silu, relu, tanh";
                Err(config.unsupported(format!("{key} is `{other}`; known: {known}")))
            }
        }
    }

    pub fn apply(self, x: &mut [f32]) {
        match self {
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::Silu => silu(x),
            Self::Relu => relu(x),
            Self::Tanh => x.iter_mut().for_each(|v| *v = v.tanh()),
            Self::None => {}
        }
    }
}
