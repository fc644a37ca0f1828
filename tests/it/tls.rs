//! Encrypted connections of the real binary: Postgres over rustls, and Kafka over SASL_SSL in a build that has it.

use crate::process::{Process, config};
use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use crate::support::{brokers, certificate, create_topic, database, http, produce, unique, verified};
use sqlx::{Connection, PgConnection};
#[cfg(any(feature = "tls", feature = "tls-vendored"))]
use std::path::Path;
use std::time::{Duration, Instant};

const EVENT: &[u8] = b"{\"id\":\"t\",\"account\":\"a\",\"amount\":1,\"currency\":\"EUR\",\"time\":1760000000000}";

async fn topics() -> String {
    let name = unique("tls");
    for topic in [name.clone(), format!("{name}.out"), format!("{name}.dead")] {
        create_topic(&topic, 1).await;
    }
    produce(&name, 0, None, EVENT);
    name
}

/// Would catch: a connection that falls back to plaintext, a certificate that nobody checks.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_over_tls_is_verified() {
    let (name, plain) = (topics().await, database().await);
    let with = |ca: &str| verified(&plain, &certificate(ca));
    let config = config(&format!("brokers = \"{}\"", brokers()), "", &name);
    let mut worker = Process::start(&config, &[("DATABASE_URL", &with("ca.pem"))]);
    worker.finished(&plain, 1).await;
    let mut connection = PgConnection::connect(&plain).await.unwrap();
    let (all, encrypted): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'millrace' AND datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert!(all > 0 && all == encrypted, "{encrypted} of {all} connections are encrypted");
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());

    let mut worker = Process::start(&config, &[("DATABASE_URL", &with("other-ca.pem"))]);
    assert_eq!(worker.end(), Some(1), "{}", worker.log());
    assert!(worker.log().contains("certificate"), "{}", worker.log());
}

async fn until(worker: &mut Worker, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done().await {
        assert!(worker.is_running() && Instant::now() < deadline, "{what} never; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Would catch: a certificate whose time is over and that is taken, or that ends a worker which would go on once it is replaced; a fall-back to
/// plaintext; events that are blamed for it; a worker that is ready without its database, or does not say why it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_postgres_that_expires_is_waited_for_and_refused_at_a_start() {
    let postgres = tokio::task::spawn_blocking(|| Service::up(Kind::Postgres)).await.unwrap();
    let stage = Stage::of(Plan { postgres: postgres.address(), ..Plan::default() }).await;
    let url = verified(&stage.url, &postgres.certificate("ca.pem"));
    stage.reconfigure(&stage.url, &url);
    let certify = |name: &str| postgres.tell(&["certify", &postgres.certificate(name).display().to_string()]);
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut worker = stage.worker();
    let admin = worker.admin();
    stage.send(0, 100);
    stage.decided(100).await;

    certify("expired.pem");
    until(&mut worker, "a connection that is refused", async || {
        PgConnection::connect(&url).await.is_err_and(|error| error.to_string().contains("certificate expired"))
    })
    .await;
    stage
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace' AND datname = current_database()")
        .await;
    stage.send(100, 200);
    until(&mut worker, "a worker that says why it is not ready", async || {
        let (status, body) = http::get(&admin, "/readyz").await;
        status == 503 && body.contains("certificate expired")
    })
    .await;
    let mut late = stage.worker();
    assert_eq!(late.end().code(), Some(1), "{}", late.log());
    assert!(late.log().contains("certificate expired"), "{}", late.log());
    assert_eq!(stage.events().await, 100, "nothing is decided over a connection that is not verified");
    assert!(worker.is_running(), "{}", worker.log());

    certify("server.pem");
    stage.decided(200).await;
    // Of each ten events one is bad of itself, and no other is.
    stage.assert_rows_are_records(200).await;
    watcher.ends_with(200).await;
    until(&mut worker, "a worker that is ready", async || http::get(&admin, "/readyz").await.0 == 200).await;
    assert!(worker.log().contains("certificate expired"), "{}", worker.log());
    worker.drain();
}

#[cfg(any(feature = "tls", feature = "tls-vendored"))]
fn service(name: &str) -> String {
    std::env::var(name).expect("run this test through `make test-tls`")
}

#[cfg(any(feature = "tls", feature = "tls-vendored"))]
fn sasl_ssl(brokers: &str, authority: &Path) -> String {
    let login = "sasl_mechanism = \"SCRAM-SHA-512\"\nusername = \"millrace\"";
    format!("brokers = \"{brokers}\"\nsecurity = \"sasl_ssl\"\n{login}\nca_file = {authority:?}")
}

/// Would catch: a build without what SASL_SSL needs, a wrong password or authority that is taken, or refused without saying what to check.
#[cfg(any(feature = "tls", feature = "tls-vendored"))]
#[tokio::test(flavor = "multi_thread")]
async fn kafka_over_sasl_ssl_is_authenticated_both_ways() {
    let (name, url) = (topics().await, database().await);
    let start = |password: &str, ca: &str| {
        let kafka = sasl_ssl(&service("MILLRACE_LOCAL_TLS_BROKERS"), &certificate(ca));
        Process::start(&config(&kafka, "", &name), &[("DATABASE_URL", &url), ("MILLRACE_KAFKA__PASSWORD", password)])
    };
    let mut worker = start("millrace-development", "ca.pem");
    worker.finished(&url, 1).await;
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());
    for (password, ca) in [("wrong-password", "ca.pem"), ("millrace-development", "other-ca.pem")] {
        let mut worker = start(password, ca);
        assert_eq!(worker.end(), Some(1), "{}", worker.log());
        let log = worker.log();
        let help = "that `ca_file` has signed the broker's certificate and that it has not expired, `sasl_mechanism`, `username` and the password";
        assert!(log.contains(help) && !log.contains(password), "{log}");
    }
}

/// Would catch: a certificate whose time is over and that is taken; an event that is lost, or read, by the worker that was refused.
#[cfg(any(feature = "tls", feature = "tls-vendored"))]
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_of_kafka_is_refused() {
    let (name, url) = (topics().await, database().await);
    let start = |kafka: &str| Process::start(&config(kafka, "", &name), &[("DATABASE_URL", &url)]);
    let expired = service("MILLRACE_LOCAL_EXPIRED_BROKERS");
    let mut worker =
        start(&format!("brokers = \"{expired}\"\nsecurity = \"ssl\"\nca_file = \"{}\"", certificate("ca.pem").display()));
    assert_eq!(worker.end(), Some(1), "{}", worker.log());
    let log = worker.log();
    assert!(log.contains(&expired) && log.contains("certificate and that it has not expired"), "{log}");

    // The same port is taken by who does not look: it was the certificate.
    let unseen = "properties = { \"enable.ssl.certificate.verification\" = \"false\" }";
    let mut worker = start(&format!("brokers = \"{expired}\"\nsecurity = \"ssl\"\n{unseen}"));
    worker.finished(&url, 1).await;
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());
}

/// The broker comes back with another certificate each time.
///
/// Would catch: a certificate that is looked at once, at the first connection; a worker that ends over one, is ready, or does not come back to a broker
/// whose certificate was replaced; events that are lost, doubled or blamed meanwhile.
#[cfg(any(feature = "tls", feature = "tls-vendored"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_kafka_that_expires_is_waited_for() {
    let kafka = tokio::task::spawn_blocking(|| Service::up(Kind::Kafka)).await.unwrap();
    let stage = Stage::of(Plan { brokers: kafka.address(), ..Plan::default() }).await;
    let plain = format!("brokers = \"{}\"", stage.brokers);
    stage.reconfigure(&plain, &sasl_ssl(&kafka.secured(), &kafka.certificate("ca.pem")));
    let read = |name: &str| std::fs::read(kafka.certificate(name)).unwrap();
    let (good, expired) = (read("kafka.pem"), read("kafka-expired.pem"));
    let comes_back_with = |certificate: &[u8]| {
        kafka.tell(&["kill"]);
        std::fs::write(kafka.certificate("kafka.pem"), certificate).unwrap();
        kafka.tell(&["start"]);
    };
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut worker = stage.worker_with(&[("MILLRACE_KAFKA__PASSWORD", "millrace-development".into())]);
    let admin = worker.admin();
    stage.send(0, 100);
    stage.decided(100).await;

    comes_back_with(&expired);
    stage.send(100, 200);
    until(&mut worker, "a worker that is not ready", async || {
        let (status, body) = http::get(&admin, "/readyz").await;
        status == 503 && body.contains("Kafka")
    })
    .await;
    until(&mut worker, "a word of the certificate", async || stage.log().contains("certificate verify failed")).await;
    assert_eq!(stage.events().await, 100, "nothing comes over a connection that is not verified");
    watcher.check();

    comes_back_with(&good);
    stage.decided(200).await;
    stage.assert_rows_are_records(200).await;
    watcher.ends_with(200).await;
    until(&mut worker, "a worker that is ready", async || http::get(&admin, "/readyz").await.0 == 200).await;
    worker.drain();
}
