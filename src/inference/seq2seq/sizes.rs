//! What is known of a network that writes while it is not in memory.

/// How wide a network is, and how long texts may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub(super) hidden: usize,
    pub(super) vocabulary: usize,
    pub(super) target_vocabulary: usize,
    pub(super) max_tokens: usize,
}

impl Sizes {
    /// Numbers in a token's vector.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Number of ids that a source may have.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Number of ids that can be written.
    pub fn target_vocabulary(&self) -> usize {
        self.target_vocabulary
    }

    /// Tokens of a source at most, and tokens that can be written at most.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }
}
