//! A registry behind TLS.

use super::*;
use crate::support::certificate;

/// Would catch: a registry that is asked in the clear, or believed without its authority; a certificate that is refused and ends in dead letters, or that
/// nobody is told of; a worker that does not go on by itself once the certificate is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_believed_by_its_authority_while_its_certificate_holds() {
    let registry = Registry::secured("server.pem").await;
    let stage = stage(&registry, "avro").await;
    let trust = |authority: &str| format!("ca_file = {:?}", certificate(authority));
    stage.reconfigure("timeout_ms = 2000", &trust("other-ca.pem"));
    let (known, json) = registry.value("avro", "every type", None);
    let (new, newer) = registry.value("avro", "an older schema", None);
    stage.put(0, &known);

    let mut worker = stage.worker();
    let said = readyz(&worker, 503).await;
    assert!(said.contains(&registry.url) && said.contains("UnknownIssuer") && said.contains("`ca_file`"), "{said}");
    assert_eq!(stage.events().await, 0, "the event waits");
    worker.drain();
    let asked = registry.asked("/schemas/ids/1");
    assert_eq!(asked, 0, "nothing is asked of a registry that is not believed");

    stage.reconfigure(&trust("other-ca.pem"), &trust("ca.pem"));
    let mut worker = stage.worker();
    stage.decided(1).await;
    readyz(&worker, 200).await;

    registry.certify("expired.pem");
    stage.put(0, &new);
    stage.put(1, &known);
    let said = readyz(&worker, 503).await;
    assert!(said.contains(&registry.url) && said.contains("certificate expired"), "{said}");
    // What needs no new schema goes on.
    stage.decided(2).await;
    assert!(worker.log().contains("certificate expired"), "{}", worker.log());

    registry.certify("server.pem");
    stage.decided(3).await;
    readyz(&worker, 200).await;
    let endings: Vec<Value> = stage.endings().await.into_iter().map(|(_, _, ending)| ending).collect();
    assert_eq!(endings, [json.clone(), newer, json]);
    worker.drain();
    stage.published().await;
}
