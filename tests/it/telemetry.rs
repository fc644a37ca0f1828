//! OTLP from the real binary: to a collector inside the test, and to one that is not there.

use crate::process::{Process, config};
use crate::support::collector::{Received, collector};
use crate::support::{brokers, create_topic, database, read_committed, unique};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Stands in an event's payload, and must never be seen by a collector.
const SECRET: &str = "acct-4711-hunter2";

fn decoded<T: Message + Default>(received: &Received, path: &str) -> Vec<T> {
    let received = received.lock().unwrap();
    received.iter().filter(|(of, ..)| of == path).map(|(.., body)| T::decode(body.clone()).unwrap()).collect()
}

/// A pipeline `copy` of its own: its name, its database, its config.
async fn stage(telemetry: &str) -> (String, String, String) {
    let name = unique("otlp");
    for topic in [name.clone(), format!("{name}.out"), format!("{name}.dead")] {
        create_topic(&topic, 1).await;
    }
    let config = config(&format!("brokers = \"{}\"", brokers()), telemetry, &name);
    (name, database().await, config)
}

/// One transaction an entry, with that `traceparent`.
fn send(topic: &str, traceparents: &[&str]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    for (n, traceparent) in traceparents.iter().enumerate() {
        let body =
            format!("{{\"id\":\"t-{n}\",\"account\":\"{SECRET}\",\"amount\":{n},\"currency\":\"EUR\",\"time\":1760000000000}}");
        let headers = OwnedHeaders::new().insert(Header { key: "traceparent", value: Some(*traceparent) });
        producer.send(BaseRecord::to(topic).key(SECRET).payload(&body).headers(headers)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

fn spans(received: &Received) -> Vec<Span> {
    let requests: Vec<ExportTraceServiceRequest> = decoded(received, "/v1/traces");
    let scopes = requests.into_iter().flat_map(|request| request.resource_spans).flat_map(|of| of.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Would catch: a flush at the end that is missing for one of the signals (their batches are not due before it), links that do not lead
/// to the events, a payload or key that gets out, `OTEL_*` variables that are not heard, lines of the exporter in the export.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_traces_metrics_and_logs_and_no_payload() {
    let (endpoint, received) = collector().await;
    let (name, url, config) =
        stage(&format!("level = \"info,hyper_util=trace,reqwest=trace\"\notlp_endpoint = \"{endpoint}\"")).await;
    let (one, two) = ("4bf92f3577b34da6a3ce929d0e0e4736", "7d3efb1b173fecfa0af7651916cd43dd");
    let header = |trace: &str| format!("00-{trace}-00f067aa0ba902b7-01");
    let sent = [header(one), header(two), "not-a-context".to_owned()];
    send(&name, &sent.each_ref().map(String::as_str));
    let never = "600000";
    let env = [
        ("DATABASE_URL", url.as_str()),
        ("OTEL_SERVICE_NAME", "scoring"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token"),
        ("OTEL_BSP_SCHEDULE_DELAY", never),
        ("OTEL_BLRP_SCHEDULE_DELAY", never),
        // Often, so that the client speaks long before the logs go out.
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ];
    let mut worker = Process::start(&config, &env);
    worker.finished(&url, 3).await;
    assert_eq!(worker.stop(), Some(0), "{}", worker.log());

    let spans = spans(&received);
    let slices: Vec<&Span> = spans.iter().filter(|span| span.name == "millrace.slice").collect();
    let linked: BTreeSet<String> = slices
        .iter()
        .flat_map(|span| &span.links)
        .map(|link| link.trace_id.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    assert_eq!(linked, [one.to_owned(), two.to_owned()].into(), "{spans:#?}");
    assert!(slices.iter().all(|span| span.status.as_ref().is_none_or(|status| status.code == 0)));
    let counts = slices.iter().flat_map(|span| &span.attributes).filter(|of| of.key == "messaging.batch.message_count");
    let count = |value: &opentelemetry_proto::tonic::common::v1::KeyValue| format!("{:?}", value.value);
    assert!(counts.clone().count() == slices.len() && counts.clone().all(|of| count(of).contains("IntValue")));

    let requests: Vec<ExportMetricsServiceRequest> = decoded(&received, "/v1/metrics");
    let metrics: BTreeSet<String> = requests
        .iter()
        .flat_map(|request| &request.resource_metrics)
        .flat_map(|of| &of.scope_metrics)
        .flat_map(|scope| scope.metrics.iter().map(|metric| metric.name.clone()))
        .collect();
    for metric in ["millrace_events_consumed", "millrace_predictions", "messaging.client.consumed.messages"] {
        assert!(metrics.contains(metric), "{metric} is missing: {metrics:?}");
    }
    let requests: Vec<ExportLogsServiceRequest> = decoded(&received, "/v1/logs");
    let resource = format!("{:?}", requests[0].resource_logs[0].resource);
    assert!(resource.contains("scoring") && resource.contains("deployment.environment.name"), "{resource}");
    let scopes = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|of| &of.scope_logs);
    let targets: BTreeSet<&str> = scopes.filter_map(|of| of.scope.as_ref()).map(|scope| scope.name.as_str()).collect();
    assert!(targets.iter().all(|target| target.starts_with("millrace") || *target == "librdkafka"), "{targets:?}");
    assert!(worker.log().contains("hyper_util"), "the client speaks at this level, or the line above proves nothing");
    let logs = format!("{requests:?}");
    for line in ["Claimed a partition.", "Drained."] {
        assert!(logs.contains(line), "{line} is missing; stderr: {}", worker.log());
    }
    for (path, headers, body) in received.lock().unwrap().iter() {
        assert!(!body.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{path} carries a payload");
        assert_eq!(headers["authorization"], "Bearer token");
    }
    let out = read_committed(&format!("{name}.out"));
    let carried = |trace: &str| {
        let expected = ("traceparent".to_owned(), header(trace).into_bytes());
        out.iter().filter(|record| record.headers.contains(&expected)).count()
    };
    assert_eq!((out.len(), carried(one), carried(two)), (3, 1, 1), "the event's own context goes on in the output record");
}

/// Would catch: an exporter in the path of the work, a flush without bound, a warning for each failed export.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_nothing() {
    // One port where nobody listens, and one where connections are taken and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, nobody) in [(closed, true), (silent.local_addr().unwrap(), false)] {
        let (name, url, config) = stage(&format!("otlp_endpoint = \"http://{address}\"")).await;
        send(&name, &["x"; 500]);
        let soon = "50";
        let env = [
            ("DATABASE_URL", url.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", soon),
            ("OTEL_BLRP_SCHEDULE_DELAY", soon),
            ("OTEL_METRIC_EXPORT_INTERVAL", soon),
        ];
        let mut worker = Process::start(&config, &env);
        worker.finished(&url, 500).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        while nobody && !worker.log().contains("takes no telemetry") {
            assert!(Instant::now() < deadline, "nothing was said of the collector: {}", worker.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let asked = Instant::now();
        assert_eq!(worker.stop(), Some(0), "{}", worker.log());
        let (took, log) = (asked.elapsed(), worker.log());
        assert!(took < Duration::from_millis(4500), "the end took {took:?}; log:\n{log}");
        assert!(log.matches("takes no telemetry").count() <= 1, "{log}");
        assert!(log.contains("Drained.") && !log.contains("opentelemetry"), "{log}");
        eprintln!("collector {address}: ended {took:?} after SIGTERM");
    }
}
