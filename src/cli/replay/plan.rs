//! What is replayed: asked for in words, and settled in offsets, which stay when the replay is cut off and goes on.

use crate::cli::common::Usage;
use crate::cli::kafka::Kafka;
use crate::cli::point::Point;
use crate::config::Pipeline;
use crate::event::TopicPartition;
use crate::store::postgres::Begin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// As it stands on the command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub from: Point,
    pub until: Option<Point>,
    pub fold_from: Option<Point>,
    pub partition: Option<i32>,
    pub publish_to: Option<String>,
}

/// What scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub function: String,
    pub model: String,
    /// Digests.
    pub config: String,
    pub fold: Option<String>,
    /// The version whose settings these are; none for the pipeline's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One partition: events of [fold_from, from) are folded, those of [from, until) scored too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    pub topic: String,
    pub partition: i32,
    pub fold_from: i64,
    pub from: i64,
    pub until: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub asked: Asked,
    pub told: Told,
    pub stretches: Vec<Stretch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Stretch {
    pub fn of(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition)
    }

    /// Offsets that are scored.
    pub fn len(&self) -> i64 {
        self.until - self.from
    }
}

impl Plan {
    /// Looks where the words lie in the log.
    pub fn make(asked: Asked, told: Told, pipeline: &Pipeline, kafka: &Kafka) -> anyhow::Result<Self> {
        let partitions = kafka.partitions(&pipeline.topic)?;
        let chosen = |partition: &TopicPartition| asked.partition.is_none_or(|number| number == partition.partition);
        let several = partitions.iter().filter(|partition| chosen(partition)).count();
        if several == 0 {
            let topics = pipeline.topic.join(", ");
            return Err(Usage(format!("{topics} has no partition {}", asked.partition.unwrap_or_default())).into());
        }
        let points = [Some(asked.from), asked.until, asked.fold_from];
        if several > 1 && points.iter().flatten().any(|point| matches!(point, Point::Offset(_))) {
            let what =
                format!("an offset is one partition's, and there are {several}: name it with --partition, or write a time");
            return Err(Usage(what).into());
        }
        let mut plan = Self { asked: asked.clone(), told, stretches: Vec::new(), notes: Vec::new() };
        for partition in &partitions {
            let bounds = kafka.bounds(partition)?;
            let at = |point: Point| point.within(bounds, partition, |ms| kafka.offset_at(partition, ms));
            let (from, until) = match chosen(partition) {
                true => (at(asked.from)?, asked.until.map(at).transpose()?.unwrap_or(bounds.high)),
                // It has a row, as a fold wants all partitions to have, and nothing to do.
                false => (bounds.low, bounds.low),
            };
            let fold_from = match (&plan.told.fold, chosen(partition)) {
                (Some(_), true) => asked.fold_from.map_or(Ok(bounds.low), at)?,
                _ => from,
            };
            plan.add(partition, fold_from, from, until)?;
        }
        if plan.stretches.iter().all(|stretch| stretch.len() == 0) {
            let until = asked.until.map_or_else(|| "the log's end".to_owned(), |until| until.to_string());
            return Err(
                Usage(format!("nothing stands between {} and {until} in {}", asked.from, pipeline.topic.join(", "))).into()
            );
        }
        Ok(plan)
    }

    fn add(&mut self, partition: &TopicPartition, fold_from: i64, from: i64, until: i64) -> Result<(), Usage> {
        if fold_from > from {
            return Err(Usage(format!("{partition}: --fold-from is offset {fold_from}, after --from, which is offset {from}")));
        }
        let (topic, until) = (partition.topic.to_string(), until.max(from));
        self.stretches.push(Stretch { topic, partition: partition.partition, fold_from, from, until });
        Ok(())
    }

    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Rows to open: all partitions. Those without work are folded by nobody, so their states end where they begin.
    pub fn begins(&self) -> Vec<Begin> {
        let fold_from = |stretch: &Stretch| if stretch.len() > 0 { stretch.fold_from } else { stretch.from };
        let begin =
            |stretch: &Stretch| Begin { partition: stretch.of(), fold_from: fold_from(stretch), from: stretch.from, keeps: None };
        self.stretches.iter().map(begin).collect()
    }

    /// What has something to do.
    pub fn work(&self) -> impl Iterator<Item = &Stretch> {
        self.stretches.iter().filter(|stretch| stretch.len() > 0)
    }

    pub fn until(&self) -> BTreeMap<TopicPartition, i64> {
        self.work().map(|stretch| (stretch.of(), stretch.until)).collect()
    }

    /// Offsets that are scored, and those that are read besides.
    pub fn offsets(&self) -> (i64, i64) {
        self.work().fold((0, 0), |(scored, folded), one| (scored + one.len(), folded + one.from - one.fold_from))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { function, model, config, fold, version } = &self.told;
        let model = if model.is_empty() { "no model" } else { model };
        let version = version.as_deref().map_or_else(String::new, |name| format!(", version {name}"));
        writeln!(f, "  scored by    {function}, {model}, config {config}{version}")?;
        for stretch in self.work() {
            let Stretch { fold_from, from, until, .. } = stretch;
            write!(f, "  {:12} scores offsets [{from}, {until}), at most {} events", stretch.of().to_string(), stretch.len())?;
            if fold_from < from {
                write!(f, "; before them folds [{fold_from}, {from})")?;
            }
            writeln!(f)?;
        }
        if fold.is_some() {
            writeln!(f, "  note: its memory begins empty, where it begins to fold; the live pipeline's states are not read")?;
        }
        match &self.asked.publish_to {
            Some(topic) => writeln!(f, "  predictions go to rows and to the topic {topic}, dead letters to rows alone")?,
            None => writeln!(f, "  predictions and dead letters go to rows alone")?,
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}
