//! The audit: what the page map says of pages that are pinned, as records.
//!
//! Who asks knows which pages; here nothing is compared.

use std::io;

use super::Batch;
use crate::{
    encode::Writer,
    event::Extent,
    pagemap::{Pagemap, Question},
    privileges::opener::Opener,
    sys,
};

/// Page size on the one architecture that is traced.
const PAGE: u64 = 4096;
/// Pages looked at in one go: a record each.
const STEP: u64 = 4096;
/// Most extents that one audit tells, 16 bytes each: what is beyond is told as not looked at.
const MOST: usize = 1 << 20;

/// Looks up all of them.
pub fn look(questions: &[Question], opener: &Opener) -> Batch {
    let mut batch = Batch::new();
    if !questions.is_empty() && !opener.is_there() {
        Writer::new(&mut batch, sys::boottime_ns()).audit_ended();
        return batch;
    }
    let mut told = 0;
    for question in questions {
        let pagemap = match opener.pagemap(question.tgid).map(Pagemap::opened) {
            Ok(pagemap) => pagemap,
            // A process that is gone has no page map, and holds nothing by an address.
            Err(error) if is_gone(&error) => continue,
            Err(_) => {
                Writer::new(&mut batch, sys::boottime_ns()).audit_ended();
                continue;
            }
        };
        let mut done = 0;
        while done < question.pages {
            let pages = (question.pages - done).min(STEP);
            let address = question.start.wrapping_add(done * PAGE);
            let entries = pagemap.entries((address / PAGE) as usize, pages as usize);
            let extents = extents(&entries.unwrap_or_default());
            told += extents.len();
            let mut writer = Writer::new(&mut batch, sys::boottime_ns());
            if told > MOST {
                writer.audit_ended();
                return batch;
            }
            writer.audit(question.mm, address, &extents);
            done += pages;
        }
    }
    batch
}

/// Whether it failed since the process has ended.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Runs of consecutive frames, and of pages that are not mapped (frame 0).
fn extents(entries: &[Option<u64>]) -> Vec<Extent> {
    let goes_on = |one: &Option<u64>, next: &Option<u64>| match (one, next) {
        (Some(one), Some(next)) => *next == one + 1,
        (one, next) => one == next,
    };
    let extent = |run: &[Option<u64>]| Extent::new(run[0].unwrap_or(0), run.len() as u64);
    entries.chunk_by(goes_on).map(extent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_frames_and_consecutive_holes_are_one_extent_each() {
        let runs = extents(&[Some(7), Some(8), None, None, Some(9), Some(5)]);
        let runs: Vec<_> = runs.iter().map(|run| (run.pfn, run.pages)).collect();
        assert_eq!(runs, [(7, 2), (0, 2), (9, 1), (5, 1)]);
    }
}
