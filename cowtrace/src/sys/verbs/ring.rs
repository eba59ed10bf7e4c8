//! A ring of soft-RoCE that process and kernel share: `struct rxe_queue_buf`.
//!
//! Promise: an entry is whole before the index says that it is there. The ring is never full: there is one request at
//! a time.

use std::{io, sync::atomic::Ordering};

use super::Verbs;
use crate::sys::Region;

/// Where the kernel put a ring: `struct mminfo`, an offset for mmap and a size.
pub(super) type Place = [u32; 4];

/// One side puts in, the other takes out.
#[derive(Debug)]
pub(super) struct Ring(Region);

impl Ring {
    const LOG2_ENTRY_BYTES: usize = 0;
    const MASK: usize = 4;
    const PRODUCER: usize = 128;
    const CONSUMER: usize = 256;
    const ENTRIES: usize = 384;

    /// Maps the ring that the kernel made.
    pub(super) fn map(verbs: &Verbs, [low, high, bytes, _]: Place) -> io::Result<Self> {
        let offset = i64::from(low) | i64::from(high) << 32;
        Region::shared(verbs.fd(), offset, bytes as usize).map(Self)
    }

    fn number(&self, at: usize) -> u32 {
        self.0.word(at).load(Ordering::Relaxed)
    }

    /// Where the entry of an index begins.
    fn entry(&self, index: u32) -> usize {
        Self::ENTRIES + ((index as usize) << self.number(Self::LOG2_ENTRY_BYTES))
    }

    /// Puts an entry in.
    pub(super) fn push(&self, entry: &[u32]) {
        let index = self.number(Self::PRODUCER);
        let start = self.entry(index);
        for (place, word) in (start..).step_by(size_of::<u32>()).zip(entry) {
            self.0.word(place).store(*word, Ordering::Relaxed);
        }
        self.0.word(Self::PRODUCER).store(self.after(index), Ordering::Release);
    }

    /// Takes an entry out: of `struct ib_uverbs_wc`, what became of the request.
    pub(super) fn pop_status(&self) -> Option<u32> {
        const STATUS: usize = 8;
        let index = self.number(Self::CONSUMER);
        if index == self.0.word(Self::PRODUCER).load(Ordering::Acquire) {
            return None;
        }
        let status = self.number(self.entry(index) + STATUS);
        self.0.word(Self::CONSUMER).store(self.after(index), Ordering::Release);
        Some(status)
    }

    fn after(&self, index: u32) -> u32 {
        index.wrapping_add(1) & self.number(Self::MASK)
    }
}
