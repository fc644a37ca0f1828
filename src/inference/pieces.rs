//! When neighbours in a text that have labels are one piece of it, in answers and in what they are measured by.

/// A label without its `B-` or `I-`.
pub fn piece_label(label: &str) -> &str {
    label.strip_prefix("B-").or_else(|| label.strip_prefix("I-")).unwrap_or(label)
}

/// Whether a token or word is in one piece with its neighbour before it: both have one label, and no `B-` begins a new piece.
pub fn joins(before: &str, after: &str) -> bool {
    piece_label(before) == piece_label(after) && !after.starts_with("B-")
}
