//! What an operator has paused.

use crate::event::TopicPartition;
use std::sync::Arc;

/// A pause in force, with who and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// `None`: every topic of the pipeline.
    pub topic: Option<String>,
    /// `None`: every partition.
    pub partition: Option<i32>,
    pub reason: String,
    pub by: String,
    /// Since when, RFC 3339.
    pub since: String,
}

impl Pause {
    /// Whether it stops this partition.
    pub fn covers(&self, partition: &TopicPartition) -> bool {
        self.topic.as_deref().is_none_or(|topic| *topic == *partition.topic)
            && self.partition.is_none_or(|number| number == partition.partition)
    }

    /// What is paused: `topic/partition`, a topic, or the whole pipeline.
    pub fn what(&self) -> String {
        match (&self.topic, self.partition) {
            (Some(topic), Some(partition)) => format!("{topic}/{partition}"),
            (Some(topic), None) => format!("topic {topic}"),
            (None, _) => "the whole pipeline".to_owned(),
        }
    }
}

/// The pause that stops a partition; of several the narrowest. `pauses` begin with the widest.
pub fn pause_of<'a>(pauses: &'a [Arc<Pause>], partition: &TopicPartition) -> Option<&'a Arc<Pause>> {
    pauses.iter().rev().find(|pause| pause.covers(partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(topic: Option<&str>, partition: Option<i32>) -> Arc<Pause> {
        let topic = topic.map(str::to_owned);
        Arc::new(Pause { topic, partition, reason: "r".into(), by: "b".into(), since: "s".into() })
    }

    /// Would catch: a pause of one topic that stops another, a wide pause that hides why one partition alone is paused.
    #[test]
    fn the_narrowest_pause_is_told_and_covers_no_more_than_it_names() {
        let all = [pause(None, None), pause(Some("a"), None), pause(Some("a"), Some(1))];
        let found =
            |all: &[Arc<Pause>], topic, number| pause_of(all, &TopicPartition::new(topic, number)).map(|pause| pause.what());
        assert_eq!(found(&all, "a", 1).as_deref(), Some("a/1"));
        assert_eq!(found(&all, "a", 2).as_deref(), Some("topic a"));
        assert_eq!(found(&all, "b", 1).as_deref(), Some("the whole pipeline"));
        assert_eq!(found(&all[1..], "b", 1), None);
        assert_eq!(found(&all[2..], "a", 0), None);
    }
}
