use super::*;
use crate::publisher::Committed;
use crate::record::{Chunk, Kind};

fn publication(partition: i32, to: i64, records: usize) -> Publication {
    let record = Record {
        partition,
        offset: to - 1,
        n: 0,
        kind: Kind::Prediction,
        out_topic: "out".into(),
        key: None,
        traceparent: None,
        value: "{}".into(),
        label: None,
        score: None,
        model: None,
        config: None,
    };
    Publication {
        pipeline: "p".into(),
        run: 1,
        partition: TopicPartition::new("in", partition),
        to,
        records_total: to,
        records: vec![Chunk::from(Arc::new(vec![record; records]))],
    }
}

fn k(partition: i32, offset: Option<i64>) -> (TopicPartition, Option<Committed>) {
    (TopicPartition::new("in", partition), offset.map(|offset| Committed { offset, records_total: None }))
}

fn lease() -> Arc<Lease> {
    Arc::new(Lease { number: 1, partitions: BTreeMap::new(), metadata: None })
}

fn written(partition: i32) -> Written {
    Written { topic: "out".into(), partition, first: 5, last: 7 }
}

fn unended(round: Vec<Publication>, written: Vec<Written>, error: PublishError) -> Option<Unended> {
    Unended::of(&lease(), round, Traces { written, may_be_more: false }, &Err(error))
}

fn away() -> PublishError {
    PublishError::Aborted { stale_lease: false, detail: "pending".into() }
}

/// Would catch: an abort that takes away what readers have, or what an heir has published; a round that stays open; offsets that stay open, so
/// that K can never be read again.
#[test]
fn records_tell_how_a_round_ended_and_then_k_does() {
    let round = vec![publication(0, 10, 1), publication(1, 20, 0)];
    let indefinite = || PublishError::Indefinite("?".into());
    let open = unended(round.clone(), vec![written(0), written(1)], indefinite()).unwrap();
    let all_below = || Ok(vec![k(0, Some(9)), k(1, Some(20))]);
    // A record that was told speaks, whatever K says.
    assert_eq!(open.end_by(|_| Ok(Fate::Committed), |_| panic!("it is known")), End::Committed);
    assert_eq!(open.end_by(|_| Ok(Fate::Aborted), |_| panic!("it is known")), End::Aborted);
    // None was told, or none may be read.
    for fate in [|_: &[Written]| Ok(Fate::Open), |_: &[Written]| Err(away())] {
        assert_eq!(open.end_by(fate, |_| all_below()), End::Aborted);
        assert_eq!(open.end_by(fate, |_| Ok(vec![k(0, Some(10)), k(1, Some(20))])), End::Committed);
        assert_eq!(open.end_by(fate, |_| Ok(vec![k(0, Some(12)), k(1, None)])), End::Committed, "an heir may have gone on");
    }
    // K cannot be read: only where all is open it may be aborted as one.
    assert_eq!(open.end_by(|_| Ok(Fate::Open), |_| Err(away())), End::Aborted);
    assert!(matches!(open.end_by(|_| Err(away()), |_| Err(away())), End::Unknown(_)));
    let unreported = unended(round, Vec::new(), indefinite()).unwrap();
    assert!(matches!(unreported.end_by(|_| panic!("nothing is known"), |_| Err(away())), End::Unknown(_)));
    let offsets_alone = unended(vec![publication(0, 10, 0)], Vec::new(), indefinite()).unwrap();
    assert_eq!(offsets_alone.end_by(|_| panic!("nothing is known"), |_| Err(away())), End::Aborted);
}

/// Would catch: a round that was committed after all, and which the close of a later one takes away where its marker was passed over.
#[test]
fn what_turns_out_to_be_committed_is_left_alone_later() {
    let mut ends = Ends::default();
    let mut round =
        unended(vec![publication(0, 10, 2)], vec![written(0), written(1)], PublishError::Indefinite("?".into())).unwrap();
    let open_in =
        |ends: &mut Ends| ends.open_in("out", 2, |(_, partition, _)| Ok(if partition == 1 { Stand::Open } else { Stand::Ended }));
    round.learn(&End::Unknown("away".into()), &mut ends);
    assert_eq!(open_in(&mut ends).unwrap(), BTreeMap::new());
    round.learn(&End::Committed, &mut ends);
    assert_eq!(open_in(&mut ends).unwrap(), BTreeMap::from([(1, 7)]), "what stands in 1 is open, and readers are to have it");
}

/// Would catch: a round that is forgotten since its generation was refused, or since one of its records can never go: others of it may be open; a
/// question for what is known.
#[test]
fn what_did_not_go_through_may_be_open() {
    let round = || vec![publication(0, 10, 1)];
    for stale_lease in [false, true] {
        let aborted = unended(round(), vec![written(0)], PublishError::Aborted { stale_lease, detail: "no".into() }).unwrap();
        assert_eq!(aborted.end_by(|_| panic!("it was aborted"), |_| panic!("it was aborted")), End::Aborted);
    }
    assert!(Unended::of(&lease(), round(), Traces::default(), &Ok(())).is_none());
    let impossible = || PublishError::Impossible { partition: TopicPartition::new("in", 0), detail: "large".into() };
    assert!(unended(round(), Vec::new(), impossible()).is_none(), "nothing was written");
    let given_up = Traces { written: Vec::new(), may_be_more: true };
    let given_up = Unended::of(&lease(), round(), given_up, &Err(impossible()));
    for refused in [unended(round(), vec![written(0)], impossible()), given_up] {
        let end = refused.unwrap().end_by(|_| panic!("it was aborted"), |_| panic!("it was aborted"));
        assert_eq!(end, End::Aborted);
    }
}

/// Would catch: a topic whose record is not there, or one that fills the client's queue.
#[test]
fn one_small_record_goes_for_each_topic() {
    let mut round = vec![publication(0, 10, 1), publication(1, 20, 2)];
    let mut records: Vec<Record> = round[1].records[0].to_vec();
    let keyed = Record { key: Some(b"k".as_slice().into()), value: "{\"a\":1}".into(), ..records[0].clone() };
    records[1].out_topic = "dead".into();
    records[0].value = "".into();
    round[1].records = vec![Chunk::from(Arc::new(records))];
    let found: Vec<_> = smallest(&round).into_iter().map(|(topic, (index, record))| (topic, index, &*record.value)).collect();
    assert_eq!(found, [("dead", 1, "{}"), ("out", 1, "")]);
    round[0].records = vec![Chunk::from(Arc::new(vec![keyed]))];
    let (index, record) = smallest(&round)["out"];
    assert_eq!((index, &*record.value), (0, "{\"a\":1}"), "one without a key may be refused");
}

/// Would catch: a failure to close that is taken for the outcome of the round which waits for it.
#[test]
fn a_round_that_waits_was_not_begun() {
    let error = not_begun(PublishError::Indefinite("no leader".into()));
    assert!(matches!(&error, PublishError::Aborted { stale_lease: false, detail } if detail.ends_with("no leader")), "{error}");
    assert!(matches!(not_begun(PublishError::Fatal("rights".into())), PublishError::Fatal(_)));
}

/// Would catch: a topic that is taken for gone since one broker, which has just started, does not know it yet; an answer that is none.
#[test]
fn a_topic_is_gone_when_brokers_say_so_again_and_again() {
    let long = Instant::now() + Duration::from_secs(600);
    let mut answers = [Ok(None), Ok(None), Ok(Some(3))].into_iter();
    assert!(matches!(known(|| answers.next().unwrap(), long), Ok(Some(3))));
    let mut answers = [Ok(None), Err(away())].into_iter();
    assert!(known(|| answers.next().unwrap(), long).is_err(), "a broker that may not tell does not say that it is gone");
    let mut asked = 0;
    let never = || {
        asked += 1;
        Ok(None)
    };
    assert!(matches!(known(never, Instant::now() + ASKED * 2), Ok(None)));
    assert!(asked > 1, "once is not again and again");
}

/// Would catch: an end of a topic that was made again, which nothing ever reaches; one open partition that keeps all from being closed.
#[test]
fn only_a_partition_with_something_open_is_left_alone() {
    let mut ends = Ends::default();
    ends.note(&[0, 1, 2, 5].map(written));
    ends.note(&[Written { topic: "other".into(), ..written(1) }]);
    let stand = |(_, partition, _): (&str, i32, i64)| Ok([Stand::Ended, Stand::Open, Stand::Beyond][partition as usize]);
    assert_eq!(ends.open_in("out", 3, stand).unwrap(), BTreeMap::from([(1, 7)]));
    let left: Vec<_> = ends.0.keys().map(|(topic, partition)| (&**topic, *partition)).collect();
    assert_eq!(left, [("other", 1), ("out", 0), ("out", 1)]);
}
