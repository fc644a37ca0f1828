//! Recommendations on real neighbours: whoever dies and whatever moves, every answer and every state is that of one pass over the log,
//! byte for byte.

mod behaviour;

use crate::support::one_pass::OnePass;
use crate::support::one_pass::compare::Compared;
use crate::support::stage::{Plan, Stage};
use behaviour::logs;
use millrace::config::Config;
use millrace::event::RawEvent;
use std::collections::BTreeMap;
use std::ops::Range;

/// Every signal, every part, and caps that cut.
const ALL: &str = r#"
event = "json"
fields = { id = "id", time = "time" }
function = "recommend"
options = { emit = ["recommend", "signals", "interest", "items"] }
keep = "latest"
flush_after = 60
[pipeline.recommend]
entries = 70
max_late = "1d"
kinds = { click = 1.0, rate = 2.0, purchase = 3.5 }
history = { items = 12, seen = 40 }
session = { gap = "30m" }
popularity = [
  { name = "day", half_life = "1d" },
  { name = "window", window = "6h" },
  { name = "ever" },
  { name = "of_kind", half_life = "2d", scope = "category" },
]
trending = { short = "1h", long = "1d" }
ctr = { prior = 10.0, half_life = "2d" }
affinity = { half_life = "7d", categories = 4 }
covisit = [
  { name = "next", window = 5, last = 5, recency_events = 2.0, shrink = 2.0, power = 0.5 },
  { name = "with", direction = "both", window = 5, distance_power = 0.0, row_power = 0.5, popularity_power = 0.5, half_life = "1d" },
]
session_neighbours = { sessions = 20, neighbours = 10, length = 8, expiry = "1d" }
interest = { model = "model@1", dimensions = 3, half_life = "7d", catalogue = 20 }
[pipeline.recommend.blend]
items = 8
weights = { next = 1.0, with = 0.5, session_neighbours = 1.0, interest = 0.5, day = 0.2, of_kind = 0.1, trending = 0.1 }
earned = true
"#;

/// The shipped signals for a stream, asked for by requests.
const SHIPPED: &str = r#"
event = "json"
fields = { id = "id", time = "time" }
function = "recommend"
options = { emit = ["recommend"] }
keep = "latest"
flush_after = 350
[pipeline.recommend]
popularity = [{ name = "day", half_life = "1d" }]
covisit = [{ name = "next", window = 10, last = 20, shrink = 5.0, popularity_power = 0.3, power = 0.5 }]
affinity = { half_life = "30d" }
blend = { weights = { next = 1.0, day = 10.0 }, earned = true, fallback = ["day"], on_request = true }
"#;

const EVENTS: usize = 2_000;

/// Two pipelines over one topic, and its logs.
struct World {
    stage: Stage,
    logs: Vec<Vec<RawEvent>>,
    /// Pipelines by name.
    pipelines: [String; 2],
}

impl World {
    async fn new(partitions: i32) -> Self {
        let stage = Stage::of(Plan { function: ALL, partitions, session_ms: 1_500, ..Plan::default() }).await;
        let name = &stage.name;
        let shipped = format!("{name}-shipped");
        let head = format!(
            "name = \"{shipped}\"\ntopic = \"{name}\"\noutput_topic = \"{name}.out\"\ndead_letter_topic = \"{name}.dead\""
        );
        let text = std::fs::read_to_string(stage.config()).unwrap();
        std::fs::write(stage.config(), format!("{text}\n[[pipeline]]\n{head}\n{SHIPPED}")).unwrap();
        Self {
            logs: logs(name, partitions, EVENTS, jiff::Timestamp::now().as_millisecond()),
            pipelines: [name.clone(), shipped],
            stage,
        }
    }

    fn config(&self) -> Config {
        Config::load(&self.stage.config(), &BTreeMap::new()).unwrap()
    }

    /// Sends so many thousandths of each log.
    fn send(&self, part: Range<usize>) {
        self.stage.send_part(&self.logs, part);
    }

    /// Events in so many thousandths of the logs, of both pipelines.
    fn events(&self, part: usize) -> i64 {
        self.logs.iter().map(|log| log.len() * part / 1_000 * 2).sum::<usize>() as i64
    }

    /// Waits until so many thousandths are decided by both pipelines.
    async fn decided(&self, part: usize) {
        self.stage.decided(self.events(part)).await;
    }

    /// Waits for the end of it all, and compares it with one pass.
    async fn is_one_pass(&self) {
        self.decided(1_000).await;
        self.stage.published().await;
        let partitions = 2 * self.logs.len() as i64;
        self.stage.wait_for("SELECT count(*) FROM millrace.stream_partition WHERE fold_from = next_offset", partitions).await;
        let (config, mut connection) = (self.config(), self.stage.connect().await);
        for (name, pipeline) in self.pipelines.iter().zip(&config.pipeline) {
            let mut compared = Compared::default();
            for (partition, log) in self.logs.iter().enumerate() {
                let mut pass = OnePass::new(&config, pipeline).unwrap();
                compared.partition(&mut connection, &mut pass, partition as i32, log.iter().cloned()).await.unwrap();
            }
            compared.latest(&mut connection, name).await.unwrap();
            let Compared { answers, dead, states, latest, .. } = &compared;
            eprintln!("{name}: answers: {answers}\nstates: {states}\nlatest: {latest}\n{dead} dead letters");
            for count in [answers, states, latest] {
                assert!(count.differ == 0 && count.of > 30, "{count}; the log:\n{}", self.stage.log());
            }
            assert!((15..EVENTS / 20).contains(dead), "{dead} dead letters");
        }
    }
}

/// Would catch: an answer or a state that the stream makes otherwise than the library does, a dead letter that is folded, a key without
/// its row, a newest record that is not the newest.
#[tokio::test]
async fn a_stream_without_trouble_is_one_pass() {
    let world = World::new(1).await;
    world.send(0..1_000);
    let mut worker = world.stage.worker();
    world.is_one_pass().await;
    worker.drain();
    assert!(!world.stage.log().contains("a world of its own"), "{}", world.stage.log());
}

/// Would catch: an event folded twice or not at all around a death, an item that links with what a lost process had written of a user.
#[tokio::test]
async fn a_stream_with_deaths_is_one_pass() {
    let world = World::new(1).await;
    world.send(0..450);
    let mut first = world.stage.worker();
    world.stage.decided_at_least(world.events(150)).await;
    first.kill();
    let mut second = world.stage.worker();
    world.decided(450).await;
    world.send(450..1_000);
    world.stage.decided_at_least(world.events(600)).await;
    second.kill();
    let mut third = world.stage.worker();
    world.is_one_pass().await;
    third.drain();
}

/// Would catch: a state that comes back to memory older than it left, a key that is forgotten before it was written.
#[tokio::test]
async fn a_memory_of_a_hundredth_of_the_keys_is_one_pass() {
    let world = World::new(1).await;
    let config = world.config();
    let mut pass = OnePass::new(&config, &config.pipeline[0]).unwrap();
    world.logs[0].iter().cloned().for_each(|raw| drop(pass.records(raw)));
    let hundredth = pass.cost_bytes() / 100;
    world.stage.reconfigure("flush_after = 60", &format!("flush_after = 10\nstate_bytes = {hundredth}"));
    world.stage.reconfigure("flush_after = 350", &format!("flush_after = 10\nstate_bytes = {hundredth}"));
    // So that the reads of rows can be counted.
    let name = world.stage.url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    world.stage.execute(&format!("ALTER DATABASE \"{name}\" SET enable_seqscan = off")).await;
    let mut worker = world.stage.worker();
    for part in (0..1_000).step_by(50) {
        world.send(part..part + 50);
        world.decided(part + 50).await;
    }
    // An upsert of a row that is there fetches it too.
    let reads = "SELECT idx_tup_fetch - n_tup_upd FROM pg_stat_user_tables WHERE relname = 'state'";
    let keys = pass.states().len() as i64;
    let found = world.stage.wait_for(reads, 5 * keys).await;
    eprintln!("{hundredth} bytes for {keys} keys: rows were read {found} times");
    world.is_one_pass().await;
    worker.drain();
}

/// Would catch: a partition whose states go on where another worker has left them behind, a newest record that a former owner sets back,
/// a worker that does not say that each partition has lists of its own.
#[tokio::test]
async fn a_stream_whose_partitions_move_is_one_pass() {
    let world = World::new(3).await;
    world.send(0..300);
    let mut stays = world.stage.worker();
    world.stage.decided_at_least(world.events(100)).await;
    let mut joins = world.stage.worker();
    world.send(300..600);
    let owners = "SELECT count(DISTINCT owner) FROM millrace.stream_partition WHERE pipeline NOT LIKE '%-shipped'";
    world.stage.wait_for(owners, 2).await;
    world.stage.decided_at_least(world.events(450)).await;
    world.send(600..800);
    joins.drain();
    world.send(800..1_000);
    world.is_one_pass().await;
    for log in [stays.log(), joins.log()] {
        assert_eq!(log.matches("has 3 partitions, and each is a world of its own").count(), 2, "{log}");
    }
    stays.drain();
}
