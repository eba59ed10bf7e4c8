//! The cases. A row is a sentence, a guest script and a check.
//!
//! The measure is never cowtrace's own word: workloads know their PFNs (pagemap) and whether the data
//! arrived, and the kernel keeps its own books (/proc/vmstat).

use super::{
    case::Case,
    checks::{
        a_tight_ring_loses_and_is_never_clean, agrees_with_the_workload, bytes_are_equal,
        cut_recording_is_inconclusive, doctor_is_content, filtered_out, finds_nothing,
        finds_one_of_each, ledger_equals_vmstat, one_pin_record_each, refuses_with_status_2,
        the_release_is_of_the_series, witnesses_agree,
    },
};

/// Kernels whose rule copies pinned pages.
const PAGE_COUNT_RULE: &[&str] = &["5.10"];
/// Kernels where `wp_page_copy` is a function of its own.
const SECOND_WITNESS: &[&str] = &["5.10", "6.1"];

/// All lab tests, in the order in which they run.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "the guest runs the kernel asked for",
            "uname -r",
            the_release_is_of_the_series,
        ),
        Case::new(
            "doctor attaches every needed probe and says which hook serves it",
            "cowtrace doctor",
            doctor_is_content,
        ),
        Case::new(
            "mprotect under a pin is found exactly where the workload's own page moved",
            "cowtrace stream --format json -- sh -c 'cowtrace provoke io-uring-mprotect >p' >s
             status=$?; cat p s; exit $status",
            agrees_with_the_workload,
        ),
        Case {
            kernels: PAGE_COUNT_RULE,
            ..Case::new(
                "23 provoked breaks are 23 findings, each with its own pages",
                "cowtrace stream --format json -- sh -c 'cowtrace provoke io-uring-mprotect --pages 23 >p' >s
                 status=$?; cat p s; exit $status",
                agrees_with_the_workload,
            )
        },
        Case {
            kernels: PAGE_COUNT_RULE,
            ..Case::new(
                "text tells the two PFNs, the holder, the writer and what to do",
                "cowtrace stream -- sh -c 'cowtrace provoke io-uring-mprotect >p' >s
                 status=$?; cat p s; exit $status",
                finds_one_of_each,
            )
        },
        Case::new(
            "a registered buffer that nobody disturbs gives no finding",
            "cowtrace stream --format json -- sh -c 'cowtrace provoke io-uring-none --pages 4 >p' >s
             status=$?; cat p s; exit $status",
            finds_nothing,
        ),
        Case::new(
            "fork with a registered buffer gives no finding",
            "cowtrace stream --format json -- sh -c 'cowtrace provoke io-uring-fork --pages 4 >p' >s
             status=$?; cat p s; exit $status",
            finds_nothing,
        ),
        Case::new(
            "fork without any pin gives no finding",
            "cowtrace stream --format json -- sh -c 'cowtrace provoke nopin-fork --pages 4 >p' >s
             status=$?; cat p s; exit $status",
            finds_nothing,
        ),
        Case::new(
            "23 pin calls are 23 pin records and 23 releases",
            "cowtrace stream --format json --events -- \
                 sh -c 'cowtrace provoke io-uring-none --repeat 23 >p' >s
             status=$?; cat p s; exit $status",
            one_pin_record_each,
        ),
        Case::new(
            "pages that are still pinned at the end are the kernel's own count of them",
            "cowtrace stream --format json -- sh -c '
                 cowtrace provoke io-uring-none --pages 40 --hold 600 >/dev/null &
                 pinned() { echo 1 >/proc/sys/vm/stat_refresh; grep foll_pin /proc/vmstat | tr \"\\n\" \" \"; }
                 set -- $(pinned)
                 while [ $(($2 - $4)) -lt 40 ]; do set -- $(pinned); done' >s
             status=$?; cat s; exit $status",
            ledger_equals_vmstat,
        ),
        Case {
            kernels: SECOND_WITNESS,
            ..Case::new(
                "wp_page_copy itself counts as many copies as the faults are judged to be",
                "cowtrace stream --format json -- sh -c 'cowtrace provoke nopin-fork --pages 50 >p' >s
                 status=$?; cat s; exit $status",
                witnesses_agree,
            )
        },
        Case::new(
            "a replay prints byte for byte what the live run printed",
            "for format in text json; do
                 cowtrace stream --events --format $format --record $format.cow -- \
                     sh -c 'cowtrace provoke io-uring-mprotect --pages 3 >/dev/null' >live
                 cowtrace replay --events --format $format $format.cow >replay
                 cmp live replay || exit 9
                 wc -l <live
             done",
            bytes_are_equal,
        ),
        Case::new(
            "a recording of a killed cowtrace replays up to there and is never clean",
            "cowtrace record -o x.cow -- sh -c 'cowtrace provoke io-uring-none >/dev/null; kill -9 $PPID' 2>/dev/null
             cowtrace replay --format text x.cow",
            cut_recording_is_inconclusive,
        ),
        Case::new(
            "what does not fit the ring is counted by program, and never clean",
            "cowtrace stream --ring 4K --format json -- \
                 sh -c 'cowtrace provoke io-uring-none --pages 400 >/dev/null' >s
             status=$?; cat s; exit $status",
            a_tight_ring_loses_and_is_never_clean,
        ),
        Case::new(
            "a filter by name keeps others' pins out",
            "cowtrace stream --format json --comm 'nobody-*' -- \
                 sh -c 'cowtrace provoke io-uring-mprotect >/dev/null' >s
             status=$?; cat s; exit $status",
            filtered_out,
        ),
        Case::new(
            "a process that is not there is refused with status 2 and nothing attached",
            "cowtrace stream --pid 4000000; status=$?
             grep -l bpf-prog /proc/[0-9]*/fdinfo/* 2>/dev/null
             exit $status",
            refuses_with_status_2,
        ),
    ]
}
