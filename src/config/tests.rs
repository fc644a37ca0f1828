use super::*;
use secrecy::ExposeSecret;

const SMALL: &str = "[[pipeline]]\nname = \"a\"\ntopic = \"in\"\nevent = \"transaction\"\nfunction = \"copy\"\n";

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "test.toml", &env(&[]))
}

#[test]
fn the_shipped_sample_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/millrace.toml");
    let config = Config::load(&path, &env(&[("DATABASE_URL", "postgres://x")])).unwrap();
    assert!(!config.pipeline.is_empty());
    assert_eq!(config.postgres.url.unwrap().expose_secret(), "postgres://x");
}

#[test]
fn an_unknown_key_shows_its_line_and_the_nearest_one() {
    let text = parse("[kafka]\nbroker = \"x\"\n").unwrap_err().to_string();
    assert!(text.contains("line 2") && text.contains("did you mean `brokers`?"), "{text}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let env = env(&[
        ("MILLRACE_KAFKA__BROKERS", "k:1"),
        ("MILLRACE_MEMORY__BUDGET_BYTES", "2000000"),
        ("MILLRACE_PIPELINE__A__MODE", "postgres"),
        ("MILLRACE_HOME", "ignored"),
    ]);
    let config = Config::parse(SMALL, "t", &env).unwrap();
    assert_eq!((config.kafka.brokers.as_str(), config.memory.budget_bytes), ("k:1", 2_000_000));
    assert_eq!(config.pipeline[0].mode, crate::record::Mode::Postgres);
}

#[test]
fn what_cannot_run_is_named() {
    let cases = [
        (format!("{SMALL}{SMALL}"), "is there twice"),
        (SMALL.replace("\"a\"", "\"A b\""), "rename it"),
        (SMALL.replace("copy", "copi"), "did you mean \"copy\"?"),
        (SMALL.replace("copy", "sentiment"), "needs a model"),
        (format!("{SMALL}model = \"m\"\n"), "[models.m]"),
        (format!("{SMALL}output_topic = \"in\"\n"), "feed itself"),
        (format!("{SMALL}max_dead_share = 2.0\n"), "no share"),
        (format!("[telemetry]\notlp_endpoint = \"collector:4318\"\n{SMALL}"), "otlp_endpoint"),
        (format!("[telemetry]\nsample_ratio = 1.5\n{SMALL}"), "sample_ratio = 1.5"),
        (format!("[kafka.properties]\n\"enable.auto.commit\" = \"true\"\n{SMALL}"), "enable.auto.commit"),
    ];
    for (text, part) in cases {
        let found = parse(&text).unwrap().findings().join("\n");
        assert!(found.contains(part), "{part}: {found}");
    }
}

/// Would catch: a check that still refuses what OTLP needs.
#[test]
fn a_collector_may_be_named() {
    for url in ["http://localhost:4318", "https://collector.example/base"] {
        let config = parse(&format!("[telemetry]\notlp_endpoint = \"{url}\"\nsample_ratio = 0.1\n{SMALL}")).unwrap();
        assert!(config.findings().is_empty(), "{:?}", config.findings());
    }
}

/// Would catch: a config that only fails once it connects.
#[cfg(not(any(feature = "tls", feature = "tls-vendored")))]
#[test]
fn security_that_this_build_lacks_is_refused_with_what_to_build() {
    for security in ["security = \"sasl_ssl\"", "security = \"ssl\"", "sasl_mechanism = \"SCRAM-SHA-512\""] {
        let found = parse(&format!("[kafka]\n{security}\n{SMALL}")).unwrap().findings().join("\n");
        assert!(found.contains("--features tls"), "{security}: {found}");
    }
}

#[test]
fn the_digest_follows_the_pipeline_and_secrets_stay_hidden() {
    let one = parse(SMALL).unwrap().pipeline[0].digest();
    let two = parse(&SMALL.replace("\"in\"", "\"other\"")).unwrap().pipeline[0].digest();
    assert!(one.len() == 12 && one != two);
    let config = parse("[postgres]\nurl = \"postgres://u:hunter2@h/d\"\n").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
