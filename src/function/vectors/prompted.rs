//! Windows of a text behind a prompt: each of them has the prompt, as each text has that the model was trained on.

use super::Reading;
use crate::event::Rejection;
use crate::function::windows::{self, cut};
use crate::function::{CallError, options::TooLong};
use crate::inference::{Cut, Encoder, Text, Tokens};
use std::ops::Range;

/// The windows of texts that begin with the prompt of `how`. What the model sees whole is one window; of what is longer the prompt's
/// tokens, as they stand in the whole text, are put before the later windows, which leave them the room.
pub async fn windows(
    encoder: &Encoder,
    texts: Vec<String>,
    how: &Reading,
) -> Result<Vec<Result<Vec<Tokens>, Rejection>>, CallError> {
    let (policy, most) = (TooLong::Window, encoder.max_tokens());
    let whole = cut(encoder, policy, how.stride);
    let all = |texts: Vec<String>| texts.into_iter().map(Text::from).collect();
    let mut found = windows::windows(encoder, all(texts.clone()), whole, policy).await?;
    let prompt_of = |windows: &[Tokens]| windows.first().map_or(0..0, |first| prompt(first, how.prompt.len()));
    let long = |of: &Result<Vec<Tokens>, Rejection>| of.as_ref().is_ok_and(|windows| windows.len() > 1);
    let places: Vec<usize> = (0..found.len()).filter(|place| long(&found[*place])).collect();
    let longest = places.iter().filter_map(|place| found[*place].as_ref().ok()).map(|windows| prompt_of(windows).len()).max();
    let Some(reserved) = longest else { return Ok(found) };
    let room = most.saturating_sub(reserved);
    let parts = Cut { max_tokens: Some(room), stride: whole.stride.map(|stride| stride.min(room / 2)), ..whole };
    let texts = places.iter().map(|place| texts[*place].clone()).collect();
    for (place, parts) in places.into_iter().zip(windows::windows(encoder, all(texts), parts, policy).await?) {
        found[place] = parts.map(|mut parts| {
            let range = prompt_of(&parts);
            if let Some((first, rest)) = parts.split_first_mut() {
                rest.iter_mut().for_each(|window| put_before(first, range.clone(), window));
            }
            parts
        });
    }
    Ok(found)
}

/// The places of the tokens of the first `bytes` bytes. One that reaches into what comes behind them is no longer the prompt's.
fn prompt(tokens: &Tokens, bytes: usize) -> Range<usize> {
    let start = begin(tokens);
    let of_prompt = |(place, (_, end)): &(usize, &(usize, usize))| tokens.sides[*place].is_some() && *end <= bytes;
    start..start + tokens.offsets.iter().enumerate().skip(start).take_while(of_prompt).count()
}

/// The place of the first token that is of the text.
fn begin(tokens: &Tokens) -> usize {
    tokens.sides.iter().position(Option::is_some).unwrap_or(tokens.sides.len())
}

fn put_before(first: &Tokens, prompt: Range<usize>, window: &mut Tokens) {
    let at = begin(window);
    window.ids.splice(at..at, first.ids[prompt.clone()].iter().copied());
    window.types.splice(at..at, first.types[prompt.clone()].iter().copied());
    window.offsets.splice(at..at, first.offsets[prompt.clone()].iter().copied());
    window.words.splice(at..at, first.words[prompt.clone()].iter().copied());
    window.sides.splice(at..at, first.sides[prompt].iter().copied());
}
