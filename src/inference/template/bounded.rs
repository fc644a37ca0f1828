//! Templates come from elsewhere: how deep one may go, before it is compiled and while it runs.
//!
//! The compiler goes down once for each operator of a tag and for each `elif`, and values that hold each other are given back one inside
//! the other; nothing there counts the depth. So both are bounded by what is in the text and by the steps of a run, and have a stack that
//! holds as much.

/// Longest template, bytes. The longest of those that are in use have some 30,000.
const BYTES: usize = 1 << 20;
/// Words and signs of one tag, without what stands in quotes.
const WORDS: usize = 10_000;
/// Branches of conditions in all.
const BRANCHES: usize = 1_000;
/// What the deepest takes that these limits, and those of a run, leave; only what is used of it takes memory.
const STACK: usize = 512 << 20;

/// Why a template is not compiled.
pub fn check(source: &str) -> Result<(), String> {
    if source.len() > BYTES {
        return Err(format!("it has {} bytes; {BYTES} is the limit", source.len()));
    }
    let branches = source.matches("elif").count();
    if branches > BRANCHES {
        return Err(format!("it has {branches} branches (`elif`); {BRANCHES} is the limit"));
    }
    match tags(source).map(words).find(|words| *words > WORDS) {
        Some(words) => Err(format!("one of its tags has {words} words and signs; {WORDS} is the limit")),
        None => Ok(()),
    }
}

/// What stands in braces, each from its opening to its end or to the end of the text.
fn tags(source: &str) -> impl Iterator<Item = &str> {
    let mut rest = source;
    std::iter::from_fn(move || {
        let at = rest.find("{{").into_iter().chain(rest.find("{%")).min()?;
        let tag = &rest[at + 2..];
        let end = end(tag);
        rest = &tag[end..];
        Some(&tag[..end])
    })
}

/// Where a tag ends: at its closing braces outside of quotes.
fn end(tag: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, sign) in tag.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if sign == '\\' => escaped = true,
            Some(open) if sign == open => quote = None,
            Some(_) => {}
            None if sign == '\'' || sign == '"' => quote = Some(sign),
            None if tag[at..].starts_with("}}") || tag[at..].starts_with("%}") => return at,
            None => {}
        }
    }
    tag.len()
}

/// Words, and signs that are none, outside of quotes.
fn words(tag: &str) -> usize {
    let (mut count, mut quote, mut escaped, mut in_word) = (0, None, false, false);
    for sign in tag.chars() {
        if let Some(open) = quote {
            match (escaped, sign) {
                (true, _) => escaped = false,
                (false, '\\') => escaped = true,
                (false, sign) if sign == open => quote = None,
                _ => {}
            }
            continue;
        }
        if sign == '\'' || sign == '"' {
            quote = Some(sign);
        }
        let of_word = sign.is_alphanumeric() || sign == '_';
        count += usize::from(!(sign.is_whitespace() || of_word && in_word));
        in_word = of_word;
    }
    count
}

/// Some work on a stack that is deep enough.
pub fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("template".to_owned()).stack_size(STACK).spawn_scoped(scope, work);
        let ended = thread.map_err(|error| format!("no thread for it could be started: {error}"))?.join();
        ended.map_err(|_| "the template engine panicked".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_counted_without_what_is_in_quotes() {
        let found = |source: &str| tags(source).map(words).collect::<Vec<_>>();
        assert_eq!(found("a b {{ x + 'y }} - - \\' -' }} c {% if not -1 %}{{ \"%}"), [3, 4, 1]);
        assert_eq!(found("{% set a_b = c.d %}"), [6]);
        assert_eq!(found("no tag } at all {"), [0; 0]);
    }
}
