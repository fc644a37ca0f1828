//! What is wrong with a file, and where, without a word of what stands there: it may be a password.

use super::nearest;

/// Line, key and message of an error; `text` is the file that it is about. The nearest known key when a key is unknown.
pub fn explain(cause: &toml::de::Error, text: Option<&str>) -> String {
    let message = without_values(cause.message());
    let mut said = match (cause.span(), text) {
        (Some(span), Some(text)) => match key_at(text, span.start) {
            (line, Some(key)) => format!("line {line}, `{key}`: {message}"),
            (line, None) => format!("line {line}: {message}"),
        },
        // Without a place in a file the error itself names the key, on its last line.
        _ => match cause.to_string().trim_end().lines().last().and_then(|line| line.strip_prefix("in ")) {
            Some(key) => format!("{key}: {message}"),
            None => message.clone(),
        },
    };
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown ")
        && let Some(word) = quoted.next()
        && let Some(name) = nearest(word, quoted)
    {
        said.push_str(&format!("; did you mean `{name}`?"));
    }
    said
}

/// Number of the line at `offset`, and the key that it begins with.
fn key_at(text: &str, offset: usize) -> (usize, Option<&str>) {
    let before = text.get(..offset).unwrap_or(text);
    let line = text.lines().nth(before.matches('\n').count()).unwrap_or_default();
    let key = line.split_once('=').map(|(key, _)| key.trim());
    let sign = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.' | '"');
    (before.matches('\n').count() + 1, key.filter(|key| !key.is_empty() && key.chars().all(sign)))
}

/// "invalid type: integer `5`, expected a string" quotes what stands in the file.
fn without_values(message: &str) -> String {
    let expected = message.rfind(", expected ").map_or("", |at| &message[at..]);
    match message.strip_prefix("invalid ") {
        Some(_) if message.starts_with("invalid type: ") || message.starts_with("invalid value: ") => {
            let kind = message[..message.len() - expected.len()].split(['"', '`']).next().unwrap_or_default();
            format!("{}{expected}", kind.trim_end())
        }
        _ => message.trim_end().to_owned(),
    }
}
