//! The newest events: the trace keeps what they come to, not the events.

use std::collections::VecDeque;

use crate::event::Event;

/// Events that are kept: some megabytes, and more than anyone scrolls through.
const EVENTS: usize = 4096;

/// An event with its number, from 1, among all that came.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// The number.
    pub number: u64,
    /// The event.
    pub event: Event,
}

/// The newest events, the last one last. Records of the source's own are none.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    events: VecDeque<Numbered>,
    count: u64,
}

impl Tail {
    /// Takes an event in.
    pub fn push(&mut self, event: &Event) {
        if event.what.name().is_none() {
            return;
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.count += 1;
        self.events.push_back(Numbered { number: self.count, event: event.clone() });
    }

    /// Those that are kept.
    pub fn events(&self) -> impl Iterator<Item = &Numbered> {
        self.events.iter()
    }

    /// How many came in all.
    pub fn count(&self) -> u64 {
        self.count
    }
}
