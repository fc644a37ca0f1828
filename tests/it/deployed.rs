//! What `deploy/` ships, on real neighbours: configs load, logins and rights suffice, and no more than that.

use crate::process::{Process, config};
use crate::support::stage::{Plan, SOON, Stage};
use crate::support::{brokers, create_topic, database, empty_database, produce, unique};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

mod replay;

const EVENT: &[u8] = b"{\"id\":\"t\",\"account\":\"a\",\"amount\":1,\"currency\":\"EUR\",\"time\":1760000000000}";

fn millrace(words: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(words).env_remove("DATABASE_URL").env_remove("MILLRACE_KAFKA__BROKERS").envs(env.iter().copied());
    command.output().unwrap()
}

pub fn shipped(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name).display().to_string()
}

/// Would catch: a config of the chart or of compose with a key that is gone.
#[test]
fn shipped_configs_are_good() {
    for name in ["compose.toml", "helm/millrace/files/millrace.toml", "millrace.toml"] {
        let checked = millrace(&["check", "--config", &shipped(name)], &[("DATABASE_URL", "postgres://x")]);
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stdout));
    }
}

/// Would catch: features of risk in compose that are not those with which the starter model was trained, and a topic that nobody makes.
#[test]
fn compose_plays_what_the_demo_plays() {
    let read = |name: &str| std::fs::read_to_string(shipped(name)).unwrap().parse::<toml::Table>().unwrap();
    let pipelines = |table: &toml::Table| table["pipeline"].as_array().unwrap().clone();
    let (compose, demo) = (read("compose.toml"), read("samples/demo.toml"));
    for (ours, theirs) in pipelines(&compose).iter().zip(pipelines(&demo)) {
        for key in ["name", "topic", "event", "function", "fields", "risk", "recommend", "output_topic", "dead_letter_topic"] {
            assert_eq!(ours.get(key), theirs.get(key), "{key} of {}", ours["name"]);
        }
    }
    let services = std::fs::read_to_string(shipped("compose.yaml")).unwrap();
    for pipeline in pipelines(&compose) {
        for key in ["topic", "output_topic", "dead_letter_topic"] {
            let made = format!("\n      - {}:", pipeline[key].as_str().unwrap());
            assert!(services.contains(&made), "compose.yaml does not make {}", pipeline[key]);
        }
    }
}

/// Would catch: a load generator whose events are dead letters.
#[test]
fn the_load_generator_sends_events_that_the_config_takes() {
    let load = Command::new(shipped("compose/load.sh")).args(["print", "3"]).env("LOAD_RATE", "60").output().unwrap();
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    let lines = String::from_utf8(load.stdout).unwrap();
    let mut kinds = std::collections::BTreeMap::new();
    let mut ids = std::collections::BTreeSet::new();
    for line in lines.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [topic, key, json] = parts[..] else { panic!("{line}") };
        let event: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert!(ids.insert(event["id"].to_string()), "{json} comes twice");
        assert!(event["time"].as_i64().is_some_and(|time| time > 1_700_000_000_000), "{json}");
        let named = ["account", "conversation", "user"].iter().any(|field| event[field] == key);
        assert!(named, "the key {key} is not in {json}");
        *kinds.entry((topic.to_owned(), event["kind"].as_str().unwrap_or("message").to_owned())).or_insert(0) += 1;
    }
    for kind in [("chat", "message"), ("clicks", "rate"), ("clicks", "request"), ("transactions", "payment")] {
        assert!(kinds.contains_key(&(kind.0.to_owned(), kind.1.to_owned())), "{kind:?} is missing: {kinds:?}");
    }
}

/// Would catch: what one producer says that becomes another's events; a topic that gets the events of another.
#[test]
fn the_load_generator_feeds_a_producer_a_topic() {
    let folder = tempfile::tempdir().unwrap();
    let (bin, sent) = (folder.path().join("bin"), folder.path().display());
    std::fs::create_dir(&bin).unwrap();
    executable(&bin.join("kafka-console-producer.sh"), &format!("#!/bin/sh\necho a warning\nexec cat >'{sent}/'\"$4\"\n"));
    let mut load = Command::new("timeout");
    load.args(["5", &shipped("compose/load.sh"), "run", "b:1"]).env("KAFKA_HOME", folder.path()).env("LOAD_RATE", "60");
    load.stderr(Stdio::null()).status().unwrap();
    for (topic, field) in [("chat", "conversation"), ("clicks", "user"), ("transactions", "account")] {
        let text = std::fs::read_to_string(folder.path().join(topic)).unwrap();
        // The last line may be cut off by the end.
        let lines: Vec<&str> = text.lines().take(text.lines().count().saturating_sub(1)).collect();
        assert!(!lines.is_empty(), "nothing for {topic}");
        for line in lines {
            let (key, json) = line.split_once('\t').unwrap_or_else(|| panic!("{topic}: {line}"));
            let event: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(event[field], key, "{topic}: {line}");
        }
    }
}

fn as_login(url: &str, login: &str) -> String {
    url.replace("postgres://postgres@", &format!("postgres://{login}@"))
}

async fn execute(url: &str, text: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(&PgConnectOptions::from_str(url).unwrap()).await?;
    sqlx::raw_sql(text).execute(&mut connection).await.map(|_| ())
}

/// Would catch: a login that lacks what it is for, or may do more; logins that can be made only once; migrations that belong to one person.
#[tokio::test(flavor = "multi_thread")]
async fn the_logins_of_roles_sql_are_enough_and_no_more() {
    let roles = std::fs::read_to_string(shipped("postgres/roles.sql")).unwrap();
    let (name, url) = (unique("logins"), empty_database().await);
    // As a database of Postgres 13 and 14 is.
    execute(&url, "GRANT CREATE ON SCHEMA public TO PUBLIC").await.unwrap();
    for _ in 0..2 {
        execute(&url, &roles).await.unwrap();
    }
    for topic in [name.clone(), format!("{name}.out"), format!("{name}.dead")] {
        create_topic(&topic, 1).await;
    }
    produce(&name, 0, None, EVENT);
    produce(&name, 0, None, b"no event");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("millrace.toml");
    let text = config(&format!("brokers = \"{}\"", brokers()), "", &name);
    std::fs::write(&file, &text).unwrap();
    let file = file.display().to_string();
    let [migrator, app, dashboard] =
        ["millrace_migrator", "millrace_app", "millrace_dashboard"].map(|login| as_login(&url, login));
    let ran = |command: &[&str], url: &str| millrace(&[command, &["--config", &file]].concat(), &[("DATABASE_URL", url)]);

    let refused = ran(&["migrate"], &app);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("42501"), "{refused:?}");
    let migrated = ran(&["migrate"], &migrator);
    assert!(migrated.status.success(), "{migrated:?}");
    let checked = ran(&["check", "--connect"], &app);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.status.success() && said.contains("may do what a worker does") && !said.contains("which no worker needs"),
        "{said}"
    );

    let mut worker = Process::start(&text, &[("DATABASE_URL", &app)]);
    worker.finished(&url, 2).await;
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());
    let verified = ran(&["verify"], &app);
    assert!(verified.status.success(), "{verified:?}");

    execute(&dashboard, "SELECT * FROM millrace.predictions; SELECT * FROM millrace.dead_letters").await.unwrap();
    for (who, what) in [
        (&dashboard, "CREATE TABLE millrace.mine ()"),
        (&dashboard, "UPDATE millrace.stream_partition SET next_offset = 0"),
        (&app, "DELETE FROM millrace.record"),
        (&app, "UPDATE millrace.record SET score = 1"),
        (&app, "DROP TABLE millrace.record"),
        (&app, "CREATE TABLE millrace.mine ()"),
        (&app, "CREATE TABLE public.mine ()"),
        (&app, "CREATE TEMPORARY TABLE mine ()"),
        (&dashboard, "SET default_transaction_read_only = off; CREATE TABLE public.mine ()"),
    ] {
        assert!(execute(who, what).await.is_err(), "{what} is allowed to {who}");
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let owners: Vec<String> = sqlx::query_scalar("SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'millrace'")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(owners, ["millrace_owner"], "another member could not migrate");
    // A login of no group does not get in.
    let stranger = unique("stranger");
    execute(&url, &format!("CREATE ROLE {stranger} LOGIN")).await.unwrap();
    assert!(execute(&as_login(&url, &stranger), "SELECT 1").await.is_err(), "{stranger} may connect");
    execute(&url, &format!("DROP ROLE {stranger}")).await.unwrap();
}

fn executable(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Kafka's own tools, as their distribution names them.
pub fn tools(folder: &Path) -> String {
    let local = shipped("local");
    std::fs::create_dir(folder.join("bin")).unwrap();
    for (name, class) in [
        ("kafka-acls.sh", "org.apache.kafka.tools.AclCommand"),
        ("kafka-configs.sh", "kafka.admin.ConfigCommand"),
        ("kafka-console-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
        ("kafka-consumer-groups.sh", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
        ("kafka-get-offsets.sh", "org.apache.kafka.tools.GetOffsetShell"),
        ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
        ("kafka-transactions.sh", "org.apache.kafka.tools.TransactionsCommand"),
    ] {
        let text = format!(
            "#!/bin/sh\nexec java -Dlog4j2.configurationFile='{local}/log4j2.xml' -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp \"$('{local}/setup.sh')/*\" \
             {class} \"$@\"\n"
        );
        executable(&folder.join("bin").join(name), &text);
    }
    folder.display().to_string()
}

pub fn ran(command: &mut Command) -> String {
    let ended = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{command:?}: {said}");
    said
}

/// Would catch: a right that a worker needs and acls.sh does not give, one missing right that is refused without a word of which.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_acls_sh_are_enough() {
    let (name, url) = (unique("rights"), database().await);
    let (output, dead) = (format!("{name}.out"), format!("{name}.dead"));
    let folder = tempfile::tempdir().unwrap();
    let home = tools(folder.path());
    let topics = [&name, &output, &dead].map(|topic| format!("{topic}:1"));
    let mut make = Command::new(shipped("kafka/topics.sh"));
    ran(make.arg(brokers()).args(topics).envs([("KAFKA_HOME", home.as_str()), ("REPLICAS", "1"), ("MIN_ISR", "1")]));
    produce(&name, 0, None, EVENT);
    produce(&name, 0, None, b"no event");
    let limited = std::env::var("MILLRACE_LOCAL_LIMITED_BROKERS").expect("run this test through `make test`");
    let kafka = format!(
        "brokers = \"{limited}\"\nsecurity = \"sasl_plaintext\"\nsasl_mechanism = \"PLAIN\"\nusername = \"limited\"\n\
         password = \"limited-development\"\ninstance = \"one\""
    );
    let start = || Process::start(&config(&kafka, "", &name), &[("DATABASE_URL", &url)]);

    let mut worker = start();
    assert_eq!(worker.end(), Some(1), "{}", worker.log());
    assert!(worker.log().contains("grant Describe"), "{}", worker.log());

    let mut allow = Command::new(shipped("kafka/acls.sh"));
    ran(allow.args([brokers().as_str(), "User:limited", &name, &name, &output, &dead]).env("KAFKA_HOME", &home));
    let mut worker = start();
    worker.finished(&url, 2).await;
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());

    let mut deny = Command::new(folder.path().join("bin/kafka-acls.sh"));
    let id = format!("{name}-");
    let words = ["--remove", "--force", "--resource-pattern-type", "prefixed", "--transactional-id", &id];
    ran(deny.args(["--bootstrap-server", &brokers()]).args(words));
    produce(&name, 0, None, EVENT);
    let mut worker = start();
    assert_eq!(worker.end(), Some(1), "{}", worker.log());
    let wanted = format!("Grant Write and Describe on the transactional id `{name}-one`");
    assert!(worker.log().contains(&wanted), "{}", worker.log());
}

/// A pipeline that remembers, of any JSON events with an account and an amount.
pub const RISK: &str = r#"
event = "json"
fields = { id = "id", key = "account", time = "time" }
function = "risk"
[pipeline.risk]
feature = [{ name = "sum", entity = "account", aggregate = "sum", field = "amount", window = "1d" }]
"#;

/// Would catch: a command that reads a topic under a group that nobody grants; an output that the worker's user may not read, of which nobody is told.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_acls_sh_are_enough_for_those_who_look() {
    let stage = Stage::of(Plan { function: RISK, ..Plan::default() }).await;
    produce(&stage.name, 0, None, EVENT);
    produce(&stage.name, 0, None, b"no event");
    stage.run_until(2).await;
    let folder = tempfile::tempdir().unwrap();
    let home = tools(folder.path());
    let (name, output, dead) = (&*stage.name, stage.output(), stage.dead_letters());
    let mut allow = Command::new(shipped("kafka/acls.sh"));
    ran(allow.args([&*stage.brokers, "User:limited", name, name, &output, &dead]).env("KAFKA_HOME", &home));
    let limited = std::env::var("MILLRACE_LOCAL_LIMITED_BROKERS").expect("run this test through `make test`");
    let login =
        "security = \"sasl_plaintext\"\nsasl_mechanism = \"PLAIN\"\nusername = \"limited\"\npassword = \"limited-development\"";
    stage.reconfigure(&format!("brokers = \"{}\"", stage.brokers), &format!("brokers = \"{limited}\"\n{login}"));

    for words in [&["verify", "--deep"][..], &["explain", "--event", "t"]] {
        let ended = stage.millrace(words);
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
    }
    let checked = stage.millrace(&["check", "--connect"]);
    assert!(checked.code == Some(0) && !checked.out.contains("grant Read"), "{checked:?}");

    let mut deny = Command::new(folder.path().join("bin/kafka-acls.sh"));
    let words = ["--remove", "--force", "--allow-principal", "User:limited", "--operation", "Read", "--topic", &output];
    ran(deny.args(["--bootstrap-server", &stage.brokers]).args(words));
    let wanted = format!("the topic {output} cannot be read");
    let deadline = Instant::now() + SOON;
    loop {
        let checked = stage.millrace(&["check", "--connect"]);
        if checked.code == Some(0) && checked.out.contains(&wanted) && checked.out.contains("grant Read") {
            break;
        }
        assert!(Instant::now() < deadline, "{checked:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
