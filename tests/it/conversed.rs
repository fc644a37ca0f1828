//! Replies within conversations on real neighbours: whoever dies, every suggestion and every state is that of one pass over the log.

use crate::support::clock::Clock;
use crate::support::command::Ended;
use crate::support::stage::{Plan, Stage};
use millrace::config::Config;
use millrace::event::{Decoder, Position, RawEvent};
use millrace::function::{Function, Input, Outcome, reply};
use millrace::inference::{Encoder, Options};
use millrace::record::{Provenance, Record, dead_letter, prediction};
use millrace::state::dialogue::DialogueFold;
use millrace::state::in_memory::InMemory;
use millrace::state::{Fold, Forgetting, Stored};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sqlx::Row;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinHandle;

const REPLY: &str = r#"
event = "chat_message"
function = "reply"
model = "encoder"
flush_after = 40
[pipeline.dialogue]
messages = 6
gap = "30m"
[pipeline.options]
replies = ["good morning", "the parcel is late", "we look for it", "you have your money back", "have a nice day"]
min_score = -1
context_words = 4
"#;

const GAP: &str = "gap = \"30m\"";
const PARTITIONS: usize = 2;
const EVENTS: usize = 500;
const START_MS: i64 = 1_760_000_000_000;
const MINUTE_MS: i64 = 60_000;
const SENT: [&str; 4] = ["Good  morning", "the parcel is late", "we look for it", "something else"];
const ASKED: [&str; 4] = ["where is it", "and?", "I want my money back, and I want it now", "hello there"];

fn encoder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions/fill")
}

/// What customers and the desk write, to each partition; late messages, ones that come twice, notes, and ones that are none.
fn logs(topic: &str) -> Vec<Vec<RawEvent>> {
    let (mut random, mut logs) = (StdRng::seed_from_u64(11), vec![Vec::<RawEvent>::new(); PARTITIONS]);
    let written_ms = jiff::Timestamp::now().as_millisecond();
    let mut now_ms = START_MS;
    for n in 0..EVENTS {
        now_ms += random.random_range(0..2 * MINUTE_MS);
        let conversation = random.random_range(0..14);
        let late_ms = if random.random_bool(0.1) { random.random_range(0..60) * MINUTE_MS } else { 0 };
        let (role, text) = match random.random_range(0..30) {
            0 => (json!("nobody"), "x"),
            1 => (json!("system"), "a note"),
            2 => (json!(7), "x"),
            3 => (json!(null), " "),
            4..14 => (json!("agent"), SENT[random.random_range(0..SENT.len())]),
            _ => (json!(null), ASKED[random.random_range(0..ASKED.len())]),
        };
        // The last reply in other words.
        let source = (text == SENT[3]).then_some("5");
        let payload = json!({
            "id": format!("m-{n}"), "conversation": conversation, "role": role, "text": text, "source": source,
            "time": now_ms - late_ms,
        });
        let log = &mut logs[conversation % PARTITIONS];
        let again = random.random_bool(0.05).then(|| log.iter().rev().nth(random.random_range(0..20))).flatten();
        let (key, payload) = match again {
            Some(again) => (again.key.clone(), again.payload.clone()),
            None => (Some(conversation.to_string().into_bytes().into()), Some(payload.to_string().into_bytes().into())),
        };
        let position = Position { topic: topic.into(), partition: (conversation % PARTITIONS) as i32, offset: log.len() as i64 };
        log.push(RawEvent { position, timestamp_ms: written_ms + n as i64, key, payload, headers: vec![] });
    }
    logs
}

struct World {
    stage: Stage,
    logs: Vec<Vec<RawEvent>>,
    forgets: bool,
}

/// What one pass gives: the records, and the bytes of each conversation.
#[derive(Default)]
struct Whole {
    records: BTreeMap<(i32, i64, i16), (String, Value)>,
    states: BTreeMap<(i32, String), Vec<u8>>,
    suggested: usize,
}

impl World {
    async fn new() -> Self {
        Self::with(false).await
    }

    /// Whether conversations are forgotten as soon as they have ended.
    async fn with(forgets: bool) -> Self {
        let sections = format!("[models.encoder]\npath = {:?}", encoder());
        let function = if forgets { REPLY.replace(GAP, &format!("{GAP}\nforget_after = \"30m\"")) } else { REPLY.to_owned() };
        let plan = Plan {
            function: &function,
            sections: &sections,
            partitions: PARTITIONS as i32,
            session_ms: 1_500,
            ..Plan::default()
        };
        let stage = Stage::of(plan).await;
        Self { logs: logs(&stage.name), stage, forgets }
    }

    /// Sends so many thousandths of each log.
    fn send(&self, part: Range<usize>) {
        self.stage.send_part(&self.logs, part);
    }

    fn events(&self, part: usize) -> i64 {
        self.logs.iter().map(|log| log.len() * part / 1_000).sum::<usize>() as i64
    }

    async fn one_pass(&self) -> Whole {
        let config = Config::load(&self.stage.config(), &BTreeMap::new()).unwrap();
        let (dialogue, pipeline) = (config.dialogue_of(&config.pipeline[0]).unwrap(), &config.pipeline[0]);
        let fold = || DialogueFold::new(dialogue, pipeline.event, &pipeline.fields);
        match dialogue.forget_after {
            Some(after) => self.pass(&config, || Forgetting::new(fold(), after.ms())).await,
            None => self.pass(&config, fold).await,
        }
    }

    async fn pass<F: Fold>(&self, config: &Config, fold: impl Fn() -> F) -> Whole {
        let pipeline = &config.pipeline[0];
        let encoder = Arc::new(Encoder::open("encoder", &encoder(), None, &Options::default()).unwrap());
        let (none, nothing) = (|name: &str| Err(format!("no {name}")), |name: &str| Err(format!("no {name}")));
        let open = reply::Open { encoder: &none, writer: &nothing };
        let function = reply::load(encoder, &pipeline.options, Path::new(""), open).unwrap();
        let by = Provenance {
            pipeline: pipeline.name.as_str().into(),
            run: 1,
            function: "reply".into(),
            model: function.spec().model.as_str().into(),
            config: config.digest_of(pipeline).into(),
            fold: None,
            keeps_latest: false,
        };
        let (out, dead) = (pipeline.output_topic().into(), pipeline.dead_letter_topic().into());
        let decoder = Decoder::new(pipeline.event, pipeline.fields.clone(), config.limits_of(pipeline).clone());
        let mut whole = Whole::default();
        for log in &self.logs {
            let mut states = InMemory::new(fold());
            for raw in log {
                let records = match decoder.decode(raw.clone()) {
                    Err((raw, why)) => vec![dead_letter(&by, &raw, 0, &dead, &why, pipeline.record_bytes, None)],
                    Ok(event) => match states.apply(&event) {
                        Err(why) => vec![dead_letter(&by, &event.raw, 0, &dead, &why, pipeline.record_bytes, None)],
                        Ok(features) => {
                            let slice = [Input { event: event.clone(), features: Some(features) }];
                            match function.call(&slice).await.unwrap().remove(0) {
                                Outcome::Skip(_) => Vec::new(),
                                Outcome::Reject(why) => vec![dead_letter(&by, raw, 0, &dead, &why, pipeline.record_bytes, None)],
                                Outcome::Emit(mut all) => {
                                    let one = all.remove(0);
                                    whole.suggested += 1;
                                    vec![prediction(
                                        &by,
                                        &event,
                                        0,
                                        &out,
                                        None,
                                        &one.fields,
                                        one.label,
                                        one.score,
                                        one.model.as_ref(),
                                    )]
                                }
                            }
                        }
                    },
                };
                whole.records.extend(records.into_iter().map(told));
            }
            for (key, state) in states.all() {
                let mut bytes = Vec::new();
                state.encode(&mut bytes);
                whole.states.insert((log[0].position.partition, key.to_owned()), bytes);
            }
        }
        whole
    }

    /// Waits for the end of it all, and compares it with one pass.
    async fn is_one_pass(&self) {
        self.stage.decided(self.events(1_000)).await;
        self.stage.published().await;
        self.stage
            .wait_for("SELECT count(*) FROM millrace.stream_partition WHERE fold_from = next_offset", PARTITIONS as i64)
            .await;
        let (whole, mut connection) = (self.one_pass().await, self.stage.connect().await);
        let rows =
            sqlx::query("SELECT partition, \"offset\", n, kind, value::text FROM millrace.record").fetch_all(&mut connection);
        let mut found = BTreeMap::new();
        for row in rows.await.unwrap() {
            let value: Value = serde_json::from_str(row.get(4)).unwrap();
            found.insert((row.get(0), row.get(1), row.get(2)), (row.get::<String, _>(3), value));
        }
        for (place, expected) in &whole.records {
            assert_eq!(found.get(place), Some(expected), "{place:?}; the log:\n{}", self.stage.log());
        }
        assert_eq!(found.len(), whole.records.len(), "records of events that have none");
        let text = "SELECT partition, key, bytes FROM millrace.state JOIN millrace.stream_partition USING (stream)";
        let rows = sqlx::query(text).fetch_all(&mut connection).await.unwrap();
        let found: BTreeMap<(i32, String), Vec<u8>> = rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
        if self.forgets {
            // What is not there was deleted.
            assert!(found.iter().all(|(place, bytes)| whole.states.get(place) == Some(bytes)), "{found:?}");
            assert!((PARTITIONS + 1..whole.states.len()).contains(&found.len()), "{} of {}", found.len(), whole.states.len());
            return;
        }
        assert_eq!(found, whole.states);
        let values = || whole.records.values().map(|(_, value)| value);
        let said = |reason: &str| values().filter(|value| value["status"] == reason).count();
        assert!(whole.suggested > 150 && whole.states.len() == 14, "{} suggested", whole.suggested);
        assert!(said("late") > 5 && said("passed_over") > 0 && values().any(|value| value["context"] == 1), "{}", said("late"));
        let most = values().filter_map(|value| value["turn"].as_u64()).max();
        assert!(most > Some(6), "no conversation is longer than what is kept: {most:?}");
    }
}

fn told(record: Record) -> ((i32, i64, i16), (String, Value)) {
    let value = serde_json::from_str(&record.value).unwrap();
    ((record.partition, record.offset, record.n), (record.kind.as_str().to_owned(), value))
}

/// Would catch: a message folded twice or not at all around a death, a reply that is suggested again after one because what was sent is
/// forgotten, a message of the desk that is answered, a past answer that cannot be explained.
#[tokio::test(flavor = "multi_thread")]
async fn conversations_with_deaths_are_one_pass() {
    let world = World::new().await;
    world.send(0..450);
    let mut first = world.stage.worker();
    world.stage.decided_at_least(world.events(150)).await;
    first.kill();
    let mut second = world.stage.worker();
    world.stage.decided(world.events(450)).await;
    world.send(450..1_000);
    world.stage.decided_at_least(world.events(600)).await;
    second.kill();
    let mut third = world.stage.worker();
    world.is_one_pass().await;
    third.drain();
    let answered = world.one_pass().await.records.into_iter().filter(|(_, (kind, _))| kind == "prediction").nth_back(3);
    let ((partition, offset, _), _) = answered.unwrap();
    let place = format!("{}/{partition}/{offset}", world.stage.name);
    let explained: Ended = world.stage.millrace(&["explain", "--json", "--event", &place]);
    assert_eq!((explained.code, &explained.json()["verdict"]), (Some(0), &json!("same")), "{explained:?}");
}

/// Deletes what is forgotten again and again, and counts it.
async fn forgetting(world: &World) -> (Arc<AtomicU64>, JoinHandle<()>) {
    let (config, store) = (world.stage.config(), crate::support::store(&world.stage.url).await);
    let digest = {
        let config = Config::load(&config, &BTreeMap::new()).unwrap();
        let (pipeline, dialogue) = (&config.pipeline[0], config.dialogue_of(&config.pipeline[0]).unwrap());
        let fold = DialogueFold::new(dialogue, pipeline.event, &pipeline.fields);
        Forgetting::new(fold, dialogue.forget_after.unwrap().ms()).digest().to_owned()
    };
    let name = world.stage.name.clone();
    let forgotten = Arc::new(AtomicU64::new(0));
    let deleting = tokio::spawn({
        let forgotten = forgotten.clone();
        async move {
            loop {
                forgotten.fetch_add(store.forget(&name, &digest, 30 * MINUTE_MS).await.unwrap(), Ordering::SeqCst);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    });
    (forgotten, deleting)
}

/// Would catch: an answer or a state that depends on when a row was deleted: beside a worker that has it in memory, between two lives, or
/// while it is written.
#[tokio::test(flavor = "multi_thread")]
async fn conversations_that_are_forgotten_are_one_pass() {
    let world = World::with(true).await;
    let (forgotten, deleting) = forgetting(&world).await;
    world.send(0..450);
    let mut first = world.stage.worker();
    world.stage.decided_at_least(world.events(150)).await;
    first.kill();
    let mut second = world.stage.worker();
    world.stage.decided(world.events(450)).await;
    world.send(450..1_000);
    world.stage.decided_at_least(world.events(600)).await;
    second.kill();
    let mut third = world.stage.worker();
    world.is_one_pass().await;
    let deleted = forgotten.load(Ordering::SeqCst);
    assert!(deleted > 5, "{deleted}");
    deleting.abort();
    third.drain();
    let nobody = crate::support::store(&world.stage.url).await.forget(&world.stage.name, "000000000000", 1).await.unwrap();
    assert_eq!(nobody, 0, "states of another fold are left alone");
}

/// Two workers whose clocks leap half an hour ahead and a day behind, in a pipeline that is aligned and forgets.
///
/// Would catch: a state that is forgotten, or a head that waits, by the wall clock of a worker.
#[tokio::test(flavor = "multi_thread")]
async fn conversations_under_leaping_clocks_are_one_pass() {
    let world = World::with(true).await;
    world.stage.reconfigure("flush_after = 40", "flush_after = 40\nalign = \"1h\"");
    let (forgotten, deleting) = forgetting(&world).await;
    let (ahead, behind) = (Clock::true_one(), Clock::true_one());
    let mut workers = [&ahead, &behind].map(|clock| world.stage.worker_with(&clock.environment()));
    let minutes = [(30, -1_440), (-1_440, 30), (0, 0), (30, 30)];
    for (part, (of_ahead, of_behind)) in (0..1_000).step_by(250).zip(minutes) {
        world.send(part..part + 250);
        world.stage.decided_at_least(world.events(part + 100)).await;
        ahead.leap(of_ahead);
        behind.leap(of_behind);
    }
    world.is_one_pass().await;
    deleting.abort();
    assert!(forgotten.load(Ordering::SeqCst) > 0);
    workers.iter_mut().for_each(|worker| worker.drain());
}
