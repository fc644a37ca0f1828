//! The canonical description of a causal network: whatever a family and its versions call things, the layers read only this.

use super::limit::Limit;

/// The family of a checkpoint, by `model_type` in its config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Gpt2,
    GptNeoX,
    Llama,
    Qwen2,
    Qwen3,
    Phi3,
    Phi,
    Gemma,
    Gemma2,
    Gemma3,
}

impl Family {
    /// All families with their `model_type`.
    pub const ALL: [(&'static str, Self); 10] = [
        ("gpt2", Self::Gpt2),
        ("gpt_neox", Self::GptNeoX),
        ("llama", Self::Llama),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
        ("phi3", Self::Phi3),
        ("phi", Self::Phi),
        ("gemma", Self::Gemma),
        ("gemma2", Self::Gemma2),
        ("gemma3_text", Self::Gemma3),
    ];
}

/// How a row is normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Mean and variance, then weight and bias.
    Layer,
    /// Root mean square, then the weight.
    Rms,
    /// Root mean square, then `1 + weight` (Gemma).
    RmsPlusOne,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// With the error function.
    Gelu,
    /// With the hyperbolic tangent: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    Relu,
    Silu,
}

/// How rotary frequencies are stretched for longer texts.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    None,
    /// All frequencies divided by a factor.
    Linear(f32),
    /// Low frequencies divided by a factor, high ones left, those between interpolated (Llama 3.1).
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        original: f32,
    },
    /// By a text's own length, from the network's positions on. transformers lets texts grow beyond those, with numbers that depend on
    /// what it computed before and beside them; here they are the bound, as in all networks, and up to them nothing is stretched.
    Dynamic,
    /// Pairs below `low` stay, those above `low + width` are divided by `factor`, those between are mixed.
    Yarn {
        factor: f32,
        low: f32,
        width: f32,
        attention: f32,
    },
    /// A divisor for each pair: `short` in texts of up to `original` tokens, `long` in longer ones.
    Long {
        short: Vec<f32>,
        long: Vec<f32>,
        original: usize,
        attention: f32,
    },
}

/// Rotary positions of some layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    pub theta: f32,
    /// Numbers of a head that are turned, an even number; the rest stay.
    pub turned: usize,
    pub scaling: Scaling,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// A table that is added to the token vectors.
    Learned,
    /// One setting, or two where local and global layers differ.
    Rotary(Vec<Rotary>),
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// A token sees so many tokens, itself included; `None`: all before it.
    pub window: Option<usize>,
    /// Index into [`Positions::Rotary`].
    pub rotary: usize,
    /// An additional divisor of the attention scores (GPT-2's option by layer index).
    pub divisor: usize,
}

/// Where the feed-forward part takes its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// From the sum of the stream and the attention.
    Sequential,
    /// From the stream beside the attention, through a norm of its own (GPT-NeoX).
    Parallel,
    /// The same, and both share one norm (Phi).
    ParallelShared,
}

/// Biases that the file must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    pub query_key_value: bool,
    pub attended: bool,
    pub feed_forward: bool,
    pub head: bool,
}

/// Sizes and choices of one network.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub family: Family,
    pub vocabulary: usize,
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub wide: usize,
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    pub head_size: usize,
    /// Longest sequence in tokens.
    pub max_positions: usize,
    pub norm: NormKind,
    pub epsilon: f32,
    pub positions: Positions,
    pub layers: Vec<LayerKind>,
    /// What scores are multiplied by before the softmax.
    pub scale: f32,
    /// A norm over each query and key head.
    pub head_norms: bool,
    pub activation: Activation,
    /// Whether the feed-forward part is `act(gate) * up`.
    pub gated: bool,
    pub residual: Residual,
    /// Norms after attention and feed-forward, before each is added (Gemma 2 and 3).
    pub post_norms: bool,
    pub embedding_scale: f32,
    /// `cap * tanh(score / cap)` on attention scores.
    pub score_cap: Option<f32>,
    /// The same on logits.
    pub logit_cap: Option<f32>,
    /// Whether logits are products with the token table.
    pub tied: bool,
    pub biases: Biases,
}

impl Spec {
    /// Columns of queries, keys and values together.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_size
    }

    /// Up to which length texts are turned as short ones.
    pub fn limit(&self) -> Limit {
        match &self.positions {
            Positions::Learned => Limit::default(),
            Positions::Rotary(settings) => Limit(settings.iter().find_map(Rotary::limit)),
        }
    }
}
