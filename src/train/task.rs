//! What a network is trained to say.

/// A kind of head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One label a text.
    Label,
    /// Any number of labels a text.
    Labels,
    /// A label for each word.
    Tag,
    /// Where in a text the answer to a question stands.
    Answer,
}

impl Task {
    /// The class that transformers has for the network with this head.
    pub fn class(self) -> &'static str {
        match self {
            Self::Label | Self::Labels => "BertForSequenceClassification",
            Self::Tag => "BertForTokenClassification",
            Self::Answer => "BertForQuestionAnswering",
        }
    }

    /// The name of the last product.
    pub fn out(self) -> &'static str {
        if self == Self::Answer { "qa_outputs" } else { "classifier" }
    }

    /// Whether the head reads the first token alone, through the pooler.
    pub fn is_pooled(self) -> bool {
        matches!(self, Self::Label | Self::Labels)
    }

    /// What a network under training is measured by; the first counts.
    pub fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Label => &["accuracy", "macro-F1"],
            Self::Labels => &["micro-F1"],
            Self::Tag | Self::Answer => &["F1"],
        }
    }

    /// As `--task` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Labels => "labels",
            Self::Tag => "tag",
            Self::Answer => "answer",
        }
    }
}
