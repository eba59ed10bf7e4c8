//! Which page frame is behind an address of this process.
//!
//! Reads `/proc/self/pagemap`, format in the kernel's
//! Documentation/admin-guide/mm/pagemap.rst. A lookup faults nothing in.
//!
//! Surprise: without `CAP_SYS_ADMIN` the kernel answers, with all PFNs zero.

use std::{fs::File, os::unix::fs::FileExt as _};

use anyhow::{Context as _, bail};

use crate::sys::{self, Mapping};

const PRESENT: u64 = 1 << 63;
const PFN: u64 = (1 << 55) - 1;
const ENTRY_BYTES: usize = size_of::<u64>();

/// This process's page map, opened once.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
}

impl Pagemap {
    /// Of the process that calls, also after a fork of it.
    pub fn of_this_process() -> anyhow::Result<Self> {
        let path = "/proc/self/pagemap";
        let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self { file })
    }

    /// The frame of each page, in order. All must be present.
    pub fn pfns(&self, pages: &Mapping) -> anyhow::Result<Vec<u64>> {
        let first = pages.address() / sys::page_size();
        let mut entries = vec![0; pages.pages() * ENTRY_BYTES];
        self.file
            .read_exact_at(&mut entries, (first * ENTRY_BYTES) as u64)
            .context("cannot read /proc/self/pagemap")?;
        let (entries, _) = entries.as_chunks();
        entries
            .iter()
            .map(|entry| pfn(u64::from_ne_bytes(*entry)))
            .collect()
    }
}

/// The frame in an entry: bits 0 to 54, if bit 63 says that the page is present.
fn pfn(entry: u64) -> anyhow::Result<u64> {
    if entry & PRESENT == 0 {
        bail!("a page of the workload is not present (pagemap entry {entry:#x}): swapped out?");
    }
    match entry & PFN {
        0 => bail!(
            "/proc/self/pagemap hides page frame numbers from this user; run as root (CAP_SYS_ADMIN)"
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
        assert!(
            pfn(swapped)
                .expect_err("not present")
                .to_string()
                .contains("not present")
        );
    }

    #[test]
    fn a_hidden_frame_says_that_root_is_needed() {
        assert!(
            pfn(PRESENT)
                .expect_err("no frame")
                .to_string()
                .contains("root")
        );
    }
}
