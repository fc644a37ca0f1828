//! A model that is asked what it would say, once before training, by the networks that run on a stream.

use super::distil::untaught;
use super::evaluate::ask;
use super::task::Task;
use crate::inference::{Encoder, Head, Options, Problem, Text, Tokens};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use tokenizers::Tokenizer;

/// A model with the labels of the student.
pub struct Teacher {
    encoder: Encoder,
    /// Of each label of the student its place among the teacher's.
    places: Vec<usize>,
}

impl Teacher {
    /// Opens a folder whose labels must be `labels`, in any order.
    pub fn open(folder: &Path, task: Task, labels: &[String]) -> Result<Self> {
        if let Some(why) = untaught(task) {
            bail!(why);
        }
        let encoder = Encoder::open("teacher", folder, None, &Options::default())?;
        let (known, what) = match task {
            Task::Tag => (encoder.token_labels(), "words"),
            _ => (encoder.labels(), "texts"),
        };
        let known = known.with_context(|| format!("the teacher {} has no head for labels of {what}", folder.display()))?;
        let (one, many) = (Some(Problem::OneLabel), Some(Problem::ManyLabels));
        match task {
            Task::Label if encoder.problem() != one => bail!("the teacher {} does not give one label a text", folder.display()),
            Task::Labels if encoder.problem() != many => {
                bail!("the teacher {} does not give any number of labels a text", folder.display())
            }
            _ => {}
        }
        let place = |label: &String| known.iter().position(|of| of == label);
        let places: Option<Vec<usize>> = labels.iter().map(place).collect();
        let places = places.filter(|places| places.len() == known.len()).with_context(|| {
            format!(
                "the teacher {} has the labels {}, the student {}; they must be the same (--label-names renames those of the file)",
                folder.display(),
                known.join(", "),
                labels.join(", ")
            )
        })?;
        Ok(Self { encoder, places })
    }

    /// Of all that its answers depend on.
    pub fn digest(&self) -> &str {
        self.encoder.contents().as_str()
    }

    /// Of its weights.
    pub fn weights(&self) -> &str {
        self.encoder.digest().as_str()
    }

    /// Its logits for texts or pairs, in the student's order: `[labels]` a text. Each has its own tokens of them.
    pub fn of_texts(&self, texts: Vec<Text>) -> Result<Vec<Vec<f32>>> {
        let answers = ask(&self.encoder, Head::Logits, texts)?;
        Ok(answers.into_iter().map(|answer| self.ordered(&answer.values)).collect())
    }

    /// Its logits for each token of windows that the student's tokeniser has cut: `[tokens * labels]` a window.
    pub fn of_windows(&self, windows: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let longest = windows.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let most = self.encoder.max_tokens();
        ensure!(longest <= most, "texts have up to {longest} tokens, but the teacher sees {most}; take --max-tokens {most}");
        let tokens = |ids: &&[u32]| Tokens { ids: ids.to_vec(), types: vec![0; ids.len()], ..Tokens::default() };
        let asked = self.encoder.answer_windows(Head::Tokens, windows.iter().map(tokens).collect());
        let answers = tokio::runtime::Builder::new_current_thread().build()?.block_on(asked)?;
        Ok(answers.into_iter().map(|answer| self.ordered(&answer.values)).collect())
    }

    /// An error unless the student's tokeniser cuts each text as the teacher's does.
    pub fn cuts_as(&self, tokenizer: &Tokenizer, texts: &[&str]) -> Result<()> {
        let own = |text: &str, special: bool| -> Result<Vec<u32>> {
            let encoding = tokenizer.encode_fast(text, special).map_err(anyhow::Error::msg)?;
            Ok(encoding.get_ids().to_vec())
        };
        let mut differ = usize::from(self.encoder.tokenize("a")?.ids != own("a", true)?);
        for text in texts {
            differ += usize::from(self.encoder.tokenizer().plain(text, usize::MAX)?.0 != own(text, false)?);
        }
        ensure!(
            differ == 0,
            "the teacher cuts {differ} of {} texts into other tokens than the base model; labels of words need the same tokenizer",
            texts.len()
        );
        Ok(())
    }

    fn ordered(&self, values: &[f32]) -> Vec<f32> {
        let rows = values.chunks_exact(self.places.len().max(1));
        rows.flat_map(|row| self.places.iter().map(|&place| row[place])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::checkpoint::Folder;
    use crate::train::vocabulary::tokenizer;
    use std::path::PathBuf;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions").join(name)
    }

    fn refused(name: &str, task: Task, labels: &[&str]) -> String {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        Teacher::open(&fixture(name), task, &labels).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    /// Would catch: logits in the teacher's order, of a text that is another's, a teacher of another kind.
    #[test]
    fn a_teacher_answers_in_the_students_order_or_is_refused() {
        let encoder = Encoder::open("one", &fixture("one"), None, &Options::default()).unwrap();
        let mut labels: Vec<String> = encoder.labels().unwrap().to_vec();
        let texts = ["good film".to_owned(), "a bad, bad film".to_owned()];
        let want = encoder.answer_blocking(Head::Logits, texts.to_vec()).unwrap();
        labels.reverse();
        let teacher = Teacher::open(&fixture("one"), Task::Label, &labels).unwrap();
        let got = teacher.of_texts(texts.iter().cloned().map(Text::from).collect()).unwrap();
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(*got, want.values.iter().rev().copied().collect::<Vec<f32>>());
        }
        assert_ne!(got[0], got[1]);
        let plain: Vec<&str> = labels.iter().map(String::as_str).collect();
        for (name, task, labels, said) in [
            ("one", Task::Label, &["a", "b"][..], "they must be the same"),
            ("one", Task::Label, &plain[1..], "they must be the same"),
            ("one", Task::Labels, &plain, "any number of labels"),
            ("one", Task::Tag, &plain, "no head for labels of words"),
            ("fill", Task::Label, &plain, "no head for labels of texts"),
            ("one", Task::Answer, &plain, "--teacher"),
            ("none", Task::Label, &plain, "config.json"),
        ] {
            assert!(refused(name, task, labels).contains(said), "{name}: {}", refused(name, task, labels));
        }
    }

    /// Would catch: logits of other tokens than the student learns, a tokenizer that is taken for the same.
    #[test]
    fn labels_of_words_are_asked_token_by_token() {
        let folder = fixture("tag");
        let encoder = Encoder::open("tag", &folder, None, &Options::default()).unwrap();
        let labels = encoder.token_labels().unwrap().to_vec();
        let teacher = Teacher::open(&folder, Task::Tag, &labels).unwrap();
        let texts = ["good film".to_owned(), "a bad, bad film".to_owned()];
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| encoder.tokenize(text).unwrap().ids).collect();
        let windows: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let want = encoder.answer_blocking(Head::Tokens, texts.to_vec()).unwrap();
        let got = teacher.of_windows(&windows).unwrap();
        for ((got, want), ids) in got.iter().zip(&want).zip(&ids) {
            assert_eq!((got, got.len()), (&want.values, ids.len() * labels.len()));
        }
        let own = tokenizer(&Folder::read(&folder).unwrap().tokenizer).unwrap();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        teacher.cuts_as(&own, &texts).unwrap();
        let other = crate::train::pieces::words().unwrap();
        assert!(teacher.cuts_as(&other, &texts).unwrap_err().to_string().contains("2 texts"));
        let long = vec![1; teacher.encoder.max_tokens() + 1];
        assert!(teacher.of_windows(&[&long]).unwrap_err().to_string().contains("--max-tokens"));
    }
}
