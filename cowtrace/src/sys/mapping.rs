//! Memory of whole pages that stands alone in the address space.
//!
//! Promise: nothing but the owner's calls changes its pages. It has an
//! inaccessible page on either side, so it never merges with a neighbour, and
//! it takes no huge pages unless it was made for them.

use std::{fs::File, io, mem, os::fd::AsFd as _, os::raw::c_int};

use super::{Region, page_size};

/// Bytes in a PMD-mapped huge page.
pub const HUGE_PAGE: usize = 2 << 20;

/// Readable and writable pages; unmapped on drop.
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

/// What is behind the pages.
#[derive(Clone, Copy, Debug)]
pub enum Backing<'a> {
    /// Private anonymous memory.
    Anonymous,
    /// Private anonymous memory, from the pool of huge pages.
    HugePool,
    /// A file, whose pages are copied at the first store.
    PrivateFile(&'a File),
    /// A file, whose pages are stored to.
    SharedFile(&'a File),
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
    /// Children get none of it.
    DontFork,
    /// Children get it.
    DoFork,
    /// Not needed: may be freed any time before the next store.
    Free,
    /// Write out to swap or to the file, now.
    PageOut,
    /// Let KSM share pages of equal content.
    Mergeable,
    /// Put into a huge page, now (6.1 and later; else `EINVAL`).
    Collapse,
}

impl Mapping {
    /// `pages` base pages, not yet backed by memory.
    pub fn new(pages: usize) -> io::Result<Self> {
        let mapping = Self::of(Backing::Anonymous, pages * page_size(), page_size())?;
        mapping.advise(Advice::BasePages)?;
        Ok(mapping)
    }

    /// `count` aligned huge pages of 2 MiB, not yet backed by memory; whether the first touch
    /// gets a huge page is up to the kernel and its settings.
    pub fn new_huge(count: usize) -> io::Result<Self> {
        let mapping = Self::of(Backing::Anonymous, count * HUGE_PAGE, HUGE_PAGE)?;
        mapping.advise(Advice::HugePages)?;
        Ok(mapping)
    }

    /// `bytes` of any backing, aligned as asked for. Reserves room for any alignment first, then takes
    /// the aligned middle of it.
    pub fn of(backing: Backing<'_>, bytes: usize, align: usize) -> io::Result<Self> {
        let region = Region::anonymous(bytes + 2 * align, libc::PROT_NONE)?;
        // From one byte past the first page on, so that there is a guard page below.
        let start = (region.address() + 1).next_multiple_of(align) - region.address();
        let mapping = Self { region, start, bytes };
        mapping.remap(backing)?;
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
        self.protect_part(0, self.bytes, protection)
    }

    /// `mprotect` of a part.
    ///
    /// Panics when it is not all inside.
    pub fn protect_part(
        &self,
        offset: usize,
        bytes: usize,
        protection: Protection,
    ) -> io::Result<()> {
        self.region.protect(self.inside(offset, bytes), bytes, protection.bits())
    }

    /// `madvise` of the whole.
    pub fn advise(&self, advice: Advice) -> io::Result<()> {
        self.advise_part(0, self.bytes, advice)
    }

    /// `madvise` of a part.
    ///
    /// Panics when it is not all inside.
    pub fn advise_part(&self, offset: usize, bytes: usize, advice: Advice) -> io::Result<()> {
        self.region.advise(self.inside(offset, bytes), bytes, advice.number())
    }

    /// Maps fresh pages over the whole (`MAP_FIXED`): same addresses, other memory.
    pub fn remap(&self, backing: Backing<'_>) -> io::Result<()> {
        let (kind, file) = match backing {
            Backing::Anonymous => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None),
            Backing::HugePool => {
                (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB, None)
            }
            Backing::PrivateFile(file) => (libc::MAP_PRIVATE, Some(file)),
            Backing::SharedFile(file) => (libc::MAP_SHARED, Some(file)),
        };
        self.region.replace(self.start, self.bytes, kind, file.map(|file| file.as_fd()))
    }

    /// Unmaps the whole, then maps fresh pages there, as an allocator does that gives memory back and takes it again.
    pub fn unmap_and_remap(&self, backing: Backing<'_>) -> io::Result<()> {
        self.region.unmap_part(self.start, self.bytes)?;
        self.remap(backing)
    }

    /// Moves the pages to other addresses, aligned as asked for. They keep their frames.
    pub fn move_elsewhere(&mut self, align: usize) -> io::Result<()> {
        let elsewhere = Self::of(Backing::Anonymous, self.bytes, align)?;
        self.region.relocate(self.start, self.bytes, &elsewhere.region, elsewhere.start)?;
        // Ours has a hole where the pages were; it is unmapped as a whole.
        drop(mem::replace(self, elsewhere));
        Ok(())
    }

    /// Stores one byte through the CPU. SIGSEGV where the page is write-protected.
    ///
    /// Panics when `offset` is outside.
    pub fn write_byte(&self, offset: usize, value: u8) {
        self.region.store(self.inside(offset, 1), value);
    }

    /// What the CPU sees at `offset` now.
    ///
    /// Panics when `offset` is outside.
    pub fn read_byte(&self, offset: usize) -> u8 {
        self.region.load(self.inside(offset, 1))
    }

    /// `bytes` bytes at `offset`, for the kernel. Panics when they are not all inside.
    pub(super) fn place(&self, offset: usize, bytes: usize) -> *mut u8 {
        self.region.place(self.inside(offset, bytes), bytes)
    }

    fn inside(&self, offset: usize, bytes: usize) -> usize {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        assert!(inside, "{bytes} bytes at {offset} are outside of {} bytes", self.bytes);
        self.start + offset
    }
}

impl Advice {
    fn number(self) -> c_int {
        match self {
            Self::DontNeed => libc::MADV_DONTNEED,
            Self::HugePages => libc::MADV_HUGEPAGE,
            Self::BasePages => libc::MADV_NOHUGEPAGE,
            Self::DontFork => libc::MADV_DONTFORK,
            Self::DoFork => libc::MADV_DOFORK,
            Self::Free => libc::MADV_FREE,
            Self::PageOut => libc::MADV_PAGEOUT,
            Self::Mergeable => libc::MADV_MERGEABLE,
            Self::Collapse => libc::MADV_COLLAPSE,
        }
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
        mapping.remap(Backing::Anonymous).expect("mmap over it");
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
    fn what_moves_keeps_its_bytes() {
        let mut mapping = Mapping::new(2).expect("mmap");
        mapping.write_byte(page_size(), 3);
        let address = mapping.address();
        mapping.move_elsewhere(page_size()).expect("mremap");
        assert_ne!(mapping.address(), address);
        assert_eq!((mapping.pages(), mapping.read_byte(page_size())), (2, 3));
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn the_guard_pages_are_out_of_reach() {
        let mapping = Mapping::new(1).expect("mmap");
        mapping.write_byte(page_size(), 1);
    }
}
