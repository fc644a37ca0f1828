//! What holds an output to a form.

/// Says which tokens may come next. Tokens that end a text are not its business.
pub trait Guide: Send {
    /// Rules out every token that may not come next. `left` is how many tokens may still come, this one included: whatever stays
    /// can be brought to an end within them.
    fn mask(&mut self, logits: &mut [f32], left: usize);
    /// Whether the text may end here.
    fn may_end(&self) -> bool;
    /// Takes a token that was allowed; whether something may come after it.
    fn advance(&mut self, id: u32) -> bool;
    /// The output, where it is not the text itself.
    fn value(&self) -> Option<String> {
        None
    }
}
