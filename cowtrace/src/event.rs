//! What a record says, decoded: a fact with its time and task, nothing concluded yet.

mod before;
mod device;
mod fault;
mod range;
mod stack;

use std::{fmt, rc::Rc};

use cowtrace_common::{
    program::Program,
    wire::{Outcome, POINTERS},
};
use smallvec::SmallVec;

use crate::{budget::Kept, owner::Owner};

pub use self::{
    before::{Before, Held, HeldAt, Untold},
    device::{Api, Attached, DeviceMap, DeviceUnmap},
    fault::Fault,
    range::{FileRange, ForkCopy, Invalidate, Protect, Protector, VmaName, Zap},
    stack::Stack,
};

/// VM_SHARED, the same bit in all versions.
pub const VM_SHARED: u64 = 1 << 3;
/// VM_HUGETLB, the same bit in all versions.
pub const VM_HUGETLB: u64 = 1 << 22;

/// A page frame number.
pub type Pfn = u64;
/// Address of a `struct mm_struct`: names an address space while it lives. An odd number is a file's, whose
/// addresses are offsets.
pub type Mm = u64;

/// Whether a pin was asked for by file and offset (`memfd_pin_folios`), not by address.
pub fn is_file(mm: Mm) -> bool {
    mm & 1 == 1
}

/// CLOCK_BOOTTIME, nanoseconds.
pub type Time = u64;

/// A task's name as the kernel has it: any bytes, made harmless when shown.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Comm(pub [u8; 16]);

/// What a character from outside becomes before a terminal or a log sees it.
pub fn harmless(c: char) -> char {
    if c.is_control() { '?' } else { c }
}

impl fmt::Display for Comm {
    /// Up to the first NUL; control characters and broken UTF-8 become `?`, since a process can
    /// name itself after an escape sequence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text: String = String::from_utf8_lossy(&self.0[..end])
            .chars()
            .map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '?' } else { c })
            .collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The task that a record was written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Name of the thread.
    pub comm: Comm,
    /// Cgroup v2 id.
    pub cgroup: u64,
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub time: Time,
    /// In which task.
    pub task: Task,
    /// On which CPU.
    pub cpu: u32,
    /// Which program wrote it; `None` for the source's own and for programs that we do not know.
    pub program: Option<Program>,
    /// Where, if the record has stacks.
    pub stack: Stack,
    /// What.
    pub what: What,
}

/// The facts, by kind of record. The fields are those of `cowtrace_common::wire`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A write-protect fault was answered.
    Fault(Fault),
    /// Pages were pinned.
    Pin(Pin),
    /// Pages that a call pinned beyond its own records, as the source found them.
    PinRest(Pin),
    /// Pages were unpinned.
    Unpin(Unpin),
    /// Notifiers were told of a change.
    Invalidate(Invalidate),
    /// Pages were write-protected, or made writable again.
    Protect(Protect),
    /// Mappings were discarded.
    Zap(Zap),
    /// Mappings were moved.
    Move {
        /// Address space.
        mm: Mm,
        /// From where.
        from: u64,
        /// To where.
        to: u64,
        /// Bytes.
        len: u64,
    },
    /// A fault was answered where mappings had been discarded.
    Refault {
        /// Address space.
        mm: Mm,
        /// Start of the page.
        address: u64,
        /// What is mapped there now.
        pfn: Pfn,
    },
    /// What a page held.
    Content {
        /// The page.
        pfn: Pfn,
        /// For comparing only.
        hash: u64,
        /// When it was about to be unpinned; else when its process was moved off it.
        at_unpin: bool,
    },
    /// Who holds a page that a process was moved off.
    Holder(Holder),
    /// I/O was submitted for pages that their process may have lost.
    Io {
        /// Address space.
        mm: Mm,
        /// First address.
        start: u64,
        /// First address behind.
        end: u64,
        /// The device writes to memory.
        to_memory: bool,
    },
    /// A device reaches memory.
    DeviceMap(DeviceMap),
    /// It ceases to.
    DeviceUnmap(DeviceUnmap),
    /// A device was attached to an IOMMU domain.
    Attached(Attached),
    /// A fork copied a range.
    ForkCopy(ForkCopy),
    /// A zap will be of pinned pages of a file.
    FileRange(FileRange),
    /// A notifier was registered.
    Notifier(Notifier),
    /// Which notifiers an address space has.
    Secondary(Secondary),
    /// The notifier of a range has gone.
    NotifierGone(Notifier),
    /// A process with pins was forked.
    Fork {
        /// Whose pages were copied on write.
        parent_mm: Mm,
        /// The snapshot.
        child_mm: Mm,
        /// The child.
        child_tgid: u32,
    },
    /// An address space is gone.
    MmExit {
        /// Which.
        mm: Mm,
    },
    /// Something about host, kernel or run.
    Fact {
        /// What it is about.
        key: String,
        /// What it is.
        value: String,
    },
    /// A row of the probe table, as attached.
    Probe(ProbeState),
    /// A name for an address.
    Symbol {
        /// The address.
        address: u64,
        /// Process that it is an address in; 0: the kernel.
        tgid: u32,
        /// The name.
        name: String,
    },
    /// Where a cgroup stands in the hierarchy.
    Cgroup {
        /// Its number.
        id: u64,
        /// Its path from the root.
        path: String,
    },
    /// What is mapped where pages are pinned.
    VmaName(VmaName),
    /// Who a pin of the event's thread belongs to.
    Owner {
        /// Time of the pin.
        pinned: Time,
        /// Its owner.
        owner: Rc<Owner>,
    },
    /// What a program has counted so far.
    Tally(Tally),
    /// How long a program has run so far.
    Cost(Cost),
    /// What the budget came to so far.
    Budget(Box<Kept>),
    /// Write-protect faults by [`Outcome`] so far.
    Outcomes([u64; Outcome::ALL.len()]),
    /// What was mapped where pages are pinned, as the source looked.
    Audit(Audit),
    /// Short-term pins that were counted and not told, so far.
    ShortTerm(ShortTerm),
    /// Of a keyframe.
    Before(Before),
    /// A kind that this version does not know.
    Unknown {
        /// Its number.
        kind: u16,
    },
}

impl What {
    /// The name of its kind; `None` for what is the source's own.
    pub fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Fault(_) => "fault",
            Self::Pin(_) | Self::PinRest(_) => "pin",
            Self::Unpin(_) => "unpin",
            Self::Invalidate(_) => "invalidate",
            Self::Protect(_) => "protect",
            Self::Zap(_) => "zap",
            Self::Move { .. } => "move",
            Self::Refault { .. } => "refault",
            Self::Content { .. } => "content",
            Self::Holder(_) => "holder",
            Self::Io { .. } => "io",
            Self::DeviceMap(_) => "device-map",
            Self::DeviceUnmap(_) => "device-unmap",
            Self::Attached(_) => "attached",
            Self::ForkCopy(_) => "fork-copy",
            Self::FileRange(_) => "file-range",
            Self::Notifier(_) => "notifier",
            Self::Secondary(_) => "notifiers",
            Self::NotifierGone(_) => "notifier-gone",
            Self::Fork { .. } => "fork",
            Self::MmExit { .. } => "mm-exit",
            _ => return None,
        })
    }
}

impl Pin {
    /// Address that the call began at.
    pub fn call_address(&self) -> u64 {
        let before = (u64::from(self.part) * POINTERS as u64) << 12;
        self.address.wrapping_sub(before)
    }
}

/// See `wire::Holder`. The event's time and task are the holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Address space whose page it was.
    pub mm: Mm,
    /// Its address there.
    pub address: u64,
    /// The page.
    pub pfn: Pfn,
    /// FOLL_*.
    pub gup_flags: u32,
    /// By a short-term pin; else by a plain reference.
    pub is_pin: bool,
}

/// Pages of short-term pins that were counted and not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortTerm {
    /// Pinned.
    pub pinned: u64,
    /// Unpinned.
    pub unpinned: u64,
    /// Told after all.
    pub told: u64,
}

impl ShortTerm {
    /// Those pinned now, as far as was counted.
    pub fn live(&self) -> u64 {
        self.pinned.saturating_sub(self.unpinned).saturating_sub(self.told)
    }
}

/// What is mapped at consecutive addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Address space.
    pub mm: Mm,
    /// First address.
    pub start: u64,
    /// Frames in the order of their addresses; 0: not mapped.
    pub extents: Extents,
}

impl Audit {
    /// How many.
    pub fn pages(&self) -> u64 {
        self.extents.iter().map(|extent| extent.pages).fold(0, u64::saturating_add)
    }

    /// The frame at an address, 0 if nothing is mapped there; none outside.
    pub fn pfn_at(&self, address: u64) -> Option<Pfn> {
        let mut index = address.checked_sub(self.start)? >> 12;
        let mut extents = self.extents.iter();
        let extent = extents.find(|extent| {
            let within = index < extent.pages;
            index -= if within { 0 } else { extent.pages };
            within
        })?;
        Some(if extent.pfn == 0 { 0 } else { extent.pfn + index })
    }
}

/// Pages with consecutive PFNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First page.
    pub pfn: Pfn,
    /// How many.
    pub pages: u64,
    /// Not 0: these are `pages` references, somewhere in the folio of this many pages that `pfn` lies in.
    pub folio: u32,
    /// Of such: the call that drops them had pinned `pfn`. Else `pfn` is the folio's first page, whoever pinned it.
    pub is_named: bool,
}

impl Extent {
    /// Pages that are what they are, in a folio or not.
    pub const fn new(pfn: Pfn, pages: u64) -> Self {
        Self { pfn, pages, folio: 0, is_named: true }
    }
}

/// Pages in the order told. Most records tell of one run of them.
pub type Extents = SmallVec<[Extent; 1]>;

/// See `wire::Pin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Whose pages.
    pub mm: Mm,
    /// Address of the first in `extents`.
    pub address: u64,
    /// Pages in `extents`.
    pub pages: u64,
    /// Pages that the whole call pinned.
    pub call_pages: u64,
    /// Pages that the call pinned but no record lists.
    pub unlisted: u64,
    /// FOLL_*.
    pub gup_flags: u32,
    /// Which record of the call this is, from 0: a long list of pages takes several.
    pub part: u32,
    /// The pages, in the order of their addresses.
    pub extents: Extents,
}

/// See `wire::Unpin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpin {
    /// Pages in `extents`.
    pub pages: u64,
    /// Pages that the call unpinned but no record lists.
    pub unlisted: u64,
    /// The caller said that they were written to.
    pub make_dirty: bool,
    /// The pages.
    pub extents: Extents,
}

/// See `wire::Notifier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notifier {
    /// Address space.
    pub mm: Mm,
    /// Operations: names the secondary MMU.
    pub ops: u64,
    /// Range of an interval notifier; empty for the whole address space.
    pub range: (u64, u64),
}

/// See `wire::Secondary`, as far as it is a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secondary {
    /// Address space.
    pub mm: Mm,
    /// Operations of the notifiers of all of it.
    pub ops: SmallVec<[u64; 1]>,
    /// There are more than are listed.
    pub more: bool,
    /// There are interval notifiers, which are not listed.
    pub intervals: bool,
}

/// A row of the probe table on the kernel where it was attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeState {
    /// Row number.
    pub row: u8,
    /// What it sees.
    pub sees: String,
    /// How it is attached; empty: it is not.
    pub attached: String,
    /// What stays unseen; empty: nothing, the kernel has no such function.
    pub unseen: String,
}

/// Runs of a program while the kernel measured them, and how long these took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How many.
    pub runs: u64,
    /// Nanoseconds of all of them.
    pub nanos: u64,
}

impl Cost {
    /// Nanoseconds a run; none where none was measured.
    pub fn each(&self) -> Option<u64> {
        self.nanos.checked_div(self.runs)
    }
}

/// See `wire::Tally`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub hits: u64,
    /// Records that did not fit the ring.
    pub ring_full: u64,
    /// Calls whose state did not fit a map, or whose return was missed.
    pub map_full: u64,
    /// Runs that the kernel skipped.
    pub recursion: u64,
}

impl Tally {
    /// Everything that was not seen.
    pub fn lost(&self) -> u64 {
        // Saturating here and wherever counts from a file are added: a damaged one may hold any number.
        self.ring_full.saturating_add(self.map_full).saturating_add(self.recursion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comm_cannot_carry_an_escape_sequence_to_the_terminal() {
        assert_eq!(Comm(*b"\x1b[2Jevil\0rest of").to_string(), "?[2Jevil");
        assert_eq!(Comm(*b"\xff\xfeabc\0\0\0\0\0\0\0\0\0\0\0").to_string(), "??abc");
    }
}
