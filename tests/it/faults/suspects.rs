//! The suspect in the row, between the decide of the event before it and its own.

use crate::support::{database, store};
use millrace::event::TopicPartition;
use millrace::record::{Mode, Provenance};
use millrace::store::{Advance, PartitionKey, Store};
use std::sync::Arc;
use uuid::Uuid;

/// The next event is named while the decide of the one before it is on its way: whichever comes first, the name must stay.
///
/// Would catch: a decide that clears the suspect of an event which it does not decide. The death of that event then counts for
/// nothing, and three more of the whole partition are needed before it is suspected again.
#[tokio::test]
async fn a_decide_does_not_clear_a_suspect_above_it() {
    let store = store(&database().await).await;
    let input = TopicPartition::new("in", 0);
    let key = PartitionKey { pipeline: "p".into(), run: 1, partition: input.clone() };
    store.open("p", 1, Mode::Both, &[(input.clone(), 10)]).await.unwrap();
    let claim = Uuid::new_v4();
    store.claim(&key, claim, "a").await.unwrap();
    assert!(store.suspect(&key, claim, 10, 1).await.unwrap());
    // 10 is called; 11 is named and called while 10 is decided.
    assert!(store.suspect(&key, claim, 11, 1).await.unwrap());
    let ten = Advance {
        partition: input.clone(),
        claim,
        from: 10,
        to: 11,
        event_time_ms: None,
        events: 1,
        skipped: 1,
        dead: 0,
        published_offset: 10,
        records: Arc::new(Vec::new()),
        fold_from: 11,
        states: Vec::new(),
    };
    let by = Provenance {
        pipeline: "p".into(),
        run: 1,
        function: "f".into(),
        model: "".into(),
        config: "c".into(),
        fold: None,
        keeps_latest: false,
    };
    assert_eq!(store.decide(&by, &[ten]).await.unwrap(), [input]);
    assert_eq!(store.read(&key, true).await.unwrap().unwrap().suspect_offset, Some(11));
}
