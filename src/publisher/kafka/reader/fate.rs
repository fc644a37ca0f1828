//! What became of a transaction, asked of the partitions that it wrote to.
//!
//! Whichever is told first speaks for all, so all are asked together, under one deadline: partitions that say nothing, however many, take no longer than one.

use super::Reader;
use crate::publisher::PublishError;
use crate::publisher::kafka::written::Written;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long partitions that have an answer may take to give it, all together.
const ANSWER: Duration = Duration::from_secs(5);
/// How long one partition is asked for its end at least, and a topic for a record at most, before it is another's turn.
const TURN: Duration = Duration::from_millis(250);
/// How long nothing is asked when none has ended.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of a record of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Readers see it.
    Committed,
    /// Readers pass over it.
    Aborted,
    /// Its partition has not been told.
    Open,
}

/// Partitions by whether their transactions have ended.
#[derive(Debug)]
struct Ended<'a> {
    ended: Vec<&'a Written>,
    /// Why one could not be asked.
    failed: Option<KafkaError>,
}

impl Reader {
    /// What became of a transaction that wrote this. Needs the right to read its topics.
    pub fn fate(&self, written: &[Written], deadline: Instant) -> Result<Fate, PublishError> {
        let ask = |written: &Written, time: Duration| {
            let (_, high) = self.consumer.fetch_watermarks(&written.topic, written.partition, time)?;
            Ok(high > written.first)
        };
        let Ended { ended, failed } = ended(written, ask, deadline);
        let what = || {
            written.iter().map(|one| format!("{}/{} at {}", one.topic, one.partition, one.first)).collect::<Vec<_>>().join(", ")
        };
        match failed {
            _ if !ended.is_empty() => self.first_word(&ended).map_err(|error| match error {
                Some(error) => self.unanswered(&format!("{} cannot be read", what()), &error),
                None => PublishError::Aborted { stale_lease: false, detail: format!("{}: nothing came in time", what()) },
            }),
            Some(error) => Err(self.unanswered(&format!("the ends of {} cannot be read", what()), &error)),
            None => Ok(Fate::Open),
        }
    }

    /// What the first of them says. They have ends, so an answer is there: whoever was asked before may have taken all the time.
    fn first_word(&self, ended: &[&Written]) -> Result<Fate, Option<KafkaError>> {
        let mut lists: BTreeMap<&str, TopicPartitionList> = BTreeMap::new();
        for written in ended {
            let list = lists.entry(&written.topic).or_default();
            list.add_partition_offset(&written.topic, written.partition, Offset::Offset(written.first))?;
        }
        // A client for each topic: one that may not be read says so without its name.
        let mut topics = Vec::new();
        for list in lists.values() {
            let consumer: BaseConsumer = self.config.clone().set("enable.partition.eof", "true").create()?;
            consumer.assign(list)?;
            topics.push(consumer);
        }
        let (deadline, mut failed) = (Instant::now() + ANSWER, None);
        while !topics.is_empty() && Instant::now() < deadline {
            let turn = TURN.min(deadline.saturating_duration_since(Instant::now()));
            let mut fate = None;
            topics.retain(|topic| {
                match topic.poll(if fate.is_none() { turn } else { Duration::ZERO }).map(|told| word(told, ended)) {
                    Some(Err(error)) => {
                        failed = Some(error);
                        false
                    }
                    told => {
                        fate = fate.or(told.and_then(Result::ok).flatten());
                        true
                    }
                }
            });
            if let Some(fate) = fate {
                return Ok(fate);
            }
        }
        Err(failed)
    }
}

/// What one answer says of the transaction, if anything; an error where there will be none.
fn word(told: Result<BorrowedMessage<'_>, KafkaError>, ended: &[&Written]) -> Result<Option<Fate>, KafkaError> {
    match told {
        Ok(message) => {
            let is_first = |written: &&&Written| {
                (message.partition(), message.offset(), message.topic()) == (written.partition, written.first, &*written.topic)
            };
            Ok(Some(if ended.iter().any(|written| is_first(&written)) { Fate::Committed } else { Fate::Aborted }))
        }
        Err(KafkaError::PartitionEOF(_)) => Ok(Some(Fate::Aborted)),
        Err(error) if is_refused(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Which of them have ended, once one has or at the deadline. Each is asked, for its share of the time, before one is asked again.
fn ended(
    written: &[Written],
    mut ask: impl FnMut(&Written, Duration) -> Result<bool, KafkaError>,
    deadline: Instant,
) -> Ended<'_> {
    let (mut asked, mut refused, last) = (written.iter().collect::<Vec<_>>(), None, deadline + ANSWER);
    loop {
        let mut found = Ended { ended: Vec::new(), failed: refused.clone() };
        let mut left = asked.len();
        asked.retain(|one| {
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / left as u32;
            left -= 1;
            // Of one that is not asked any more it is not known that it is open.
            let answer = if now < last {
                ask(one, share.max(TURN))
            } else {
                Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))
            };
            let is_refused = answer.as_ref().is_err_and(is_refused);
            match answer {
                Ok(true) => found.ended.push(one),
                Ok(false) => {}
                Err(error) => found.failed = Some(error),
            }
            if is_refused {
                refused = found.failed.clone();
            }
            !is_refused
        });
        if !found.ended.is_empty() || asked.is_empty() || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether asking again is in vain.
fn is_refused(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(partitions: i32) -> Vec<Written> {
        (0..partitions).map(|partition| Written { topic: "out".into(), partition, first: 5, last: 7 }).collect()
    }

    fn failed(code: RDKafkaErrorCode) -> Result<bool, KafkaError> {
        Err(KafkaError::MetadataFetch(code))
    }

    fn partitions(found: &Ended<'_>) -> Vec<i32> {
        found.ended.iter().map(|one| one.partition).collect()
    }

    /// Would catch: partitions that wait for the deadline one after another, one that is asked twice before another was asked once, one that speaks and is
    /// not heard since another does not answer.
    #[test]
    fn all_are_asked_once_before_one_is_asked_again() {
        let (all, mut asked) = (written(50), Vec::new());
        let last_alone = |one: &Written, _: Duration| {
            asked.push(one.partition);
            if one.partition == 49 { Ok(true) } else { failed(RDKafkaErrorCode::OperationTimedOut) }
        };
        let found = ended(&all, last_alone, Instant::now() + Duration::from_secs(600));
        assert_eq!(partitions(&found), [49]);
        assert!(asked.into_iter().eq(0..50));
        // Their shares are no more than there is, all together.
        let (whole, mut shares) = (Duration::from_secs(600), Vec::new());
        let none = |_: &Written, share: Duration| {
            shares.push(share);
            Ok(shares.len() == 50)
        };
        ended(&all, none, Instant::now() + whole);
        assert!(shares[0] <= whole / 50 && shares[49] > TURN, "{shares:?}");
    }

    /// Would catch: a round that is taken for open although nobody could be asked, or was not; a deadline that is over before anybody was asked.
    #[test]
    fn open_is_what_was_asked_and_has_no_end() {
        let (all, over) = (written(3), Instant::now());
        let open = ended(&all, |_, _| Ok(false), over);
        assert!(open.ended.is_empty() && open.failed.is_none(), "{open:?}");
        assert_eq!(partitions(&ended(&all, |_, _| Ok(true), over)), [0, 1, 2]);
        let away =
            ended(&all, |one, _| if one.partition == 1 { failed(RDKafkaErrorCode::OperationTimedOut) } else { Ok(false) }, over);
        assert!(away.ended.is_empty() && away.failed.is_some(), "{away:?}");
        let late = ended(&all, |_, _| panic!("there is no time left"), Instant::now().checked_sub(ANSWER).unwrap());
        assert!(late.ended.is_empty() && late.failed.is_some(), "{late:?}");
    }

    /// Would catch: a login without the right to read, for which the whole time goes by; one that may read another topic and does not hear of it.
    #[test]
    fn who_may_not_ask_does_not_ask_again() {
        let long = Instant::now() + Duration::from_secs(600);
        let all = written(2);
        let refused = ended(&all, |_, _| failed(RDKafkaErrorCode::TopicAuthorizationFailed), long);
        assert!(refused.ended.is_empty() && refused.failed.is_some(), "{refused:?}");
        let mut times = 0;
        let one_may = |one: &Written, _: Duration| {
            times += 1;
            if one.partition == 0 { failed(RDKafkaErrorCode::TopicAuthorizationFailed) } else { Ok(times > 4) }
        };
        assert_eq!(partitions(&ended(&all, one_may, long)), [1]);
        assert_eq!(times, 5, "once for the one, and again for the other");
    }
}
