//! A range of pages that one owner has, and the pins that it consists of.

use std::time::Instant;

use crate::{
    event::{Event, Mm, Pin, Time},
    owner::Kind,
};

/// An RDMA memory region is pinned so many pages at a time (`ib_umem_get`: as many pointers as fit a page).
const CHUNK: u64 = 512;

/// The range.
#[derive(Clone, Debug)]
pub struct Range {
    pub tgid: u32,
    pub tid: u32,
    pub kind: Kind,
    mm: Mm,
    /// Its first address, and how many pages it has.
    pub start: u64,
    pub pages: u64,
    /// Pages of the last call.
    chunk: u64,
    /// When its calls were.
    pub pins: Vec<Time>,
    /// How often it was looked up.
    pub tries: usize,
    /// When it will be next.
    pub due: Instant,
}

impl Range {
    /// Of a call.
    pub fn new(event: &Event, pin: &Pin, kind: Kind, due: Instant) -> Self {
        Self {
            tgid: event.task.tgid,
            tid: event.task.tid,
            kind,
            mm: pin.mm,
            start: pin.address,
            pages: pin.call_pages,
            chunk: pin.call_pages,
            pins: vec![event.time],
            tries: 0,
            due,
        }
    }

    /// Takes in a later call of its thread that belongs to it; whether it does.
    pub fn goes_on(&mut self, event: &Event, pin: &Pin, kind: Kind, due: Instant) -> bool {
        if (self.kind, self.mm) != (kind, pin.mm) {
            return false;
        }
        let end = self.start.saturating_add(self.pages.saturating_mul(4096));
        let last = end.saturating_sub(self.chunk.saturating_mul(4096));
        let is_understudy = event.program.is_some_and(|program| program.stands_in_for().is_some());
        if is_understudy && (pin.address, pin.call_pages) == (last, self.chunk) {
            return true;
        }
        let follows = kind == Kind::Rdma && self.chunk == CHUNK && end == pin.address;
        if follows {
            self.pages = self.pages.saturating_add(pin.call_pages);
            self.chunk = pin.call_pages;
            self.pins.push(event.time);
            (self.tries, self.due) = (0, due);
        }
        follows
    }

    /// When it was begun.
    pub fn since(&self) -> Time {
        self.pins.first().copied().unwrap_or(0)
    }
}
