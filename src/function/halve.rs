//! A call that one of its inputs spoils is made again in halves, until that input stands alone. The same on the stream and off it.

use super::CallError;
use crate::event::Rejection;
use std::ops::Range;

/// One answer for each of `count` inputs, in order. `call` is given stretches of them; `refused` makes the answer of an input that
/// cannot be answered even alone. Work list instead of recursion: stretches that are still to be called.
pub async fn each<A, F: Future<Output = Result<Vec<A>, CallError>>>(
    count: usize,
    call: impl Fn(Range<usize>) -> F,
    refused: impl Fn(Rejection) -> A,
) -> Result<Vec<A>, CallError> {
    let mut answers = Vec::with_capacity(count);
    let mut todo: Vec<Range<usize>> = std::iter::once(0..count).filter(|all| !all.is_empty()).collect();
    while let Some(stretch) = todo.pop() {
        match call(stretch.clone()).await {
            Ok(of_stretch) => answers.extend(of_stretch),
            Err(CallError::Poison(cause)) if stretch.len() == 1 => {
                answers.push(refused(Rejection::new("poison", format!("the function fails on this event: {cause}"))));
            }
            Err(CallError::TooMuch(cause)) if stretch.len() == 1 => {
                answers.push(refused(Rejection::new("too_expensive", cause)));
            }
            Err(CallError::Poison(_) | CallError::TooMuch(_)) => {
                let middle = stretch.start + stretch.len() / 2;
                todo.push(middle..stretch.end);
                todo.push(stretch.start..middle);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}
