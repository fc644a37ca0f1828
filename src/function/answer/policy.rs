//! What becomes of a context that has more than one window.

use crate::event::Rejection;
use crate::function::options::TooLong;
use crate::inference::Tokens;

/// Leaves of each question's windows those that are read, and says which questions are refused; `most` is what one window holds.
pub fn kept(policy: TooLong, most: usize, questions: &mut [Vec<Tokens>]) -> Vec<Option<Rejection>> {
    let one = |windows: &mut Vec<Tokens>| match policy {
        TooLong::Truncate if windows.len() > 1 => {
            windows.truncate(1);
            windows.iter_mut().for_each(|first| first.truncated = true);
            None
        }
        TooLong::Reject if windows.len() > 1 => {
            let detail =
                format!("with its question it takes {} windows; one holds {most} tokens, special ones included", windows.len());
            windows.clear();
            Some(Rejection::new("text_too_long", detail).at("context"))
        }
        _ => None,
    };
    questions.iter_mut().map(one).collect()
}
