//! Events that wait for a function, cut into slices across partitions.

use std::collections::VecDeque;

/// Events of one partition that wait for a slice, in offset order, each with the record's timestamp.
#[derive(Debug)]
pub struct Buffer<T> {
    events: VecDeque<(i64, T)>,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self { events: VecDeque::new() }
    }
}

impl<T> Buffer<T> {
    pub fn push(&mut self, timestamp_ms: i64, event: T) {
        self.events.push_back((timestamp_ms, event));
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The oldest event.
    pub fn head(&self) -> Option<&T> {
        self.events.front().map(|(_, event)| event)
    }

    /// Timestamp of the oldest event: the partition with the oldest head goes first while behind.
    pub fn head_ms(&self) -> Option<i64> {
        self.events.front().map(|(timestamp_ms, _)| *timestamp_ms)
    }

    /// Takes at most `max` events from the head, as long as `of` says something of them, each with what it says.
    pub fn take_with<U>(&mut self, max: usize, of: impl Fn(&T) -> Option<U>) -> impl Iterator<Item = (T, U)> {
        let said: Vec<U> = self.events.iter().take(max).map_while(|(_, event)| of(event)).collect();
        self.events.drain(..said.len()).map(|(_, event)| event).zip(said)
    }
}
