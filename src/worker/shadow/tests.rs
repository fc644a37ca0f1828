//! Challengers and queues, without neighbours.

use super::*;
use crate::event::{Event, Position, RawEvent};
use crate::function::{CallError, Input, Limits, Outcome, Prediction, Spec};
use crate::record::Provenance;
use futures_util::future::BoxFuture;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Scores 0.5, but for what its options ask of it.
struct Half {
    spec: Spec,
    label: &'static str,
    /// Slices that it was given.
    seen: Arc<Mutex<Vec<usize>>>,
    /// While it is set a call waits.
    busy: Arc<AtomicBool>,
    /// A slice with this offset spoils the call.
    spoiled: i64,
}

fn half(label: &'static str) -> Half {
    let limits = Limits { slice: 100, calls_in_flight: 2, timeout: Duration::from_secs(10) };
    let spec = Spec { name: "half", version: 1, model: format!("half-{label}@1"), limits };
    Half { spec, label, seen: Arc::default(), busy: Arc::default(), spoiled: -1 }
}

impl Function for Half {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            self.seen.lock().unwrap().push(slice.len());
            while self.busy.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if slice.iter().any(|input| input.event.raw.position.offset == self.spoiled) {
                return Err(CallError::Poison("spoiled".to_owned()));
            }
            let said = Prediction {
                key: None,
                fields: serde_json::Map::new(),
                label: Some(self.label.into()),
                score: Some(0.5),
                model: None,
            };
            Ok(slice.iter().map(|_| Outcome::Emit(vec![said.clone()])).collect())
        })
    }

    fn labels(&self) -> Vec<String> {
        vec![self.label.to_owned()]
    }
}

fn input(offset: i64) -> Input {
    let position = Position { topic: "in".into(), partition: 0, offset };
    let raw = RawEvent { position, timestamp_ms: 1, key: None, payload: Some(b"x"[..].into()), headers: Vec::new() };
    Input::plain(Event { raw, id: format!("e{offset}").into(), key: None, event_time_ms: 1, text: None, body: None })
}

struct World {
    function: Arc<dyn Function>,
    tally: Tally,
    tasks: JoinSet<()>,
    drain: CancellationToken,
}

fn world(champion: Half, challenger: Half, shadow: &str) -> World {
    world_of(champion, challenger, shadow, |champion| champion)
}

/// `around` is what stands between the champion and the pipeline.
fn world_of(champion: Half, challenger: Half, shadow: &str, around: impl Fn(Arc<Champion>) -> Arc<dyn Function>) -> World {
    let text = format!(
        "name = 'p'\ntopic = 'in'\nevent = 'transaction'\nfunction = 'copy'\n[shadow]\nshare = 1.0\nstore = false\n{shadow}"
    );
    let pipeline: Pipeline = toml::from_str(&text).unwrap();
    let loaded = Loaded { challenger: Ok(Arc::new(challenger) as Arc<dyn Function>), settings: "s".to_owned() };
    let store = Arc::new(ShadowStore::new("postgres://localhost/none").unwrap());
    let mut shadows = Shadows::new([("p".to_owned(), loaded)].into(), store);
    let (tally, mut tasks, drain) = (Tally::default(), JoinSet::new(), CancellationToken::new());
    let provenance = Provenance {
        pipeline: "p".into(),
        run: 1,
        function: "half".into(),
        model: "m@1".into(),
        config: "c".into(),
        fold: None,
        keeps_latest: false,
    };
    let labels = champion.labels().into_iter().collect();
    let champion = Champion::new(Arc::new(champion));
    let beside = Beside {
        pipeline: &pipeline,
        champion: &champion,
        provenance: &provenance,
        tally: &tally,
        labels: &labels,
        drain: &drain,
        closing: &drain,
    };
    let function = shadows.beside(around(champion.clone()), &beside, &mut tasks);
    World { function, tally, tasks, drain }
}

impl World {
    async fn counts(&self, until: impl Fn(&crate::telemetry::ShadowCounts) -> bool) -> crate::telemetry::ShadowCounts {
        let wait = async {
            loop {
                let (_, counts) = self.tally.shadow().unwrap().now();
                if until(&counts) {
                    return counts;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
    }

    async fn ends(mut self) {
        self.drain.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Would catch: a challenger that is called while its champion is, one that is given more at once than it may be, a flip that is not counted.
#[tokio::test]
async fn it_is_called_in_spare_time_a_few_events_at_once() {
    let (champion, challenger) = (half("yes"), half("no"));
    let (busy, seen) = (champion.busy.clone(), challenger.seen.clone());
    let world = world(champion, challenger, "slice = 4");
    let inputs: Vec<Input> = (0..10).map(input).collect();
    world.function.call(&inputs).await.unwrap();
    world.counts(|counts| counts.compared == 10).await;
    assert!(seen.lock().unwrap().iter().all(|events| *events <= 4) && seen.lock().unwrap().len() >= 3);
    busy.store(true, Ordering::Relaxed);
    let before = seen.lock().unwrap().len();
    let (function, slice) = (world.function.clone(), inputs[..1].to_vec());
    let call = tokio::spawn(async move { function.call(&slice).await.map(|outcomes| outcomes.len()) });
    tokio::time::sleep(Duration::from_millis(30)).await;
    // Something to do, and no spare time for it.
    let (second, slice) = (world.function.clone(), inputs[1..2].to_vec());
    let other = tokio::spawn(async move { second.call(&slice).await.map(|outcomes| outcomes.len()) });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(seen.lock().unwrap().len(), before);
    busy.store(false, Ordering::Relaxed);
    assert_eq!((call.await.unwrap().unwrap(), other.await.unwrap().unwrap()), (1, 1));
    let counts = world.counts(|counts| counts.compared == 12).await;
    assert_eq!((counts.flips[&("yes".into(), "no".into())], counts.agreement()), (12, Some(0.0)));
    world.ends().await;
}

/// Would catch: a full queue that is waited for, events that are dropped and not counted, one spoiled event that takes its neighbours along.
#[tokio::test]
async fn what_finds_no_place_is_dropped_and_a_spoiled_event_fails_alone() {
    let (champion, mut challenger) = (half("yes"), half("yes"));
    challenger.spoiled = 2;
    let busy = challenger.busy.clone();
    busy.store(true, Ordering::Relaxed);
    let world = world(champion, challenger, "queue = 5\nslice = 3");
    let inputs: Vec<Input> = (0..30).map(input).collect();
    let answered = tokio::time::timeout(Duration::from_secs(5), world.function.call(&inputs)).await;
    assert_eq!(answered.unwrap().unwrap().len(), 30);
    assert_eq!(world.tally.shadow().unwrap().now().1.dropped, 25);
    busy.store(false, Ordering::Relaxed);
    let counts = world.counts(|counts| counts.compared + counts.failed == 5).await;
    assert_eq!((counts.compared, counts.failed, counts.agreement()), (4, 1, Some(1.0)));
    world.ends().await;
}

/// A ladder that stands on a rung: events with an odd offset are answered by another function.
struct Degraded {
    top: Arc<Champion>,
    rung: Half,
}

impl Function for Degraded {
    fn spec(&self) -> &Spec {
        self.top.spec()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            let mut outcomes = Vec::new();
            for input in slice.chunks(1) {
                let odd = input[0].event.raw.position.offset % 2 == 1;
                outcomes.extend(if odd { self.rung.call(input).await? } else { self.top.call(input).await? });
            }
            Ok(outcomes)
        })
    }
}

/// Would catch: an answer of a rung of a ladder that is taken for the champion's.
#[tokio::test]
async fn what_a_rung_says_is_not_the_champions() {
    let around = |top| Arc::new(Degraded { top, rung: half("no") }) as Arc<dyn Function>;
    let world = world_of(half("yes"), half("yes"), "", around);
    let inputs: Vec<Input> = (0..10).map(input).collect();
    assert_eq!(world.function.call(&inputs).await.unwrap().len(), 10);
    let counts = world.counts(|counts| counts.compared >= 5).await;
    assert_eq!((counts.compared, counts.agreement()), (5, Some(1.0)));
    world.ends().await;
}

/// Would catch: words of an event in the reason of a cut-off, which goes to the log and to `/status`.
#[tokio::test]
async fn a_cut_off_quotes_no_event() {
    let (champion, mut challenger) = (half("yes"), half("yes"));
    challenger.spoiled = 0;
    let world = world(champion, challenger, "failures = 1");
    world.function.call(&[input(0)]).await.unwrap();
    world.counts(|counts| counts.failed == 1).await;
    let reason = loop {
        if let (ShadowState::CutOff(reason), _) = world.tally.shadow().unwrap().now() {
            break reason;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(!reason.contains("spoiled") && reason.contains("poison"), "{reason}");
    world.ends().await;
}
