//! What a fact means: the verdicts, as pure functions over the ledger.
//!
//! The ladder is in ARCHITECTURE.md. What is certain is kept apart from what is only possible, and
//! where evidence overlaps a loss, the answer is that it cannot be told.

mod advice;
mod range;

use std::rc::Rc;

use cowtrace_common::wire::Outcome;

pub use self::{
    advice::{KEPT_FROM_CHILDREN, advice},
    range::{arms, invalidates},
};
use crate::{
    event::{Fault, Mm},
    facts::Facts,
    finding::Verdict,
    ledger::{Ledger, PinRecord},
};

/// What the rules make of a write-protect fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing that concerns a pin.
    Unconcerned,
    /// Concerns a pin, and is as it should be.
    Benign(Benign),
    /// To be listed.
    Found {
        /// The grade.
        verdict: Verdict,
        /// Why, in a sentence.
        reason: &'static str,
        /// The pin that was broken, where one was seen.
        pin: Option<Rc<PinRecord>>,
    },
}

/// What can be why the ledger does not know a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Nothing.
    Nothing,
    /// Its record may be among those lost.
    Lost,
    /// It was for short, and nobody looked.
    Shed,
}

/// Why a fault or an unmap of a pinned page is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Benign {
    /// The kernel let the writer keep the page.
    Reuse,
    /// Another address space than the pinned one took a copy: a child's snapshot.
    OtherMm,
    /// GUP itself asked for the copy, before it pins (FAULT_FLAG_UNSHARE).
    Unshare,
    /// A short-term read-only pin: the device reads what was there when the I/O was submitted.
    ShortRead,
    /// The page has references that nobody was seen to take: a fault or an exit elsewhere holds some for a moment.
    Unexplained,
    /// Its range was unmapped, and the pin ended soon after, with nothing mapped there meanwhile.
    Unmapped,
}

impl Benign {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Reuse,
        Self::OtherMm,
        Self::Unshare,
        Self::ShortRead,
        Self::Unexplained,
        Self::Unmapped,
    ];

    /// Its name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::OtherMm => "other-mm",
            Self::Unshare => "unshare",
            Self::ShortRead => "short-read",
            Self::Unexplained => "unexplained-references",
            Self::Unmapped => "unmapped-at-its-end",
        }
    }
}

/// Judges a write-protect fault. `referenced`: the address space in which somebody is known to have taken a
/// plain reference to the old page. `missed`: asked for only where it matters.
pub fn write_protect_fault(
    fault: &Fault,
    ledger: &Ledger,
    facts: &Facts,
    referenced: Option<Mm>,
    missed: impl FnOnce() -> Missed,
) -> Judgement {
    match fault.outcome {
        Outcome::Copy | Outcome::Unshare => {}
        Outcome::Reuse if fault.maybe_pinned() => return Judgement::Benign(Benign::Reuse),
        Outcome::Reuse | Outcome::Shared | Outcome::Retry | Outcome::Gone => {
            return Judgement::Unconcerned;
        }
    }
    // The device that can write matters most, then the one that reads for long.
    let broken = ledger.pins_broken_by(fault);
    let worst = broken
        .iter()
        .max_by_key(|pin| (facts.is_write(pin.gup_flags), facts.is_longterm(pin.gup_flags)));
    match worst {
        Some(pin) => broken_pin(fault, pin, facts),
        None => no_pin(fault, ledger, referenced, missed),
    }
}

/// The fault replaced a page that the ledger knows to be pinned in that address space.
fn broken_pin(fault: &Fault, pin: &Rc<PinRecord>, facts: &Facts) -> Judgement {
    let found = |verdict, reason| Judgement::Found { verdict, reason, pin: Some(Rc::clone(pin)) };
    if fault.page_known() && !fault.maybe_pinned() {
        return found(
            Verdict::Inconclusive,
            "the ledger holds a pin on the old page, but the kernel's count of it does not: an unpin was not seen",
        );
    }
    match (facts.is_write(pin.gup_flags), facts.is_longterm(pin.gup_flags)) {
        (true, _) => found(
            Verdict::Diverged,
            "the process was given a copy while the pin on the old page is live",
        ),
        (false, true) => found(
            Verdict::StaleRead,
            "the process was given a copy while a read-only long-term pin on the old page is live",
        ),
        (false, false) => Judgement::Benign(Benign::ShortRead),
    }
}

/// No pin of the faulting address space is known on the page that it lost.
fn no_pin(
    fault: &Fault,
    ledger: &Ledger,
    referenced: Option<Mm>,
    missed: impl FnOnce() -> Missed,
) -> Judgement {
    if !fault.maybe_pinned() {
        return plain_references(fault, referenced);
    }
    if fault.outcome == Outcome::Unshare {
        return Judgement::Benign(Benign::Unshare);
    }
    if !ledger.holders(fault.old_pfn).is_empty() {
        return Judgement::Benign(Benign::OtherMm);
    }
    let (verdict, reason) = match missed() {
        Missed::Nothing => (
            Verdict::Suspect,
            "the kernel's own test calls the old page maybe-pinned, but no pin of it was seen: it predates the trace, or 1024 plain references look like one",
        ),
        Missed::Lost => (
            Verdict::Inconclusive,
            "the kernel's own test calls the old page maybe-pinned; the record of its pin may be among those lost",
        ),
        Missed::Shed => (
            Verdict::Inconclusive,
            "the kernel's own test calls the old page maybe-pinned; who held it for a moment was shed to keep the budget",
        ),
    };
    Judgement::Found { verdict, reason, pin: None }
}

/// The old page had no pin at all; somebody may hold it with plain references.
fn plain_references(fault: &Fault, referenced: Option<Mm>) -> Judgement {
    if fault.outcome != Outcome::Copy || !fault.anon() || fault.extra_references() <= 0 {
        return Judgement::Unconcerned;
    }
    match referenced {
        Some(mm) if mm == fault.mm => {}
        // Whoever took the reference still has the page; this one got a copy, as it should.
        Some(_) if fault.mappings > 0 => return Judgement::Benign(Benign::OtherMm),
        // A fault holds the page that it copies (wp_page_copy) and an exit those that it has unmapped
        // (mmu_gather), for as long as that takes: with a child on another CPU both were seen on 7.3.
        None => return Judgement::Benign(Benign::Unexplained),
        _ => {}
    }
    Judgement::Found {
        verdict: Verdict::SuspectGet,
        reason: "the process was given a copy of a page that somebody holds with plain references (FOLL_GET: vmsplice, O_DIRECT before 6.5, NFS, some drivers)",
        pin: None,
    }
}

#[cfg(test)]
mod tests;
