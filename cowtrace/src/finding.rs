//! A rule that fired, with its evidence and its grade.

use std::{fmt, rc::Rc};

use crate::{
    event::{Fault, Protector, Stack, Task, Time},
    ledger::PinRecord,
};

/// How bad, and how sure. Ordered: the greater, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The evidence overlaps a loss or contradicts itself: it cannot be told.
    Inconclusive,
    /// The old page was maybe-pinned by the kernel's own test, but no pin record exists.
    Suspect,
    /// Device and CPU have different pages, and the device only reads: it reads old data.
    StaleRead,
    /// Device and CPU have different pages.
    Diverged,
    /// The same, and the old page is known to have been written to since.
    Lost,
}

impl Verdict {
    /// All of them, the worst last.
    pub const ALL: [Self; 5] =
        [Self::Inconclusive, Self::Suspect, Self::StaleRead, Self::Diverged, Self::Lost];

    /// Its name in text, JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inconclusive => "inconclusive",
            Self::Suspect => "suspect",
            Self::StaleRead => "stale-read",
            Self::Diverged => "diverged",
            Self::Lost => "lost",
        }
    }

    /// How sure it is.
    pub fn certainty(self) -> &'static str {
        match self {
            Self::Inconclusive => "cannot be told",
            Self::Suspect => "possible",
            Self::StaleRead | Self::Diverged => "certain that the pages differ",
            Self::Lost => "proven",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that happened to the pinned pages before the break and can have write-protected them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What.
    pub kind: CauseKind,
    /// When.
    pub time: Time,
    /// Who did it.
    pub task: Task,
    /// From where.
    pub stack: Stack,
}

/// What can write-protect a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseKind {
    /// The address space was forked.
    Fork {
        /// The child.
        child: u32,
    },
    /// The right to write was taken from the page.
    Protect(Protector),
    /// MMU notifiers were told of it; the event's name.
    Invalidation(&'static str),
}

impl CauseKind {
    /// How directly it speaks of the page's own protection: the greater, the better a cause.
    pub fn directness(self) -> u8 {
        match self {
            // From 5.9 on a fork leaves pinned pages writable, so it is the last thing to blame.
            Self::Fork { .. } => 0,
            Self::Invalidation(_) => 1,
            Self::Protect(_) => 2,
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fork { child } => write!(f, "fork of process {child}"),
            Self::Protect(by) => f.write_str(by.name()),
            Self::Invalidation(event) => write!(f, "a change that MMU notifiers call {event}"),
        }
    }
}

/// How the pin that a finding is about has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpinned {
    /// When.
    pub time: Time,
    /// By whom.
    pub task: Task,
    /// The caller said that the page was written to.
    pub dirty: bool,
}

/// A write-protect fault that replaced a page which is, or may be, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its number, from 1, in the order found.
    pub id: usize,
    /// Its grade now; a later unpin can raise it.
    pub verdict: Verdict,
    /// Why this grade, in a sentence.
    pub reason: String,
    /// The pin; none where none was seen.
    pub pin: Option<Rc<PinRecord>>,
    /// Who wrote.
    pub writer: Task,
    /// From where.
    pub writer_stack: Stack,
    /// The fault: address, pages, VMA.
    pub fault: Fault,
    /// When.
    pub broken_at: Time,
    /// What write-protected the page, where that is known.
    pub cause: Option<Cause>,
    /// The end of the pin, once it came.
    pub unpinned: Option<Unpinned>,
    /// What to do about it on this kernel.
    pub advice: String,
}
