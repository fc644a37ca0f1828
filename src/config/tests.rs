use super::*;
use secrecy::ExposeSecret;

const SMALL: &str = "[[pipeline]]\nname = \"a\"\ntopic = \"in\"\nevent = \"transaction\"\nfunction = \"copy\"\n";

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "test.toml", &env(&[]))
}

/// Would catch: an operator who is not told which authority, mechanism or user was tried, a password in a text.
#[test]
fn a_kafka_that_does_not_answer_is_told_with_what_was_tried() {
    let kafka = Kafka {
        brokers: "k:9093".into(),
        security: Security::SaslSsl,
        sasl_mechanism: Some("SCRAM-SHA-512".into()),
        username: Some("someone".into()),
        password: Some("secret-word".to_owned().into()),
        ca_file: Some("/etc/ca.pem".into()),
        ..Kafka::default()
    };
    let text = kafka.no_answer();
    for part in [
        "k:9093",
        "`sasl_ssl`",
        "CA file `/etc/ca.pem`",
        "mechanism `SCRAM-SHA-512`",
        "user `someone`",
        "check",
        "expired",
        "the password",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("secret-word"), "{text}");
    let plain = Kafka::default().no_answer();
    assert!(plain.contains("`plaintext`") && !plain.contains("CA file") && !plain.contains("mechanism"), "{plain}");
}

#[test]
fn the_shipped_sample_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/millrace.toml");
    let config = Config::load(&path, &env(&[("DATABASE_URL", "postgres://x")])).unwrap();
    assert!(!config.pipeline.is_empty());
    assert_eq!(config.postgres.url.unwrap().expose_secret(), "postgres://x");
}

#[test]
fn every_sample_with_a_pipeline_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples");
    let mut loaded = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let of_pipelines = path.extension().is_some_and(|end| end == "toml");
        if of_pipelines && std::fs::read_to_string(&path).unwrap().contains("[[pipeline]]") {
            let config = Config::load(&path, &env(&[])).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            loaded += config.pipeline.len();
        }
    }
    assert!(loaded >= 8, "{loaded} pipelines");
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
        (SMALL.replace("\"a\"", "\"a.replay-3\""), "those of replays"),
        (SMALL.replace("copy", "copi"), "did you mean \"copy\"?"),
        (SMALL.replace("copy", "sentiment"), "needs a model"),
        (format!("[models.mm]\npath = \"x\"\n{SMALL}model = \"m\"\n"), "has no [models.m]; did you mean"),
        (format!("{SMALL}output_topic = \"in\"\n"), "feed itself"),
        (
            SMALL.replace("copy", "embed").replace("json", "transaction") + "model = \"minilm-en\"\n",
            "scores a text, which this kind of event has not",
        ),
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

/// Would catch: a name that is refused although no replay can have it.
#[test]
fn names_that_are_nearly_those_of_replays_are_taken() {
    for name in ["a.replay-", "a.replay", "a.replay-3b", "replay-3", "a-replay-3", "a.replay-3.x"] {
        let found = parse(&SMALL.replace("\"a\"", &format!("\"{name}\""))).unwrap().findings();
        assert_eq!(found, [""; 0], "{name}");
    }
}

/// Would catch: a stream whose every event is a dead letter, while the same function answers over HTTP.
#[test]
fn a_function_of_one_text_reads_it_where_others_do() {
    let of = |function: &str, more: &str| {
        let config = parse(&format!("{}{more}", SMALL.replace("copy", function))).unwrap();
        config.pipeline[0].paths().text
    };
    assert_eq!(of("sentiment", "model = \"m\"\n").as_deref(), Some("text"));
    assert_eq!(of("embed", "model = \"m\"\nfields = { text = \"doc.body\" }\n").as_deref(), Some("doc.body"));
    assert_eq!(of("copy", ""), None, "what is not read need not be there");
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

fn digest(text: &str) -> String {
    let config = parse(text).unwrap();
    config.digest_of(&config.pipeline[0])
}

#[test]
fn the_digest_follows_the_pipeline_and_secrets_stay_hidden() {
    let one = digest(SMALL);
    let two = digest(&SMALL.replace("\"in\"", "\"other\""));
    assert!(one.len() == 12 && one != two);
    // Where a model is held changes no answer.
    let pinned = SMALL.replace("topic = \"in\"", "topic = \"in\"\npin = true");
    assert!(parse(&pinned).unwrap().pipeline[0].pin && digest(&pinned) == one);
    let config = parse("[postgres]\nurl = \"postgres://u:hunter2@h/d\"\n").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

/// Would catch: an error that shows the line it is about, a value in a message, a place that is not told.
#[test]
fn errors_tell_the_place_and_never_what_stands_there() {
    let cases = [
        ("[kafka]\npassword = 4711\n", "line 2, `password`: invalid type: integer, expected"),
        ("[postgres]\nurl = [\"4711\"]\n", "line 2, `url`: invalid type"),
        ("[postgres]\nmax_connections = \"4711\"\n", "line 2, `max_connections`: invalid type: string, expected u32"),
        ("[kafka]\npassword = 4711-x\n", "line 2"),
        ("[kafka]\npassword = \"4711\n", "line 2"),
        ("[kafka]\npasword = \"4711\"\n", "did you mean `password`?"),
    ];
    for (text, part) in cases {
        for env in [env(&[]), env(&[("MILLRACE_ADMIN__BODY_BYTES", "5000000")])] {
            let said = Config::parse(text, "t", &env).unwrap_err().to_string();
            assert!(said.contains(part) && !said.contains("4711"), "{text}: {said}");
        }
    }
    let env = env(&[("MILLRACE_POSTGRES__MAX_CONNECTIONS", "many")]);
    let said = Config::parse("", "t", &env).unwrap_err().to_string();
    assert!(said.contains("MILLRACE_POSTGRES__MAX_CONNECTIONS") && said.contains("`postgres.max_connections`"), "{said}");
}

/// Would catch: a login that a running worker would never see anew, and waits for; one that is being rotated, and that it ends for.
#[test]
fn a_url_changes_in_a_file_that_is_no_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (folder.path().join("credentials/url"), folder.path().join("millrace.toml"));
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "postgres://of-file").unwrap();
    std::fs::write(&config, format!("[postgres]\nurl_file = \"credentials/url\"\n{SMALL}")).unwrap();
    let may_change = |pairs: &[(&str, &str)]| Config::load(&config, &env(pairs)).unwrap().secret_files.url_may_change();
    let copies = file.parent().unwrap().display().to_string();
    assert!(may_change(&[]) && may_change(&[("CREDENTIALS_DIRECTORY", "/run/credentials/other")]));
    assert!(!may_change(&[("CREDENTIALS_DIRECTORY", &copies)]), "systemd's copy");
    assert!(!may_change(&[("MILLRACE_POSTGRES__URL", "postgres://x")]), "the file is not read");
    std::fs::write(&config, SMALL).unwrap();
    assert!(!may_change(&[("DATABASE_URL", "postgres://x")]));
}

/// Would catch: a secret that is kept where it is shown.
#[test]
fn secrets_have_their_own_keys() {
    for name in ["sasl.password", "ssl.key.password", "ssl.keystore.password", "sasl.oauthbearer.client.secret", "ssl.key.pem"] {
        let found = parse(&format!("[kafka.properties]\n\"{name}\" = \"x\"\n{SMALL}")).unwrap().findings().join("\n");
        assert!(found.contains(name) && found.contains("no place for a secret"), "{name}: {found}");
    }
    let keys = "[kafka]\nkey_password = \"hunter2\"\ncert_file = \"c\"\nkey_file = \"k\"\n";
    let config = parse(&format!("{keys}{SMALL}")).unwrap();
    assert!(config.findings().is_empty() && !format!("{config:?}").contains("hunter2"));
    let half = parse(&format!("[kafka]\ncert_file = \"c\"\n{SMALL}")).unwrap().findings().join("");
    assert!(half.contains("belong together"), "{half}");
}

/// Would catch: a variable that is dropped without a word, a number where text is wanted, a property that cannot be named.
#[test]
fn every_variable_of_a_section_leads_somewhere() {
    let file = format!("[models.starter]\npath = \"m\"\n[kafka]\n{SMALL}");
    let leads = |name: &str, value: &str| Config::parse(&file, "t", &env(&[(name, value)]));
    let nowhere = [
        ("MILLRACE_PIPELINE__B__MODE", "there is no pipeline \"b\", there are: a; did you mean \"a\"?"),
        ("MILLRACE_PIPELINE__MODE", "there is no pipeline \"mode\""),
        ("MILLRACE_PIPELINE__7__MODE", "there is no pipeline"),
        ("MILLRACE_PIPELINE__A", "it names no field"),
        ("MILLRACE_MODELS__STARTR__PATH", "did you mean \"starter\"?"),
        ("MILLRACE_KAFKA__BROKER", "did you mean `brokers`?"),
        ("MILLRACE_KAFKA____BROKERS", "is empty"),
        ("MILLRACE_KAFKA__PROPERTIES__CLIENT__ID", "properties"),
    ];
    for (name, part) in nowhere {
        let said = leads(name, "both").unwrap_err().to_string();
        assert!(said.contains(name) && said.contains(part), "{name}: {said}");
    }
    let text = |name: &str, value: &str| leads(name, value).unwrap();
    assert_eq!(text("MILLRACE_KAFKA__INSTANCE", "0").kafka.instance.as_deref(), Some("0"));
    assert_eq!(text("MILLRACE_KAFKA__PASSWORD", "[1]").kafka.password.unwrap().expose_secret(), "[1]");
    assert_eq!(text("MILLRACE_KAFKA__PROPERTIES__CLIENT_ID", "7").kafka.properties["client.id"], "7");
    assert_eq!(text("MILLRACE_PIPELINE__0__OUTPUT_TOPIC", "12").pipeline[0].output_topic.as_deref(), Some("12"));
    assert_eq!(text("MILLRACE_PIPELINE__A__TOPIC", "[\"x\", \"y\"]").pipeline[0].topic, ["x", "y"]);
}

/// Would catch: a setting that is taken for a model, a model that is taken for a setting, a typo that turns nothing on.
#[test]
fn settings_of_models_stand_beside_them() {
    let config = parse("[models]\nresult_cache_mb = 16\n[models.pinned-one]\npath = \"m\"\n").unwrap();
    assert_eq!((config.models.result_cache_mb, config.models.memory_budget_mb, config.models.len()), (16, 0, 1));
    assert_eq!(parse("[models]\nmemory_budget_mb = 300\n").unwrap().models.memory_budget_mb, 300);
    assert_eq!(parse("[models.m]\npath = \"m\"\n").unwrap().models.result_cache_mb, 0);
    for (text, part) in [
        ("result_cache = 16", "did you mean `result_cache_mb`?"),
        ("starter = \"models/x\"", "a model is a table [models.NAME]"),
        ("result_cache_mb = -1", "line 2"),
        ("starter = { pth = \"m\" }", "unknown field `pth`"),
    ] {
        let said = parse(&format!("[models]\n{text}\n")).unwrap_err().to_string();
        assert!(said.contains(part), "{text}: {said}");
    }
    let config = Config::parse("", "t", &env(&[("MILLRACE_MODELS__RESULT_CACHE_MB", "3")])).unwrap();
    assert_eq!(config.models.result_cache_mb, 3);
}
