//! Encrypted connections of the real binary: Postgres over rustls, and Kafka over SASL_SSL in a build that has it.

use crate::process::{Process, config};
use crate::support::{brokers, create_topic, database, produce, unique};
use sqlx::{Connection, PgConnection};
use std::path::{Path, PathBuf};

const EVENT: &[u8] = b"{\"id\":\"t\",\"account\":\"a\",\"amount\":1,\"currency\":\"EUR\",\"time\":1760000000000}";

/// A file of the folder that `deploy/local/certificates.sh` fills.
fn certificate(name: &str) -> PathBuf {
    let folder = std::env::var("MILLRACE_LOCAL_TLS_DIR").expect("run this test through `make test`");
    Path::new(&folder).join(name)
}

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
    let with = |ca: &str| {
        let ca = certificate(ca);
        let join = if plain.contains('?') { '&' } else { '?' };
        format!("{plain}{join}sslmode=verify-full&sslrootcert={}", ca.display())
    };
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

/// Would catch: a build without what SASL_SSL needs, a wrong password or authority that is taken, or refused without saying what to check.
#[cfg(any(feature = "tls", feature = "tls-vendored"))]
#[tokio::test(flavor = "multi_thread")]
async fn kafka_over_sasl_ssl_is_authenticated_both_ways() {
    let (name, url) = (topics().await, database().await);
    let start = |password: &str, ca: &str| {
        let kafka = format!(
            "brokers = \"{}\"\nsecurity = \"sasl_ssl\"\nsasl_mechanism = \"SCRAM-SHA-512\"\nusername = \"millrace\"\nca_file = \"{}\"",
            std::env::var("MILLRACE_LOCAL_TLS_BROKERS").expect("run this test through `make test-tls`"),
            certificate(ca).display()
        );
        Process::start(&config(&kafka, "", &name), &[("DATABASE_URL", &url), ("MILLRACE_KAFKA__PASSWORD", password)])
    };
    let mut worker = start("millrace-development", "ca.pem");
    worker.finished(&url, 1).await;
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());
    for (password, ca) in [("wrong-password", "ca.pem"), ("millrace-development", "other-ca.pem")] {
        let mut worker = start(password, ca);
        assert_eq!(worker.end(), Some(1), "{}", worker.log());
        let log = worker.log();
        let help = "that `ca_file` has signed the broker's certificate, `sasl_mechanism`, `username` and the password";
        assert!(log.contains(help) && !log.contains(password), "{log}");
    }
}
