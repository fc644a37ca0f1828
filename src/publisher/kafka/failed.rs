//! What an error of a round means for the caller, and how a transaction ends after one.

use super::round::{Client, purge};
use super::{CALL_TIMEOUT, lock};
use crate::publisher::{Publication, PublishError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use std::collections::BTreeSet;

/// What a record means that was not taken.
pub fn send_error(error: &KafkaError, publication: &Publication) -> PublishError {
    let forever = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::InvalidRecord
        )
    );
    match error.rdkafka_error_code() {
        // The producer is dead: it must be rebuilt.
        Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch) => {
            return PublishError::Indefinite(format!("a record was not delivered: {error}"));
        }
        Some(RDKafkaErrorCode::ClusterAuthorizationFailed) => {
            return PublishError::Fatal(format!(
                "the broker refuses idempotent writes: {error}. Grant IdempotentWrite on the cluster."
            ));
        }
        // Whether a produce or the coordinator meets it first is chance: both are waited for.
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            let detail = told(std::slice::from_ref(publication), error);
            return PublishError::Aborted { stale_lease: false, detail };
        }
        Some(RDKafkaErrorCode::InvalidTimestamp) => {
            return PublishError::Aborted {
                stale_lease: false,
                detail: format!(
                    "a record was not delivered: {error}. This machine's clock is further ahead of the brokers' than the topic allows \
                     (`message.timestamp.after.max.ms`, an hour by default): set it right; until then nothing is published."
                ),
            };
        }
        _ => {}
    }
    if forever {
        PublishError::Impossible { partition: publication.partition.clone(), detail: error.to_string() }
    } else {
        PublishError::Aborted { stale_lease: false, detail: format!("a record was not delivered: {error}") }
    }
}

/// Aborts after `cause`. Before a first delivery report the broker may not know the transaction, and librdkafka takes its
/// answer as fatal: then the producer is given up, unless the records themselves were the cause.
pub fn abort(producer: &Client, cause: PublishError) -> PublishError {
    if matches!(cause, PublishError::Indefinite(_)) {
        return cause;
    }
    purge(producer);
    if lock(&producer.context().traces).written.is_empty() {
        return match cause {
            PublishError::Impossible { .. } => match producer.abort_transaction(CALL_TIMEOUT) {
                Ok(()) => cause,
                Err(error) => PublishError::Indefinite(format!("{cause}; and the abort failed: {error}")),
            },
            other => PublishError::Indefinite(other.to_string()),
        };
    }
    match producer.abort_transaction(CALL_TIMEOUT) {
        Ok(()) => cause,
        Err(error) => PublishError::Indefinite(format!("{cause}; and the abort failed: {error}")),
    }
}

/// Whether the group has moved on without this member.
pub fn is_stale(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::StaleMemberEpoch
                | RDKafkaErrorCode::FencedMemberEpoch
        )
    )
}

/// What a transaction has met. The coordinator does not say which of its topics it refuses.
pub fn told(round: &[Publication], error: &KafkaError) -> String {
    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
        return error.to_string();
    }
    let records = round.iter().flat_map(|publication| &publication.records).flat_map(|chunk| chunk.iter());
    let topics: BTreeSet<&str> = records.map(|record| &*record.out_topic).collect();
    let topics = topics.into_iter().collect::<Vec<_>>().join(", ");
    format!("{error}. Grant Write and Describe on each of the topics {topics}; until then nothing is published.")
}

/// Aborts where the transaction can be aborted; else its end is not known.
pub fn transaction_error(producer: &Client, round: &[Publication], error: &KafkaError) -> PublishError {
    let detail = told(round, error);
    match error {
        KafkaError::Transaction(cause) if !cause.is_fatal() && cause.txn_requires_abort() => {
            abort(producer, PublishError::Aborted { stale_lease: is_stale(error), detail })
        }
        _ => PublishError::Indefinite(detail),
    }
}
