//! What a parameter means, in the words of its option's own comment: the sources are read when the program is built.

/// The file that has the options of each function.
const SOURCES: [(&str, &str); 12] = [
    ("answer", include_str!("../answer/options.rs")),
    ("classify", include_str!("../classify/options.rs")),
    ("embed", include_str!("../embed.rs")),
    ("fill", include_str!("../fill.rs")),
    ("generate", include_str!("../generate/options.rs")),
    ("reply", include_str!("../reply/options.rs")),
    ("rerank", include_str!("../rerank.rs")),
    ("sentiment", include_str!("../sentiment.rs")),
    ("similar", include_str!("../similar.rs")),
    ("summarize", include_str!("../summarize/mod.rs")),
    ("tag", include_str!("../tag/mod.rs")),
    ("translate", include_str!("../translate.rs")),
];

/// Options that several functions share, flattened into their own.
const SHARED: &str = include_str!("../rewrite.rs");

/// The comment above a field of the struct `Options`.
pub fn of(function: &str, option: &str) -> Option<String> {
    let (_, source) = SOURCES.iter().find(|(name, _)| *name == function)?;
    comment(source, "pub struct Options {", option).or_else(|| comment(SHARED, "pub struct Search {", option))
}

fn comment(source: &str, of: &str, option: &str) -> Option<String> {
    let (_, options) = source.split_once(of)?;
    let mut comment = Vec::new();
    for line in options.lines().map(str::trim).take_while(|line| *line != "}") {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
            if name == option {
                return Some(comment.join(" "));
            }
            comment.clear();
        }
    }
    None
}
