//! As much of PromQL as is needed to tell which metrics and labels a query uses. That a query is whole, `tests/clients/test_boards.py` sees.

use std::collections::BTreeSet;

const WORDS: [&str; 9] = ["and", "or", "unless", "offset", "bool", "inf", "nan", "atan2", "start"];
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// A metric in a query.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Used {
    pub metric: String,
    /// Labels that are matched, operator and value.
    pub matched: Vec<(String, String, String)>,
    /// Labels of all lists that the metric stands under.
    pub grouped: BTreeSet<String>,
}

/// A query, taken apart.
#[derive(Debug, Default)]
pub struct Query {
    pub used: Vec<Used>,
    /// Labels that a series of the answer may have, as far as the query names them.
    pub named: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// Takes a query apart. Grafana's macros for times may stand in it.
pub fn read(query: &str) -> Query {
    let tokens = tokens(query);
    let mut found = Query::default();
    walk(&tokens, &BTreeSet::new(), &mut found);
    found
}

fn walk(tokens: &[Token], above: &BTreeSet<String>, found: &mut Query) {
    let (mut at, mut below) = (0, above.clone());
    while at < tokens.len() {
        match &tokens[at] {
            Token::Word(word) if LISTS.contains(&word.as_str()) => {
                let end = closing(tokens, at + 1);
                let labels: BTreeSet<String> = tokens[at + 2..end].iter().filter_map(word_of).collect();
                found.named.extend(labels.iter().cloned());
                if word == "by" {
                    assert_eq!(tokens.get(end + 1), Some(&Token::Sign('(')), "write `by (…)` before what it is of");
                    below = above.union(&labels).cloned().collect();
                }
                at = end + 1;
            }
            Token::Sign('(') => {
                let end = closing(tokens, at);
                walk(&tokens[at + 1..end], &below, found);
                below = above.clone();
                at = end + 1;
            }
            Token::Word(word) if is_metric(word, tokens.get(at + 1)) => {
                let (matched, next) = matchers(tokens, at + 1);
                found.used.push(Used { metric: word.clone(), matched, grouped: above.clone() });
                at = next;
            }
            _ => at += 1,
        }
    }
}

fn is_metric(word: &str, next: Option<&Token>) -> bool {
    let called =
        matches!(next, Some(Token::Sign('('))) || matches!(next, Some(Token::Word(next)) if LISTS.contains(&next.as_str()));
    !called && !WORDS.contains(&word) && !word.starts_with(|first: char| first.is_ascii_digit() || first == '$')
}

fn matchers(tokens: &[Token], mut at: usize) -> (Vec<(String, String, String)>, usize) {
    let mut matched = Vec::new();
    if tokens.get(at) != Some(&Token::Sign('{')) {
        return (matched, at);
    }
    while tokens[at] != Token::Sign('}') {
        if let Token::Word(label) = &tokens[at] {
            let signs = tokens[at + 1..].iter().take_while(|token| matches!(token, Token::Sign('=' | '~' | '!'))).count();
            let operator = tokens[at + 1..=at + signs]
                .iter()
                .filter_map(|token| if let Token::Sign(sign) = token { Some(*sign) } else { None });
            let Token::Text(value) = &tokens[at + 1 + signs] else { panic!("{label} is matched with no string: {tokens:?}") };
            matched.push((label.clone(), operator.collect(), value.clone()));
            at += signs + 1;
        }
        at += 1;
    }
    (matched, at + 1)
}

/// Index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    assert_eq!(tokens[open], Token::Sign('('), "{tokens:?}");
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("a bracket is not closed: {tokens:?}")
}

fn word_of(token: &Token) -> Option<String> {
    if let Token::Word(word) = token { Some(word.clone()) } else { None }
}

fn tokens(query: &str) -> Vec<Token> {
    let (mut found, mut rest) = (Vec::new(), query.trim_start());
    while let Some(first) = rest.chars().next() {
        let in_word = |of: char| of.is_ascii_alphanumeric() || matches!(of, '_' | ':' | '$' | '.');
        let length = if first == '"' {
            let end = 1 + rest[1..].find('"').unwrap_or_else(|| panic!("a string is not closed: {query}"));
            found.push(Token::Text(rest[1..end].to_owned()));
            end + 1
        } else if first == '[' {
            // A range, with its step: no metric stands in it.
            1 + rest.find(']').unwrap_or_else(|| panic!("a range is not closed: {query}"))
        } else if in_word(first) {
            let end = rest.find(|of| !in_word(of)).unwrap_or(rest.len());
            found.push(Token::Word(rest[..end].to_owned()));
            end
        } else {
            found.push(Token::Sign(first));
            first.len_utf8()
        };
        rest = rest[length..].trim_start();
    }
    found
}

/// Would catch: a check that passes over a metric, a label or a group.
#[test]
fn a_query_is_taken_apart() {
    let query = r#"max by (pipeline) (rate(a_total{stage=~"x|y",le!="1"}[5m] offset 1w)) / on (pipeline) group_left () (b:c > 2 * 3e2) or sum(up)"#;
    let found = read(query);
    let used: Vec<_> = found.used.iter().map(|used| (used.metric.as_str(), used.grouped.len(), used.matched.len())).collect();
    assert_eq!(used, [("a_total", 1, 2), ("b:c", 0, 0), ("up", 0, 0)]);
    assert_eq!(found.used[0].matched[0], ("stage".to_owned(), "=~".to_owned(), "x|y".to_owned()));
    assert_eq!(found.named, ["pipeline".to_owned()].into());
}
