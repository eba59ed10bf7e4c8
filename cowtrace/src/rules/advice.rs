//! What to do about a finding, on the kernel that it was found on.

use crate::{
    event::VM_HUGETLB,
    facts::Facts,
    finding::{CauseKind, Finding, How, Verdict, ZapKind},
};

const PAGE_COUNT_RULE: &str = "This kernel copies any write-protected page with extra references (page_count \
rule, 5.9 to 5.18): run 5.19 or later (LTS: 6.1). Until then keep the buffer from being write-protected while \
it is registered: no mprotect, userfaultfd-wp, soft-dirty (CRIU), swap or NUMA balancing on it.";

/// The advice for a finding.
pub fn advice(finding: &Finding, facts: &Facts) -> &'static str {
    let exclusive = facts.anon_exclusive();
    match (finding.verdict, finding.how) {
        (Verdict::Inconclusive, _) => {
            "Run again with a larger ring buffer (--buffer) or a narrower filter, so that nothing is lost."
        }
        (Verdict::Suspect, _) => {
            "Restart the application under cowtrace, so that its pins are seen from the start."
        }
        (Verdict::SuspectGet, _) => {
            "Plain references never protect a page from a copy, on any kernel. Keep the process from forking \
             while the I/O is in flight (vfork or posix_spawn are safe), use MADV_DONTFORK on whole pages of \
             the buffer, or have the driver use pin_user_pages."
        }
        (Verdict::Snapshot, _) => {
            "Register the buffer after daemonising, in the process that goes on to use it: a child never sees \
             what a device writes to its parent's pages. MADV_DONTFORK makes the mistake crash instead."
        }
        (_, How::Unseen) => {
            "cowtrace did not see what took the process off the page. Please report this, with a recording \
             of it: a probe is missing."
        }
        (_, How::Zapped) => zapped(finding),
        (_, How::Inherited) => "Unpin before the process ends.",
        (_, How::Copied | How::WillBeCopied) if is_hugetlb(finding) && !exclusive => {
            "This kernel shares pinned hugetlb pages with a child and gives the parent the copy (before 5.12): \
             run 5.12 or later, or keep the buffer from the child with MADV_DONTFORK (RDMAV_HUGEPAGES_SAFE=1)."
        }
        (Verdict::StaleRead, _) if finding.fault.is_some_and(|fault| !fault.anon()) => {
            "Kernels before 6.2 copy file and zero pages under read-only long-term pins: run 6.2 or later, or \
             write to the buffer once before it is registered."
        }
        (_, How::Copied | How::WillBeCopied) if exclusive => {
            "This kernel keeps pinned anonymous pages exclusive, so a break of one means a kernel bug or a \
             driver that keeps pages from get_user_pages: report it with this record. MADV_DONTFORK is not \
             needed here."
        }
        (_, How::Copied | How::WillBeCopied) => PAGE_COUNT_RULE,
    }
}

/// To someone who keeps pinned pages from children.
pub const KEPT_FROM_CHILDREN: &str = "This kernel copies pinned pages for the child as it forks, so pins do not need \
MADV_DONTFORK; a child that touches what it was not given gets SIGSEGV. Plain references (vmsplice, O_DIRECT before \
6.5) do need it.";

fn is_hugetlb(finding: &Finding) -> bool {
    finding.vma_flags & VM_HUGETLB != 0
}

fn zapped(finding: &Finding) -> &'static str {
    match finding.cause.as_ref().map(|cause| cause.kind) {
        Some(CauseKind::Zap(ZapKind::Madvise)) => {
            "The process itself gave the pages back while they were registered; every kernel does what it was \
             told. Unregister first, or keep the allocator, balloon or free-page reporting off registered \
             memory."
        }
        Some(CauseKind::Zap(ZapKind::Munmap | ZapKind::Mmap | ZapKind::Mremap | ZapKind::Brk)) => {
            "The process unmapped the range while it was registered; every kernel does what it was told. \
             Unregister first; where a registration cache is in use (UCX, libfabric), have it see unmaps \
             (memory hooks, userfaultfd)."
        }
        Some(CauseKind::Zap(ZapKind::Truncate | ZapKind::PunchHole)) => {
            "The file was cut or got a hole while its pages were registered: the device goes on with pages \
             that are no part of the file. Unregister before the file shrinks."
        }
        _ => "The mapping went while its pages were registered: unregister first.",
    }
}
