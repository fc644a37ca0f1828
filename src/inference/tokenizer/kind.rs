//! The families of tokenisers that are known in their older forms, and the special tokens that each of them has by itself.

/// A family of tokenisers, by the class that transformers saved or the model that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bert,
    Mpnet,
    Roberta,
    Gpt2,
    Qwen2,
    XlmRoberta,
    Camembert,
    Albert,
    XlNet,
    T5,
    DebertaV2,
    Llama,
    /// In its own room, `marian`: two models and a vocabulary.
    Marian,
}

impl Kind {
    /// By a class such as `BertTokenizerFast`, or by a model type such as `distilbert`.
    pub fn named(name: &str) -> Option<Self> {
        let class = name.strip_suffix("Fast").unwrap_or(name);
        Some(match class.strip_suffix("Tokenizer").unwrap_or(class) {
            "Bert" | "DistilBert" | "Electra" | "bert" | "distilbert" | "electra" => Self::Bert,
            "MPNet" | "mpnet" => Self::Mpnet,
            "Roberta" | "Longformer" | "Bart" | "roberta" | "longformer" | "bart" => Self::Roberta,
            "GPT2" | "gpt2" => Self::Gpt2,
            "Qwen2" | "qwen2" | "qwen3" => Self::Qwen2,
            "XLMRoberta" | "xlm-roberta" => Self::XlmRoberta,
            "Camembert" | "camembert" => Self::Camembert,
            "Albert" | "albert" => Self::Albert,
            "XLNet" | "xlnet" => Self::XlNet,
            "T5" | "t5" => Self::T5,
            "DebertaV2" | "deberta-v2" => Self::DebertaV2,
            "Llama" | "llama" => Self::Llama,
            "Marian" | "marian" => Self::Marian,
            _ => return None,
        })
    }

    /// Key and token, where the files say nothing else.
    pub fn special(self) -> &'static [(&'static str, &'static str)] {
        const BERT: &[(&str, &str)] = &[
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ];
        const ROBERTA: &[(&str, &str)] = &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
            ("cls_token", "<s>"),
            ("mask_token", "<mask>"),
        ];
        match self {
            Self::Bert => BERT,
            Self::Mpnet => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "[UNK]"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
            Self::Roberta | Self::XlmRoberta | Self::Camembert => ROBERTA,
            Self::Gpt2 => &[("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")],
            Self::Qwen2 => &[("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")],
            Self::Albert => &[
                ("bos_token", "[CLS]"),
                ("eos_token", "[SEP]"),
                ("unk_token", "<unk>"),
                ("sep_token", "[SEP]"),
                ("pad_token", "<pad>"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::XlNet => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("sep_token", "<sep>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<cls>"),
                ("mask_token", "<mask>"),
            ],
            Self::T5 | Self::Marian => &[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")],
            Self::DebertaV2 => &[
                ("bos_token", "[CLS]"),
                ("eos_token", "[SEP]"),
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::Llama => &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")],
        }
    }

    /// More special tokens, where the files name none.
    pub fn additional(self) -> &'static [&'static str] {
        match self {
            Self::Camembert => &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
            Self::XlNet => &["<eop>", "<eod>"],
            _ => &[],
        }
    }

    /// Whether the mask token swallows the blanks before it.
    pub fn mask_is_a_word(self) -> bool {
        !matches!(self, Self::Bert | Self::DebertaV2)
    }
}
