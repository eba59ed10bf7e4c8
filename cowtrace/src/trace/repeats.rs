//! What understudies tell again: from 5.12 on the kernel may run both programs of a place for one call.

use std::collections::VecDeque;

use cowtrace_common::program::Program;

use crate::event::{Event, Time, What};

/// Records that an understudy's is compared with: more than there are CPUs to interleave.
const RECENT: usize = 256;

/// What was told lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    recent: VecDeque<Recent>,
    /// Thread and time of the last pin, if it is a repeat: pages that it could not list were told, too.
    pin: Option<(u32, Time)>,
}

/// What a program with an understudy told of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    pub tid: u32,
    pub time: Time,
    pub program: Program,
    pub mark: [u64; 3],
}

impl Repeats {
    /// Whether an understudy tells again what the program itself has just told.
    pub fn is_one(&mut self, event: &Event) -> bool {
        let call = (event.task.tid, event.time);
        match &event.what {
            What::PinRest(_) => self.pin == Some(call),
            What::Pin(_) => {
                let repeats = self.was_told(event);
                self.pin = repeats.then_some(call);
                repeats
            }
            _ => self.was_told(event),
        }
    }

    /// All that later records are compared with.
    pub fn recent(&self) -> impl Iterator<Item = Recent> {
        self.recent.iter().copied()
    }

    /// One more.
    pub fn remember(&mut self, recent: Recent) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(recent);
    }

    fn was_told(&mut self, event: &Event) -> bool {
        let (Some(program), Some(mark)) = (event.program, mark(&event.what)) else {
            return false;
        };
        let (tid, time) = (event.task.tid, event.time);
        if let Some(main) = program.stands_in_for() {
            // Only the last call of its thread can be the same one: who pins and unpins a buffer again and again says
            // the same each time. A long one is told in many records, of one time.
            let mut recent = self.recent.iter().rev().filter(|recent| recent.tid == tid).peekable();
            let last = recent.peek().map(|last| last.time);
            return recent
                .take_while(|recent| recent.program == main && Some(recent.time) == last)
                .any(|recent| recent.says(&event.what, mark));
        }
        if program.understudy().is_some() {
            self.remember(Recent { tid, time, program, mark });
        }
        false
    }
}

impl Recent {
    /// Whether it is what an understudy says, which is `mark`.
    fn says(&self, what: &What, mark: [u64; 3]) -> bool {
        let ([last, pages, first], [_, again, page]) = (self.mark, mark);
        match what {
            // One page of an understudy may be the last of those that the source made a record of.
            What::Unpin(_) => (pages, first) == (again, page) || (1, last) == (again, page),
            _ => self.mark == mark,
        }
    }
}

/// What a record says, as far as an understudy's can be told from another one.
fn mark(what: &What) -> Option<[u64; 3]> {
    match what {
        What::Fault(fault) => Some([fault.address, fault.old_pfn, fault.new_pfn]),
        What::Pin(pin) => {
            let first = pin.extents.first().map_or(0, |extent| extent.pfn);
            Some([pin.address, pin.call_pages, first])
        }
        What::Unpin(unpin) => {
            let (first, last) = (unpin.extents.first(), unpin.extents.last());
            let last = last.map_or(0, |extent| extent.pfn + extent.pages.saturating_sub(1));
            Some([last, unpin.pages, first.map_or(0, |extent| extent.pfn)])
        }
        What::Zap(zap) => Some([zap.start, zap.end, zap.mm]),
        What::Refault { mm, address, pfn } => Some([*mm, *address, *pfn]),
        _ => None,
    }
}
