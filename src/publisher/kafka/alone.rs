//! Asks the brokers about one record alone.
//!
//! Where several records of a batch are refused, librdkafka reports `InvalidRecord` for each, whatever the cause. One that has no key and goes to a compacted topic is
//! refused for ever; one whose time is too far ahead of the brokers' clock only until this machine's clock is right. Alone, its cause is told.

use super::failed::abort;
use super::round::{Client, check_deliveries, drain, purge, send};
use super::{TRANSACTION_TIMEOUT, lock};
use crate::publisher::{Publication, PublishError};
use crate::record::Record;
use rdkafka::producer::Producer;
use std::time::Instant;

/// What a round comes to that was given up with `error`. Nothing of it is open or under way any more.
pub fn certain(producer: &Client, round: &[Publication], error: PublishError) -> PublishError {
    let unclear = lock(&producer.context().unclear).take();
    match unclear.and_then(|(index, topic)| Some((index, topic, round.get(index)?))) {
        Some((index, topic, publication)) if matches!(error, PublishError::Impossible { .. }) => {
            suspect(publication, &topic).map_or(error, |record| ask(producer, round, (index, publication), record))
        }
        _ => error,
    }
}

/// One of the topic that refused, without a key, if there is one: it alone may be refused for ever.
fn suspect<'a>(publication: &'a Publication, topic: &str) -> Option<&'a Record> {
    let records = || publication.records.iter().flat_map(|chunk| chunk.iter()).filter(|record| &*record.out_topic == topic);
    records().find(|record| record.key.is_none()).or_else(|| records().next())
}

fn ask(producer: &Client, round: &[Publication], (index, publication): (usize, &Publication), record: &Record) -> PublishError {
    producer.context().clear_failed();
    let sent = send(producer, publication, index, record, None, Instant::now() + TRANSACTION_TIMEOUT);
    match sent.and_then(|()| drain(producer)).and_then(|()| check_deliveries(producer, round)) {
        Err(error) => error,
        Ok(()) => PublishError::Aborted {
            stale_lease: false,
            detail: "records were refused together, and one of them is taken alone".into(),
        },
    }
}

/// The same for a producer with transactions: what is asked is aborted.
pub fn certain_in_transaction(producer: &Client, round: &[Publication], error: PublishError) -> PublishError {
    let is_unclear = lock(&producer.context().unclear).is_some() && matches!(error, PublishError::Impossible { .. });
    if !is_unclear {
        return error;
    }
    // How the question's own transaction is aborted hangs on what it has written itself; what the round wrote before is not forgotten for it.
    let of_round = std::mem::take(&mut *lock(&producer.context().traces));
    let error = match producer.begin_transaction() {
        Ok(()) => abort(producer, certain(producer, round, error)),
        Err(begin) => PublishError::Indefinite(format!("{error}; and no other transaction begins: {begin}")),
    };
    lock(&producer.context().traces).add(of_round);
    error
}

/// The same without transactions. One that is taken comes a second time with its round, as `at_least_once` may.
pub fn certain_plainly(producer: &Client, round: &[Publication], error: PublishError) -> PublishError {
    let error = certain(producer, round, error);
    purge(producer);
    error
}
