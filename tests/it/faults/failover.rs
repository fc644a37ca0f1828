//! The primary dies, and a real standby takes its place.

use crate::support::client_of;
use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pipeline on a primary with a standby, which is about as far; a worker that has done the first 400 events.
struct Scene {
    stage: Arc<Stage>,
    worker: Worker,
    primary: Service,
    standby: Service,
    watcher: Watcher,
}

impl Scene {
    async fn new() -> Self {
        let (primary, standby) = tokio::task::spawn_blocking(|| {
            let primary = Service::up(Kind::Postgres);
            let standby = Service::standby_of(&primary);
            (primary, standby)
        })
        .await
        .unwrap();
        let stage = Arc::new(Stage::of(Plan { postgres: primary.address(), ..Plan::default() }).await);
        let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
        stage.send(0, 400);
        let worker = stage.worker();
        stage.decided(400).await;
        stage.assert_rows_are_records(400).await;
        Self { stage, worker, primary, standby, watcher }
    }

    /// The stage's database on the standby, wherever it listens.
    async fn on_the_standby(&self) -> PgConnection {
        let database = PgConnectOptions::from_str(&self.stage.url).unwrap();
        let server = PgConnectOptions::from_str(&self.standby.address()).unwrap();
        PgConnection::connect_with(&server.database(database.get_database().unwrap())).await.unwrap()
    }

    /// Waits until the standby has replayed so many events.
    async fn replayed(&self, events: i64) {
        let (mut standby, deadline) = (self.on_the_standby().await, Instant::now() + SOON);
        let query = "SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition";
        while sqlx::query_scalar::<_, i64>(query).fetch_one(&mut standby).await.unwrap() < events {
            assert!(Instant::now() < deadline, "the standby does not follow");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The primary waits for the standby with each commit, or does no more.
    async fn synchronous(&self, standby: &str) {
        self.stage.execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'")).await;
        self.stage.execute("SELECT pg_reload_conf()").await;
    }

    /// Everything that was sent has one ending, in the new primary and in Kafka, and each record says what its row says.
    async fn ends_with(self, load: Load) {
        let Self { stage, mut worker, watcher, primary: _primary, standby: _standby } = self;
        let sent = load.stop().await;
        stage.decided(sent).await;
        stage.assert_rows_are_records(sent).await;
        watcher.ends_with(sent).await;
        assert!(worker.is_running(), "{}", worker.log());
        worker.drain();
        let verified = stage.millrace(&["verify", "--deep", "--json"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
}

/// The highest K of all partitions.
fn published_up_to(stage: &Stage) -> i64 {
    let group: BaseConsumer = client_of(&stage.brokers).set("group.id", &stage.name).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&stage.name, 0, 3);
    let committed = group.committed_offsets(list, SOON).unwrap();
    committed.elements().iter().filter_map(|element| element.offset().to_raw()).max().unwrap()
}

/// The operator's way out is that of `docs/transcripts/failover.md`.
///
/// Would catch: a worker that goes on where the new primary stands and so publishes again what was published; a start after the fail-over that does
/// not compare P with K; `reprocess` that publishes [P, K), or decides it otherwise than it was published.
#[tokio::test(flavor = "multi_thread")]
async fn an_asynchronous_standby_without_the_last_commits_halts_the_worker() {
    let mut scene = Scene::new().await;
    scene.replayed(400).await;
    scene.standby.follow("cut", &scene.primary);
    let load = Load::start(&scene.stage, 400, 300);
    scene.stage.decided_at_least(1_000).await;
    // K is beyond what the standby knows of: Q, a late copy, is.
    scene.stage.wait_for("SELECT sum(published_offset)::bigint FROM millrace.stream_partition", 800).await;
    scene.primary.tell(&["kill"]);
    scene.standby.follow("take", &scene.primary);
    scene.standby.promote();
    let status = scene.worker.end();
    let log = scene.worker.log();
    assert!(status.code() == Some(3) && log.contains("Postgres went back: this worker decided up to"), "{status}; {log}");
    assert_eq!(scene.stage.events().await, 400, "nothing was decided after the fail-over");

    scene.worker = scene.stage.worker();
    let status = scene.worker.end();
    let log = scene.worker.log();
    assert!(
        status.code() == Some(3) && log.contains("the database lost commits") && log.contains("reprocess"),
        "{status}; {log}"
    );
    scene.watcher.check();

    let lost = "on_lost_commits = \"reprocess\"";
    scene.stage.reconfigure("dead_letter_topic", &format!("{lost}\ndead_letter_topic"));
    scene.worker = scene.stage.worker();
    let highest = published_up_to(&scene.stage);
    scene.stage.wait_for("SELECT min(next_offset) FROM millrace.stream_partition", highest).await;
    scene.worker.drain();
    scene.stage.reconfigure(lost, "");
    scene.worker = scene.stage.worker();
    scene.ends_with(load).await;
}

/// The standby has each commit, for the primary waits for it. For a while the worker meets it as a standby that has not yet replayed what it has:
/// what it shows is then not the truth.
///
/// Would catch: a row read from a standby, which shows a past, and taken for a database that went back; a decide whose answer died with the primary
/// and is taken for undone, or for done; a pool or a session that does not find the new primary; a worker that ends when it may not write.
#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_takes_over_without_a_halt() {
    let mut scene = Scene::new().await;
    scene.synchronous("standby").await;
    scene.stage.wait_for("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", 1).await;
    let load = Load::start(&scene.stage, 400, 300);
    scene.stage.decided_at_least(700).await;
    scene.replayed(700).await;
    let mut standby = scene.on_the_standby().await;
    // From now on it has what it is sent, and does not show it. What it lags is replayed only when it is promoted.
    for statement in ["ALTER SYSTEM SET recovery_min_apply_delay = '1h'", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(statement).execute(&mut standby).await.unwrap();
    }
    drop(standby);
    scene.stage.decided_at_least(scene.stage.events().await + 300).await;
    let decided = scene.stage.events().await;
    scene.primary.tell(&["kill"]);
    scene.standby.follow("take", &scene.primary);
    let seen = scene.stage.events().await;
    assert!(seen < decided, "the standby shows all {seen}");
    let refused = "read-only transaction";
    let deadline = Instant::now() + SOON;
    while !scene.worker.log().contains(refused) {
        assert!(scene.worker.is_running() && Instant::now() < deadline, "{}", scene.worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It asks again and again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(scene.worker.is_running(), "{}", scene.worker.log());
    scene.standby.promote();
    scene.stage.decided_at_least(decided + 600).await;
    scene.watcher.check();
    scene.ends_with(load).await;
}
