//! A rule that fired, with its evidence and its grade.

mod cause;

use std::{borrow::Cow, fmt, ops::Range, rc::Rc};

pub use self::cause::{Cause, CauseKind, Telling, ZapKind};
use crate::{
    event::{Fault, Mm, Pfn, Stack, Task, Time},
    ledger::PinRecord,
    owner::Owner,
    reach::Reach,
    secondary::Coherence,
};

/// How bad, and how sure. Ordered: the greater, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The evidence overlaps a loss or contradicts itself: it cannot be told.
    Inconclusive,
    /// The process was given a copy of a page that plain references (FOLL_GET) hold.
    SuspectGet,
    /// The old page was maybe-pinned by the kernel's own test, but no pin record exists.
    Suspect,
    /// A pinned page became write-protected, and this kernel would copy it at the next write.
    Armed,
    /// The holder's address space is gone; a child, which has a copy of its pages, keeps the device.
    Snapshot,
    /// Device and CPU have different pages, and the device only reads: it reads old data.
    StaleRead,
    /// A pinned range was unmapped, discarded or replaced under its pin.
    RangeInvalidated,
    /// Device and CPU have different pages.
    Diverged,
    /// The same, and the old page is known to have been written to since.
    Lost,
}

impl Verdict {
    /// All of them, the worst last.
    pub const ALL: [Self; 9] = [
        Self::Inconclusive,
        Self::SuspectGet,
        Self::Suspect,
        Self::Armed,
        Self::Snapshot,
        Self::StaleRead,
        Self::RangeInvalidated,
        Self::Diverged,
        Self::Lost,
    ];

    /// Its name in text, JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inconclusive => "inconclusive",
            Self::SuspectGet => "suspect-get",
            Self::Suspect => "suspect",
            Self::Armed => "armed",
            Self::Snapshot => "snapshot",
            Self::StaleRead => "stale-read",
            Self::RangeInvalidated => "range-invalidated",
            Self::Diverged => "diverged",
            Self::Lost => "lost",
        }
    }

    /// How sure it is.
    pub fn certainty(self) -> &'static str {
        match self {
            Self::Inconclusive => "cannot be told",
            Self::SuspectGet | Self::Suspect => "possible",
            Self::Armed => "prediction",
            Self::Snapshot => "certain that the child has other pages",
            Self::StaleRead | Self::Diverged => "certain that the pages differ",
            Self::RangeInvalidated => "certain that the range is gone",
            Self::Lost => "proven",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who took a plain reference to a page before its process was moved off it, and may hold it still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// When.
    pub time: Time,
    /// Who.
    pub task: Task,
    /// From where; empty where that was not kept.
    pub stack: Stack,
    /// The page's address then.
    pub address: u64,
    /// FOLL_*.
    pub gup_flags: u32,
}

/// What MMU notifiers were told as the page was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The event's name.
    pub event: &'static str,
    /// When they were told.
    pub began: Time,
    /// When the last had answered and the change was made.
    pub ended: Time,
    /// Addresses of the operations of those that are known; none where all were registered before the trace
    /// began.
    pub mmus: Vec<u64>,
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

/// How a process lost a page, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// It wrote, and was given a copy.
    Copied,
    /// Its mapping was discarded.
    Zapped,
    /// Not yet: its next write will be answered with a copy.
    WillBeCopied,
    /// It is another process than the one that pinned.
    Inherited,
    /// Nobody saw it: the page map shows it.
    Unseen,
}

impl How {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Zapped => "zapped",
            Self::WillBeCopied => "will-be-copied",
            Self::Inherited => "inherited",
            Self::Unseen => "unseen",
        }
    }

    /// The two steps of it, in a word each: what comes first, and what moves the process off the page.
    pub fn steps(self) -> [&'static str; 2] {
        match self {
            Self::Copied | Self::WillBeCopied => ["write-protected", "copied"],
            Self::Zapped => ["discarded", "mapped again"],
            Self::Inherited => ["forked", "holder ended"],
            Self::Unseen => ["write-protected", "replaced"],
        }
    }

    /// What the writer did, before "by".
    pub fn deed(self) -> &'static str {
        match self {
            Self::Copied => "written and copied",
            Self::Zapped => "mapped again",
            Self::WillBeCopied => "write-protected",
            Self::Inherited => "the holder's address space ended",
            Self::Unseen => "replaced",
        }
    }
}

/// What proves that the old page was used after the process had lost it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It was unpinned dirty.
    UnpinnedDirty,
    /// It held other bytes when it was unpinned than when the process was moved off it.
    ContentChanged,
    /// More I/O was submitted for it.
    IoSubmitted,
}

impl Proof {
    /// All of them, by their number in a recording.
    pub const ALL: [Self; 3] = [Self::UnpinnedDirty, Self::ContentChanged, Self::IoSubmitted];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnpinnedDirty => "unpinned-dirty",
            Self::ContentChanged => "content-changed",
            Self::IoSubmitted => "io-submitted",
        }
    }

    /// The same in a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::UnpinnedDirty => {
                "the old page was unpinned dirty after the process had lost it: what was written to it \
                 never reached the process"
            }
            Self::ContentChanged => {
                "the old page held other bytes when it was unpinned than when the process lost it: what \
                 was written to it never reached the process"
            }
            Self::IoSubmitted => {
                "I/O for the buffer was submitted after the process had lost the page: the device used the \
                 old one"
            }
        }
    }
}

/// A page that is, or may be, pinned and that its process has lost or is about to lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its number, from 1, in the order found.
    pub id: usize,
    /// Its grade now; a later event can raise it.
    pub verdict: Verdict,
    /// Why this grade, in a sentence.
    pub reason: Cow<'static, str>,
    /// How the page was lost.
    pub how: How,
    /// The pin; none where none was seen.
    pub pin: Option<Rc<PinRecord>>,
    /// Who wrote, discarded or protected; after a zap who mapped the range again.
    pub writer: Task,
    /// From where.
    pub writer_stack: Stack,
    /// When.
    pub broken_at: Time,
    /// Whose pages they are.
    pub mm: Mm,
    /// First address.
    pub address: u64,
    /// Pages from there on that are concerned.
    pub pages: u64,
    /// The page that the device has at `address`.
    pub old_pfn: Pfn,
    /// The page that the process has there; 0: none that is known.
    pub new_pfn: Pfn,
    /// The VMA's range.
    pub vma: (u64, u64),
    /// VM_*.
    pub vma_flags: u64,
    /// What was mapped there as it was pinned, if that is known; empty for anonymous memory.
    pub vma_name: Option<Rc<str>>,
    /// Who the pin belongs to, if that was told.
    pub owner: Option<Rc<Owner>>,
    /// What the kernel's counts said of the old page, where it was copied.
    pub fault: Option<Fault>,
    /// What write-protected or discarded the page, where that is known.
    pub cause: Option<Cause>,
    /// What proves that it matters.
    pub proof: Option<Proof>,
    /// The end of the pin, once it came.
    pub unpinned: Option<Unpinned>,
    /// Its pin has ended, and the record of when was lost.
    pub end_unseen: bool,
    /// From where, if the old page was looked at once more then.
    pub unpin_stack: Stack,
    /// Who may hold it by a plain reference. Few have that.
    pub reference: Option<Box<Reference>>,
    /// What secondary MMUs were told. Few were.
    pub told: Option<Box<Told>>,
    /// Which devices reach the old page, as far as that is watched, and until when.
    pub reach: Vec<Reach>,
    /// Which secondary MMUs follow changes there.
    pub coherence: Coherence,
    /// What to do about it on this kernel.
    pub advice: &'static str,
}

impl Finding {
    /// One without evidence yet.
    pub fn new(verdict: Verdict, how: How) -> Self {
        Self {
            id: 0,
            verdict,
            reason: Cow::Borrowed(""),
            how,
            pin: None,
            writer: Task::default(),
            writer_stack: Stack::default(),
            broken_at: 0,
            mm: 0,
            address: 0,
            pages: 1,
            old_pfn: 0,
            new_pfn: 0,
            vma: (0, 0),
            vma_flags: 0,
            vma_name: None,
            owner: None,
            fault: None,
            cause: None,
            proof: None,
            unpinned: None,
            end_unseen: false,
            unpin_stack: Stack::default(),
            reference: None,
            told: None,
            reach: Vec::new(),
            coherence: Coherence::default(),
            advice: "",
        }
    }

    /// Whether the writer's deed has come yet: after a zap it is to map the range again.
    pub fn is_broken(&self) -> bool {
        match self.how {
            How::Copied | How::Inherited => true,
            How::Zapped => self.verdict != Verdict::RangeInvalidated,
            How::WillBeCopied | How::Unseen => false,
        }
    }

    /// Who pinned; who lost the page where no pin was seen.
    pub fn holder(&self) -> &Task {
        self.pin.as_ref().map_or(&self.writer, |pin| &pin.holder)
    }

    /// Whether its pin has ended, seen or not.
    pub fn has_ended(&self) -> bool {
        self.unpinned.is_some() || self.end_unseen
    }

    /// The pages that were lost, of a write-protect fault.
    pub fn old_pages(&self) -> Range<Pfn> {
        self.old_pfn..self.old_pfn.saturating_add(self.pages)
    }

    /// First address behind what it is about.
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.pages.saturating_mul(4096))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_listed_from_the_least_to_the_worst() {
        assert!(Verdict::ALL.is_sorted());
    }
}
