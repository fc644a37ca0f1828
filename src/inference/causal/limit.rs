//! Networks that turn long texts by other frequencies than short ones (`longrope`).
//!
//! As transformers has it, the length that a text has now decides for all its tokens: a pass over more tokens than the network was
//! first trained with uses the long factors from the first token on. A text that grows over that length while it is written is
//! computed anew once, from its beginning, since the keys in the cache were turned by the short ones; transformers does so for
//! Phi-3, the family that has such files. So what a text gets depends on its own length alone.

use super::blocks::Blocks;

/// The length up to which texts are short; none in most networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit(pub(super) Option<usize>);

impl Limit {
    /// Whether a text of so many tokens is a long one.
    pub fn is_long(self, tokens: usize) -> bool {
        self.0.is_some_and(|limit| tokens > limit)
    }

    /// Whether a text that begins with `prompt` tokens may become long while it grows to `tokens`. Its blocks must be its own, since
    /// all of them are written anew.
    pub(super) fn crosses(self, prompt: usize, tokens: usize) -> bool {
        self.is_long(tokens) && !self.is_long(prompt)
    }

    /// Whether there are two kinds of texts.
    pub(super) fn exists(self) -> bool {
        self.0.is_some()
    }

    /// Blocks that another text with the same prompt takes, which grows to `tokens`.
    pub(super) fn beside(self, prompt: usize, tokens: usize) -> usize {
        if self.crosses(prompt, tokens) { Blocks::needed(tokens) } else { Blocks::needed_to_fork(prompt, tokens) }
    }
}
