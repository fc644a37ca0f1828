//! What a training run writes down while it goes: events for TensorBoard, a table and a picture of its curves.

mod curves;
mod tensorboard;

pub use tensorboard::EventFile;

use anyhow::{Context, Result};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One measured number of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Optimiser steps done.
    pub step: usize,
    /// As TensorBoard groups it: `train/loss`, `dev/accuracy`.
    pub tag: Cow<'static, str>,
    pub value: f64,
}

impl Point {
    pub fn new(step: usize, tag: impl Into<Cow<'static, str>>, value: f64) -> Self {
        Self { step, tag: tag.into(), value }
    }
}

/// The numbers of a run, kept and written as they come.
pub struct Journal {
    folder: PathBuf,
    points: Vec<Point>,
    events: EventFile,
}

impl Journal {
    /// Makes `folder`, and in it an event file of its own for each start of a run.
    pub fn start(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), points: Vec::new(), events: EventFile::create(folder)? })
    }

    /// Takes numbers down; the event file has them at once.
    pub fn note(&mut self, points: &[Point]) -> Result<()> {
        for point in points {
            self.events.scalar(&point.tag, point.step, point.value)?;
        }
        self.points.extend_from_slice(points);
        self.events.flush()
    }

    /// Writes `curves.svg` and `curves.csv`.
    pub fn finish(mut self) -> Result<()> {
        self.events.flush()?;
        let write = |name: &str, text: String| {
            let path = self.folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("curves.svg", curves::svg(&self.points))?;
        write("curves.csv", csv(&self.points))
    }
}

/// `step,tag,value`, a line a point.
fn csv(points: &[Point]) -> String {
    points.iter().fold("step,tag,value\n".to_owned(), |mut out, point| {
        // Writing to a String cannot fail.
        _ = writeln!(out, "{},{},{}", point.step, point.tag, point.value);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_leaves_events_a_table_and_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::start(folder.path()).unwrap();
        journal.note(&[Point::new(1, "train/loss", 2.5)]).unwrap();
        journal.note(&[Point::new(2, "train/loss", 1.25)]).unwrap();
        journal.finish().unwrap();
        let table = std::fs::read_to_string(folder.path().join("curves.csv")).unwrap();
        assert_eq!(table, "step,tag,value\n1,train/loss,2.5\n2,train/loss,1.25\n");
        assert!(std::fs::read_to_string(folder.path().join("curves.svg")).unwrap().contains("train/loss"));
        let names: Vec<String> =
            folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.iter().any(|name| name.starts_with("events.out.tfevents.")), "{names:?}");
    }
}
