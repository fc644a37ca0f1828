//! Rights that are taken away from a worker while it runs.

use crate::deployed::{ran, shipped, tools};
use crate::support::http;
use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::stage::{SOON, Stage, Worker};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything that was sent has one ending; `worker` is the second one.
async fn ends_with(stage: &Stage, mut worker: Worker, load: Load, watcher: Watcher) {
    let before = stage.events().await;
    stage.decided_at_least(before + 300).await;
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    worker.drain();
    let verified = stage.millrace(&["verify", "--deep", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

async fn until(worker: &mut Worker, what: &str, mut done: impl AsyncFnMut(&Worker) -> bool) {
    let deadline = Instant::now() + SOON;
    while !done(worker).await {
        assert!(worker.is_running() && Instant::now() < deadline, "{what} never; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Would catch: a refusal taken for one of the data, so that events end as dead letters; a worker that tries for ever and says nothing, or ends as
/// if all were well; a round that was refused and is taken for decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_postgres_takes_away_ends_the_worker_by_name() {
    let stage = Arc::new(Stage::new("").await);
    let user = stage.name.clone();
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut worker = stage.worker();
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(600).await;
    stage.execute("REVOKE INSERT ON millrace.record FROM millrace_worker").await;
    let status = worker.end();
    let log = worker.log();
    assert!(
        status.code() == Some(1) && log.contains("42501") && log.contains("needs the role millrace_worker"),
        "{status}; {log}"
    );
    // A supervisor starts it again meanwhile, which changes nothing.
    let (before, mut again) = (stage.events().await, stage.worker());
    assert_eq!(again.end().code(), Some(1), "{}", again.log());
    assert_eq!(stage.events().await, before);
    watcher.check();

    stage.execute("GRANT INSERT ON millrace.record TO millrace_worker").await;
    ends_with(&stage, stage.worker(), load, watcher).await;
    stage.execute(&format!("DROP ROLE {user}")).await;
}

/// A rotation: the old login is refused before the file has the new one, and Postgres has closed what was open.
///
/// Would catch: a worker that ends since its login is refused for a while, in a decide or in a claim, though the next one is on its way; one that waits and
/// does not say for what, or is ready; an event that is lost or doubled meanwhile; a start that waits for a login which nobody will let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_postgres_refuses_for_a_while_is_waited_for_by_name() {
    let stage = Arc::new(Stage::new("").await);
    let (old, new, file) = (format!("{}_old", stage.name), format!("{}_new", stage.name), stage.config().with_file_name("url"));
    for role in [&old, &new] {
        stage.execute(&format!("CREATE ROLE {role} LOGIN; GRANT millrace_worker TO {role}")).await;
    }
    let url_of = |role: &str| stage.url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    std::fs::write(&file, url_of(&old)).unwrap();
    stage.reconfigure(&format!("url = \"{}\"", stage.url), "url_file = \"url\"");
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let (mut first, mut second) = (stage.worker(), stage.worker());
    for worker in [&mut first, &mut second] {
        let admin = worker.admin();
        until(worker, "a worker that is ready", async |_| http::get(&admin, "/readyz").await.0 == 200).await;
    }
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(600).await;

    stage.execute(&format!("ALTER ROLE {old} NOLOGIN")).await;
    stage.number(&format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{old}'")).await;
    let admins = [first.admin(), second.admin()];
    let refused = async |admin: &str| {
        let (code, body) = http::get(admin, "/readyz").await;
        code == 503 && body.contains("Postgres refuses the login")
    };
    until(&mut first, "the refused login, in /readyz", async |_| refused(&admins[0]).await).await;
    until(&mut second, "the refused login, in /readyz", async |worker| {
        refused(&admins[1]).await && worker.log().contains("Postgres refuses the login")
    })
    .await;
    // What one held goes to the other, which cannot claim it.
    first.kill();
    until(&mut second, "a claim that waits", async |_| http::get(&admins[1], "/readyz").await.1.contains("is not claimed yet"))
        .await;
    let mut late = stage.worker();
    assert_eq!(late.end().code(), Some(1), "{}", late.log());
    assert!(late.log().contains("Postgres refuses the login"), "{}", late.log());
    assert!(second.is_running(), "{}", second.log());
    watcher.check();

    std::fs::write(&file, url_of(&new)).unwrap();
    second.signal("-HUP");
    until(&mut second, "a worker that is ready", async |_| http::get(&admins[1], "/readyz").await.0 == 200).await;
    ends_with(&stage, second, load, watcher).await;
    for role in [old, new] {
        stage.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    }
}

/// Would catch: a transaction that was refused and is taken for committed; a refusal of the output that lets the offsets pass; a worker that waits and does not
/// name the right, or is ready; what was decided and not published, and is lost or doubled when the right is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_acl_that_kafka_takes_away_is_named_and_waited_for() {
    let stage = Arc::new(Stage::new("").await);
    let folder = tempfile::tempdir().unwrap();
    let home = tools(folder.path());
    let (name, output, dead) = (&*stage.name, stage.output(), stage.dead_letters());
    ran(Command::new(shipped("kafka/acls.sh"))
        .args([&*stage.brokers, "User:limited", name, name, &output, &dead])
        .env("KAFKA_HOME", &home));
    let write = |action: &str| {
        let tool = folder.path().join("bin/kafka-acls.sh");
        let words = ["--force", "--allow-principal", "User:limited", "--operation", "Write", "--topic", &output];
        ran(Command::new(tool).args(["--bootstrap-server", &stage.brokers, action]).args(words));
    };
    let limited = std::env::var("MILLRACE_LOCAL_LIMITED_BROKERS").expect("run this test through `make test`");
    let login =
        "security = \"sasl_plaintext\"\nsasl_mechanism = \"PLAIN\"\nusername = \"limited\"\npassword = \"limited-development\"";
    stage.reconfigure(&format!("brokers = \"{}\"", stage.brokers), &format!("brokers = \"{limited}\"\n{login}"));
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut worker = stage.worker();
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(600).await;

    write("--remove");
    // A round may have dead letters too.
    let wanted = [&dead, &output].map(|first| format!("Grant Write and Describe on each of the topics {first}"));
    until(&mut worker, "a word about the right", async |worker| wanted.iter().any(|wanted| worker.log().contains(wanted))).await;
    let admin = worker.admin();
    until(&mut worker, "a worker that is not ready", async |_| http::get(&admin, "/readyz").await.0 == 503).await;
    watcher.check();

    write("--add");
    until(&mut worker, "a worker that is ready", async |_| http::get(&admin, "/readyz").await.0 == 200).await;
    ends_with(&stage, worker, load, watcher).await;
}
