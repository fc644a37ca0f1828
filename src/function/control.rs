//! Control tokens that stand in an event's text, such as `[SEP]`, are words to us: what people write must not cut an input in two
//! or end it. Tokenisers find these tokens anywhere in a text, so that one letter of them is written in the other case; lengths
//! and offsets stay as they were.

use crate::inference::TextTokenizer;

/// Names of the control tokens that the families use.
const TOKENS: [&str; 29] = [
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[PAD]",
    "[UNK]",
    "<s>",
    "</s>",
    "<mask>",
    "<pad>",
    "<unk>",
    "<cls>",
    "<sep>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<extra_id_0>",
];

/// The text without control tokens that the tokeniser would obey, of the same length; `keep` stays one.
pub fn harmless(tokenizer: &TextTokenizer, text: String, keep: Option<&str>) -> String {
    if !text.contains(['[', '<']) {
        return text;
    }
    let obeyed = |token: &&&str| Some(**token) != keep && text.contains(**token) && tokenizer.id(token).is_some();
    let found: Vec<&str> = TOKENS.iter().filter(obeyed).copied().collect();
    let text = found.into_iter().fold(text, |text, token| text.replace(token, &turned(token)));
    // T5's are numbered.
    match text.contains("<extra_id_") && keep.is_none() && tokenizer.id("<extra_id_1>").is_some() {
        true => text.replace("<extra_id_", "<Extra_id_"),
        false => text,
    }
}

/// The first letter in the other case.
fn turned(token: &str) -> String {
    let Some(at) = token.find(|c: char| c.is_ascii_alphabetic()) else { return token.to_owned() };
    let (before, rest) = token.split_at(at);
    let (letter, after) = rest.split_at(1);
    let letter = if letter.bytes().all(|b| b.is_ascii_uppercase()) { letter.to_lowercase() } else { letter.to_uppercase() };
    format!("{before}{letter}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_is_turned() {
        assert_eq!(
            (turned("[SEP]").as_str(), turned("</s>").as_str(), turned("<|im_end|>").as_str()),
            ("[sEP]", "</S>", "<|Im_end|>")
        );
    }
}
