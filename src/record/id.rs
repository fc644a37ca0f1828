//! The id of a record, as a value.

use std::str::FromStr;

/// `pipeline/run/topic/partition/offset/n`: the key of a row, and the header `millrace-id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    pub pipeline: Box<str>,
    pub run: i32,
    pub topic: Box<str>,
    pub partition: i32,
    pub offset: i64,
    pub n: i16,
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::record_id(&self.pipeline, self.run, &self.topic, self.partition, self.offset, self.n))
    }
}

impl FromStr for RecordId {
    type Err = String;

    /// Takes only what [`super::record_id`] writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let parsed = match parts[..] {
            [pipeline, run, topic, partition, offset, n] => (|| {
                Some(Self {
                    pipeline: pipeline.into(),
                    run: run.parse().ok()?,
                    topic: topic.into(),
                    partition: partition.parse().ok()?,
                    offset: offset.parse().ok()?,
                    n: n.parse().ok()?,
                })
            })(),
            _ => None,
        };
        parsed
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no id; an id is pipeline/run/topic/partition/offset/n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: an id that is read back as another one, and near misses that pass.
    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let id: RecordId = "a.b/2/in-put/3/9007199254740993/1".parse().unwrap();
        assert_eq!(
            (&*id.pipeline, id.run, &*id.topic, id.partition, id.offset, id.n),
            ("a.b", 2, "in-put", 3, 9007199254740993, 1)
        );
        for wrong in ["", "a/1/t/0/5", "a/1/t/0/5/0/0", "a/x/t/0/5/0", "a/1/t/0/+5/0", "a/01/t/0/5/0", "a/1/t/0/5/40000"] {
            assert!(wrong.parse::<RecordId>().is_err(), "{wrong}");
        }
    }
}
