//! What is refused at start, and what a config may not say.

use super::*;
use crate::config::Config;
use crate::scoring::{Reasons, Rules};
use std::collections::BTreeMap;
use std::path::Path;

fn refusal(names: &[&str], given: Value, loaded: Loaded) -> String {
    Risk::new(names, options(given), loaded).err().expect("it started").to_string()
}

/// Would catch: a model, a shadow or reasons of other features; a decision without thresholds; reasons that never come.
#[test]
fn what_does_not_fit_together_does_not_start() {
    assert!(refusal(&["b", "a"], json!({}), scoring()).contains("[models.m]: feature 1 is \"b\" where the model has \"a\""));
    assert!(refusal(&["a"], json!({}), scoring()).contains("the model has 2 features, 1 are declared"));
    let one = Model::parse(br#"{"features":["a"],"mean":[0],"scale":[1],"coef":[1],"intercept":0}"#).unwrap();
    let shadow = Loaded { shadow: Some(("s".into(), one)), ..scoring() };
    assert!(refusal(&NAMES, json!({}), shadow).contains("[models.s]: the model has 1 features"));
    let other = Reasons::parse("version = \"1\"", &["a".to_owned(), "c".to_owned()]).unwrap();
    assert!(refusal(&NAMES, json!({}), Loaded { reasons: Some(other), ..scoring() }).contains("the reasons: feature 2"));
    assert!(refusal(&NAMES, json!({}), Loaded { policy: None, ..scoring() }).contains("policy = \"FILE\""));
    let rules = Rules::parse("version = \"1\"", &NAMES.map(str::to_owned)).ok();
    let alone = Loaded { rules, policy: Some(policy()), ..Loaded::default() };
    assert!(refusal(&NAMES, json!({"explain": "always"}), alone).contains("rules alone"));
}

const FEATURES: &str = "[risk]\nfeature = [{ name = \"a\", field = \"a\" }, { name = \"b\", field = \"b\" }]\n";
const CONFIG: &str = r#"
[kafka]
brokers = "none:1"
[models.m]
path = "model.json"
[risk]
feature = [{ name = "a", field = "a" }, { name = "b", field = "b" }]
[[pipeline]]
name = "p"
topic = "t"
event = "json"
function = "risk"
model = "m"
options = { policy = "policy.toml" }
"#;

fn findings(text: &str) -> String {
    Config::parse(text, "test.toml", &BTreeMap::new()).unwrap().findings().join("\n")
}

/// Would catch: a setting that `check` lets through and `run` refuses, or that never does anything.
#[test]
fn a_config_that_cannot_be_meant_is_told() {
    assert_eq!(findings(CONFIG), "");
    let options = |with: &str| CONFIG.replace("options = { policy = \"policy.toml\" }", with);
    let with = |more: &str| options(&format!("options = {{ policy = \"policy.toml\", {more} }}"));
    let stage = |more: &str| options(more).replace("model = \"m\"\n", "");
    for (text, said) in [
        (CONFIG.replace(FEATURES, ""), "declare them under [[risk.feature]]"),
        (CONFIG.replace("topic = \"t\"", "topic = [\"t\", \"u\"]"), "there are 2 topics"),
        (
            CONFIG.replace("\"risk\"", "\"copy\"") + "[pipeline.risk]\nfeature = [{ name = \"a\", field = \"a\" }]",
            "function \"copy\" has none",
        ),
        (CONFIG.to_owned() + "[pipeline.risk]\nentries = 0", "entries = 0"),
        (with("polcy = 1"), "unknown field `polcy`"),
        (with("explain = \"sometimes\""), "unknown variant `sometimes`"),
        (with("shadow = \"n\""), "has no [models.n]; did you mean \"m\"?"),
        (with("shadow = \"m\""), "shadow is the model that decides"),
        (with("top_reasons = 0"), "top_reasons = 0"),
        (with("output_key = \"a..b\""), "no dotted path"),
        (with("pass_event = true").replace("event = \"json\"", "event = \"json\"\nmode = \"postgres\""), "publishes nothing"),
        (options(""), "add policy"),
        (stage("options = { policy = \"policy.toml\" }"), "policy is for a pipeline that scores"),
        (stage("options = { reasons = \"r.toml\" }"), "reasons is for a pipeline that scores"),
        (stage("options = { rules = \"r.toml\", policy = \"p.toml\", reasons = \"r.toml\" }"), "reasons explain a model"),
    ] {
        let found = findings(&text);
        assert!(found.contains(said), "{found:?} instead of {said:?}");
    }
    assert_eq!(findings(&stage("options = { pass_event = true }")), "");
}

/// Would catch: paths that start where the program was started, a digest that is not looked at, an unknown feature in a file.
#[test]
fn files_are_found_beside_the_config_and_held_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let load = |text: &str| {
        write("test.toml", text);
        let config = Config::load(&folder.path().join("test.toml"), &BTreeMap::new()).unwrap();
        let pipeline = &config.pipeline[0];
        let declared = config.risk_of(pipeline).unwrap();
        Risk::load(declared, &pipeline.options, pipeline.model.as_deref(), &config.models, &config.base)
    };
    let refused = |text: &str| load(text).err().expect("it started").to_string();
    assert!(refused(CONFIG).contains("model.json: "), "a model that is not there is named with its path");
    let file = json!({"features": NAMES, "mean": [0, 0], "scale": [1, 1], "coef": [3, -0.5], "intercept": 0}).to_string();
    write("model.json", &file);
    assert!(refused(CONFIG).contains("policy.toml: "));
    write("policy.toml", "version = \"1\"\n");
    let digest = load(CONFIG).unwrap().spec().model.clone();
    assert_eq!(digest.split_once('@').unwrap().0, "m");
    let path = "path = \"model.json\"";
    let with_digest = |digest: &str| CONFIG.replace(path, &format!("{path}\ndigest = \"{digest}\""));
    assert!(load(&with_digest(digest.split_once('@').unwrap().1)).is_ok());
    assert!(refused(&with_digest("000000000000")).contains("[models.m] has sha256"));
    write(
        "rules.toml",
        "version = \"1\"\n[[rule]]\nid = \"r\"\nversion = 1\nweight = 1.0\nwhen = [{ feature = \"aa\", gt = 1.0 }]\n",
    );
    write("reasons.toml", "version = \"1\"\n[features.c]\ncode = \"R\"\ntext = \"t\"\n");
    for (name, said) in
        [("rules", "there is no feature \"aa\", did you mean \"a\""), ("reasons", "the model has no feature \"c\"")]
    {
        let found = refused(&CONFIG.replace("policy = ", &format!("{name} = \"{name}.toml\", policy = ")));
        assert!(found.contains(said) && found.contains(&format!("{name}.toml")), "{found}");
    }
}

/// Would catch: a sample that is shipped and does not load, or whose stages and files do not fit.
#[test]
fn the_shipped_chain_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/risk-chain.toml");
    let config = Config::load(&path, &BTreeMap::new()).unwrap();
    let [first, second] = &config.pipeline[..] else { panic!("two stages") };
    assert_eq!(second.topic, [first.output_topic()]);
    let names = |place: usize| -> Vec<String> {
        config.risk_of(&config.pipeline[place]).unwrap().feature.iter().map(|feature| feature.name.clone()).collect()
    };
    assert_eq!((names(0).len(), names(1).len()), (9, 15));
    let handbook = Config::load(&path.with_file_name("risk-handbook.toml"), &BTreeMap::new()).unwrap();
    let of_one_fold: Vec<String> = handbook.risk.unwrap().feature.into_iter().map(|feature| feature.name).collect();
    assert_eq!(names(1), of_one_fold);
    Policy::load(&config.base.join("risk-policy.toml")).unwrap();
    Reasons::load(&config.base.join("risk-reasons.toml"), &names(1)).unwrap();
}
