//! Signals that are made from what all users did, over a topic that may be cut into partitions.

use crate::config::{Config, Pipeline};

/// What to know of a pipeline's signals when its topic has so many partitions; `None` of them: it was not asked. `millrace check` tells
/// it, and a worker when it starts.
pub fn warning_of(config: &Config, pipeline: &Pipeline, partitions: Option<usize>) -> Option<String> {
    let signals = config.recommend_of(pipeline)?;
    let mut shared = signals.signals();
    shared.extend(signals.ctr.is_some().then_some("ctr"));
    let topic = pipeline.topic.join(", ");
    let has = match partitions {
        Some(1) => return None,
        Some(count) => format!("topic {topic} has {count} partitions, and each is a world of its own"),
        None => format!("each partition of topic {topic} is a world of its own"),
    };
    let ask = if partitions.is_none() { "; --connect asks how many it has" } else { "" };
    (!shared.is_empty()).then(|| {
        format!(
            "{has}: {} are made from the events of that partition alone. For signals over all users give the topic one partition{ask}",
            shared.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Would catch: a warning where all is exact, and none where lists are made of a part of the users.
    #[test]
    fn shared_signals_over_several_partitions_are_told() {
        let pipeline = "[[pipeline]]\nname = \"r\"\ntopic = \"in\"\nevent = \"click\"\nfunction = \"recommend\"\n";
        let told = |signals: &str, partitions: Option<usize>| {
            let config = Config::parse(&format!("{pipeline}[recommend]\n{signals}"), "test.toml", &BTreeMap::new()).unwrap();
            warning_of(&config, &config.pipeline[0], partitions).unwrap_or_default()
        };
        let shared = "ctr = {}\ncovisit = [{ name = 'next' }]";
        assert!(told(shared, Some(12)).contains("topic in has 12 partitions") && told(shared, Some(12)).contains("next, ctr"));
        assert!(told(shared, None).contains("--connect"));
        assert_eq!((told(shared, Some(1)), told("affinity = { half_life = '1d' }", Some(12))), (String::new(), String::new()));
        let copy = Config::parse(&pipeline.replace("recommend", "copy"), "test.toml", &BTreeMap::new()).unwrap();
        assert_eq!(warning_of(&copy, &copy.pipeline[0], Some(12)), None);
    }
}
