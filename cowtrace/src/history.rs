//! What happened to an address space that can have taken it off its pages: the candidates for a cause.

use std::{collections::VecDeque, ops::RangeInclusive};

use cowtrace_common::wire::page_bit;
use hashbrown::HashMap;

use crate::{
    event::{Event, Fault, Invalidate, Mm, Protect, Stack, Time, What, Zap},
    finding::{Cause, CauseKind},
};

/// Candidates kept for one address space.
const KEPT: usize = 64;

/// A candidate, and the addresses that it covers.
type Candidate = (Cause, (u64, u64));

/// By address space, newest last.
#[derive(Clone, Debug, Default)]
pub struct History(HashMap<Mm, VecDeque<Candidate>>);

impl History {
    /// Something that covers a range of addresses. What is remembered already is not once more.
    pub fn remember(&mut self, mm: Mm, kind: CauseKind, event: &Event, range: (u64, u64)) {
        let causes = self.0.entry(mm).or_default();
        let known = |(cause, _): &Candidate| {
            (cause.time, cause.task.tid) == (event.time, event.task.tid) && cause.kind == kind
        };
        // Only a keyframe tells what is past.
        let past = causes.back().is_some_and(|(last, _)| last.time >= event.time);
        if past && causes.iter().any(known) {
            return;
        }
        if causes.len() == KEPT {
            causes.pop_front();
        }
        causes.push_back((cause(kind, event), range));
    }

    /// What is remembered, as the events that a keyframe tells.
    pub fn events(&self) -> Vec<Event> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_unstable_by_key(|(mm, _)| **mm);
        let of = |mm: Mm, (cause, range): &Candidate| Event {
            time: cause.time,
            task: cause.task,
            cpu: 0,
            program: None,
            stack: cause.stack.clone(),
            what: event_of(mm, cause.kind, *range),
        };
        let all = all.into_iter();
        all.flat_map(|(mm, causes)| causes.iter().map(move |candidate| of(*mm, candidate)))
            .collect()
    }

    /// An address space is gone: its address may soon name another one.
    pub fn forget(&mut self, mm: Mm) {
        self.0.remove(&mm);
    }

    /// The last thing in a time that covers an address.
    pub fn last_at(&self, mm: Mm, address: u64, time: RangeInclusive<Time>) -> Option<Cause> {
        let causes = self.0.get(&mm)?.iter().rev();
        let mut causes = causes.filter(|(cause, (start, end))| {
            time.contains(&cause.time) && (*start..*end).contains(&address)
        });
        causes.next().map(|(cause, _)| cause.clone())
    }

    /// The most direct of the things since `since` that cover the address of a fault; of several as
    /// direct the last. Where nothing was seen, what the page itself tells.
    pub fn cause_of(&self, fault: &Fault, event: &Event, since: Time) -> Option<Cause> {
        let covers = |(start, end): (u64, u64)| {
            start < fault.start().saturating_add(fault.pages() << 12) && fault.start() < end
        };
        let candidates = self.0.get(&fault.mm).into_iter().flatten();
        let candidates: Vec<_> = candidates
            // A keyframe tells all that happened, and only then of the fault.
            .filter(|(cause, range)| (since..=event.time).contains(&cause.time) && covers(*range))
            .map(|(cause, _)| cause)
            .collect();
        let best = candidates.iter().max_by_key(|cause| (cause.kind.directness(), cause.time));
        let others = candidates.len().saturating_sub(1);
        let told = told_by_the_page(fault);
        let best = best.map(|best| Cause { others, ..(*best).clone() });
        match told {
            Some(kind) if best.as_ref().is_none_or(|best| best.kind.yields_to(kind)) => {
                // Nobody was seen to do it: the stack is that of the fault, which tells nothing of this.
                Some(Cause { stack: Stack::default(), ..cause(kind, event) })
            }
            _ => best,
        }
    }
}

/// The event that a keyframe tells of something that is remembered.
fn event_of(mm: Mm, kind: CauseKind, (start, end): (u64, u64)) -> What {
    match kind {
        CauseKind::Fork { child, .. } => {
            // Which address space the child got, its birth tells, if it lives.
            What::Fork { parent_mm: mm, child_mm: 0, child_tgid: child }
        }
        CauseKind::Invalidation(name) => {
            What::Invalidate(Invalidate { mm, start, end, ..Invalidate::named(name) })
        }
        CauseKind::Protect(by) => {
            What::Protect(Protect { mm, start, end, vma_flags: 0, mapped_shift: 0, by: Some(by) })
        }
        _ => What::Zap(Zap {
            mm,
            start,
            end,
            vma: (start, end),
            vma_flags: 0,
            spares_cows: false,
            first: None,
        }),
    }
}

/// A cause that an event tells.
pub fn cause(kind: CauseKind, event: &Event) -> Cause {
    Cause { kind, time: event.time, task: event.task, stack: event.stack.clone(), others: 0 }
}

/// What the page itself says of how it came to be write-protected.
fn told_by_the_page(fault: &Fault) -> Option<CauseKind> {
    let is = |bit| fault.page_bits & bit != 0;
    if is(page_bit::KSM) {
        Some(CauseKind::Ksm)
    } else if is(page_bit::SWAPCACHE) {
        Some(CauseKind::Swapped)
    } else if !fault.anon() {
        Some(CauseKind::FirstWrite)
    } else if fault.mappings > 0 {
        Some(CauseKind::StillShared)
    } else {
        None
    }
}
