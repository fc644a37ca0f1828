//! Texts whose words have labels: files of two columns with a blank line behind each text, or jsonl with labelled pieces.

use super::batches::{Example, Target};
use super::data::{line_of, open};
use super::measure::pieces;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use tokenizers::{Encoding, Tokenizer};

/// A text and its words.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentence {
    pub text: String,
    /// Bytes, in order.
    pub words: Vec<Range<usize>>,
    /// Of each word, such as `B-city`, `I-city` or `O`.
    pub tags: Vec<String>,
    /// Of the file, from 1.
    pub line: usize,
}

impl Sentence {
    /// (first character, last one and one more, label) of the pieces that the labels of its words make.
    pub fn pieces(&self) -> Vec<(usize, usize, String)> {
        let tags: Vec<&str> = self.tags.iter().map(String::as_str).collect();
        let characters = |byte: usize| self.text[..byte].chars().count();
        let piece = |(first, last, label): (usize, usize, &str)| {
            (characters(self.words[first].start), characters(self.words[last].end), label.to_owned())
        };
        pieces(&tags).into_iter().map(piece).collect()
    }
}

/// The texts of a file with a word and its label a line.
pub fn columns_of(path: &Path) -> Result<Vec<Sentence>> {
    let (reader, _) = open(path)?;
    columns(path, BufReader::new(reader))
}

/// The texts of a file: `.jsonl` with `text` and `spans` (`[start, end, label]`, in characters), or else a word and its label a line.
pub fn read(path: &Path, tokenizer: &Tokenizer, most: usize) -> Result<Vec<Sentence>> {
    let (reader, name) = open(path)?;
    let reader = BufReader::new(reader);
    let mut sentences = if name.ends_with(".jsonl") { objects(path, reader, tokenizer)? } else { columns(path, reader)? };
    ensure!(!sentences.is_empty(), "{} has no texts", path.display());
    sentences.truncate(most);
    Ok(sentences)
}

/// A word, white space, its label; other columns between them are passed over, and so is `-DOCSTART-`.
fn columns(path: &Path, reader: impl BufRead) -> Result<Vec<Sentence>> {
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut fresh = true;
    for (number, line) in reader.lines().enumerate() {
        let place = || line_of(path, number + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() || line.starts_with("-DOCSTART-") {
            fresh = true;
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (&[word, .., tag], true) = (fields.as_slice(), fields.len() > 1) else {
            bail!("{}: {line:?} is no word with a label; write both with a tab or blank between them", place());
        };
        if std::mem::take(&mut fresh) {
            sentences.push(Sentence { text: String::new(), words: vec![], tags: vec![], line: number + 1 });
        }
        if let Some(Sentence { text, words, tags, .. }) = sentences.last_mut() {
            if !text.is_empty() {
                text.push(' ');
            }
            words.push(text.len()..text.len() + word.len());
            text.push_str(word);
            tags.push(tag.to_owned());
        }
    }
    Ok(sentences)
}

fn objects(path: &Path, reader: impl BufRead, tokenizer: &Tokenizer) -> Result<Vec<Sentence>> {
    let mut sentences = Vec::new();
    for (number, line) in reader.lines().enumerate() {
        let place = || line_of(path, number + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let object: Map<String, Value> =
            serde_json::from_str(&line).with_context(|| format!("{}: not a JSON object", place()))?;
        let text = object.get("text").and_then(Value::as_str).with_context(|| format!("{}: no `text`", place()))?;
        ensure!(!text.trim().is_empty(), "{}: the text is empty", place());
        let spans = object.get("spans").or_else(|| object.get("entities")).and_then(Value::as_array);
        let spans = spans.with_context(|| format!("{}: no `spans`, a list of [start, end, label]", place()))?;
        let encoding = tokenizer.encode(text, false).map_err(|cause| anyhow::anyhow!("{}: {cause}", place()))?;
        let words = words(&encoding);
        let mut tags = vec!["O".to_owned(); words.len()];
        for span in spans {
            let (bytes, label) = piece(text, span).with_context(|| format!("{}: span {span} is none", place()))?;
            let mut begins = true;
            for (word, tag) in words.iter().zip(&mut tags).filter(|(word, _)| word.start < bytes.end && word.end > bytes.start) {
                ensure!(tag == "O", "{}: two spans have the word {:?}", place(), &text[word.clone()]);
                *tag = format!("{}-{label}", if std::mem::take(&mut begins) { 'B' } else { 'I' });
            }
            ensure!(!begins, "{}: span {span} has no word", place());
        }
        sentences.push(Sentence { text: text.to_owned(), words, tags, line: number + 1 });
    }
    Ok(sentences)
}

/// The words of the pre-tokeniser, in bytes.
fn words(encoding: &Encoding) -> Vec<Range<usize>> {
    let mut words: Vec<(u32, Range<usize>)> = Vec::new();
    for (word, (start, end)) in encoding.get_word_ids().iter().zip(encoding.get_offsets()) {
        let Some(word) = *word else { continue };
        match words.last_mut() {
            Some((last, range)) if *last == word => range.end = range.end.max(*end),
            _ => words.push((word, *start..*end)),
        }
    }
    words.into_iter().map(|(_, range)| range).collect()
}

/// `[start, end, label]` or an object with those keys: bytes of the text and the label.
fn piece(text: &str, span: &Value) -> Result<(Range<usize>, String)> {
    let (start, end, label) = match span {
        Value::Array(of) => (of.first(), of.get(1), of.get(2)),
        Value::Object(of) => (of.get("start"), of.get("end"), of.get("label")),
        _ => (None, None, None),
    };
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let (Some(start), Some(end), Some(label)) = (number(start), number(end), label.and_then(Value::as_str)) else {
        bail!("it must be [start, end, label]");
    };
    let characters = text.chars().count();
    ensure!(start < end && end <= characters, "it must lie within the {characters} characters of the text");
    ensure!(!label.trim().is_empty(), "its label is empty");
    let byte = |character: usize| text.chars().take(character).map(char::len_utf8).sum::<usize>();
    Ok((byte(start)..byte(end), label.trim().to_owned()))
}

/// A text as examples: more than one where it has more than `most` tokens. The first piece of a word carries its label, by its `number`.
pub fn examples(
    sentence: &Sentence,
    tokenizer: &Tokenizer,
    number: impl Fn(&str) -> Result<u32>,
    most: usize,
) -> Result<Vec<Example>> {
    let framed = tokenizer.encode("a", true).map_err(anyhow::Error::msg)?;
    let own = |i: &usize| framed.get_sequence_ids()[*i].is_some();
    let (first, last) = ((0..framed.len()).find(own), (0..framed.len()).rfind(own));
    let (first, last) = first.zip(last).context("the tokenizer gives no token for a letter")?;
    let (before, after) = (&framed.get_ids()[..first], &framed.get_ids()[last + 1..]);
    let encoding = tokenizer.encode(sentence.text.as_str(), false).map_err(anyhow::Error::msg)?;
    let mut known = None;
    let tag = |(start, _): &(usize, usize)| {
        let word = sentence.words.partition_point(|word| word.end <= *start);
        let of = sentence.words.get(word).filter(|of| of.start <= *start)?;
        (known.replace(of.start) != Some(of.start)).then(|| number(&sentence.tags[word]))
    };
    let tags: Vec<Option<u32>> = encoding.get_offsets().iter().map(tag).map(Option::transpose).collect::<Result<_>>()?;
    let room = most.saturating_sub(before.len() + after.len()).max(1);
    let none = |count: usize| std::iter::repeat_n(None, count);
    let parts = encoding.get_ids().chunks(room).zip(tags.chunks(room));
    let one = |(ids, tags): (&[u32], &[Option<u32>])| Example {
        ids: [before, ids, after].concat(),
        types: Vec::new(),
        target: Target::Tags(none(before.len()).chain(tags.iter().copied()).chain(none(after.len())).collect()),
    };
    Ok(parts.filter(|(_, tags)| tags.iter().any(Option::is_some)).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::vocabulary::tests::small;
    use crate::train::vocabulary::tokenizer;

    fn read_as(name: &str, content: &str) -> Result<Vec<Sentence>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        read(&path, &tokenizer(&small()).unwrap(), usize::MAX)
    }

    fn tags(sentence: &Sentence) -> Vec<(&str, &str)> {
        sentence.words.iter().zip(&sentence.tags).map(|(word, tag)| (&sentence.text[word.clone()], tag.as_str())).collect()
    }

    #[test]
    fn both_layouts_give_words_with_labels() {
        let columns = "-DOCSTART- -X- O\n\nA DT O\nfilms! NN B-x\n\n\n語\tB-y\n";
        let found = read_as("a.conll", columns).unwrap();
        assert_eq!(found.iter().map(tags).collect::<Vec<_>>(), [vec![("A", "O"), ("films!", "B-x")], vec![("語", "B-y")]]);
        assert_eq!((found[0].text.as_str(), found[0].line, found[1].line), ("A films!", 3, 7));
        let spans = "{\"text\": \"語 films! re\", \"spans\": [[2, 8, \"x\"], [0, 1, \"y\"]]}\n";
        let found = read_as("a.jsonl", spans).unwrap();
        assert_eq!(tags(&found[0]), [("語", "B-y"), ("films", "B-x"), ("!", "I-x"), ("re", "O")]);
    }

    /// Would catch: labels on later pieces of a word, or one place beside it because of [CLS]; a tail that is lost.
    #[test]
    fn the_first_piece_of_a_word_carries_its_label() {
        let tokenizer = tokenizer(&small()).unwrap();
        let sentence = &read_as("a.conll", "A 0\nfilms! 1\nre 2\n").unwrap()[0];
        let of = |most: usize| examples(sentence, &tokenizer, |tag| Ok(tag.parse()?), most).unwrap();
        let whole = of(20);
        // [CLS] a film ##s ! re [SEP]
        assert_eq!(whole[0].target, Target::Tags(vec![None, Some(0), Some(1), None, None, Some(2), None]));
        assert_eq!((whole.len(), whole[0].ids.len()), (1, 7));
        let targets: Vec<Target> = of(4).into_iter().map(|part| part.target).collect();
        let tags = |tags: &[Option<u32>]| Target::Tags(tags.to_vec());
        // `##s !` between asks nothing.
        assert_eq!(targets, [tags(&[None, Some(0), Some(1), None]), tags(&[None, Some(2), None])]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let refused = |name: &str, content: &str| format!("{:#}", read_as(name, content).unwrap_err());
        assert!(refused("a.txt", "a O\nfilm\n").contains("a.txt line 2"));
        assert!(refused("a.txt", "\n").contains("no texts"));
        let spans = |spans: &str| refused("a.jsonl", &format!("\n{{\"text\": \"a film\", \"spans\": {spans}}}\n"));
        for (wrong, said) in [
            ("[[0, 9, \"x\"]]", "6 characters"),
            ("[[0, 0, \"x\"]]", "6 characters"),
            ("[[0, 1]]", "[start, end, label]"),
            ("[[1, 2, \"x\"]]", "no word"),
            ("[[0, 1, \"x\"], [0, 6, \"y\"]]", "two spans"),
            ("[[0, 1, \" \"]]", "label is empty"),
            ("3", "no `spans`"),
        ] {
            let refused = spans(wrong);
            assert!(refused.contains("a.jsonl line 2") && refused.contains(said), "{wrong}: {refused}");
        }
    }
}
