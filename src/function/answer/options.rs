//! What `answer` can be told.

use crate::function::options::TooLong;
use serde::{Deserialize, Serialize};

/// Options of `answer`; null is the default.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// Answers, best first; there are fewer where the context has fewer. Default 1.
    pub top_k: usize,
    /// Tokens by which windows of a long context overlap. Default: half of `max_seq_len`, at most 128.
    pub doc_stride: Option<usize>,
    /// Tokens of an answer at most. Default 15.
    pub max_answer_len: usize,
    /// Tokens of question and window together, special ones included. Default: what the model sees, at most 384.
    pub max_seq_len: Option<usize>,
    /// Tokens of the question at most; a longer one is cut. Default 64.
    pub max_question_len: usize,
    /// Whether "there is no answer" may be the answer: an empty text. Default false.
    pub handle_impossible_answer: bool,
    /// Answers begin and end with words, not inside them. Default true; false suits Chinese and Japanese.
    pub align_to_words: bool,
    /// Scores as the question-answering pipeline of transformers 4.57.1 has them: softmax inside each window, so that a window without
    /// the answer may win. For comparisons. Default false.
    pub hf_compatible: bool,
    /// `window` (default), `truncate` or `reject`, for contexts. A question is cut by `max_question_len`.
    pub too_long: TooLong,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            top_k: 1,
            doc_stride: None,
            max_answer_len: 15,
            max_seq_len: None,
            max_question_len: 64,
            handle_impossible_answer: false,
            align_to_words: true,
            hf_compatible: false,
            too_long: TooLong::Window,
        }
    }
}
