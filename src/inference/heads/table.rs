//! What the heads of each family are made of, by the names under which transformers saves them (its modelling files are the source of
//! each row).

use super::Rows;
use crate::inference::ops::Activation;

/// An activation: always the same, or what a key of the configuration says.
pub enum Act {
    Is(Activation),
    Key(&'static str),
}

/// A layer between the vectors and the last product.
pub struct Step {
    pub name: &'static str,
    /// Whether it stands below the network's prefix, as poolers do.
    pub below: bool,
    pub activation: Act,
}

/// The head of a text.
pub struct Sequence {
    pub rows: Rows,
    pub step: Step,
    pub out: &'static str,
}

/// The head of masked words. Its last product is with the word table, or with a table of its own.
pub struct Mask {
    pub dense: &'static str,
    pub activation: Act,
    pub norm: &'static str,
    /// The key of the norm's epsilon; 1e-12 where there is none.
    pub epsilon: Option<&'static str>,
    /// Such as `lm_head.decoder`: its `weight` is the word table again, in files that repeat it.
    pub decoder: &'static str,
    /// Names of the bias. Where there are several they are the same, or the last one counts, which is the decoder's own.
    pub bias: &'static [&'static str],
    /// Whether the classes that end in `ForPreTraining` have this head too; ELECTRA's tells real words from others.
    pub pretraining: bool,
}

/// The heads of a family. The head of tokens is `classifier` and that of spans `qa_outputs` in all of them.
pub struct Family {
    pub kinds: &'static [&'static str],
    /// Such as `bert.`; absent in files that hold the network alone.
    pub prefix: &'static str,
    pub sequence: Sequence,
    pub mask: Mask,
}

/// A head that ends in `classifier.out_proj`, as RoBERTa's and the later ones do.
const fn projected(activation: Activation) -> Sequence {
    let step = Step { name: "classifier.dense", below: false, activation: Act::Is(activation) };
    Sequence { rows: Rows::First, step, out: "classifier.out_proj" }
}

/// A head that ends in `classifier`, behind a pooler.
const fn pooled(name: &'static str) -> Sequence {
    let step = Step { name, below: true, activation: Act::Is(Activation::Tanh) };
    Sequence { rows: Rows::First, step, out: "classifier" }
}

const EPSILON: Option<&str> = Some("layer_norm_eps");

const LM_HEAD: Mask = Mask {
    dense: "lm_head.dense",
    activation: Act::Is(Activation::Gelu),
    norm: "lm_head.layer_norm",
    epsilon: EPSILON,
    decoder: "lm_head.decoder",
    bias: &["lm_head.bias", "lm_head.decoder.bias"],
    pretraining: false,
};

pub const TABLE: &[Family] = &[
    Family {
        kinds: &["bert"],
        prefix: "bert.",
        sequence: pooled("pooler.dense"),
        mask: Mask {
            dense: "cls.predictions.transform.dense",
            activation: Act::Key("hidden_act"),
            norm: "cls.predictions.transform.LayerNorm",
            epsilon: EPSILON,
            decoder: "cls.predictions.decoder",
            bias: &["cls.predictions.bias", "cls.predictions.decoder.bias"],
            pretraining: true,
        },
    },
    Family {
        kinds: &["distilbert"],
        prefix: "distilbert.",
        sequence: Sequence {
            rows: Rows::First,
            step: Step { name: "pre_classifier", below: false, activation: Act::Is(Activation::Relu) },
            out: "classifier",
        },
        mask: Mask {
            dense: "vocab_transform",
            activation: Act::Key("activation"),
            norm: "vocab_layer_norm",
            epsilon: None,
            decoder: "vocab_projector",
            bias: &["vocab_projector.bias"],
            pretraining: false,
        },
    },
    Family {
        kinds: &["roberta", "xlm-roberta", "camembert"],
        prefix: "roberta.",
        sequence: projected(Activation::Tanh),
        mask: LM_HEAD,
    },
    Family {
        kinds: &["albert"],
        prefix: "albert.",
        sequence: pooled("pooler"),
        mask: Mask {
            dense: "predictions.dense",
            activation: Act::Key("hidden_act"),
            norm: "predictions.LayerNorm",
            epsilon: EPSILON,
            decoder: "predictions.decoder",
            bias: &["predictions.bias", "predictions.decoder.bias"],
            pretraining: true,
        },
    },
    Family {
        kinds: &["electra"],
        prefix: "electra.",
        sequence: projected(Activation::Gelu),
        mask: Mask {
            dense: "generator_predictions.dense",
            activation: Act::Is(Activation::Gelu),
            norm: "generator_predictions.LayerNorm",
            epsilon: EPSILON,
            decoder: "generator_lm_head",
            bias: &["generator_lm_head.bias"],
            pretraining: false,
        },
    },
    Family { kinds: &["mpnet"], prefix: "mpnet.", sequence: projected(Activation::Tanh), mask: LM_HEAD },
];
