//! Decoded events that wait for a function, cut into slices across partitions.

use crate::event::Event;
use std::collections::VecDeque;

/// Events of one partition that wait for a slice, in offset order.
#[derive(Debug, Default)]
pub struct Buffer {
    events: VecDeque<Event>,
}

impl Buffer {
    pub fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Timestamp of the oldest event: the partition with the oldest head goes first while behind.
    pub fn head_ms(&self) -> Option<i64> {
        self.events.front().map(|event| event.raw.timestamp_ms)
    }

    /// Takes at most `max` events from the head.
    pub fn take(&mut self, max: usize) -> impl Iterator<Item = Event> + '_ {
        let n = max.min(self.events.len());
        self.events.drain(..n)
    }
}
