//! What a config may not say, with what to do about it.

use super::pipeline::OF_ONE_TEXT;
use super::{Config, EventKind, OWNED_PROPERTIES, Pipeline, SECRET_PROPERTIES, Security};
use std::collections::BTreeSet;

/// Functions that can be named, and whether each needs a model.
pub const FUNCTIONS: &[(&str, bool)] = &[
    ("answer", true),
    ("classify", true),
    ("copy", false),
    ("embed", true),
    ("fill", true),
    ("generate", true),
    ("recommend", false),
    ("reply", true),
    ("rerank", true),
    ("risk", false),
    ("sentiment", true),
    ("similar", true),
    ("summarize", true),
    ("tag", true),
    ("translate", true),
];

/// How the name of a function begins that the program brings along, instead of this crate (`worker::Own`).
pub const OWN: &str = "own:";

/// A TiB; more is a mistake in the unit.
const MAX_CACHE_MB: usize = 1 << 20;

/// The known name that is nearest to what was written, when one is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min()
        .map(|(_, name)| name)
}

/// Everything that is wrong; empty when the config can run.
pub fn findings(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for name in config.kafka.properties.keys() {
        if OWNED_PROPERTIES.contains(&name.as_str()) {
            found.push(format!(
                "[kafka.properties] {name}: the delivery protocol sets this itself, another value would break exactly-once; remove the line"
            ));
        }
    }
    for name in config.kafka.properties.keys() {
        if let Some((_, instead)) = SECRET_PROPERTIES.iter().find(|(start, _)| name.starts_with(start)) {
            found.push(format!("[kafka.properties] {name}: no place for a secret; {instead}"));
        }
    }
    if config.kafka.cert_file.is_some() != config.kafka.key_file.is_some() {
        found.push("[kafka] cert_file and key_file belong together; name both or neither".into());
    }
    if config.kafka.brokers.trim().is_empty() {
        found.push("[kafka] brokers is empty; write host:port, or set MILLRACE_KAFKA__BROKERS".into());
    }
    if config.models.result_cache_mb > MAX_CACHE_MB {
        let found_mb = config.models.result_cache_mb;
        found.push(format!("[models] result_cache_mb = {found_mb} is more than {MAX_CACHE_MB}; it counts MiB of memory"));
    }
    if config.memory.budget_bytes < 1 << 20 {
        found.push(format!("[memory] budget_bytes = {} is below 1 MiB; raise it", config.memory.budget_bytes));
    }
    if let Some(url) = &config.telemetry.otlp_endpoint
        && let Err(what) = http_url(url)
    {
        found.push(format!("[telemetry] otlp_endpoint: {what}"));
    }
    if !(0.0..=1.0).contains(&config.telemetry.sample_ratio) {
        found.push(format!("[telemetry] sample_ratio = {} is no share; write 0 to 1", config.telemetry.sample_ratio));
    }
    let tls = cfg!(any(feature = "tls", feature = "tls-vendored"));
    let encrypted = matches!(config.kafka.security, Security::Ssl | Security::SaslSsl);
    let scram = config.kafka.sasl_mechanism.as_deref().is_some_and(|mechanism| mechanism != "PLAIN");
    if !tls && (encrypted || scram) {
        found.push(
            "[kafka] security: this binary was built without TLS and SASL; build it with `cargo build --release --features tls`"
                .into(),
        );
    }
    let mut seen = BTreeSet::new();
    for pipeline in &config.pipeline {
        if !seen.insert(pipeline.name.as_str()) {
            found.push(format!(
                "[[pipeline]] {:?} is there twice; a name is a pipeline's identity, give one another",
                pipeline.name
            ));
        }
        pipeline_findings(config, pipeline, &mut found);
        version_findings(config, pipeline, &mut found);
    }
    found.extend(config.admin.findings());
    found.extend(config.schema_registry.findings());
    found.extend(config.recommend.iter().flat_map(|recommend| recommend.findings()));
    found.extend(config.risk.iter().flat_map(|risk| risk.findings()));
    found.extend(config.dialogue.iter().flat_map(|dialogue| dialogue.findings()));
    found
}

/// Each version is a pipeline of its own; what is wrong with all of them was told of the pipeline.
fn version_findings(config: &Config, pipeline: &Pipeline, found: &mut Vec<String>) {
    let say = |what: String| format!("[[pipeline]] {:?}: {what}", pipeline.name);
    found.extend(super::version::findings(pipeline, is_name).into_iter().map(say));
    for name in pipeline.version.keys() {
        let Some(of) = pipeline.as_version(name) else { continue };
        let (mut own, mut as_version) = (Vec::new(), Vec::new());
        pipeline_findings(config, pipeline, &mut own);
        pipeline_findings(config, &of, &mut as_version);
        as_version.retain(|what| !own.contains(what));
        found.extend(as_version.into_iter().map(|what| format!("version {name:?} of {what}")));
    }
}

fn pipeline_findings(config: &Config, pipeline: &Pipeline, found: &mut Vec<String>) {
    let mut say = |text: String| found.push(format!("[[pipeline]] {:?}: {text}", pipeline.name));
    if !is_name(&pipeline.name, 100) {
        say("the name must be 1 to 100 of a-z 0-9 - _ . ; rename it".into());
    }
    if is_of_replay(&pipeline.name) {
        say("names that end in .replay-NUMBER are those of replays, whose rows and group it would share; rename it".into());
    }
    if pipeline.topic.is_empty() {
        say("topic is empty; name at least one".into());
    }
    let outputs = [("output_topic", pipeline.output_topic()), ("dead_letter_topic", pipeline.dead_letter_topic())];
    for topic in pipeline.topic.iter().chain(outputs.iter().map(|(_, topic)| topic)) {
        if !is_topic(topic) {
            say(format!("{topic:?} is no topic name; Kafka takes 1 to 249 of a-z A-Z 0-9 . _ -"));
        }
    }
    for (key, topic) in &outputs {
        if pipeline.topic.contains(topic) {
            say(format!("{key} = {topic:?} is also its input, the pipeline would feed itself; name another topic"));
        }
    }
    match FUNCTIONS.iter().find(|(name, _)| *name == pipeline.function) {
        None if pipeline.function.strip_prefix(OWN).is_some_and(|name| !name.is_empty()) => {}
        None => {
            let names: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
            say(format!("function {:?} is not known{}", pipeline.function, hint(&pipeline.function, &names)));
        }
        Some((name, true)) if pipeline.model.is_none() => {
            say(format!(
                "function {name:?} needs a model; add model = \"NAME\": a section [models.NAME], a folder, a starter such as sentiment-en, or org/name@revision of a hub"
            ));
        }
        Some(_) => {}
    }
    if let Some(text) = unknown_model(config, pipeline, pipeline.model.as_deref()) {
        say(text);
    }
    super::schema_registry::findings_of(config, pipeline).into_iter().for_each(&mut say);
    super::shadow::findings_of(config, pipeline).into_iter().for_each(&mut say);
    super::ladder::findings_of(config, pipeline).into_iter().for_each(&mut say);
    super::recommend::findings_of(config, pipeline).into_iter().for_each(&mut say);
    super::dialogue::findings_of(config, pipeline).into_iter().for_each(&mut say);
    if matches!(pipeline.event, EventKind::Transaction | EventKind::Click) && OF_ONE_TEXT.contains(&pipeline.function.as_str()) {
        say(format!(
            "function {:?} scores a text, which this kind of event has not; use event = \"json\" with fields = {{ text = \"PATH\" }}",
            pipeline.function
        ));
    }
    if pipeline.event != EventKind::Json && !pipeline.fields.is_empty() {
        say("fields is for event = \"json\" only; remove it or change the event".into());
    }
    if !(0.0..=1.0).contains(&pipeline.max_dead_share) {
        say(format!("max_dead_share = {} is no share; write 0 to 1", pipeline.max_dead_share));
    }
    if pipeline.align.is_some() && pipeline.topic.len() > 1 {
        say(
            "align works on one topic, for the client does not tell which of several has come to its end; use a pipeline a topic"
                .into(),
        );
    }
    if pipeline.slice == Some(0) {
        say("slice = 0 would never call the function; write 1 or more, or leave it out".into());
    }
    for what in super::risk::of_pipeline(config, pipeline) {
        say(what);
    }
    let limits = config.limits_of(pipeline);
    if limits.depth == 0 || limits.depth > 100 {
        say(format!("limits.depth = {} is outside 1 to 100", limits.depth));
    }
    if pipeline.record_bytes < 4096 {
        say(format!("record_bytes = {} is below 4096, no dead letter would fit; raise it", pipeline.record_bytes));
    }
}

/// What is wrong with the name of a model. A name without a section may be a folder, a starter or a model of a hub; one that is nearly a
/// section's name is meant as such.
pub(super) fn unknown_model(config: &Config, pipeline: &Pipeline, model: Option<&str>) -> Option<String> {
    let model = model.filter(|model| !config.models.contains_key(*model))?;
    let names: Vec<&str> = config.models.keys().map(String::as_str).collect();
    let meant = pipeline.function == "risk" || nearest(model, names.iter().copied()).is_some();
    meant.then(|| format!("model {model:?} has no [models.{model}]{}", hint(model, &names)))
}

/// Whether a text is the URL of an HTTP server; the error says what to write.
pub fn http_url(text: &str) -> Result<(), String> {
    let help = "write http://host:port or https://host:port";
    match url::Url::parse(text) {
        Err(cause) => Err(format!("is no URL ({cause}); {help}")),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            Err(format!("speaks {:?}, and this is OTLP over HTTP; {help}", url.scheme()))
        }
        Ok(_) => Ok(()),
    }
}

fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(name) => format!("; did you mean {name:?}?"),
        None if known.is_empty() => "; none is configured".into(),
        None => format!("; known are {}", known.join(", ")),
    }
}

fn is_name(name: &str, max: usize) -> bool {
    !name.is_empty()
        && name.len() <= max
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

/// Whether `millrace replay` gives such names.
fn is_of_replay(name: &str) -> bool {
    let number = name.rsplit_once(".replay-").map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
