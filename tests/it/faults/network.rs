//! A worker behind a link of its own, on which real packets are lost: no proxy closes or answers anything for anybody.

use crate::support::link::Link;
use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A Kafka and a Postgres at this end of a link. The stage's own clients, and workers that it starts as usual, do not go over it.
struct Scene {
    stage: Arc<Stage>,
    /// The addresses of the services, and those that workers behind the link have instead.
    places: [(String, String); 2],
    _services: [Service; 2],
    link: Arc<Link>,
}

impl Scene {
    async fn new() -> Self {
        let link = Arc::new(tokio::task::spawn_blocking(Link::up).await.unwrap());
        let at = |kind| {
            let link = link.clone();
            tokio::task::spawn_blocking(move || Service::at(kind, &link))
        };
        let (kafka, postgres) = tokio::join!(at(Kind::Kafka), at(Kind::Postgres));
        let (kafka, postgres) = (kafka.unwrap(), postgres.unwrap());
        let plan = Plan { brokers: kafka.address(), postgres: postgres.address(), ..Plan::default() };
        let stage = Arc::new(Stage::of(plan).await);
        let options = PgConnectOptions::from_str(&stage.url).unwrap();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let places = [(kafka.address(), kafka.there()), (server, postgres.there())];
        Self { stage, places, _services: [kafka, postgres], link }
    }

    /// A worker behind the link. The config is as it was once that one has read it.
    fn worker_behind(&self) -> Worker {
        for (near, far) in &self.places {
            self.stage.reconfigure(near, far);
        }
        let worker = self.stage.worker_behind(&self.link);
        // Waits for it.
        worker.admin();
        for (near, far) in &self.places {
            self.stage.reconfigure(far, near);
        }
        worker
    }

    /// How many partitions the worker of this process was the last to claim.
    async fn claimed_by(&self, pid: u32) -> i64 {
        let query = format!("SELECT count(*) FROM millrace.stream_partition WHERE split_part(owner, '/', 2) = '{pid}'");
        self.stage.number(&query).await
    }
}

async fn until(worker: &mut Worker, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done().await {
        assert!(worker.is_running() && Instant::now() < deadline, "{what} never; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A dead link is silent: no packet arrives, and nothing says so. First it is dead with a carrier, then without.
///
/// Would catch: a worker that ends, or is ready, while nobody is there; a decide or a publish that was on its way when the link died and takes effect
/// when it is back, though the partitions have gone to another; a reply that is waited for until somebody closes the connection; a worker that does
/// not come back as a member; an heir that waits for what the other one holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_link_is_dead_loses_its_partitions_and_doubles_nothing() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut cut_off = scene.worker_behind();
    let load = Load::start(stage, 0, 300);
    stage.decided_at_least(300).await;
    let mut heir = stage.worker();
    let (of_cut_off, of_heir, admin) = (cut_off.pid(), heir.pid(), cut_off.admin());
    let shared = async || scene.claimed_by(of_heir).await == 2 && scene.claimed_by(of_cut_off).await == 2;

    type Does = fn(&Link);
    let deaths: [(Does, Does); 2] = [(|link| link.weather(100, 0), |link| link.weather(0, 0)), (Link::cut, Link::mend)];
    for (die, heal) in deaths {
        until(&mut heir, "a share for each", &shared).await;
        die(&scene.link);
        until(&mut heir, "the whole for the heir", async || scene.claimed_by(of_heir).await == 4).await;
        let before = stage.events().await;
        until(&mut heir, "progress of the heir", async || stage.events().await > before + 600).await;
        until(&mut cut_off, "a worker that misses Kafka and Postgres", async || {
            let (status, body) = scene.link.get(&admin, "/readyz");
            status == 503 && body.contains("Kafka") && body.contains("Postgres")
        })
        .await;
        assert_eq!(scene.link.get(&admin, "/livez").0, 200);
        watcher.check();
        heal(&scene.link);
    }
    until(&mut cut_off, "a share for the one that is back", &shared).await;
    until(&mut cut_off, "a worker that is ready", async || scene.link.get(&admin, "/readyz").0 == 200).await;
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    cut_off.drain();
    heir.drain();
}

/// Would catch: a time-out that takes a network which loses packets for one that is gone, and gives up for ever; a request that is made again and
/// carried out twice. (Within a connection TCP puts in order what was overtaken; between two connections nobody does.)
#[tokio::test(flavor = "multi_thread")]
async fn lost_and_overtaken_packets_cost_throughput_alone() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut worker = scene.worker_behind();
    let load = Load::start(stage, 0, 200);
    stage.decided_at_least(200).await;

    let (events, packets) = (stage.events().await, scene.link.packets());
    scene.link.weather(5, 20);
    until(&mut worker, "progress", async || {
        let now = scene.link.packets();
        let was_bad = now.again > packets.again + 20 && now.early > packets.early + 20 && now.detoured > packets.detoured + 100;
        was_bad && stage.events().await > events + 1_000
    })
    .await;
    watcher.check();

    scene.link.weather(0, 0);
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    assert!(worker.is_running(), "{}", worker.log());
    worker.drain();
}
