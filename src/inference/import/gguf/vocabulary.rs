//! The vocabulary of a GGUF file as `tokenizer.json` and `tokenizer_config.json`.

use super::super::tokenizer::{ByteLevel, Pieces, Splits, Token, TokenizerFiles};
use super::super::{Fault, damaged, unsupported};
use super::value::{Metadata, short};
use serde_json::{Value, json};

/// The two files.
pub struct Vocabulary {
    pub tokenizer: Value,
    pub config: Value,
    pub notes: Vec<String>,
}

/// Kinds of tokens, by the numbers of llama.cpp.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// `known` is how many tokens the network has vectors for.
pub fn build(metadata: &Metadata, context: usize, known: usize) -> Result<Vocabulary, Fault> {
    let texts = metadata.texts("tokenizer.ggml.tokens")?.ok_or_else(|| unsupported("it has no `tokenizer.ggml.tokens`"))?;
    if texts.len() > known {
        return Err(damaged(format!("`tokenizer.ggml.tokens` has {} tokens, and the network knows {known}", texts.len())));
    }
    let kinds = metadata.integers("tokenizer.ggml.token_type")?;
    if kinds.is_some_and(|kinds| kinds.len() != texts.len()) {
        return Err(damaged("`tokenizer.ggml.token_type` and `tokenizer.ggml.tokens` differ in length"));
    }
    let token = |(index, text): (usize, &String)| {
        let kind = kinds.map_or(1, |kinds| kinds[index]);
        Token { text: text.clone(), special: kind == CONTROL, added: kind == CONTROL || kind == USER_DEFINED }
    };
    let tokens: Vec<Token> = texts.iter().enumerate().map(token).collect();
    let id = |name: &str| -> Result<Option<usize>, Fault> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match metadata.count(&key)? {
            Some(id) if id >= tokens.len() => Err(damaged(format!("`{key}` is {id}, and there are {} tokens", tokens.len()))),
            id => Ok(id),
        }
    };
    let (bos, eos, unknown, pad) = (id("bos")?, id("eos")?, id("unknown")?, id("padding")?);
    let kind = metadata.text("tokenizer.ggml.model")?.ok_or_else(|| unsupported("it has no `tokenizer.ggml.model`"))?;
    let split = metadata.text("tokenizer.ggml.pre")?;
    let (files, add_bos_by_default) = match kind {
        "gpt2" => {
            let merges =
                metadata.texts("tokenizer.ggml.merges")?.ok_or_else(|| unsupported("it has no `tokenizer.ggml.merges`"))?;
            let splits = Splits::of(split.unwrap_or("gpt-2"))?;
            let by_default = matches!(splits, Splits::Llama3);
            (ByteLevel { tokens: &tokens, merges, splits }.build()?, by_default)
        }
        "llama" => {
            let scores =
                metadata.floats("tokenizer.ggml.scores")?.ok_or_else(|| unsupported("it has no `tokenizer.ggml.scores`"))?;
            if scores.len() != tokens.len() {
                return Err(damaged("`tokenizer.ggml.scores` and `tokenizer.ggml.tokens` differ in length"));
            }
            let dummy_prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
            let pieces = Pieces { tokens: &tokens, scores, unknown, dummy_prefix, squeeze: false, charsmap: None };
            (pieces.build()?, true)
        }
        other => return Err(unsupported(format!("its vocabulary is of kind `{}`; gpt2 and llama are read", short(other)))),
    };
    let add_bos = metadata.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos_by_default);
    let add_eos = metadata.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
    let ends = |wanted: bool, id: Option<usize>, name: &str| match (wanted, id) {
        (true, None) => Err(damaged(format!("it adds the {name} token, and names none"))),
        (true, Some(id)) => Ok(Some(id)),
        (false, _) => Ok(None),
    };
    let TokenizerFiles { tokenizer, notes } = files.with_ends(&tokens, ends(add_bos, bos, "bos")?, ends(add_eos, eos, "eos")?);
    let text_of = |id: Option<usize>| id.map_or(Value::Null, |id| tokens[id].text.as_str().into());
    let mut config = json!({
        "add_bos_token": add_bos,
        "add_eos_token": add_eos,
        "add_prefix_space": false,
        "bos_token": text_of(bos),
        "clean_up_tokenization_spaces": false,
        "eos_token": text_of(eos),
        // Without it a tokeniser of this class makes `token_type_ids`, which causal models refuse.
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": context,
        "pad_token": text_of(pad),
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": text_of(unknown),
    });
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        config["chat_template"] = template.into();
    }
    Ok(Vocabulary { tokenizer, config, notes })
}
