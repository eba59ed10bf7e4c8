//! Entries of page tables, and the walk to one.

use cowtrace_common::setting::{Field, Setting};

use super::{Pointer as _, Untyped, page_address, read_at, setting};

/// A PTE, and what this architecture means by it.
#[derive(Clone, Copy)]
pub struct Pte(pub u64);

impl Pte {
    /// The PTE that stands at an address now.
    #[inline(always)]
    pub fn at(address: u64) -> Self {
        Self(read_at(address))
    }

    #[inline(always)]
    pub fn present(self) -> bool {
        self.0 & setting(Setting::PtePresent) != 0
    }

    #[inline(always)]
    pub fn writable(self) -> bool {
        self.0 & setting(Setting::PteWrite) != 0
    }

    #[inline(always)]
    pub fn has_pfn_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & setting(Setting::PtePfn) == 0
    }

    #[inline(always)]
    pub fn pfn(self) -> u64 {
        (self.0 & setting(Setting::PtePfn)) >> setting(Setting::PageShift)
    }
}

/// The entry of a page table that maps an address: a PTE, or that of a huge page.
#[derive(Clone, Copy)]
pub struct Mapped {
    /// The entry.
    pub entry: Pte,
    /// Bits of an address that it leaves open.
    pub shift: u64,
}

impl Mapped {
    /// PFN of the page that holds the address.
    #[inline(always)]
    pub fn pfn(self, address: u64) -> u64 {
        let within = (address & ((1 << self.shift) - 1)) >> setting(Setting::PageShift);
        // The low bits of a huge page's PFN hold other things (PAT).
        (self.entry.pfn() >> (self.shift - 12) << (self.shift - 12)) + within
    }

    /// Walks the page table of an address space: present entries only. Nothing keeps the tables from
    /// going away meanwhile, so callers have the mmap lock or take what they get.
    #[inline(always)]
    pub fn at(mm: u64, address: u64) -> Option<Self> {
        const HUGE: u64 = 1 << 7; // _PAGE_PSE
        let mut table: u64 = Untyped(mm).read(Field::MmPgd);
        let mut shift = if setting(Setting::PageTableLevels) == 5 { 48 } else { 39 };
        while shift >= 12 {
            let slot = (address >> shift) & 511;
            let entry = Pte::at(table + 8 * slot);
            if !entry.present() {
                return None;
            }
            if shift == 12 || (shift < 39 && entry.0 & HUGE != 0) {
                return Some(Self { entry, shift });
            }
            table = page_address(entry.pfn());
            shift -= 9;
        }
        None
    }
}
