//! Anonymous memory of whole pages that stands alone in the address space.
//!
//! Promise: nothing but the owner's calls changes its pages. It has an
//! inaccessible page on either side, so it never merges with a neighbour, and
//! it takes no huge pages unless it was made for them.

use std::{io, os::raw::c_int};

use super::{Region, page_size};

/// Bytes in a PMD-mapped huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Readable and writable, private, anonymous pages; unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    /// The pages and what surrounds them.
    region: Region,
    /// Bytes from the region's start to the first page.
    start: usize,
    bytes: usize,
}

/// What the CPU may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Loads only; a store is answered with SIGSEGV.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// What the kernel is told about the pages (`madvise(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Discard: the next touch gets a fresh zeroed page.
    DontNeed,
    /// Take huge pages where they fit.
    HugePages,
    /// Take base pages only.
    BasePages,
}

impl Mapping {
    /// `pages` base pages, not yet backed by memory.
    pub fn new(pages: usize) -> io::Result<Self> {
        let mapping = Self::inside_guards(pages * page_size(), page_size())?;
        mapping.advise(Advice::BasePages)?;
        Ok(mapping)
    }

    /// `count` aligned huge pages of 2 MiB, not yet backed by memory; whether the first touch
    /// gets a huge page is up to the kernel and its settings.
    pub fn new_huge(count: usize) -> io::Result<Self> {
        let mapping = Self::inside_guards(count * HUGE_PAGE, HUGE_PAGE)?;
        mapping.advise(Advice::HugePages)?;
        Ok(mapping)
    }

    /// Reserves room for any alignment, then opens the aligned middle of it.
    fn inside_guards(bytes: usize, align: usize) -> io::Result<Self> {
        let region = Region::anonymous(bytes + 2 * align, libc::PROT_NONE)?;
        // From one byte past the first page on, so that there is a guard page below.
        let start = (region.address() + 1).next_multiple_of(align) - region.address();
        let mapping = Self { region, start, bytes };
        mapping.protect(Protection::ReadWrite)?;
        Ok(mapping)
    }

    /// Address of the first byte.
    pub fn address(&self) -> usize {
        self.region.address() + self.start
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Length in base pages.
    pub fn pages(&self) -> usize {
        self.bytes / page_size()
    }

    /// `mprotect` of the whole.
    pub fn protect(&self, protection: Protection) -> io::Result<()> {
        self.region.protect(self.start, self.bytes, protection.bits())
    }

    /// `madvise` of the whole.
    pub fn advise(&self, advice: Advice) -> io::Result<()> {
        let advice = match advice {
            Advice::DontNeed => libc::MADV_DONTNEED,
            Advice::HugePages => libc::MADV_HUGEPAGE,
            Advice::BasePages => libc::MADV_NOHUGEPAGE,
        };
        self.region.advise(self.start, self.bytes, advice)
    }

    /// Maps fresh pages over the whole (`MAP_FIXED`): same addresses, other memory.
    pub fn remap_fixed(&self) -> io::Result<()> {
        self.region.replace(self.start, self.bytes, Protection::ReadWrite.bits())
    }

    /// Stores one byte through the CPU. SIGSEGV where the page is write-protected.
    ///
    /// Panics when `offset` is outside.
    pub fn write_byte(&self, offset: usize, value: u8) {
        self.region.store(self.inside(offset), value);
    }

    /// What the CPU sees at `offset` now.
    ///
    /// Panics when `offset` is outside.
    pub fn read_byte(&self, offset: usize) -> u8 {
        self.region.load(self.inside(offset))
    }

    fn inside(&self, offset: usize) -> usize {
        assert!(offset < self.bytes, "offset {offset} is outside of {} bytes", self.bytes);
        self.start + offset
    }
}

impl Protection {
    fn bits(self) -> c_int {
        match self {
            Self::Read => libc::PROT_READ,
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_mapping_is_aligned_zeroed_and_writable_up_to_its_last_byte() {
        let mapping = Mapping::new(3).expect("mmap");
        assert_eq!(mapping.address() % page_size(), 0);
        assert_eq!((mapping.pages(), mapping.bytes()), (3, 3 * page_size()));
        let last = mapping.bytes() - 1;
        assert_eq!(mapping.read_byte(last), 0);
        mapping.write_byte(last, 7);
        assert_eq!(mapping.read_byte(last), 7);
    }

    #[test]
    fn a_huge_mapping_starts_at_a_huge_page() {
        let mapping = Mapping::new_huge(1).expect("mmap");
        assert_eq!(mapping.address() % HUGE_PAGE, 0);
        mapping.write_byte(HUGE_PAGE - 1, 1);
    }

    #[test]
    fn discarding_and_remapping_give_fresh_zeroes_at_the_same_address() {
        let mapping = Mapping::new(1).expect("mmap");
        mapping.write_byte(0, 1);
        mapping.advise(Advice::DontNeed).expect("madvise");
        assert_eq!(mapping.read_byte(0), 0);
        mapping.write_byte(0, 2);
        mapping.remap_fixed().expect("mmap over it");
        assert_eq!(mapping.read_byte(0), 0);
    }

    #[test]
    fn what_is_protected_can_be_read_and_opened_again() {
        let mapping = Mapping::new(1).expect("mmap");
        mapping.write_byte(0, 1);
        mapping.protect(Protection::Read).expect("mprotect");
        assert_eq!(mapping.read_byte(0), 1);
        mapping.protect(Protection::ReadWrite).expect("mprotect");
        mapping.write_byte(0, 2);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn the_guard_pages_are_out_of_reach() {
        let mapping = Mapping::new(1).expect("mmap");
        mapping.write_byte(page_size(), 1);
    }
}
