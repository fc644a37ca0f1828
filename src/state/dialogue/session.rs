//! The state of one conversation: the session that goes on, its last messages, and a sum of those that went.

use crate::state::recommend::bytes::{Part, Read};
use crate::state::{Stored, StoredError};
use std::collections::VecDeque;

/// Version of the layout of the bytes.
const LAYOUT: u8 = 2;
/// Marks of the desk's messages that are remembered, the newest.
const MOST_SENT: usize = 100;
/// Messages of the very time of the newest that went whose ids are remembered, the newest: they may come again.
const MOST_OF_A_TIME: usize = 64;
/// Bytes of earlier texts that a message is told of, the newest: events that wait for their call hold them.
const TOLD_BYTES: usize = 2_000;

/// What is kept of a session, and when it ends.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub messages: usize,
    /// Of the customer's texts.
    pub bytes: usize,
    pub gap_ms: i64,
}

/// A message. Of the desk's the text is only ever compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Customer(Box<str>),
    Agent {
        /// Its [likeness](super::likeness).
        likeness: u64,
        /// The [mark](super::mark) of the reply that it names.
        mark: Option<u64>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub time_ms: i64,
    /// Fingerprint of the event's id.
    pub id: u64,
    pub said: Said,
}

/// What is remembered of a conversation. The default is one of which nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// By time; equal times in the order of the log. Not empty once a message was taken.
    kept: VecDeque<Message>,
    gone: Gone,
}

/// Messages of the session that are not kept any more, all of them before those that are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Gone {
    /// Time of the newest of them.
    until_ms: Option<i64>,
    /// Fingerprints of the ids of those of that time.
    then: Vec<u64>,
    /// How many were the customer's.
    turns: u64,
    /// Since when the customer waited for an answer when the last of them was written.
    waiting_since_ms: Option<i64>,
    /// Likenesses of what the desk wrote and marks of the replies that it named, each once, the newest last.
    sent: Vec<u64>,
}

/// The session as it stood when a message of the customer's was written, the message itself included.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    pub turn: u64,
    pub waiting_ms: i64,
    /// The customer's texts before it, the oldest first; of many the last 2,000 bytes.
    pub earlier: Vec<&'a str>,
    pub sent: Vec<u64>,
}

impl Gone {
    /// Remembers of a message that goes what tells it from one that comes again.
    fn mark(&mut self, message: &Message) {
        if self.until_ms < Some(message.time_ms) {
            self.until_ms = Some(message.time_ms);
            self.then.clear();
        }
        self.then.push(message.id);
        if self.then.len() > MOST_OF_A_TIME {
            self.then.remove(0);
        }
    }

    /// Whether a message went, or is older than all that went.
    fn has(&self, message: &Message) -> bool {
        self.until_ms
            .is_some_and(|until| message.time_ms < until || (message.time_ms == until && self.then.contains(&message.id)))
    }

    fn take(&mut self, message: &Message) {
        match message.said {
            Said::Customer(_) => {
                self.turns += 1;
                self.waiting_since_ms.get_or_insert(message.time_ms);
            }
            Said::Agent { likeness, mark } => {
                self.waiting_since_ms = None;
                for known in std::iter::once(likeness).chain(mark) {
                    self.sent.retain(|sent| *sent != known);
                    self.sent.push(known);
                }
                let over = self.sent.len().saturating_sub(MOST_SENT);
                self.sent.drain(..over);
            }
        }
    }
}

impl Session {
    pub fn newest_ms(&self) -> Option<i64> {
        self.kept.back().map(|newest| newest.time_ms)
    }

    /// Whether messages of the session are not kept any more.
    pub fn is_cut(&self) -> bool {
        self.gone.until_ms.is_some()
    }

    /// Puts a message to its place, in a new session where the old one has ended. One that is here already, or too old to be, changes nothing.
    pub fn take(&mut self, message: Message, limits: &Limits) {
        if self.newest_ms().is_some_and(|newest| message.time_ms.saturating_sub(newest) > limits.gap_ms) {
            *self = Self::default();
        }
        if !self.takes_in(&message, limits) {
            return;
        }
        let place = self.kept.partition_point(|kept| kept.time_ms <= message.time_ms);
        self.kept.insert(place, message);
        self.cut(limits);
    }

    fn takes_in(&self, message: &Message, limits: &Limits) -> bool {
        let Some(first) = self.kept.front() else { return true };
        let before = first.time_ms.saturating_sub(message.time_ms) > limits.gap_ms;
        !self.gone.has(message) && !before && self.place(message.id).is_none()
    }

    fn place(&self, id: u64) -> Option<usize> {
        self.kept.iter().rposition(|kept| kept.id == id)
    }

    /// The newest message always stays.
    fn cut(&mut self, limits: &Limits) {
        let mut bytes: usize = self.kept.iter().map(Message::text_bytes).sum();
        while self.kept.len() > limits.messages.max(1) || (bytes > limits.bytes && self.kept.len() > 1) {
            let Some(oldest) = self.kept.pop_front() else { return };
            bytes -= oldest.text_bytes();
            self.gone.take(&oldest);
            self.gone.mark(&oldest);
        }
    }

    /// `None` for a message that is not among those kept.
    pub fn seen(&self, id: u64, time_ms: i64) -> Option<Seen<'_>> {
        let place = self.place(id)?;
        let mut past = self.gone.clone();
        self.kept.iter().take(place).for_each(|message| past.take(message));
        let (mut earlier, mut room) = (Vec::new(), TOLD_BYTES);
        for message in self.kept.iter().take(place).rev() {
            match &message.said {
                Said::Customer(text) if room > 0 => {
                    let told = end(text, room);
                    // Each text takes some bytes beside its letters.
                    room = if told.len() < text.len() { 0 } else { room.saturating_sub(told.len() + 32) };
                    earlier.push(told);
                }
                Said::Customer(_) => break,
                Said::Agent { .. } => {}
            }
        }
        earlier.reverse();
        let waiting_ms = past.waiting_since_ms.map_or(0, |since| time_ms.saturating_sub(since).max(0));
        Some(Seen { turn: past.turns + 1, waiting_ms, earlier, sent: past.sent })
    }
}

/// The end of a text, of not more than so many bytes.
fn end(text: &str, bytes: usize) -> &str {
    let start = (text.len().saturating_sub(bytes)..text.len()).find(|start| text.is_char_boundary(*start));
    &text[start.unwrap_or(text.len())..]
}

impl Message {
    fn text_bytes(&self) -> usize {
        match &self.said {
            Said::Customer(text) => text.len(),
            Said::Agent { .. } => 0,
        }
    }
}

impl Part for Message {
    fn write(&self, into: &mut Vec<u8>) {
        self.time_ms.write(into);
        self.id.write(into);
        match &self.said {
            Said::Customer(text) => {
                false.write(into);
                text.write(into);
            }
            Said::Agent { likeness, mark } => {
                true.write(into);
                likeness.write(into);
                mark.write(into);
            }
        }
    }

    fn read(from: &mut &[u8]) -> Read<Self> {
        let (time_ms, id) = (i64::read(from)?, u64::read(from)?);
        let said = match bool::read(from)? {
            true => Said::Agent { likeness: Part::read(from)?, mark: Part::read(from)? },
            false => Said::Customer(Part::read(from)?),
        };
        Ok(Self { time_ms, id, said })
    }
}

impl Part for Gone {
    fn write(&self, into: &mut Vec<u8>) {
        self.until_ms.write(into);
        self.then.write(into);
        self.turns.write(into);
        self.waiting_since_ms.write(into);
        self.sent.write(into);
    }

    fn read(from: &mut &[u8]) -> Read<Self> {
        let (until_ms, then, turns) = (Part::read(from)?, Part::read(from)?, Part::read(from)?);
        Ok(Self { until_ms, then, turns, waiting_since_ms: Part::read(from)?, sent: Part::read(from)? })
    }
}

impl Stored for Session {
    fn encode(&self, into: &mut Vec<u8>) {
        if self.kept.is_empty() {
            return;
        }
        into.push(LAYOUT);
        self.gone.write(into);
        self.kept.write(into);
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let mut from = match bytes {
            [] => return Ok(Self::default()),
            [LAYOUT, rest @ ..] => rest,
            _ => return Err(StoredError("its layout is not known")),
        };
        let gone = Part::read(&mut from)?;
        let kept: VecDeque<Message> = Part::read(&mut from)?;
        match (from.is_empty(), kept.is_empty()) {
            (false, _) => Err(StoredError("bytes are left over")),
            (_, true) => Err(StoredError("a session without a message")),
            _ => Ok(Self { kept, gone }),
        }
    }

    fn cost_bytes(&self) -> usize {
        let texts: usize = self.kept.iter().map(Message::text_bytes).sum();
        let numbers = (self.gone.sent.capacity() + self.gone.then.capacity()) * size_of::<u64>();
        size_of::<Self>() + self.kept.capacity() * size_of::<Message>() + numbers + texts
    }
}
