//! What a network is trained to say.

/// A kind of head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One label a text.
    Label,
    /// Any number of labels a text.
    Labels,
    /// A number a text, or a pair of texts.
    Score,
    /// A label for each word.
    Tag,
    /// Where in a text the answer to a question stands.
    Answer,
}

impl Task {
    /// The class that transformers has for the network with this head.
    pub fn class(self) -> &'static str {
        match self {
            Self::Label | Self::Labels | Self::Score => "BertForSequenceClassification",
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
        matches!(self, Self::Label | Self::Labels | Self::Score)
    }

    /// What a network under training is measured by; the first counts.
    pub fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Label => &["accuracy", "macro-F1"],
            Self::Labels => &["micro-F1"],
            // Of few numbers ranks are tied, and the first weights that order them would be the best.
            Self::Score => &["Pearson", "Spearman"],
            Self::Tag | Self::Answer => &["F1"],
        }
    }

    /// As config.json has it; none where the class says all.
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::Label => Some("single_label_classification"),
            Self::Labels => Some("multi_label_classification"),
            Self::Score => Some("regression"),
            Self::Tag | Self::Answer => None,
        }
    }

    /// As `--task` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Labels => "labels",
            Self::Score => "score",
            Self::Tag => "tag",
            Self::Answer => "answer",
        }
    }
}

/// A figure's name as TensorBoard groups it.
pub fn tag(figure: &str) -> String {
    figure.to_lowercase().replace(['-', ' '], "_")
}
