//! Conversations: what customer and desk have written in the session that goes on.
//!
//! A message becomes an entry in the state of its conversation, in its place by time; equal times in the order of the log. What an
//! event is told is gone over anew from the oldest entry on. Entries that go for want of room are summed up before they go
//! (`session`), so that turns and waiting stay exact however long a session becomes. When nobody has written for longer than the gap
//! the next message begins with an empty state. A message that comes again is known by its id while its entry is kept, and
//! while its entry is one of those of the newest time that went; one that is older than what went, or of an earlier session, is answered and
//! not folded.

mod read;
mod session;
#[cfg(test)]
pub(super) mod tests;

pub use read::{Facts, likeness, mark};
pub use session::Session;

use super::{At, Features, Fold, Keys};
use crate::config::dialogue::Dialogue;
use crate::config::{EventKind, Fields};
use crate::event::{Event, Rejection};
use read::{Reader, Who};
use serde_json::{Map, Value};
use session::{Limits, Message};
use sha2::{Digest, Sha256};

/// Raised when the same settings give other states.
const VERSION: &str = "dialogue 2";

/// See the [module](self).
pub struct DialogueFold {
    reader: Reader,
    limits: Limits,
    digest: String,
}

impl DialogueFold {
    /// For settings [without findings](Dialogue::findings), and for events of that kind.
    pub fn new(config: &Dialogue, kind: EventKind, fields: &Fields) -> Self {
        let limits = Limits { messages: config.messages.max(1), bytes: config.bytes, gap_ms: config.gap.ms() };
        let told = serde_json::to_string(&(config, kind, fields)).unwrap_or_default();
        let hash = Sha256::digest(format!("{VERSION} {told}").as_bytes());
        let mut digest: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        digest.truncate(12);
        Self { reader: Reader::new(config, kind, fields), limits, digest }
    }
}

impl Fold for DialogueFold {
    type Facts = Facts;
    type State = Session;

    fn digest(&self) -> &str {
        &self.digest
    }

    fn read(&self, event: &Event) -> Result<Facts, Rejection> {
        self.reader.read(event)
    }

    fn keys(&self, facts: &mut Facts) -> Keys {
        facts.key.take().into_iter().collect()
    }

    fn links(&self) -> bool {
        false
    }

    fn fold(&self, _: usize, state: &mut Session, facts: &Facts, at: At) {
        if let Some(said) = &facts.said {
            state.take(Message { time_ms: at.time_ms, id: facts.id, said: said.clone() }, &self.limits);
        }
    }

    /// `role`; for a customer's message `turn` (which of the customer's messages of this session it is, from 1), `waiting_ms` (since
    /// the customer began to wait for an answer), `earlier` (the customer's texts before it, the oldest first) and `sent`
    /// ([likenesses](likeness) of what the desk has written before it, and [marks](mark) of the replies that it named); `folded: false` for a message that was passed over.
    fn features(&self, states: &[&Session], facts: &Facts, at: At) -> Features {
        let mut told = Map::new();
        told.insert("role".into(), facts.who.name().into());
        let session = states.first();
        let seen = session.and_then(|session| session.seen(facts.id, at.time_ms));
        match seen {
            _ if facts.who == Who::Ignored => {}
            None => drop(told.insert("folded".into(), false.into())),
            Some(_) if facts.who == Who::Agent => {}
            Some(seen) => {
                told.insert("turn".into(), seen.turn.into());
                told.insert("waiting_ms".into(), seen.waiting_ms.into());
                told.insert("earlier".into(), seen.earlier.into_iter().map(Value::from).collect());
                told.insert("sent".into(), seen.sent.into());
            }
        }
        Features {
            numbers: Box::default(),
            document: Some(Value::Object(told)),
            late: session.is_some_and(|session| session.newest_ms().is_some_and(|newest| newest > at.time_ms)),
            truncated: session.is_some_and(|session| session.is_cut()),
        }
    }
}
