//! Which page frame is behind an address of a process.
//!
//! Reads `/proc/PID/pagemap`, format in the kernel's
//! Documentation/admin-guide/mm/pagemap.rst. A lookup faults nothing in.
//!
//! Surprise: without `CAP_SYS_ADMIN` the kernel answers, with all PFNs zero.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    event::Mm,
    sys::{self, Mapping},
};

const PRESENT: u64 = 1 << 63;
const PFN: u64 = (1 << 55) - 1;
const ENTRY_BYTES: usize = size_of::<u64>();

/// Pages to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Address space, as records name it.
    pub mm: Mm,
    /// A process that has it.
    pub tgid: u32,
    /// First address.
    pub start: u64,
    /// How many.
    pub pages: u64,
}

/// A process's page map, opened once.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
}

impl Pagemap {
    /// Of the process that calls, also after a fork of it.
    pub fn of_this_process() -> anyhow::Result<Self> {
        Self::open("/proc/self/pagemap")
    }

    /// Of another process.
    pub fn of(tgid: u32) -> anyhow::Result<Self> {
        Self::open(&format!("/proc/{tgid}/pagemap"))
    }

    /// One that somebody opened who may see frames.
    pub fn opened(file: File) -> Self {
        Self { file }
    }

    fn open(path: &str) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self { file })
    }

    /// The frame of each page of a mapping, in order. All must be present.
    pub fn pfns(&self, pages: &Mapping) -> anyhow::Result<Vec<u64>> {
        self.range(pages.address() / sys::page_size(), pages.pages())
    }

    /// The frames of `pages` pages from page number `first` (address / page size) on. All must be present.
    pub fn range(&self, first: usize, pages: usize) -> anyhow::Result<Vec<u64>> {
        self.raw(first, pages)?.into_iter().map(pfn).collect()
    }

    /// The same where some may not be present.
    pub fn entries(&self, first: usize, pages: usize) -> anyhow::Result<Vec<Option<u64>>> {
        let if_present = |entry| if entry & PRESENT == 0 { Ok(None) } else { pfn(entry).map(Some) };
        self.raw(first, pages)?.into_iter().map(if_present).collect()
    }

    fn raw(&self, first: usize, pages: usize) -> anyhow::Result<Vec<u64>> {
        let offset = first.checked_mul(ENTRY_BYTES).context("no such page")?;
        let bytes = pages.checked_mul(ENTRY_BYTES).context("no such range")?;
        let mut entries = Vec::new();
        // Read as far as there is something: the count may be damaged, and bounds no memory.
        FileRange { file: &self.file, offset: offset as u64 }
            .take(bytes as u64)
            .read_to_end(&mut entries)
            .context("cannot read the page map")?;
        ensure!(entries.len() == bytes, "the page map ends before the range does");
        let (entries, _) = entries.as_chunks();
        Ok(entries.iter().map(|entry| u64::from_ne_bytes(*entry)).collect())
    }
}

/// A file from an offset on, leaving its own position alone.
struct FileRange<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for FileRange<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(to, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// The frame in an entry: bits 0 to 54, if bit 63 says that the page is present.
fn pfn(entry: u64) -> anyhow::Result<u64> {
    if entry & PRESENT == 0 {
        bail!("a page is not present (pagemap entry {entry:#x}): swapped out?");
    }
    match entry & PFN {
        0 => bail!(
            "the page map hides page frame numbers from this user; run as root (CAP_SYS_ADMIN)"
        ),
        pfn => Ok(pfn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_above_bit_54_are_not_part_of_the_frame() {
        let soft_dirty_and_exclusive = 1 << 55 | 1 << 56;
        let entry = PRESENT | soft_dirty_and_exclusive | 0x12_3456;
        assert_eq!(pfn(entry).expect("present"), 0x12_3456);
        assert_eq!(pfn(u64::MAX).expect("present"), 0x7f_ffff_ffff_ffff);
    }

    #[test]
    fn a_swapped_page_has_no_frame() {
        let swapped = 1 << 62 | 0x1234;
        assert!(pfn(swapped).expect_err("not present").to_string().contains("not present"));
    }

    #[test]
    fn a_hidden_frame_says_that_root_is_needed() {
        assert!(pfn(PRESENT).expect_err("no frame").to_string().contains("root"));
    }
}
