//! What is wrong with a file: what, where, and what to do.

use std::path::PathBuf;

/// A file of this room that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nothing is known of the file; it may be there later.
    #[error("{}: {cause}; check the path and the rights", path.display())]
    Unread { path: PathBuf, cause: String },
    #[error("{}: {fault}", path.display())]
    Refused { path: PathBuf, fault: Fault },
}

/// What is wrong with a file, without its path: what a reader of bytes can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{cause}; {remedy}", if place.is_empty() { String::new() } else { format!("{place}: ") })]
pub struct Fault {
    /// Where in the file, for example `tree 3, node 5`; empty when it is the whole file.
    pub place: String,
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

impl Fault {
    /// The file contradicts itself or its format.
    pub fn damaged(place: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            cause: cause.into(),
            remedy: "the file is damaged or was edited: save the model again".into(),
        }
    }

    /// The file may be right, and this program cannot use it.
    pub fn unsupported(place: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.into(), cause: cause.into(), remedy: remedy.into() }
    }
}

/// Features that are not those of the model. Nothing is scored with them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    #[error("the model has {expected} features, {declared} are declared; {first}")]
    Count { expected: usize, declared: usize, first: String },
    #[error("feature {number} is {declared:?} where the model has {expected:?}; names and order must be those of the training")]
    Name { number: usize, expected: String, declared: String },
    #[error("the file names no features, so nothing can be compared; save it with its feature names, or declare them for it")]
    Unnamed,
    #[error("the file names its features itself; they cannot be declared for it")]
    Named,
    #[error("the name {0:?} is declared twice")]
    Twice(String),
}

/// A row that cannot be scored. It is never scored as something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    #[error("the row has {found} numbers, the model has {expected} features")]
    Length { expected: usize, found: usize },
    /// This kind of model has no answer for "no value".
    #[error("feature {} has no finite value, and this kind of model needs one; fill it in the feature set", .0 + 1)]
    Missing(usize),
    /// The numbers of the row are so large that the result is not a number.
    #[error("the margin is not finite; the features are out of any range")]
    NotFinite,
}
