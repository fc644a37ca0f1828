//! Questions about contexts, with the answers that people gave: SQuAD's JSON, or a question a line as the `datasets` library writes
//! them. Plain or gzipped.

use super::data::{line_of, open};
use super::split::is_measured;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A text that questions are asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// Of the article that it is from; may be empty.
    pub title: String,
    pub text: String,
}

/// An answer: some of the context's characters.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Given {
    pub text: String,
    /// In characters.
    #[serde(rename = "answer_start")]
    pub start: usize,
}

/// A question.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Which of the contexts it is about.
    pub context: usize,
    pub question: String,
    /// None where the context has no answer.
    pub answers: Vec<Given>,
    /// Where it stands, for messages.
    pub place: String,
}

/// The questions of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Squad {
    pub contexts: Vec<Context>,
    pub asked: Vec<Asked>,
}

/// Articles from which on a share of them is kept to measure on; else a share of the contexts.
const ARTICLES: usize = 20;

impl Squad {
    /// (to train on, to measure on): about `share` of the articles, chosen by their titles, or of the contexts where there are few
    /// articles.
    pub fn split(self, share: f64) -> (Self, Self) {
        let titles: HashSet<&str> = self.contexts.iter().map(|context| context.title.as_str()).collect();
        let by_title = titles.len() >= ARTICLES;
        let key = |context: &Context| is_measured(if by_title { &context.title } else { &context.text }, share);
        let measured: Vec<bool> = self.contexts.iter().map(key).collect();
        let (dev, train) = self.asked.into_iter().partition(|asked| measured[asked.context]);
        (Self { contexts: self.contexts.clone(), asked: train }, Self { contexts: self.contexts, asked: dev })
    }

    /// At most `most` questions, spread evenly over the file.
    pub fn sample(&self, most: usize) -> Self {
        let count = self.asked.len();
        let asked = match count > most {
            true => (0..most).map(|i| self.asked[i * count / most].clone()).collect(),
            false => self.asked.clone(),
        };
        Self { contexts: self.contexts.clone(), asked }
    }
}

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    #[serde(default)]
    title: String,
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    #[serde(default)]
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Given>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    title: String,
    context: String,
    question: String,
    answers: Option<Lists>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Lists {
    text: Vec<String>,
    answer_start: Vec<usize>,
}

/// All questions of a file, at most `most`; each answer is where the file says.
pub fn read(path: &Path, most: usize) -> Result<Squad> {
    let (reader, name) = open(path)?;
    let reader = BufReader::new(reader);
    let squad = if name.ends_with(".jsonl") { lines(path, reader)? } else { nested(path, reader)? };
    ensure!(!squad.asked.is_empty(), "{} has no question", path.display());
    Ok(Squad { asked: squad.asked.into_iter().take(most).collect(), ..squad })
}

fn nested(path: &Path, reader: impl BufRead) -> Result<Squad> {
    let file: File = serde_json::from_reader(reader)
        .with_context(|| format!("{} is not in SQuAD's layout, {{\"data\": [{{\"paragraphs\": ...}}]}}", path.display()))?;
    let mut squad = Squad::default();
    for (number, article) in file.data.into_iter().enumerate() {
        for (paragraph, Paragraph { context, qas }) in article.paragraphs.into_iter().enumerate() {
            for (question, of) in qas.into_iter().enumerate() {
                let id = if of.id.is_empty() { String::new() } else { format!(" ({})", of.id) };
                let place = format!("{}: data[{number}].paragraphs[{paragraph}].qas[{question}]{id}", path.display());
                let answers = if of.is_impossible { Vec::new() } else { of.answers };
                ensure!(of.is_impossible || !answers.is_empty(), "{place}: there is no answer, and no `is_impossible`");
                squad.asked.push(checked(&context, squad.contexts.len(), of.question, answers, place)?);
            }
            squad.contexts.push(Context { title: article.title.clone(), text: context });
        }
    }
    Ok(squad)
}

fn lines(path: &Path, reader: impl BufRead) -> Result<Squad> {
    let mut squad = Squad::default();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (number, line) in reader.lines().enumerate() {
        let place = line_of(path, number + 1);
        let line = line.with_context(|| place.clone())?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line).with_context(|| {
            format!("{place}: not {{\"question\", \"context\", \"answers\": {{\"text\", \"answer_start\"}}}}")
        })?;
        let none = || Lists { text: vec![], answer_start: vec![] };
        let given = if line.is_impossible { Some(none()) } else { line.answers };
        let Lists { text, answer_start } = given.with_context(|| {
            format!("{place}: no `answers`; give {{\"text\": [\"...\"], \"answer_start\": [0]}}, or empty lists where there is no answer")
        })?;
        ensure!(text.len() == answer_start.len(), "{place}: {} texts, but {} answer_starts", text.len(), answer_start.len());
        let answers = text.into_iter().zip(answer_start).map(|(text, start)| Given { text, start }).collect();
        let context = *known.entry(line.context).or_insert_with_key(|text| {
            squad.contexts.push(Context { title: line.title, text: text.clone() });
            squad.contexts.len() - 1
        });
        let text = &squad.contexts[context].text;
        squad.asked.push(checked(text, context, line.question, answers, place)?);
    }
    Ok(squad)
}

fn checked(text: &str, context: usize, question: String, answers: Vec<Given>, place: String) -> Result<Asked> {
    ensure!(!question.trim().is_empty(), "{place}: the question is empty");
    ensure!(!text.trim().is_empty(), "{place}: the context is empty");
    for Given { text: answer, start } in &answers {
        ensure!(!answer.trim().is_empty(), "{place}: an answer is empty");
        let found: String = text.chars().skip(*start).take(answer.chars().count()).collect();
        ensure!(found == *answer, "{place}: the answer is {answer:?}, but {found:?} stands at character {start} of the context");
    }
    Ok(Asked { context, question, answers, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, content: &str) -> Result<Squad> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        read(&path, usize::MAX)
    }

    #[test]
    fn both_layouts_give_the_same_questions() {
        let nested = r#"{"data": [{"title": "t", "paragraphs": [{"context": "Ä b.", "qas": [
            {"id": "1", "question": "What?", "answers": [{"text": "b", "answer_start": 2}]},
            {"question": "Who?", "is_impossible": true, "answers": []}]}]}]}"#;
        let lines = "{\"title\": \"t\", \"context\": \"Ä b.\", \"question\": \"What?\", \"answers\": {\"text\": [\"b\"], \"answer_start\": [2]}}\n\n\
                     {\"title\": \"t\", \"context\": \"Ä b.\", \"question\": \"Who?\", \"answers\": {\"text\": [], \"answer_start\": []}}\n";
        let (a, b) = (read_as("a.json", nested).unwrap(), read_as("b.jsonl", lines).unwrap());
        assert_eq!(a.contexts, b.contexts);
        let bare = |squad: Squad| squad.asked.into_iter().map(|asked| (asked.question, asked.answers)).collect::<Vec<_>>();
        let answers = vec![Given { text: "b".into(), start: 2 }];
        assert_eq!(bare(b), [("What?".to_owned(), answers), ("Who?".to_owned(), vec![])]);
        assert_eq!(bare(a).len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let refused = |name: &str, content: &str| format!("{:#}", read_as(name, content).unwrap_err());
        let line = |answer: &str, start: usize| {
            format!(
                "{{\"context\": \"a b\", \"question\": \"q\", \"answers\": {{\"text\": [\"{answer}\"], \"answer_start\": [{start}]}}}}\n"
            )
        };
        let good = line("b", 2);
        let moved = refused("x.jsonl", &format!("{good}{}", line("b", 1)));
        assert!(moved.contains("x.jsonl line 2") && moved.contains("character 1"), "{moved}");
        assert!(refused("x.jsonl", &format!("{good}{{\n")).contains("x.jsonl line 2"));
        assert!(refused("x.jsonl", "").contains("no question"));
        // An answer under another name is not the same as no answer.
        for row in ["\"answer\": \"b\"", "\"answers\": null"] {
            let other = refused("x.jsonl", &format!("{good}{{\"context\": \"a b\", \"question\": \"q\", {row}}}\n"));
            assert!(other.contains("x.jsonl line 2") && other.contains("no `answers`"), "{other}");
        }
        let impossible = "{\"context\": \"a b\", \"question\": \"q\", \"is_impossible\": true}\n";
        assert_eq!(read_as("x.jsonl", impossible).unwrap().asked[0].answers, []);
        let none = r#"{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "q7", "question": "q", "answers": []}]}]}]}"#;
        let none = refused("x.json", none);
        assert!(none.contains("data[0].paragraphs[0].qas[0] (q7)"), "{none}");
        assert!(refused("x.json", "{\"data\": 1}").contains("line 1"));
    }
}
