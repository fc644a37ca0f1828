//! The lines of LightGBM's text model: a header, a block a tree, and what is of no use here.

use super::error::Fault;
use std::collections::HashMap;
use std::str::FromStr;

pub struct Blocks<'a> {
    pub header: Block<'a>,
    pub trees: Vec<Block<'a>>,
    /// Whether features were pandas categories.
    pub pandas_categories: bool,
}

/// Lines `key=value` that belong together.
pub struct Block<'a> {
    pub place: String,
    values: HashMap<&'a str, &'a str>,
}

pub fn blocks(text: &str) -> Result<Blocks<'_>, Fault> {
    let mut lines = text.lines();
    let mut header = Block { place: "header".into(), values: HashMap::new() };
    let mut trees: Vec<Block<'_>> = Vec::new();
    let mut ended = false;
    for line in lines.by_ref() {
        let line = line.trim_end();
        if line == "end of trees" {
            ended = true;
            break;
        }
        if let Some(number) = line.strip_prefix("Tree=") {
            if number.parse() != Ok(trees.len()) {
                return Err(Fault::damaged(format!("tree {number}"), format!("it stands where tree {} should", trees.len())));
            }
            trees.push(Block { place: format!("tree {number}"), values: HashMap::new() });
        } else if !line.is_empty() {
            trees.last_mut().unwrap_or(&mut header).add(line)?;
        }
    }
    if !ended {
        return Err(Fault::damaged("", "the line `end of trees` is missing: the file was cut off"));
    }
    let categories = lines.find_map(|line| line.strip_prefix("pandas_categorical:"));
    let pandas_categories = categories.is_some_and(|list| !matches!(list.trim(), "" | "[]" | "null"));
    Ok(Blocks { header, trees, pandas_categories })
}

impl<'a> Block<'a> {
    fn add(&mut self, line: &'a str) -> Result<(), Fault> {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        match self.values.insert(key, value) {
            None => Ok(()),
            Some(_) => Err(Fault::damaged(&self.place, format!("{key:?} stands there twice"))),
        }
    }

    /// What is not known may change what the model says.
    pub fn only(&self, known: &[&str]) -> Result<(), Fault> {
        match self.values.keys().filter(|key| !known.contains(key)).min() {
            None => Ok(()),
            Some(key) => {
                let shown: String = key.chars().take(40).collect();
                let remedy = "train without what it stands for (averaged output, linear trees), or save it with LightGBM 3 or 4";
                Err(Fault::unsupported(&self.place, format!("{shown:?} is not known"), remedy))
            }
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub fn text(&self, key: &str) -> Result<&'a str, Fault> {
        self.values.get(key).copied().ok_or_else(|| Fault::damaged(&self.place, format!("{key:?} is missing")))
    }

    pub fn count(&self, key: &str) -> Result<usize, Fault> {
        let text = self.text(key)?;
        text.parse().map_err(|_| Fault::damaged(&self.place, format!("{key} is {text:?}, not a count")))
    }

    /// Numbers between spaces; as many as `length` says.
    pub fn list<T: FromStr>(&self, key: &str, length: Option<usize>) -> Result<Vec<T>, Fault> {
        let mut found = Vec::new();
        for word in self.text(key)?.split_ascii_whitespace() {
            found.push(word.parse().map_err(|_| Fault::damaged(&self.place, format!("{key} holds {word:?}")))?);
        }
        match length {
            Some(length) if length != found.len() => {
                Err(Fault::damaged(&self.place, format!("{key} has {} entries, it should have {length}", found.len())))
            }
            _ => Ok(found),
        }
    }
}
