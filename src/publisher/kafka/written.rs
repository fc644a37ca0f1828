//! What of a round lies in the log, as far as its delivery reports say.

use rdkafka::error::RDKafkaErrorCode;

/// What a round has written into one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub topic: String,
    pub partition: i32,
    /// Offset of its first record there, and of its last.
    pub first: i64,
    pub last: i64,
}

/// What is there for certain, and whether more may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    pub written: Vec<Written>,
    /// A record was given up on its way: it may be there all the same.
    pub may_be_more: bool,
}

impl Traces {
    /// A record was delivered.
    pub fn wrote(&mut self, topic: &str, partition: i32, offset: i64) {
        self.note(Written { topic: topic.to_owned(), partition, first: offset, last: offset });
    }

    /// A record was not delivered. Only one that a broker refuses for what it is was not written for certain.
    pub fn failed(&mut self, code: Option<RDKafkaErrorCode>) {
        let is_refused = matches!(
            code,
            Some(
                RDKafkaErrorCode::InvalidRecord
                    | RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::InvalidMessageSize
                    | RDKafkaErrorCode::InvalidTopic
            )
        );
        self.may_be_more |= !is_refused;
    }

    /// Whether nothing of the round is in the log.
    pub fn is_nothing(&self) -> bool {
        self.written.is_empty() && !self.may_be_more
    }

    /// What another transaction of the same round has left.
    pub fn add(&mut self, other: Traces) {
        other.written.into_iter().for_each(|written| self.note(written));
        self.may_be_more |= other.may_be_more;
    }

    fn note(&mut self, new: Written) {
        let is_it = |written: &Written| written.partition == new.partition && written.topic == new.topic;
        // Reports come a batch of one partition after another.
        let known = match self.written.last().is_some_and(is_it) {
            true => self.written.last_mut(),
            false => self.written.iter_mut().find(|written| is_it(written)),
        };
        match known {
            Some(known) => (known.first, known.last) = (known.first.min(new.first), known.last.max(new.last)),
            None => self.written.push(new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: records that were given up on their way and are taken for not written, refused ones that are taken for written.
    #[test]
    fn only_what_was_refused_was_not_written_for_certain() {
        let mut traces = Traces::default();
        for refused in [RDKafkaErrorCode::InvalidRecord, RDKafkaErrorCode::MessageSizeTooLarge] {
            traces.failed(Some(refused));
            assert!(traces.is_nothing(), "{refused}");
        }
        for given_up in [RDKafkaErrorCode::PurgeInflight, RDKafkaErrorCode::PurgeQueue, RDKafkaErrorCode::MessageTimedOut] {
            let mut traces = traces.clone();
            traces.failed(Some(given_up));
            assert!(!traces.is_nothing(), "{given_up}");
        }
        traces.wrote("out", 0, 7);
        assert!(!traces.is_nothing());
    }

    /// Would catch: what a round has written and that a question about one of its records makes forgotten.
    #[test]
    fn two_transactions_of_a_round_add_up() {
        let mut of_question = Traces::default();
        of_question.wrote("out", 1, 9);
        let mut of_round = Traces { may_be_more: true, ..Traces::default() };
        for offset in [5, 7, 6] {
            of_round.wrote("out", 0, offset);
            of_round.wrote("out", 1, offset);
        }
        of_question.add(of_round);
        let place = |partition, first, last| Written { topic: "out".into(), partition, first, last };
        assert_eq!(of_question.written, [place(1, 5, 9), place(0, 5, 7)]);
        assert!(of_question.may_be_more);
    }
}
