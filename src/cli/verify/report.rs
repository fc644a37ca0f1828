//! What a review found.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// One thing that does not fit.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// A word for programs.
    pub kind: &'static str,
    /// Id of the record, or the partition.
    pub at: String,
    /// What was found and what it means.
    pub text: String,
}

/// Where a partition of the newest run stands.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    pub topic: String,
    pub partition: i32,
    /// P, Q, and K.
    pub next_offset: i64,
    pub published_offset: i64,
    pub group_offset: Option<i64>,
    /// The highest offset that a record in the topics names.
    pub highest: Option<i64>,
}

/// One pipeline's summary.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub pipeline: String,
    pub clean: bool,
    /// The newest run; the counts are over all runs.
    pub run: Option<i32>,
    pub partitions: usize,
    pub events: i64,
    pub emitted: i64,
    pub skipped: i64,
    pub dead: i64,
    pub rows: i64,
    /// Rows that `millrace retention` has removed.
    pub removed: i64,
    /// Rows that are decided and not published yet.
    pub unpublished: i64,
    /// Records of this pipeline that were found in topics and compared with their rows.
    pub compared: u64,
    /// Those among them that were published while this ran, after the counts were taken.
    pub later: u64,
    /// Records whose rows retention has removed.
    pub outlived: u64,
    /// Records whose rows were erased on demand.
    pub erased: u64,
    /// Records of others in the same topics.
    pub foreign: u64,
    /// Records that came again, which `at_least_once` may do.
    pub repeated: u64,
    /// Events counted in the input topics, with `--deep`.
    pub input_events: Option<u64>,
    /// The partitions of the newest run.
    pub standing: Vec<Standing>,
    pub notes: Vec<String>,
    /// How many differences of each kind.
    pub differences: BTreeMap<&'static str, u64>,
    /// The first of each kind, in the order in which they were found.
    pub first: Vec<Difference>,
}

impl Report {
    pub fn new(pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned(), clean: true, ..Self::default() }
    }

    pub fn clean(&self) -> bool {
        self.clean
    }

    pub fn differs(&mut self, kind: &'static str, at: impl fmt::Display, text: impl Into<String>) {
        self.clean = false;
        let count = self.differences.entry(kind).or_default();
        *count += 1;
        if *count == 1 {
            self.first.push(Difference { kind, at: at.to_string(), text: text.into() });
        }
    }

    /// A record with this offset stands in a topic.
    pub fn seen(&mut self, run: i32, topic: &str, partition: i32, highest: Option<i64>) {
        let standing = self.standing.iter_mut().find(|one| one.topic == topic && one.partition == partition);
        if let Some(standing) = standing.filter(|_| self.run == Some(run)) {
            standing.highest = standing.highest.max(highest);
        }
    }

    pub fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.differences.values().sum();
        match (total, self.run) {
            (0, None) => writeln!(f, "pipeline {}: clean, it has decided nothing yet", self.pipeline)?,
            (0, Some(run)) => writeln!(f, "pipeline {}: clean (run {run}, {} partitions)", self.pipeline, self.partitions)?,
            (total, _) => writeln!(f, "pipeline {}: NOT CLEAN, at least {total} differences", self.pipeline)?,
        }
        writeln!(
            f,
            "  {} events = {} emitted + {} skipped + {} dead; {} rows, {} of them not published yet; {} records compared, {} of others",
            self.events, self.emitted, self.skipped, self.dead, self.rows, self.unpublished, self.compared, self.foreign
        )?;
        if self.later > 0 {
            writeln!(
                f,
                "  {} of these records were published after the counts before them were taken: workers go on",
                self.later
            )?;
        }
        if self.removed > 0 {
            writeln!(
                f,
                "  {} rows were removed by retention, {} of their records are still in the topics",
                self.removed, self.outlived
            )?;
        }
        if self.erased > 0 {
            writeln!(f, "  {} rows were erased on demand: their records were not compared", self.erased)?;
        }
        if self.repeated > 0 {
            writeln!(f, "  {} records came again, which delivery = \"at_least_once\" may do", self.repeated)?;
        }
        if let Some(events) = self.input_events {
            writeln!(f, "  {events} events counted in the input topics")?;
        }
        self.table(f)?;
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        for (number, difference) in self.first.iter().enumerate() {
            let lead = if number == 0 { "first difference: " } else { "" };
            let count = self.differences.get(difference.kind).copied().unwrap_or(1);
            writeln!(f, "  {lead}{} at {} ({count} of this kind): {}", difference.kind, difference.at, difference.text)?;
        }
        Ok(())
    }
}

impl Report {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.standing.iter().map(|one| format!("{}/{}", one.topic, one.partition)).collect();
        let Some(width) = names.iter().map(String::len).max().map(|width| width.max("partition".len())) else { return Ok(()) };
        let or_none = |number: Option<i64>| number.map_or("none".to_owned(), |number| number.to_string());
        writeln!(f, "  {:width$} {:>12} {:>12} {:>12} {:>12}", "partition", "P", "Q", "K", "published")?;
        for (name, one) in names.iter().zip(&self.standing) {
            let (k, highest) = (or_none(one.group_offset), or_none(one.highest));
            writeln!(f, "  {name:width$} {:>12} {:>12} {k:>12} {highest:>12}", one.next_offset, one.published_offset)?;
        }
        Ok(())
    }
}
