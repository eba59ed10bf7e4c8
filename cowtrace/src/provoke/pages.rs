//! The pages of a case: made, touched, stored to and looked at.
//!
//! Promise: the pages that are measured are the only ones that the CPU touches.
//!
//! Surprise: of a huge page three base pages are measured, its first, middle and
//! last. What becomes of the whole becomes of them.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use anyhow::{Context as _, ensure};

use super::{
    PageKind,
    skipped::{skip_on, skipped},
};
use crate::{
    pagemap::Pagemap,
    sys::{self, Advice, Backing, HUGE_PAGE, Mapping, Protection},
};

/// What the CPU stores before and after the event; no byte of a device's pattern equals one.
pub(super) const STORED_FIRST: u8 = 1;
pub(super) const STORED_AGAIN: u8 = 2;

/// Pages of one kind, in one mapping.
#[derive(Debug)]
pub(super) struct Pages {
    kind: PageKind,
    mapping: Mapping,
    /// What the mapping is of.
    file: Option<File>,
    /// Where the measured pages are in the mapping.
    offsets: Vec<usize>,
    /// Whole huge pages, whatever is in them.
    is_large: bool,
    /// The buffer ends in the middle of the last page; what is behind it is somebody else's.
    has_tail: bool,
}

impl Pages {
    /// Maps `count` pages, or `count` huge pages, without a touch.
    pub(super) fn map(kind: PageKind, count: usize, is_large: bool) -> anyhow::Result<Self> {
        let size = if is_large { HUGE_PAGE } else { sys::page_size() };
        let bytes = count * size;
        let file = match kind {
            PageKind::File | PageKind::Shmem => Some(file_of(bytes).context("cannot make a file")?),
            _ => None,
        };
        let mapping = Mapping::of(backing(kind, file.as_ref()), bytes, size)
            .map_err(skip_on(&[libc::ENOMEM], "not that many pages of this kind are free"))
            .with_context(|| format!("cannot map {count} pages"))?;
        let inside: &[usize] =
            if is_large { &[0, HUGE_PAGE / 2, HUGE_PAGE - sys::page_size()] } else { &[0] };
        let starts = (0..bytes).step_by(size);
        let offsets = starts.flat_map(|start| inside.iter().map(move |at| start + at)).collect();
        Ok(Self { kind, mapping, file, offsets, is_large, has_tail: false })
    }

    /// Has the buffer end in the middle of the last page, and stores go to what is behind it.
    pub(super) fn with_tail(self, has_tail: bool) -> Self {
        Self { has_tail, ..self }
    }

    /// Bytes of the buffer.
    pub(super) fn buffer_bytes(&self) -> usize {
        let tail = if self.has_tail { sys::page_size() / 2 } else { 0 };
        self.mapping.bytes() - tail
    }

    /// The first touch. Skips where the kernel gives no huge pages.
    pub(super) fn touch(&self) -> anyhow::Result<()> {
        match self.kind {
            PageKind::Hugetlb | PageKind::Shmem => {}
            PageKind::Thp | PageKind::ThpPte => self.advise(Advice::HugePages)?,
            PageKind::Base | PageKind::File | PageKind::Zero => self.advise(Advice::BasePages)?,
        }
        match self.kind {
            PageKind::File | PageKind::Zero => self.load_each(),
            _ => self.store_in_each(STORED_FIRST),
        }
        if self.kind == PageKind::ThpPte {
            self.split_mapping().context("cannot split the mapping")?;
        }
        match self.kind {
            PageKind::Thp | PageKind::ThpPte => self.are_huge(),
            _ => Ok(()),
        }
    }

    fn advise(&self, advice: Advice) -> anyhow::Result<()> {
        self.mapping
            .advise(advice)
            .map_err(skip_on(&[libc::EINVAL], "no huge pages in this kernel"))
    }

    /// An area that ends within a huge page has it mapped page by page, and that stays when the areas
    /// are one again. The page itself stays huge.
    fn split_mapping(&self) -> io::Result<()> {
        for start in (0..self.mapping.bytes()).step_by(HUGE_PAGE) {
            self.mapping.advise_part(start, sys::page_size(), Advice::DontFork)?;
            self.mapping.advise_part(start, sys::page_size(), Advice::DoFork)?;
        }
        Ok(())
    }

    /// Frames in a row, from a multiple of their number on.
    fn are_huge(&self) -> anyhow::Result<()> {
        let pfns = Pagemap::of_this_process()?.pfns(&self.mapping)?;
        let in_a_row = |pfns: &[u64]| {
            let wanted = pfns[0]..pfns[0] + pfns.len() as u64;
            pfns[0].is_multiple_of(pfns.len() as u64) && wanted.eq(pfns.iter().copied())
        };
        let all = pfns.chunks(HUGE_PAGE / sys::page_size()).all(in_a_row);
        if all { Ok(()) } else { Err(skipped("the kernel gave no huge page")) }
    }

    /// One store in each measured page: each that is write-protected breaks exactly once.
    pub(super) fn store_in_each(&self, value: u8) {
        let within = if self.has_tail { sys::page_size() - 1 } else { 0 };
        self.offsets.iter().for_each(|&offset| self.mapping.write_byte(offset + within, value));
    }

    /// One load from each measured page.
    pub(super) fn load_each(&self) {
        self.offsets.iter().for_each(|&offset| {
            self.mapping.read_byte(offset);
        });
    }

    /// The frames of the measured pages.
    pub(super) fn pfns(&self) -> anyhow::Result<Vec<u64>> {
        let pagemap = Pagemap::of_this_process()?;
        let one = |offset| {
            let page = (self.mapping.address() + offset) / sys::page_size();
            pagemap.range(page, 1)?.pop().context("the page map is empty")
        };
        self.offsets.iter().map(one).collect()
    }

    /// Where the measured pages are in the mapping.
    pub(super) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Of how many base pages three are measured, or each one.
    pub(super) fn base_pages(&self) -> usize {
        if self.is_large { HUGE_PAGE / sys::page_size() } else { 1 }
    }

    /// What the process sees of the page at `offset`.
    pub(super) fn content(&self, offset: usize) -> Vec<u8> {
        (offset..offset + sys::page_size()).map(|at| self.mapping.read_byte(at)).collect()
    }

    pub(super) fn protect(&self, protection: Protection) -> anyhow::Result<()> {
        self.mapping.protect(protection).context("cannot mprotect the pages")
    }

    /// Of the first base page of each huge page.
    pub(super) fn protect_first_pages(&self, protection: Protection) -> anyhow::Result<()> {
        let protect = |start| self.mapping.protect_part(start, sys::page_size(), protection);
        let mut starts = (0..self.mapping.bytes()).step_by(HUGE_PAGE);
        starts.try_for_each(protect).context("cannot mprotect a page")
    }

    /// Maps the same anew over the pages.
    pub(super) fn remap(&self) -> io::Result<()> {
        self.mapping.remap(backing(self.kind, self.file.as_ref()))
    }

    /// Gives the pages back, and maps others at the same address.
    pub(super) fn reuse(&self) -> io::Result<()> {
        self.mapping.unmap_and_remap(backing(self.kind, self.file.as_ref()))
    }

    /// Moves the pages to other addresses.
    pub(super) fn move_elsewhere(&mut self) -> io::Result<()> {
        let align = if self.is_large { HUGE_PAGE } else { sys::page_size() };
        self.mapping.move_elsewhere(align)
    }

    pub(super) fn file(&self) -> anyhow::Result<&File> {
        self.file.as_ref().context("these pages are of no file")
    }

    /// Cuts the file to nothing and makes it as long as before.
    pub(super) fn truncate(&self) -> anyhow::Result<()> {
        let (file, bytes) = (self.file()?, self.mapping.bytes() as u64);
        file.set_len(0)?;
        file.set_len(bytes)?;
        ensure!(file.metadata()?.len() == bytes, "the file has another length");
        Ok(())
    }
}

fn backing(kind: PageKind, file: Option<&File>) -> Backing<'_> {
    match (kind, file) {
        (PageKind::Hugetlb, _) => Backing::HugePool,
        (PageKind::File, Some(file)) => Backing::PrivateFile(file),
        (PageKind::Shmem, Some(file)) => Backing::SharedFile(file),
        _ => Backing::Anonymous,
    }
}

/// A file in memory: its pages are those of any file, and every kernel has it.
fn file_of(bytes: usize) -> io::Result<File> {
    let file = sys::memory_file()?;
    file.set_len(bytes as u64)?;
    for start in (0..bytes).step_by(sys::page_size()) {
        file.write_all_at(&[STORED_FIRST], start as u64)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_page_is_measured_at_its_first_middle_and_last_page() {
        let pages = Pages::map(PageKind::Thp, 2, true).expect("mmap");
        let last = HUGE_PAGE - sys::page_size();
        let wanted = [0, HUGE_PAGE / 2, last].map(|offset| [offset, HUGE_PAGE + offset]);
        let mut offsets = pages.offsets().to_vec();
        offsets.sort_unstable();
        let mut wanted = wanted.concat();
        wanted.sort_unstable();
        assert_eq!((offsets, pages.base_pages()), (wanted, 512));
    }

    #[test]
    fn a_private_file_is_seen_and_not_stored_to() {
        let pages = Pages::map(PageKind::File, 1, false).expect("mmap");
        assert_eq!(pages.content(0)[0], STORED_FIRST);
        pages.store_in_each(STORED_AGAIN);
        let mut byte = [0];
        pages.file().expect("a file").read_exact_at(&mut byte, 0).expect("read");
        assert_eq!((pages.content(0)[0], byte[0]), (STORED_AGAIN, STORED_FIRST));
    }

    #[test]
    fn a_shared_file_that_is_cut_loses_its_bytes() {
        let pages = Pages::map(PageKind::Shmem, 2, false).expect("mmap");
        pages.store_in_each(STORED_AGAIN);
        pages.truncate().expect("ftruncate");
        assert_eq!(pages.content(sys::page_size())[0], 0);
    }
}
