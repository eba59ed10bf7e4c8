//! What is done to a range of addresses.

use std::rc::Rc;

use super::{Mm, Pfn, Time, VM_SHARED};

/// See `wire::Zap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zap {
    /// Address space.
    pub mm: Mm,
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// The VMA's range.
    pub vma: (u64, u64),
    /// VM_*.
    pub vma_flags: u64,
    /// Only pages of the file go; what the process has written to stays.
    pub spares_cows: bool,
    /// The page that is mapped at `start`, and whether the kernel's own test calls it maybe-pinned; `None`: it was
    /// not asked.
    pub first: Option<(Pfn, bool)>,
}

impl Zap {
    /// Whether the kernel's own test calls a page pinned that was pinned at an address. `None`: it was not asked
    /// of that page, or another one is mapped there now.
    pub fn is_pinned(&self, address: u64, pfn: Option<Pfn>) -> Option<bool> {
        let (first, pinned) = self.first?;
        (address <= self.start && Some(first) == pfn).then_some(pinned)
    }

    /// Whether the mapping is shared: then the page stays where it was, and comes back.
    pub fn shared(&self) -> bool {
        self.vma_flags & VM_SHARED != 0
    }
}

/// See `wire::FileRange`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The file.
    pub file: Mm,
    /// Where in it the range begins, in bytes.
    pub offset: u64,
    /// Address space in which it is mapped.
    pub mm: Mm,
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
}

/// What is mapped in a VMA where pages are pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmaName {
    /// Address space.
    pub mm: Mm,
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// As `/proc/PID/maps` has it; empty for anonymous memory.
    pub name: Rc<str>,
}

/// See `wire::ForkCopy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkCopy {
    /// The parent's address space.
    pub parent_mm: Mm,
    /// The child's.
    pub child_mm: Mm,
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// VM_*.
    pub vma_flags: u64,
    /// When it began; it ended at the event's time.
    pub began: Time,
}

impl ForkCopy {
    /// Whether the mapping is shared: then parent and child see the same pages.
    pub fn shared(&self) -> bool {
        self.vma_flags & VM_SHARED != 0
    }
}

/// See `wire::Invalidate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidate {
    /// Address space.
    pub mm: Mm,
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// When it began; it ended at the event's time.
    pub began: Time,
    /// `enum mmu_notifier_event`.
    pub event: u32,
    /// MMU_NOTIFIER_RANGE_*.
    pub flags: u32,
}

impl Invalidate {
    /// Whether it says that pages lose the right to be written to. (A COW break itself is told as `clear`.)
    pub fn is_protection(&self) -> bool {
        matches!(self.event_name(), "protection-vma" | "protection-page" | "soft-dirty")
    }

    /// Names of the events, the same numbers since 5.10.
    const NAMES: [&'static str; 8] = [
        "unmap",
        "clear",
        "protection-vma",
        "protection-page",
        "soft-dirty",
        "release",
        "migrate",
        "exclusive",
    ];

    /// One of an event, of nothing yet.
    pub fn named(name: &str) -> Self {
        let known = Self::NAMES.iter().position(|other| *other == name);
        let event = known.map_or(u32::MAX, |number| number as u32);
        Self { mm: 0, start: 0, end: 0, began: 0, event, flags: 0 }
    }

    /// Name of the event.
    pub fn event_name(&self) -> &'static str {
        Self::NAMES.get(self.event as usize).copied().unwrap_or("unknown")
    }
}

/// See `wire::Protect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protect {
    /// Address space.
    pub mm: Mm,
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// VM_* flags that the range has now.
    pub vma_flags: u64,
    /// Bits of an address that the entry leaves open that maps `start`: 12, or 21 for a huge page; 0: unknown.
    pub mapped_shift: u32,
    /// What takes the right to write away; `None`: this gives it back.
    pub by: Option<Protector>,
}

/// What can take the right to write from mapped pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protector {
    /// mprotect(2) without PROT_WRITE.
    Mprotect,
    /// Userfaultfd write protection.
    UserfaultfdWp,
    /// NUMA balancing's hinting faults.
    NumaBalancing,
    /// A write of 4 to clear_refs.
    SoftDirty,
    /// The PAGEMAP_SCAN ioctl.
    PagemapScan,
    /// Reclaim unmapped the page, and perhaps swapped it out.
    Reclaim,
    /// A huge page's mapping was split.
    Split,
}

impl Protector {
    /// Its name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mprotect => "mprotect",
            Self::UserfaultfdWp => "uffd-wp",
            Self::NumaBalancing => "numa-balancing",
            Self::SoftDirty => "soft-dirty",
            Self::PagemapScan => "pagemap-scan",
            Self::Reclaim => "reclaim",
            Self::Split => "thp-split",
        }
    }
}
