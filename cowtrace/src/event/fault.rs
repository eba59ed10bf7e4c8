//! A write-protect fault and what the kernel's counts said of the old page.

use cowtrace_common::wire::{Outcome, page_bit};

use super::{Mm, Pfn};

/// See `wire::Fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Address space that faulted.
    pub mm: Mm,
    /// Start of the page that faulted.
    pub address: u64,
    /// The VMA's range.
    pub vma: (u64, u64),
    /// VM_*.
    pub vma_flags: u64,
    /// Mapped before.
    pub old_pfn: Pfn,
    /// Mapped after; 0: nothing.
    pub new_pfn: Pfn,
    /// References of the old folio after the fault.
    pub references: i32,
    /// Mappings of the old page after the fault.
    pub mappings: i32,
    /// Pins of the old folio.
    pub pins: i32,
    /// FAULT_FLAG_*.
    pub fault_flags: u32,
    /// See `wire::page_bit`.
    pub page_bits: u32,
    /// How it was answered.
    pub outcome: Outcome,
}

impl Fault {
    /// A copy of an anonymous page that the kernel's test calls maybe-pinned, for tests that change what matters to them.
    #[cfg(test)]
    pub fn copied() -> Self {
        Self {
            mm: 1,
            address: 0x1000,
            vma: (0, 0x2000),
            vma_flags: 0,
            old_pfn: 0x40,
            new_pfn: 0x50,
            references: 1024,
            mappings: 0,
            pins: 1,
            fault_flags: 1,
            page_bits: page_bit::KNOWN | page_bit::MAYBE_PINNED | page_bit::ANON,
            outcome: Outcome::Copy,
        }
    }

    /// Whether the fault had a `struct page` to look at.
    pub fn page_known(&self) -> bool {
        self.page_bits & page_bit::KNOWN != 0
    }

    /// Whether the kernel's own test called the old page maybe-pinned.
    pub fn maybe_pinned(&self) -> bool {
        self.page_bits & page_bit::MAYBE_PINNED != 0
    }

    /// Whether the old page was anonymous (KSM pages are not).
    pub fn anon(&self) -> bool {
        self.page_bits & page_bit::ANON != 0
    }

    /// Whether it was a page of hugetlbfs.
    pub fn hugetlb(&self) -> bool {
        self.page_bits & page_bit::HUGETLB != 0
    }

    /// Pages of the old folio.
    pub fn folio_pages(&self) -> u64 {
        1 << (self.page_bits >> page_bit::ORDER_SHIFT & 31)
    }

    /// Pages that the fault replaced: all of a hugetlb page, one of any other.
    pub fn pages(&self) -> u64 {
        if self.hugetlb() { self.folio_pages() } else { 1 }
    }

    /// First address of what it replaced.
    pub fn start(&self) -> u64 {
        self.address & !((self.pages() << 12) - 1)
    }

    /// References to the old folio that neither mappings nor pins explain, nor the swap cache, nor a CPU's
    /// batch of pages on their way to an LRU list.
    pub fn extra_references(&self) -> i64 {
        let is = |bit| self.page_bits & bit != 0;
        let cached = if is(page_bit::SWAPCACHE) { self.folio_pages().cast_signed() } else { 0 };
        let batched = !is(page_bit::ON_LRU) && !self.hugetlb();
        let pins = if self.folio_pages() > 1 { self.pins } else { 0 };
        i64::from(self.references)
            - i64::from(self.mappings)
            - i64::from(pins)
            - cached
            - i64::from(batched)
    }

    /// What sort of page it was, in words.
    pub fn page_kind(&self) -> String {
        let is = |bit| self.page_bits & bit != 0;
        let kib = self.folio_pages() * 4;
        if !is(page_bit::KNOWN) {
            "zero page or special mapping".to_owned()
        } else if self.hugetlb() {
            format!("hugetlb page of {kib} KiB")
        } else if is(page_bit::KSM) {
            "KSM page".to_owned()
        } else if kib > 4 {
            let by = if is(page_bit::PMD) { "PMD" } else { "PTEs" };
            format!("folio of {kib} KiB, mapped by {by}")
        } else if is(page_bit::ANON) {
            "anonymous page".to_owned()
        } else {
            "file page".to_owned()
        }
    }
}
