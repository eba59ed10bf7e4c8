//! What each verdict means, in prose: `cowtrace explain VERDICT`, and docs/verdicts.md, which is made from it.
//!
//! Promise: a verdict without its page does not compile.

use std::fmt::Write as _;

use crate::finding::Verdict;

/// The prose of a verdict.
struct Page {
    /// What has happened.
    means: &'static str,
    /// What cowtrace has seen when it says so.
    seen: &'static str,
    /// What it could be instead, and what would change it.
    but: &'static str,
    /// What brings it about, and on which kernels.
    causes: &'static str,
    /// How to see it: a workload of `cowtrace provoke`.
    example: &'static str,
}

const fn page(verdict: Verdict) -> Page {
    match verdict {
        Verdict::Lost => LOST,
        Verdict::Diverged => DIVERGED,
        Verdict::RangeInvalidated => RANGE_INVALIDATED,
        Verdict::StaleRead => STALE_READ,
        Verdict::Snapshot => SNAPSHOT,
        Verdict::Armed => ARMED,
        Verdict::Suspect => SUSPECT,
        Verdict::SuspectGet => SUSPECT_GET,
        Verdict::Inconclusive => INCONCLUSIVE,
    }
}

/// Characters of a line.
const LINE: usize = 100;

const LOST: Page = Page {
    means: "Data went to a page that the process no longer sees. The device, or the kernel on its behalf, wrote to the old page after the process had been moved off it.",
    seen: "As for diverged, and a proof: the old page was unpinned dirty (its holder says that it was written to), or it held other bytes when it was unpinned than when the process lost it. The finding names which.",
    but: "That a device still maps the old page (--device-maps) is no such proof: it can reach the page, and may not have. Bytes prove something only if nobody else could have written them: a page that a child still maps is left at diverged. A driver that marks every page dirty (AF_XDP) makes each diverged page a lost one.",
    causes: "Those of diverged.",
    example: "io-uring/4k/dontneed (all kernels), io-uring/4k/mprotect (5.9 to 5.18)",
};

const DIVERGED: Page = Page {
    means: "Device and process have different pages where they should have one. What either writes, the other does not see.",
    seen: "A pin that lets the device write is live for this address, and the process has another page there: the kernel answered its write with a copy, or its mapping was discarded and it touched the range again. Both page frame numbers are in the finding; with --device-maps also which device still maps the old page, and where it finds it.",
    but: "Whether anything was written in between is not known, not even where a device still maps the old page. It becomes lost when that is proven, and stays as it is when the pin ends without proof.",
    causes: "A copy: kernels 5.9 to 5.18 copy every write-protected page that has extra references, pinned or not (page_count rule). What write-protects is named: mprotect, userfaultfd-wp, a split huge page. hugetlb pages are copied after fork before 5.12. From 5.19 on pinned anonymous pages are exclusive and never copied: a copy there is a kernel bug, or a driver that keeps pages from get_user_pages. A discarded mapping: all kernels, see range-invalidated.",
    example: "io-uring/4k/mprotect on 5.10, io-uring/hugetlb/fork on 5.10, io-uring/4k/remap on all",
};

const RANGE_INVALIDATED: Page = Page {
    means: "The process gave up a range that a device still uses. The device goes on with pages that nobody else sees.",
    seen: "The mappings of a range were discarded while pins on it were live: munmap, mmap over it, MADV_DONTNEED, truncation or a hole in its file, brk, mremap. The call is read off the kernel stack.",
    but: "Not said when the process ends. After munmap it is held back for a second: closing a socket or ring and then freeing the buffer is right, though the kernel unpins a moment later. Shared memory that is only unmapped finds its pages again and is not reported. It becomes diverged when another page is mapped there.",
    causes: "User space, on every kernel: an allocator that trims, a balloon, a registration cache that misses an unmap, a file that is cut while its pages are registered.",
    example: "io-uring/4k/dontneed, io-uring/shmem/truncate",
};

const STALE_READ: Page = Page {
    means: "The device reads old data: the process has another page, and what it writes there the device never sees.",
    seen: "As for diverged, with a long-term pin that does not let the device write.",
    but: "A short-term read-only pin is not reported: it reads what was there when the I/O was submitted, by design. Nor is the zero page that vfio maps before 6.2: vfio gives it back at once, so no pin is left to tell of (873aefb376bb).",
    causes: "Before 6.2 read-only long-term pins of file pages in private mappings, and of the zero page, are left behind by the first write (84209e87c696). Else those of diverged.",
    example: "vfio-ro/file/nothing before 6.2, vfio-ro/4k/mprotect on 5.10 (a device that vfio drives: --vfio)",
};

const SNAPSHOT: Page = Page {
    means: "A child goes on with a device that its parent set up. The device writes to the parent's pages; the child has a copy of them, made at fork, and never sees what comes.",
    seen: "The address space that pinned has ended, its long-term pins have lived on for more than a second, and a child that got a copy of the range lives.",
    but: "What the child shares with its parent (MAP_SHARED) is safe and not reported, and neither are hugetlb pages before 5.12, which fork shares.",
    causes: "Daemonising after registration; a launcher that registers, forks a worker and exits. Every kernel.",
    example: "io-uring/4k/holder-exits",
};

const ARMED: Page = Page {
    means: "Not yet, but at the next write: a pinned page is write-protected, and this kernel will answer the write with a copy.",
    seen: "mprotect or userfaultfd-wp took the right to write from a pinned range, and the kernel's features (no anon-exclusive pages) say that it copies. Giving the right back does not help: the page table entry stays write-protected until a fault.",
    but: "Not said of hugetlb, of shared memory, and of huge pages that stay mapped as one. Not said for clear_refs and NUMA balancing: kernels with their fixes leave pinned pages alone, and nothing tells which have them.",
    causes: "5.9 to 5.18.",
    example: "io-uring/4k/mprotect on 5.10",
};

const SUSPECT: Page = Page {
    means: "The process was moved off a page that looks pinned, and nobody saw who pinned it.",
    seen: "A copy, and the kernel's own test (page_maybe_dma_pinned) says yes to the old page. No pin of it is on the books.",
    but: "The pin may be older than the trace. The test is also true for a small page with 1024 plain references.",
    causes: "Those of diverged, if it is a pin.",
    example: "start `cowtrace provoke io-uring/4k/mprotect --ready F --after G` on 5.10, then cowtrace, then create G",
};

const SUSPECT_GET: Page = Page {
    means: "The process was given a copy of a page that somebody holds with plain references. If that is I/O in flight, it goes to the old page.",
    seen: "A copy of an anonymous page that has more references than its mappings, the swap cache, its pins and a CPU's LRU batch explain, and to which somebody was seen to take one.",
    but: "References are no pins: who takes them does not promise to see later changes. vmsplice is meant so. References that nobody was seen to take are counted and not listed: a fault or an exit in another process holds some for a moment. It is held apart from pins everywhere, and has an exit status of its own (4). Of one process 64 are listed, the rest is counted.",
    causes: "fork and a write, on every kernel: FOLL_GET was never protected. Before 5.19 anything that write-protects. Users: vmsplice, O_DIRECT before 6.5, some drivers.",
    example: "vmsplice/4k/fork, o-direct/4k/fork before 6.5",
};

const INCONCLUSIVE: Page = Page {
    means: "It cannot be told: something that would have decided it was not seen.",
    seen: "The process was moved off a page that looks pinned, and records were lost that may have been of its pin; or the books say that it is pinned and the kernel's count says that it is not.",
    but: "Nothing is wrong with the process until shown otherwise.",
    causes: "A ring buffer that is too small (--buffer), a program that the kernel skipped, a recording that was cut.",
    example: "a flood of pins through `--buffer 4K`",
};

/// What has happened where a verdict is given, in a sentence or two.
pub fn means(verdict: Verdict) -> &'static str {
    page(verdict).means
}

/// The page of a verdict as Markdown, one heading deep.
pub fn verdict(verdict: Verdict) -> String {
    let page = page(verdict);
    let mut text = format!("## {verdict}: {}\n", verdict.certainty());
    for (title, prose) in [
        ("", page.means),
        ("Seen: ", page.seen),
        ("But: ", page.but),
        ("Causes: ", page.causes),
        ("To see it: ", page.example),
    ] {
        let _ = write!(text, "\n{}\n", textwrap::fill(&format!("{title}{prose}"), LINE));
    }
    text
}

/// All of them, the worst first.
pub fn all() -> String {
    let pages: Vec<_> = Verdict::ALL.iter().rev().map(|each| verdict(*each)).collect();
    pages.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_explained_on_lines_that_fit() {
        for each in Verdict::ALL {
            let text = verdict(each);
            assert!(text.starts_with(&format!("## {each}: ")), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            assert_eq!(text.matches("\n\n").count(), 5, "{text}");
        }
    }
}
