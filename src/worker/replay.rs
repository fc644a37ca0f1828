//! One replay: the parts of a pipeline over a part of the past, under a name of its own, below what is live.
//!
//! It reads as its group's only member, which never joins it. Rows, claims and offsets are those of any pipeline, so that one that is cut off
//! goes on where it was; the live pipeline's are read to see how far it is behind, and never touched.

mod alone;
mod finish;
mod side;
mod yielding;

use super::build;
use super::folds::folding;
use super::schemas::Needed;
use crate::config::{Config, Delivery, Pipeline};
use crate::event::TopicPartition;
use crate::flow::Budget;
use crate::function::{CallError, Function, Input, Outcome, Spec};
use crate::lifecycle::Stop;
use crate::pipeline::{self, BaseAlone, Ended, PartitionView, Parts, Settings};
use crate::publisher::Publisher;
use crate::publisher::kafka::{Guarantee, KafkaPublisher, KafkaPublisherSettings};
use crate::record::Mode;
use crate::schema::Reading;
use crate::source::bounded::{Bounds, Brought, bounded};
use crate::source::kafka::{self, KafkaSourceSettings};
use crate::source::readied::readied;
use crate::store::{PartitionKey, Store};
use finish::Finish;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The only run of a replay.
pub const RUN: i32 = 1;
/// Memory for events and records in hand, at most.
const BUDGET_BYTES: usize = 32 << 20;
/// Events that one partition brings to a decide round at most: a live decide waits for none that is longer.
const DECIDE_EVENTS: usize = 1_000;
const WINDOW: usize = 5_000;
/// Rows of a large past stand in tables that the live pipeline is busy with.
const STATEMENT_TIMEOUT_MS: u64 = 60_000;
/// How much longer than the server a statement's reply is waited for.
const REPLY: Duration = Duration::from_secs(5);

/// How long a statement of a replay may take.
pub fn statement_timeout_ms(config: &Config) -> u64 {
    STATEMENT_TIMEOUT_MS.max(config.postgres.statement_timeout_ms)
}

/// What is replayed, and how.
pub struct Replay<'a> {
    pub config: &'a Config,
    /// The section of the config, under the live pipeline's name.
    pub pipeline: &'a Pipeline,
    /// The pipeline under which its rows stand; the name of its group.
    pub name: &'a str,
    /// Where predictions go besides the rows.
    pub publish_to: Option<&'a str>,
    /// The offset after the last of each partition.
    pub until: BTreeMap<TopicPartition, i64>,
    /// Events a second at most.
    pub rate: Option<f64>,
    /// It waits while the live pipeline is further behind than this.
    pub yield_lag: Option<i64>,
    /// Events a call at most.
    pub slice: Option<usize>,
}

/// How it ended, and whether all that was asked for is done.
pub struct Replayed {
    pub ended: Ended,
    pub complete: bool,
}

impl Replay<'_> {
    pub fn mode(&self) -> Mode {
        if self.publish_to.is_some() { Mode::Both } else { Mode::Postgres }
    }

    /// Runs it to its end, or until it is stopped. `progress` sees each partition some times a second.
    pub async fn run(
        &self,
        function: Arc<dyn Function>,
        store: Arc<dyn Store>,
        stop: Stop,
        progress: impl Fn(&[PartitionView]) + Send + Sync + 'static,
    ) -> anyhow::Result<Replayed> {
        let left = self.left(&*store).await?;
        if left.is_empty() {
            return Ok(Replayed { ended: Ended::Drained, complete: true });
        }
        let reading = Reading::of(self.config, self.pipeline)?;
        let client = build::client_properties(self.config);
        let publisher = Arc::new(KafkaPublisher::new(KafkaPublisherSettings {
            guarantee: match self.pipeline.delivery {
                Delivery::ExactlyOnce => Guarantee::ExactlyOnce,
                Delivery::AtLeastOnce => Guarantee::AtLeastOnce,
            },
            group: self.name.to_owned(),
            transactional_id: self.name.to_owned(),
            client: client.clone(),
        })?);
        let folding = folding(self.config, self.pipeline);
        let settings = Arc::new(self.settings(&*function, folding.as_ref()));
        let source = kafka::spawn_alone(
            KafkaSourceSettings {
                group: self.name.to_owned(),
                topics: self.pipeline.topic.clone(),
                client,
                batch_max: 1_000,
                channel_capacity: 2,
                revoke_wait: Duration::from_secs(3),
            },
            left.clone(),
        )?;
        let drain = stop.drain.child_token();
        let (wait, waits) = watch::channel(false);
        let gives_way = self.yield_lag.map(|bound| {
            let live = yielding::Live { pipeline: self.pipeline.clone(), store: store.clone(), publisher: publisher.clone() };
            tokio::spawn(live.give_way(bound, wait, drain.clone()))
        });
        let brought = Arc::<Brought>::default();
        let finish = Arc::new(Finish::new(left, self.mode(), brought.clone(), drain.clone(), progress));
        let source = bounded(source, Bounds { until: self.until.clone(), rate: self.rate, waits, brought: brought.clone() });
        let parts = Parts {
            source: match reading.schemas() {
                Some(schemas) => readied(source, Arc::new(Needed(schemas.clone()))),
                None => source,
            },
            store: Arc::new(alone::Alone(store.clone())),
            publisher: Arc::new(side::Predictions(publisher as Arc<dyn Publisher>)),
            versions: Arc::new(BaseAlone),
            function: Arc::new(Modest::new(function, self.slice)),
            folding,
            decode: build::decode(self.config, self.pipeline, &reading),
            budget: Budget::new(self.config.memory.budget_bytes.min(BUDGET_BYTES)),
            observer: finish.clone(),
        };
        let ended = pipeline::run(settings, parts, drain.clone(), stop.abort).await;
        drain.cancel();
        if let Some(gives_way) = gives_way {
            gives_way.await?;
        }
        let complete = ended == Ended::Drained && finish.is_complete() && self.is_decided(&*store, &brought).await?;
        Ok(Replayed { complete, ended })
    }

    /// Partitions that are not decided, or not published, up to their bounds.
    async fn left(&self, store: &dyn Store) -> anyhow::Result<Vec<TopicPartition>> {
        let mut left = Vec::new();
        for (partition, until) in &self.until {
            let key = PartitionKey { pipeline: self.name.into(), run: RUN, partition: partition.clone() };
            let row = store.read(&key, false).await?;
            let open = row.is_none_or(|row| {
                row.next_offset < *until || self.publish_to.is_some() && row.published_offset < row.next_offset
            });
            if open {
                left.push(partition.clone());
            }
        }
        Ok(left)
    }

    /// Whether the rows say so too, of everything that was brought. Behind the last event of a partition nothing has to be decided: markers of
    /// transactions stand there, or events that compaction took.
    async fn is_decided(&self, store: &dyn Store, brought: &Brought) -> anyhow::Result<bool> {
        for partition in self.until.keys() {
            let Some(to) = brought.to(partition) else { continue };
            let key = PartitionKey { pipeline: self.name.into(), run: RUN, partition: partition.clone() };
            let row = store.read(&key, true).await?;
            if row.is_none_or(|row| row.next_offset < to) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Those of the live pipeline, under another name, and for shorter rounds. The digest of the config stays: it tells whether both were told the same.
    fn settings(&self, function: &dyn Function, folding: Option<&pipeline::Folding>) -> Settings {
        let mut settings = build::settings(self.config, self.pipeline, function, folding, RUN);
        settings.provenance.pipeline = self.name.into();
        settings.provenance.keeps_latest = false;
        settings.mode = self.mode();
        settings.output_topic = self.publish_to.unwrap_or(self.name).into();
        settings.dead_letter_topic = format!("{}.dead-letters", self.name).into();
        settings.window = WINDOW;
        settings.decide_events = DECIDE_EVENTS;
        settings.max_dead_share = 1.0;
        // It is by itself, whatever else the config has.
        settings.ends_halted_after = Some(Duration::ZERO);
        settings.store_patience = Duration::from_millis(statement_timeout_ms(self.config)) + REPLY;
        // Only who reads the output minds the order between partitions.
        settings.align = settings.align.filter(|_| self.publish_to.is_some());
        settings
    }
}

/// A function that does one thing at a time: the machine's cores are for what is live.
struct Modest {
    inner: Arc<dyn Function>,
    spec: Spec,
}

impl Modest {
    fn new(inner: Arc<dyn Function>, slice: Option<usize>) -> Self {
        let mut spec = inner.spec().clone();
        spec.limits.calls_in_flight = 1;
        spec.limits.slice = slice.unwrap_or(usize::MAX).min(spec.limits.slice);
        Self { inner, spec }
    }
}

impl Function for Modest {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        self.inner.call(slice)
    }
}
