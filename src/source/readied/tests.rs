use super::asking::AHEAD;
use super::*;
use crate::event::Position;
use crate::source::Lease;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use std::time::Duration;
use tokio::sync::watch;

/// An event's payload is what it needs; 0 is nothing.
struct Shelf {
    at_hand: watch::Sender<BTreeSet<u32>>,
    /// What is being fetched.
    fetching: Arc<Mutex<BTreeSet<u32>>>,
}

/// Ends with the fetch, however that ends.
struct Fetch(Arc<Mutex<BTreeSet<u32>>>, u32);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.lock().unwrap().remove(&self.1);
    }
}

impl Needs for Shelf {
    fn missing(&self, raw: &RawEvent) -> Option<u32> {
        let what = u32::from(*raw.payload.as_deref()?.first()?);
        (what > 0 && !self.at_hand.borrow().contains(&what)).then_some(what)
    }
    fn fetch(&self, what: u32) -> BoxFuture<'static, ()> {
        let mut seen = self.at_hand.subscribe();
        self.fetching.lock().unwrap().insert(what);
        let fetch = Fetch(self.fetching.clone(), what);
        async move {
            drop(seen.wait_for(|all| all.contains(&what)).await);
            drop(fetch);
        }
        .boxed()
    }
    fn next_round(&self) {}
}

struct Ends {
    inner: mpsc::Sender<SourceEvent>,
    obeyed: mpsc::UnboundedReceiver<SourceCommand>,
    shelf: Arc<Shelf>,
    outer: SourceHandle,
}

fn source() -> Ends {
    let (inner, events) = mpsc::channel(8);
    let (commands, obeyed) = mpsc::unbounded_channel();
    let lease = Lease { number: 0, partitions: BTreeMap::new(), metadata: None };
    let handle = SourceHandle {
        events,
        commands,
        lease: Arc::new(ArcSwap::from_pointee(lease)),
        polled_at_ms: Arc::default(),
        read_to: Arc::default(),
    };
    let shelf = Arc::new(Shelf { at_hand: watch::Sender::new(BTreeSet::new()), fetching: Arc::default() });
    Ends { inner, obeyed, outer: readied(handle, shelf.clone()), shelf }
}

fn part(number: i32) -> TopicPartition {
    TopicPartition::new("t", number)
}

fn records(all: &[(i32, i64, u8)]) -> SourceEvent {
    let raw = |(partition, offset, what): &(i32, i64, u8)| RawEvent {
        position: Position { topic: "t".into(), partition: *partition, offset: *offset },
        timestamp_ms: 0,
        key: None,
        payload: Some([*what].into()),
        headers: Vec::new(),
    };
    SourceEvent::Records(all.iter().map(raw).collect())
}

impl Ends {
    async fn starts(&mut self, number: i32) {
        self.inner.send(SourceEvent::Started { partition: part(number), offset: 0 }).await.unwrap();
        assert!(matches!(self.next().await, Some(SourceEvent::Started { .. })));
    }

    /// What the pipeline hears, but for what waits.
    async fn next(&mut self) -> Option<SourceEvent> {
        loop {
            match self.outer.events.recv().await {
                Some(SourceEvent::Waits { .. }) => {}
                other => return other,
            }
        }
    }

    async fn places(&mut self) -> Vec<(i32, i64)> {
        match self.next().await {
            Some(SourceEvent::Records(records)) => {
                records.iter().map(|raw| (raw.position.partition, raw.position.offset)).collect()
            }
            other => panic!("no records: {other:?}"),
        }
    }

    async fn puts(&self, what: u32) {
        self.shelf.at_hand.send_modify(|all| all.extend([what]));
    }

    fn fetching(&self) -> Vec<u32> {
        self.shelf.fetching.lock().unwrap().iter().copied().collect()
    }

    async fn quiet(&mut self) {
        assert!(tokio::time::timeout(Duration::from_secs(60), self.next()).await.is_err());
    }
}

/// Would catch: events that overtake each other, a partition that waits for another's schema, an end that is told before its events.
#[tokio::test(start_paused = true)]
async fn a_partition_waits_in_order_and_the_others_go_on() {
    let mut ends = source();
    ends.starts(0).await;
    ends.starts(1).await;
    ends.inner.send(records(&[(0, 1, 0), (0, 2, 7), (1, 1, 0), (0, 3, 0), (0, 4, 8)])).await.unwrap();
    assert_eq!(ends.places().await, [(0, 1), (1, 1)]);
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Pause(vec![part(0)])));
    ends.inner.send(records(&[(0, 5, 0), (1, 2, 0)])).await.unwrap();
    ends.inner.send(SourceEvent::CaughtUp { partition: part(0), offset: 6 }).await.unwrap();
    assert_eq!(ends.places().await, [(1, 2)]);
    ends.quiet().await;
    ends.puts(7).await;
    assert_eq!(ends.places().await, [(0, 2), (0, 3)]);
    ends.quiet().await;
    ends.puts(8).await;
    assert_eq!(ends.places().await, [(0, 4), (0, 5)]);
    assert!(matches!(ends.next().await, Some(SourceEvent::CaughtUp { partition, offset: 6 }) if partition == part(0)));
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Resume(vec![part(0)])));
}

/// Would catch: a pause of the pipeline's that ends when a schema comes, one of ours that the pipeline ends.
#[tokio::test(start_paused = true)]
async fn pauses_of_both_sides_are_kept_apart() {
    let mut ends = source();
    ends.starts(0).await;
    ends.starts(1).await;
    ends.inner.send(records(&[(0, 1, 7), (1, 1, 7)])).await.unwrap();
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Pause(vec![part(0), part(1)])));
    ends.outer.commands.send(SourceCommand::Pause(vec![part(0), part(1)])).unwrap();
    ends.outer.commands.send(SourceCommand::Resume(vec![part(1)])).unwrap();
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Pause(vec![part(0), part(1)])));
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Resume(vec![])));
    ends.puts(7).await;
    assert_eq!(ends.places().await, [(0, 1)]);
    assert_eq!(ends.places().await, [(1, 1)]);
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Resume(vec![part(1)])));
    ends.outer.commands.send(SourceCommand::Resume(vec![part(0)])).unwrap();
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Resume(vec![part(0)])));
}

/// Would catch: a revocation that waits for the registry, events of a stay that is over, a partition that comes back and stays paused.
#[tokio::test(start_paused = true)]
async fn a_revocation_passes_at_once_and_takes_along_what_waits() {
    let mut ends = source();
    ends.starts(0).await;
    ends.inner.send(records(&[(0, 1, 7)])).await.unwrap();
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Pause(vec![part(0)])));
    let lease = ends.outer.lease.load_full();
    let (done, mut gone) = tokio::sync::oneshot::channel();
    ends.inner.send(SourceEvent::Revoked { lease: lease.clone(), partitions: vec![part(0)], lost: false, done }).await.unwrap();
    let revoked = tokio::time::timeout(Duration::from_secs(1), ends.next()).await.unwrap();
    assert!(matches!(revoked, Some(SourceEvent::Revoked { .. })));
    drop(revoked);
    assert!(gone.try_recv().is_err());
    ends.puts(7).await;
    ends.quiet().await;
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Resume(vec![part(0)])));
    ends.starts(0).await;
    ends.inner.send(records(&[(0, 1, 7)])).await.unwrap();
    assert_eq!(ends.places().await, [(0, 1)]);
    assert!(ends.obeyed.try_recv().is_err());
    // Started anew while it waits: what waited is of the stay before.
    ends.inner.send(records(&[(0, 2, 9)])).await.unwrap();
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Pause(vec![part(0)])));
    ends.starts(0).await;
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Resume(vec![part(0)])));
    ends.inner.send(records(&[(0, 1, 0)])).await.unwrap();
    assert_eq!(ends.places().await, [(0, 1)]);
}

/// Would catch: what waits and has no bound, a stop that waits for the registry.
#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_a_stop_ends_it() {
    let mut ends = source();
    for number in 0..3 {
        ends.starts(number).await;
    }
    let SourceEvent::Records(mut large) = records(&[(0, 1, 7)]) else { return };
    large[0].payload = Some(vec![7; HELD_BYTES].into());
    ends.inner.send(SourceEvent::Records(large)).await.unwrap();
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Pause(vec![part(0), part(1), part(2)])));
    ends.outer.commands.send(SourceCommand::Stop).unwrap();
    assert_eq!(ends.obeyed.recv().await, Some(SourceCommand::Stop));
    let Ends { inner, mut outer, .. } = ends;
    drop(inner);
    while let Some(event) = tokio::time::timeout(Duration::from_secs(1), outer.events.recv()).await.unwrap() {
        assert!(matches!(event, SourceEvent::Waits { .. }), "{event:?}");
    }
}

/// Would catch: what many events need and that is fetched one by one, or all at once; a fetch that blocks who has no slot left.
#[tokio::test(start_paused = true)]
async fn what_will_be_needed_is_fetched_ahead_within_bounds() {
    let mut ends = source();
    ends.starts(0).await;
    ends.starts(1).await;
    let all: Vec<(i32, i64, u8)> = (1..=60).map(|n| (0, i64::from(n), n)).collect();
    ends.inner.send(records(&all)).await.unwrap();
    ends.quiet().await;
    assert_eq!(ends.fetching(), (1..=AHEAD as u32).collect::<Vec<_>>());
    ends.inner.send(records(&[(1, 1, 99)])).await.unwrap();
    ends.quiet().await;
    assert!(ends.fetching().contains(&99));
    ends.puts(2).await;
    ends.quiet().await;
    assert!(!ends.fetching().contains(&2) && ends.fetching().len() == AHEAD);
    ends.puts(1).await;
    assert_eq!(ends.places().await, [(0, 1), (0, 2)]);
}

/// Would catch: a worker that is not ready for the sake of a schema that nobody waits for any more.
#[tokio::test(start_paused = true)]
async fn what_nobody_needs_any_more_is_not_fetched() {
    let mut ends = source();
    ends.starts(0).await;
    ends.starts(1).await;
    ends.inner.send(records(&[(0, 1, 7), (1, 1, 8)])).await.unwrap();
    ends.quiet().await;
    assert_eq!(ends.fetching(), [7, 8]);
    // Comes back at another place, or to somebody else.
    ends.starts(0).await;
    ends.quiet().await;
    assert_eq!(ends.fetching(), [8]);
    ends.inner.send(records(&[(0, 1, 7)])).await.unwrap();
    ends.quiet().await;
    assert_eq!(ends.fetching(), [7, 8]);
    let (done, _gone) = tokio::sync::oneshot::channel();
    let lease = ends.outer.lease.load_full();
    ends.inner.send(SourceEvent::Revoked { lease, partitions: vec![part(1)], lost: false, done }).await.unwrap();
    assert!(matches!(ends.next().await, Some(SourceEvent::Revoked { .. })));
    ends.quiet().await;
    assert_eq!(ends.fetching(), [7]);
    ends.puts(7).await;
    assert_eq!(ends.places().await, [(0, 1)]);
    ends.quiet().await;
    assert_eq!(ends.fetching(), [0u32; 0]);
}

/// Would catch: a partition whose next event waits and that is taken to be at its end, so that nobody waits for it in an aligned pipeline.
#[tokio::test(start_paused = true)]
async fn what_waits_is_told_and_is_no_end() {
    let mut ends = source();
    ends.starts(0).await;
    ends.starts(1).await;
    ends.inner.send(records(&[(0, 1, 0), (0, 2, 7), (1, 1, 0)])).await.unwrap();
    assert_eq!(ends.places().await, [(0, 1), (1, 1)]);
    let told = ends.outer.events.recv().await;
    assert!(matches!(&told, Some(SourceEvent::Waits { partition }) if *partition == part(0)), "{told:?}");
    // Once is enough. What is known to come after an end makes it none.
    ends.inner.send(records(&[(0, 3, 7)])).await.unwrap();
    ends.inner.send(SourceEvent::CaughtUp { partition: part(0), offset: 4 }).await.unwrap();
    ends.inner.send(records(&[(0, 4, 8)])).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), ends.outer.events.recv()).await.is_err());
    ends.puts(7).await;
    assert_eq!(ends.places().await, [(0, 2), (0, 3)]);
    assert!(tokio::time::timeout(Duration::from_secs(60), ends.outer.events.recv()).await.is_err());
    ends.puts(8).await;
    assert_eq!(ends.places().await, [(0, 4)]);
    ends.inner.send(records(&[(0, 5, 9)])).await.unwrap();
    let told = ends.outer.events.recv().await;
    assert!(matches!(&told, Some(SourceEvent::Waits { partition }) if *partition == part(0)), "{told:?}");
}

/// Would catch: ends that pile up while a partition waits, told again and again where a pipeline reads several topics.
#[tokio::test(start_paused = true)]
async fn ends_that_are_told_again_take_no_room() {
    let (to, mut events) = mpsc::channel(8);
    let (commands, _obeyed) = mpsc::unbounded_channel();
    let at_hand = watch::Sender::new(BTreeSet::new());
    let shelf = Arc::new(Shelf { at_hand, fetching: Arc::default() });
    let mut forward = Forward::new(to, commands, Arc::default(), shelf.clone());
    assert!(forward.on(SourceEvent::Started { partition: part(0), offset: 0 }).await);
    assert!(forward.on(records(&[(0, 1, 7)])).await);
    for offset in 2..1_000 {
        assert!(forward.on(SourceEvent::CaughtUp { partition: part(0), offset }).await);
    }
    assert_eq!(forward.held[&part(0)].len(), 2, "its event, and its end");
    shelf.at_hand.send_modify(|all| all.extend([7]));
    assert!(forward.release().await);
    let (mut last, mut told) = (None, 0);
    while let Ok(event) = events.try_recv() {
        if let SourceEvent::CaughtUp { offset, .. } = event {
            (last, told) = (Some(offset), told + 1);
        }
    }
    assert_eq!((last, told), (Some(999), 1));
}
