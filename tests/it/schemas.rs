//! Values in Avro and Protobuf, on real Kafka and Postgres, beside a registry that is there, away, slow, or does not let us in.

mod client;
mod formats;
mod secured;
mod waits;

use crate::support::registry::{Behaviour, Registry};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use crate::support::{http, produce};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Passes events on whole, so that what was read can be compared.
const WHOLE: &str =
    "event = \"json\"\nfunction = \"copy\"\nfields = { id = \"id\" }\noptions = { fields = [], pass_event = true }\n";

async fn stage(registry: &Registry, format: &str) -> Stage {
    let function = format!("{WHOLE}format = \"{format}\"\n");
    Stage::of(Plan { partitions: 2, sections: &registry.section(), function: &function, ..Plan::default() }).await
}

impl Stage {
    fn put(&self, partition: i32, value: &[u8]) {
        produce(&self.name, partition, None, value);
    }

    /// What became of each event: what was read of it, or why nothing was.
    async fn endings(&self) -> Vec<(i32, i64, Value)> {
        let rows = self.rows().await;
        let ending = |(id, (kind, value)): (&String, &(String, String))| {
            let mut parts = id.rsplit('/').skip(1);
            let (offset, partition) = (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse().unwrap());
            let value: Value = serde_json::from_str(value).unwrap();
            let ending = if kind == "dead_letter" { value["reason"]["code"].clone() } else { value["event"].clone() };
            (partition, offset, ending)
        };
        let mut endings: Vec<_> = rows.iter().map(ending).collect();
        endings.sort_by_key(|(partition, offset, _)| (*partition, *offset));
        endings
    }
}

/// Waits until `/readyz` answers so, and returns what it says.
async fn readyz(worker: &Worker, wanted: u16) -> String {
    let (admin, deadline) = (worker.admin(), Instant::now() + SOON);
    loop {
        let (status, body) = http::get(&admin, "/readyz").await;
        if status == wanted && (status == 200 || body.contains("Schema registry")) {
            return body;
        }
        assert!(Instant::now() < deadline, "/readyz stays at {status}: {body}; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
