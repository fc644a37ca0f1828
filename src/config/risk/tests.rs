use super::*;
use crate::config::{Config, ConfigError};
use std::collections::BTreeMap;
use std::path::Path;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "test.toml", &BTreeMap::new())
}

/// Would catch: a sample that is shipped and does not load.
#[test]
fn the_shipped_sample_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/risk-handbook.toml");
    let config = Config::load(&path, &BTreeMap::new()).unwrap();
    assert_eq!(config.risk.unwrap().feature.len(), 15);
}

/// Would catch: samples whose pipelines, options or features are refused.
#[test]
fn the_shipped_pipelines_load() {
    for (name, pipelines, features) in [("risk-chain", 2, 15), ("risk-credit", 1, 23), ("risk-text", 3, 5)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("deploy/samples/{name}.toml"));
        let config = Config::load(&path, &BTreeMap::new()).unwrap();
        let declared = config.risk_of(config.pipeline.last().unwrap()).unwrap();
        assert_eq!((config.pipeline.len(), declared.feature.len()), (pipelines, features), "{name}");
    }
}

/// Would catch: a setting that is wrong and only shows in the features.
#[test]
fn what_cannot_be_meant_is_named() {
    const COUNT: &str = "name = \"n\", entity = \"card\", aggregate = \"count\", window = \"1d\"";
    let cases = [
        (String::new(), "no feature"),
        (format!("entries = 0\nfeature = [{{ {COUNT} }}]"), "entries = 0"),
        (format!("feature = [{{ {COUNT} }}, {{ {COUNT} }}]"), "two features are called"),
        (format!("feature = [{{ {COUNT}, field = \"x\" }}]"), "remove field"),
        (format!("feature = [{{ {} }}]", COUNT.replace("count", "sum")), "name it with field"),
        (format!("feature = [{{ {} }}]", COUNT.replace(", window = \"1d\"", "")), "needs all of"),
        (format!("feature = [{{ {} }}]", COUNT.replace("\"card\"", "\"a:b\"")), "without a colon"),
        (format!("feature = [{{ {}, field = \"fraud\" }}]", COUNT.replace("count", "share")), "would see the label"),
        ("feature = [{ name = \"x\" }]".into(), "says nothing"),
        ("feature = [{ name = \"x\", field = \"x\", delay = \"1d\" }]".into(), "belong to an aggregate"),
        ("feature = [{ name = \"x\", field = \"x\", empty = inf }]".into(), "empty is a number or nan"),
        (format!("feature = [{{ {COUNT}, empty = -inf }}]"), "empty is a number or nan"),
        ("feature = [{ name = \"x\", calendar = \"hour\", empty = 0.0 }]".into(), "never empty"),
        (
            format!(
                "feature = [{{ name = \"x\", field = \"x\", empty = nan }}, {{ {}, field = \"x\" }}]",
                COUNT.replace("count", "sum")
            ),
            "feature \"n\" needs its field of every event",
        ),
        (
            "feature = [{ name = \"x\", field = \"x\", empty = nan }, { name = \"y\", field = \"x\" }]".into(),
            "feature \"y\" needs its field of every event",
        ),
        ("feature = [{ name = \"x\", calendar = \"hour\", hours = [1, 2] }]".into(), "hours belongs"),
        ("feature = [{ name = \"x\", calendar = \"is_night\", hours = [1, 24] }]".into(), "0 to 23"),
        ("non_negative = [\"amunt\"]\nfeature = [{ name = \"x\", field = \"amount\" }]".into(), "did you mean \"amount\"?"),
        (
            format!(
                "feature = [{{ {}, field = \"fraud\" }}]\nlabels = {{ when = \"k == 'l'\", event_id = \"of\", value = \"frauds\" }}",
                COUNT.replace("count", "share")
            ),
            "did you mean \"fraud\"?",
        ),
    ];
    for (text, part) in cases {
        let found = parse(&format!("[risk]\n{text}\n")).unwrap().findings().join("\n");
        assert!(found.contains(part), "{part}: {found}");
    }
}

/// Would catch: an unknown word that is dropped, and one without a hint.
#[test]
fn unknown_words_are_refused_with_the_nearest_one() {
    let feature = |text: &str| parse(&format!("[risk]\nfeature = [{{ name = \"n\", {text} }}]")).unwrap_err().to_string();
    assert!(feature("windw = \"1d\"").contains("did you mean `window`?"), "{}", feature("windw = \"1d\""));
    assert!(feature("aggregate = \"cont\"").contains("did you mean `count`?"), "{}", feature("aggregate = \"cont\""));
    assert!(feature("window = \"1 fortnight\"").contains("whole number"));
    assert!(feature("filter = \"amount 3\"").contains("FIELD SIGN VALUE"));
    assert!(feature("filter = \"kind > 'x'\"").contains("== and !="));
}

/// Would catch: a sign that is read as another, and filters that are written otherwise than they are read.
#[test]
fn filters_are_written_as_they_are_read() {
    for text in ["a.b == \"x\"", "a != 1.5", "a <= -2", "a >= 0", "a < 3", "a > 3", "a == true"] {
        let read: Filter = serde_json::from_value(text.into()).unwrap();
        assert_eq!(read.to_string(), text);
    }
}
