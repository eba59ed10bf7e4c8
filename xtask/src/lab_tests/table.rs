//! The cases. A row is a sentence, a guest script and a check.
//!
//! The measure is never cowtrace's own word: workloads know their PFNs (pagemap) and whether the data
//! arrived, and the kernel keeps its own books (/proc/vmstat).

use anyhow::Result;

use super::{
    case::{Case, Run},
    checks::{
        a_schedule_agrees, a_tight_ring_loses_and_is_never_clean, agrees_with_the_workload,
        agrees_with_the_workload_through_kprobes, all_but_the_last_second_is_there,
        an_agent_counts_what_was_lost,
        audit::{names_who_holds_for_a_moment, sees_the_buffer_lose_its_pages},
        books_are_even,
        budget::{a_budget_holds, a_flood_is_bounded_and_told, costs_are_plausible},
        bytes_are_equal, cut_recording_is_inconclusive,
        devices::names_the_device,
        doctor_is_content, each_page_comes_back, filtered_out, finds_one_of_each,
        gate::fails_for_a_loss_alone,
        interrupts_unpin_as_well, ledger_equals_vmstat, ledger_equals_vmstat_of_a_long_call,
        lifecycle::{
            ends_when_it_is_asked, gives_up_what_it_does_not_need, leaves_nothing_behind,
            neither_cpus_nor_clocks_matter, somebody_else_finds_the_same,
        },
        loses_what_is_unpinned_dirty, one_pin_record_each,
        owners::the_owner_is_the_one_that_the_process_has,
        parts_stand_alone,
        rdma::{
            clients_are_clean, names_the_region_that_lost_its_pages,
            names_the_region_whose_file_was_cut, verify_agrees_with_the_network,
        },
        refuses_with_status_2, says_that_the_disk_is_full,
        secondary_mmu::{a_secondary_mmu_is_told, names_the_module_it_needs},
        silence::{finds_nothing, tells_few_page_faults},
        suspects_what_moved, tells_the_soft_dirty_write, the_release_is_of_the_series,
        three_pins_of_the_traced_process, verify_agrees, verify_agrees_with_a_device,
        verify_agrees_with_a_few, without_room_it_is_never_clean, witnesses_agree,
    },
};
use crate::lab::options::{Device, Machine};

/// A kernel of each way to pin and to break: the rows that take long, or of which two would say the same.
const THREE_RULES: &[&str] = &["5.10", "6.12", "7.3"];
/// The kernels between these.
const BETWEEN: &[&str] = &["6.1", "6.18"];
/// Kernels whose rule copies pinned pages.
const PAGE_COUNT_RULE: &[&str] = &["5.10"];
/// Kernels where `wp_page_copy` is a function of its own.
const SECOND_WITNESS: &[&str] = &["5.10", "6.1"];

/// Those of the three without lazy preemption. On 7.3, with four threads on two emulated CPUs, a program and its understudy were
/// both skipped for one pin in a thousand: cowtrace says so, and the pages of that pin are missed.
const NOT_LAZY: &[&str] = &["5.10", "6.12"];
/// The others without, beside the one that has many rows. RDMA clients keep soft-RoCE's workers busy, which makes 7.3 skip
/// programs as well: 3 to 34 of 5000.
const BESIDE_6_12: &[&str] = &["5.10", "6.1", "6.18"];

/// A case that says the same on the kernels between.
fn on_three(name: &'static str, script: &'static str, check: fn(&Run) -> Result<()>) -> Case {
    Case { kernels: THREE_RULES, more_kernels: BETWEEN, ..Case::new(name, script, check) }
}

/// The script that runs a workload under `cowtrace stream` with some options, and prints what the workload
/// measured, then what cowtrace saw.
macro_rules! traced {
    ($options:literal, $workload:literal) => {
        concat!(
            "cowtrace stream ",
            $options,
            " -- sh -c 'cowtrace provoke ",
            $workload,
            " >p' >s\n",
            "status=$?; cat p s; exit $status"
        )
    };
}

/// A machine on which KVM can make virtual machines: its CPU has SVM, emulated. And a disk that answers at once.
fn with_kvm() -> Machine {
    let modules = vec!["null_blk queue_mode=2 irqmode=0".to_owned()];
    Machine { devices: vec![Device::Kvm], modules, ..Machine::default() }
}

/// A machine with bpftool and setpriv.
fn with_tools() -> Machine {
    Machine { tools: true, ..Machine::default() }
}

/// All lab tests, in the order in which they run.
pub fn cases() -> Vec<Case> {
    let themes = [
        attaching,
        breaks,
        silence,
        books,
        recordings,
        shortages,
        floods,
        staying,
        gates,
        lives,
        filters,
        secondary_mmus,
        regions,
        matrix,
        devices,
    ];
    themes.into_iter().flat_map(|theme| theme()).collect()
}

/// What this kernel takes.
fn attaching() -> Vec<Case> {
    vec![
        Case::new("the guest runs the kernel asked for", "uname -r", the_release_is_of_the_series),
        Case::new(
            "doctor attaches every needed probe and says which hook serves it",
            "cowtrace doctor",
            doctor_is_content,
        ),
    ]
}

/// COW breaks of pinned pages, and what caused them.
fn breaks() -> Vec<Case> {
    vec![
        Case::new(
            "mprotect under a pin is found exactly where the workload's own page moved",
            traced!("--format json", "io-uring/4k/mprotect"),
            agrees_with_the_workload,
        ),
        Case::new(
            "the same is found through kprobes where there is no fexit",
            traced!("--kprobes --format json", "io-uring/4k/mprotect --pages 3"),
            agrees_with_the_workload_through_kprobes,
        ),
        Case::new(
            "the programs load with their logging on, and find the same",
            traced!("-v --format json", "io-uring/4k/mprotect"),
            agrees_with_the_workload,
        ),
        Case {
            kernels: PAGE_COUNT_RULE,
            ..Case::new(
                "23 provoked breaks are 23 findings, each with its own pages",
                traced!("--format json", "io-uring/4k/mprotect --pages 23"),
                agrees_with_the_workload,
            )
        },
        Case {
            kernels: PAGE_COUNT_RULE,
            ..Case::new(
                "text tells the two PFNs, the holder, the writer and what to do",
                traced!("", "io-uring/4k/mprotect"),
                finds_one_of_each,
            )
        },
        Case {
            kernels: PAGE_COUNT_RULE,
            ..Case::new(
                "a page that is unpinned dirty after it was replaced is lost",
                "cowtrace stream --format json -- sh -c '
                     cowtrace provoke af-xdp/4k/mprotect --pages 3 >p
                     count() { while read name value; do [ $name = $1 ] && echo $value; done </proc/vmstat; }
                     until echo 1 >/proc/sys/vm/stat_refresh
                         [ $(count nr_foll_pin_acquired) = $(count nr_foll_pin_released) ]; do :; done' >s
                 status=$?; cat p s; exit $status",
                loses_what_is_unpinned_dirty,
            )
        },
        on_three(
            "a pin that predates the trace is a suspect where its page is replaced",
            "cowtrace provoke io-uring/4k/mprotect --pages 2 --ready ready --after go >p & child=$!
             until [ -e ready ]; do :; done
             cowtrace stream --format json --pid $child -- sh -c 'touch go; until [ -s p ]; do :; done' >s
             status=$?; wait; cat p s; exit $status",
            suspects_what_moved,
        ),
        on_three(
            "a write of 4 to clear_refs is told as what write-protects",
            "cowtrace stream --format json --events -- sh -c '
                 cowtrace provoke io-uring/4k/nothing --ready ready --hold 600 >/dev/null & child=$!
                 until [ -e ready ]; do :; done
                 echo 4 >/proc/$child/clear_refs' >s
             status=$?; cat s; exit $status",
            tells_the_soft_dirty_write,
        ),
    ]
}

/// Where nothing is wrong, nothing is said.
fn silence() -> Vec<Case> {
    vec![
        on_three(
            "a registered buffer that nobody disturbs gives no finding",
            traced!("--format json", "io-uring/4k/nothing --pages 4"),
            finds_nothing,
        ),
        on_three(
            "fork with a registered buffer gives no finding",
            traced!("--format json", "io-uring/4k/fork --pages 4"),
            finds_nothing,
        ),
        on_three(
            "fork without any pin gives no finding",
            traced!("--format json", "none/4k/fork --pages 4"),
            finds_nothing,
        ),
        on_three(
            "who has discarded much memory with a pin in it has nobody else's page faults told",
            "echo 1 >/proc/sys/vm/overcommit_memory
             cowtrace stream --format json -- sh -c 'cowtrace provoke --load touch-discarded --pages 10
                 cowtrace provoke --load touch --pages 2000' >s
             status=$?; cat s; exit $status",
            tells_few_page_faults,
        ),
    ]
}

/// The ledger against the kernel's own books.
fn books() -> Vec<Case> {
    vec![
        Case::new(
            "23 pin calls are 23 pin records and 23 releases",
            "cowtrace stream --format json --events -- \
                 sh -c 'cowtrace provoke io-uring/4k/nothing --repeat 23 >p' >s
             status=$?; cat p s; exit $status",
            one_pin_record_each,
        ),
        Case::new(
            "pages that are still pinned at the end are the kernel's own count of them",
            "cowtrace stream --format json -- sh -c '
                 cowtrace provoke io-uring/4k/nothing --pages 40 --ready ready --hold 600 >/dev/null &
                 until [ -e ready ]; do :; done' >s
             status=$?; cat s; exit $status",
            ledger_equals_vmstat,
        ),
        Case {
            kernels: THREE_RULES,
            more_kernels: BETWEEN,
            ..Case::new(
                "a registered buffer belongs to the ring and number that its process has",
                concat!("export device=io-uring pages=3\n", include_str!("scripts/owner.sh")),
                the_owner_is_the_one_that_the_process_has,
            )
        },
        Case::new(
            "an audit without a trace finds the pages that a registered buffer has lost",
            "cowtrace provoke io-uring/4k/dontneed --pages 3 --ready ready --after go --hold 600 >p & child=$!
             until [ -e ready ]; do :; done
             cowtrace audit --json $child || exit 3
             touch go
             status=0
             while [ $status = 0 ]; do cowtrace audit --json $child >a; status=$?; done
             cat a; exit $status",
            sees_the_buffer_lose_its_pages,
        ),
        Case::new(
            "who pins a page for a moment is named where it is lost, and counted where not",
            traced!("--format json", "process-vm-write/4k/mprotect"),
            names_who_holds_for_a_moment,
        ),
        on_three(
            "a call that pins more pages than a program can list is completed from the page map",
            "cowtrace stream --format json -- sh -c '
                 cowtrace provoke io-uring/4k/nothing --pages 6000 --ready ready --hold 600 >/dev/null &
                 until [ -e ready ]; do :; done' >s
             status=$?; cat s; exit $status",
            ledger_equals_vmstat_of_a_long_call,
        ),
        Case {
            kernels: SECOND_WITNESS,
            ..Case::new(
                "wp_page_copy itself counts as many copies as the faults are judged to be",
                "cowtrace stream --format json -- sh -c 'cowtrace provoke none/4k/fork --pages 50 >p' >s
                 status=$?; cat s; exit $status",
                witnesses_agree,
            )
        },
    ]
}

/// Recordings and losses.
fn recordings() -> Vec<Case> {
    vec![
        on_three(
            "a replay prints byte for byte what the live run printed",
            "for format in text json; do
                 cowtrace stream --events --format $format --record $format.cow -- \
                     sh -c 'cowtrace provoke io-uring/4k/mprotect --pages 3 >/dev/null' >live
                 cowtrace replay --events --format $format $format.cow >replay
                 cmp live replay || exit 9
                 wc -l <live
             done",
            bytes_are_equal,
        ),
        on_three(
            "a recording of a killed cowtrace replays up to there and is never clean",
            "cowtrace record -o x.cow -- sh -c 'cowtrace provoke io-uring/4k/nothing >/dev/null; kill -9 $PPID' 2>/dev/null
             cowtrace replay --format text x.cow",
            cut_recording_is_inconclusive,
        ),
        Case {
            // Its clock counts instructions: what a busy host does not give the guest takes no time in it.
            machine: Machine { icount: true, ..Machine::default() },
            kernels: &["6.12"],
            more_kernels: &["5.10", "6.1", "6.18", "7.3"],
            limit: 300,
            ..Case::new(
            "a recorder that is killed at any moment has all but its last second on the disk",
            "kills=3; [ -n \"$LAB_FULL\" ] && kills=20 # On five kernels a hundred.
             for n in $(seq $kills); do
                 cowtrace record -o $n.cow --short-term -- \
                     sh -c \"cowtrace provoke --schedule $n --length 60 </dev/null >/dev/null\" >/dev/null 2>&1 &
                 until [ -e $n.cow ] && [ $(wc -c <$n.cow) -gt 15000 ]; do usleep 100000; done
                 usleep $((1100000 + n % 7 * 137000)) # More than may be missing.
                 read seconds rest </proc/uptime
                 killall -9 cowtrace; wait
                 echo \"{\\\"type\\\":\\\"killed\\\",\\\"uptime\\\":$seconds}\"
                 cowtrace replay --events --format json $n.cow >s
                 grep '\"program\"' s | tail -1 | sed 's/\"type\":\"[^\"]*\"/\"type\":\"last\"/'
                 tail -1 s
             done",
            all_but_the_last_second_is_there,
        )},
        Case {
            kernels: &["5.10", "6.12"],
            ..Case::new(
                "each part of a recording knows what is pinned, and what was found is sealed with what led to it",
                // Parts of a second, and a file for what was found: more than four of them, however fast the guest is.
                "cowtrace record -o r.cow --ring 8s --after 1s -- \
                     cowtrace provoke --schedule 3 --length 10 </dev/null >/dev/null 2>&1
                 for part in r-0*.cow r-finding-*.cow; do
                     cowtrace replay --format json $part | grep '\"type\":\"summary\"'
                 done",
                parts_stand_alone,
            )
        },
    ]
}

/// Where the disk, the ring or a map has no room.
fn shortages() -> Vec<Case> {
    vec![
        on_three(
            "a full disk ends the recording, and what is there replays",
            "mkdir full && mount -t tmpfs -o size=100k full full
             cowtrace record -o full/x.cow --short-term -- \
                 sh -c 'cowtrace provoke --schedule 1 --length 60 </dev/null >/dev/null' >/dev/null 2>err
             status=$?; killall -9 cowtrace; cat err >&2
             cowtrace replay --format json full/x.cow | tail -1
             umount full
             exit $status",
            says_that_the_disk_is_full,
        ),
        on_three(
            "what does not fit the ring is counted by program, and never clean",
            "cowtrace stream --buffer 4K --format json -- \
                 sh -c 'cowtrace provoke io-uring/4k/nothing --pages 4000 >/dev/null' >s
             status=$?; cat s; exit $status",
            a_tight_ring_loses_and_is_never_clean,
        ),
        on_three(
            "a buffer that io_uring gives back page by page is off the books, however fast that comes",
            // Six times 4096 pages: as records they would take two and a half such rings. The second run has calls
            // whose pages no program can list, given back before the page map is looked at, or just then.
            "cowtrace stream --buffer 1M --format json -- cowtrace provoke --load register --pages 4096 >s
             status=$?; cat s
             cowtrace stream --format json -- cowtrace provoke --load register --pages 10240 | sed 's/summary/hurried/'
             exit $status",
            each_page_comes_back,
        ),
        Case {
            // One CPU, so that the interrupt comes to whoever unregisters. Up to 6.4 such reads pin nothing; 7.3 skips
            // some programs and their understudies, and cowtrace says so.
            machine: Machine {
                cpus: Some(1),
                modules: vec!["null_blk queue_mode=2 irqmode=2 completion_nsec=15000".to_owned()],
                ..Machine::default()
            },
            kernels: &["6.12"],
            more_kernels: &["6.18"],
            ..Case::new(
                "what an interrupt unpins is off the books, and what it interrupted, too",
                "cowtrace stream --format json -- sh -c '
                     cowtrace provoke --load read-interrupting --slow-disk /dev/nullb0 --pages 4000 >/dev/null &
                     while [ -e /proc/$! ]; do
                         cowtrace provoke --load register --pages 4000 >/dev/null
                         cowtrace provoke --load register-untouched --pages 4000 >/dev/null
                     done' >s
                 status=$?; cat s; exit $status",
                interrupts_unpin_as_well,
            )
        },
        Case {
            kernels: &["6.12"],
            ..Case::new(
                "a map without room, and a kretprobe without, are counted, and never clean",
                // The second process's address space finds no room; most of the crowd's returns find no place.
                "cowtrace stream --spaces 1 --format json -- sh -c '
                     cowtrace provoke io-uring/4k/nothing --ready ready --hold 600 >/dev/null &
                     until [ -e ready ]; do :; done
                     cowtrace provoke io-uring/4k/nothing >/dev/null' >s
                 echo \"{\\\"type\\\":\\\"status\\\",\\\"status\\\":$?}\"; tail -1 s
                 cowtrace stream --kprobes --format json -- cowtrace provoke --crowd 64 >s
                 echo \"{\\\"type\\\":\\\"status\\\",\\\"status\\\":$?}\"; tail -1 s",
                without_room_it_is_never_clean,
            )
        },
    ]
}

/// More than can be looked at.
fn floods() -> Vec<Case> {
    vec![Case {
            kernels: &["6.12"],
            limit: 180,
            ..Case::new(
                "a flood of COW breaks, pins and forks keeps memory bounded, and what was not seen is counted",
                "seconds=15; [ -n \"$LAB_FULL\" ] && seconds=600
                 cowtrace stream --buffer 256K --format json --record x.cow >s & cowtrace=$!
                 until [ -e x.cow ]; do usleep 100000; done
                 sleep $seconds && touch over & # Each storm goes on until then.
                 storm() { until [ -e over ]; do \"$@\" >/dev/null; done; }
                 storm cowtrace provoke --load cow-pinned --pages 2000 & cows=$!
                 storm cowtrace provoke --load register --pages 8000 & pins=$!
                 storm cowtrace provoke io-uring/4k/fork --pages 4 --repeat 20 & children=$!
                 storm sh -c 'for n in $(seq 40); do : & done; wait' & forks=$!
                 wait $cows && wait $pins && wait $children && wait $forks || exit 9
                 sed -n 's/^\\(Vm[A-Z]*\\):[^0-9]*\\([0-9]*\\) kB/{\"type\":\"\\1\",\"kib\":\\2}/p' /proc/$cowtrace/status
                 kill -INT $cowtrace; wait $cowtrace; status=$?
                 tail -1 s
                 exit $status",
                a_flood_is_bounded_and_told,
            )
        }]
}

/// A command under trace, for CI.
fn gates() -> Vec<Case> {
    vec![Case {
        kernels: &["6.12"],
        limit: 300,
        ..Case::new(
            "a gate fails for a loss, passes a command's own status on, and writes both files",
            "try() {
                 name=$1; shift
                 cowtrace gate --junit $name.xml --sarif $name.sarif \"$@\" </dev/null >/dev/null
                 echo \"=== $name $?\"; cat $name.xml; echo; echo ===; cat $name.sarif
             }
             try lost -- cowtrace provoke io-uring/4k/dontneed
             try passed -- sh -c 'cowtrace provoke io-uring/4k/nothing; exit 7'
             try missed --buffer 4K -- cowtrace provoke io-uring/4k/nothing --pages 400
             try interrupted -- sh -c 'echo $$ >pid; kill $PPID; exec sleep 600'
             while kill -0 $(cat pid) 2>/dev/null; do usleep 10000; done",
            fails_for_a_loss_alone,
        )
    }]
}

/// What it may do while it runs, and what is left when it has ended.
fn lives() -> Vec<Case> {
    vec![
        Case {
            kernels: &["6.12"],
            ..Case::new(
                "an attached cowtrace has no capability and writes in its folder alone, its command has all",
                include_str!("scripts/confined.sh"),
                gives_up_what_it_does_not_need,
            )
        },
        Case {
            kernels: &["6.12"],
            // 5.10 and 6.1 take kprobes, which Debian has for CAP_SYS_ADMIN alone (kernel.perf_event_paranoid is 3).
            more_kernels: &["6.18", "7.3"],
            machine: with_tools(),
            ..Case::new(
                "who is not root and has three capabilities finds the same",
                include_str!("scripts/three.sh"),
                somebody_else_finds_the_same,
            )
        },
        Case {
            kernels: &["6.12"],
            more_kernels: &["5.10", "6.1", "6.18", "7.3"],
            machine: with_tools(),
            // With --full, 200 times on each kernel, of which one takes 20 to 40 s in a guest that shares two cores.
            limit: 12_000,
            ..Case::new(
                "however a cowtrace ends, no program, map, link, probe or process is left",
                concat!(include_str!("scripts/left.sh"), include_str!("scripts/ended.sh")),
                leaves_nothing_behind,
            )
        },
        Case {
            kernels: &["6.12"],
            machine: with_tools(),
            limit: 300,
            ..Case::new(
                "who is asked to end, and who has no reader any more, leaves a whole recording and nothing else",
                concat!(include_str!("scripts/left.sh"), include_str!("scripts/asked.sh")),
                ends_when_it_is_asked,
            )
        },
        Case {
            kernels: &["6.12"],
            ..Case::new(
                "a CPU that goes and comes back, and a clock that is set meanwhile, change nothing",
                "cpu=/sys/devices/system/cpu/cpu1/online now=$(date +%s)
                 cowtrace stream --format json --record x.cow -- sh -c \"
                     lose() { cowtrace provoke io-uring/4k/dontneed --pages 3 >>p; }
                     lose
                     echo 0 >$cpu; date -s '2031-01-01 00:00:00' >/dev/null; lose
                     echo 1 >$cpu; date -s '2021-01-01 00:00:00' >/dev/null; lose\" >s
                 status=$?; date -s @$now >/dev/null
                 cat p s
                 cowtrace replay --format json x.cow | cmp s - || exit 9
                 exit $status",
                neither_cpus_nor_clocks_matter,
            )
        },
    ]
}

/// The agent.
fn staying() -> Vec<Case> {
    vec![Case {
        kernels: &["6.12"],
        ..Case::new(
            "an agent tells Prometheus what a workload lost, seals it, and ends when it is told to",
            "cowtrace agent --output r.cow --ring 8s --after 1s 2>err & agent=$!
                 until grep -q 'metrics at http' err; do usleep 100000; done
                 cowtrace provoke io-uring/4k/dontneed --pages 3 >p
                 get() { wget -qO- http://127.0.0.1:9435/$1; }
                 until get metrics | grep -q '^cowtrace_findings_total'; do usleep 100000; done
                 until ls r-finding-*.cow >/dev/null 2>&1; do usleep 100000; done
                 cat p
                 get metrics >&2
                 [ \"$(get healthz)\" = ok ] || exit 9
                 kill $agent; wait $agent; status=$?
                 cowtrace replay --format json r-finding-*.cow | grep '\"type\":\"summary\"'
                 exit $status",
            an_agent_counts_what_was_lost,
        )
    }]
}

/// What is traced, and what is refused.
fn filters() -> Vec<Case> {
    vec![
        on_three(
            "a filter by name keeps others' pins out",
            "cowtrace stream --format json --comm 'nobody-*' -- \
                 sh -c 'cowtrace provoke io-uring/4k/mprotect >/dev/null' >s
             status=$?; cat s; exit $status",
            filtered_out,
        ),
        on_three(
            "a filter by process follows its children",
            "sh -c 'until [ -e go ]; do :; done; cowtrace provoke io-uring/4k/nothing --repeat 3 >p' & child=$!
             cowtrace stream --format json --pid $child -- sh -c \
                 \"touch go; cowtrace provoke io-uring/4k/nothing >/dev/null; while kill -0 $child 2>/dev/null; do :; done\" >s
             status=$?; cat p s; exit $status",
            three_pins_of_the_traced_process,
        ),
        on_three(
            "a filter by cgroup keeps those outside out",
            "mkdir /sys/fs/cgroup/inside
             cowtrace stream --format json --cgroup /inside -- sh -c '
                 cowtrace provoke io-uring/4k/nothing >/dev/null
                 echo $$ >/sys/fs/cgroup/inside/cgroup.procs
                 cowtrace provoke io-uring/4k/nothing --repeat 3 >p' >s
             status=$?; cat p s; exit $status",
            three_pins_of_the_traced_process,
        ),
        on_three(
            "a process that is not there is refused with status 2 and nothing attached",
            "cowtrace stream --pid 4000000; status=$?
             grep -l bpf-prog /proc/[0-9]*/fdinfo/* 2>/dev/null
             exit $status",
            refuses_with_status_2,
        ),
    ]
}

/// MMU notifiers.
fn secondary_mmus() -> Vec<Case> {
    vec![
        Case {
            machine: with_kvm(),
            ..Case::new(
                "a secondary MMU is seen to be there, and to be told what the kernel tells it",
                "tracing=/sys/kernel/tracing
                 echo boot >$tracing/trace_clock
                 echo 'p:began __mmu_notifier_invalidate_range_start' >$tracing/kprobe_events
                 echo 'p:ended __mmu_notifier_invalidate_range_end' >>$tracing/kprobe_events
                 echo 1 >$tracing/events/kprobes/enable
                 cowtrace stream --events --format json --record x.cow -- \
                     sh -c 'cowtrace provoke io-uring/4k/mprotect --secondary-mmu kvm --pages 3 >p' >s
                 status=$?
                 echo 0 >$tracing/events/kprobes/enable
                 sed -n 's/.* \\([0-9]*\\)\\.\\([0-9]*\\): \\(began\\|ended\\): .*/{\"type\":\"\\3\",\"us\":\\1\\2}/p' $tracing/trace
                 echo >$tracing/kprobe_events
                 sed -n 's/^\\([0-9a-f]*\\) . kvm_mmu_notifier_ops\\t.*/{\"type\":\"ops\",\"at\":\"\\1\"}/p' /proc/kallsyms
                 cat p s
                 cowtrace replay --events --format text x.cow >&2
                 if [ $LAB_KERNEL = 6.12 ]; then # One that was registered before anybody looked.
                     cowtrace provoke io-uring/4k/nothing --secondary-mmu kvm --repeat 2 --ready ready --after go >/dev/null & child=$!
                     until [ -e ready ]; do :; done
                     cowtrace stream --format json --pid $child -- sh -c \
                         \"touch go; while kill -0 $child 2>/dev/null; do usleep 10000; done\" | sed -n 's/\"summary\"/\"before\"/p'
                 fi
                 exit $status",
                a_secondary_mmu_is_told,
            )
        },
        Case {
            machine: with_kvm(),
            kernels: &["6.12"],
            ..Case::new(
                "a budget holds in a flood: what is shed is told, a planted loss is found, and it is taken up again",
                "cowtrace stream --budget 40% --format json --record x.cow -- sh -c '
                     (until [ -e over ]; do cowtrace provoke --load cow-notified --pages 2000 >/dev/null; done) & flood=$!
                     sleep 15; cowtrace provoke io-uring/4k/dontneed >p
                     sleep 2; touch over; wait $flood; sleep 15' >s
                 status=$?
                 for until in 8 16; do cowtrace replay --format json --to +${until}s x.cow | tail -1; done
                 cat p s
                 cowtrace replay --format json x.cow | cmp - s || exit 9
                 cowtrace report x.cow >&2
                 exit $status",
                a_budget_holds,
            )
        },
        Case {
            machine: with_kvm(),
            kernels: &["6.12"],
            // Two runs of each load, 75 s on a machine that does nothing else.
            limit: 300,
            ..Case::new(
                "verify --cost measures each operation without and with cowtrace, and each program's own time",
                "cowtrace verify --cost --json --disk /dev/nullb0",
                costs_are_plausible,
            )
        },
        Case::new(
            "the workload with a secondary MMU says what is missing where there is none",
            "cowtrace provoke io-uring/4k/mprotect --secondary-mmu kvm",
            names_the_module_it_needs,
        ),
    ]
}

/// Memory regions of soft-RoCE, and AF_XDP over a veth pair. The rows share a boot.
fn regions() -> Vec<Case> {
    let machine = Machine { devices: vec![Device::Rxe, Device::Xdp], ..spacious() };
    vec![
        Case {
            machine: machine.clone(),
            kernels: &["6.12"],
            more_kernels: BESIDE_6_12,
            ..Case::new(
                "RDMA clients move data under trace without a finding, and the ledger has their memory region's pages",
                include_str!("scripts/rdma_clients.sh"),
                clients_are_clean,
            )
        },
        Case {
            machine: machine.clone(),
            kernels: &["6.12"],
            more_kernels: &["5.10", "7.3"],
            ..Case::new(
                "of two memory regions the one that lost its pages is found, and nothing of the other",
                include_str!("scripts/rdma_regions.sh"),
                names_the_region_that_lost_its_pages,
            )
        },
        Case {
            machine: machine.clone(),
            kernels: &["6.12"],
            more_kernels: BESIDE_6_12,
            ..Case::new(
                "a file that is cut under an RDMA client's memory region is one finding, of that region alone",
                include_str!("scripts/rdma_cut.sh"),
                names_the_region_whose_file_was_cut,
            )
        },
        Case {
            machine,
            kernels: &["6.12"],
            more_kernels: &["5.10", "6.1", "6.18", "7.3"],
            limit: 300,
            ..Case::new(
                "verify agrees where RDMA writes to a memory region, and where AF_XDP sends a umem's frames",
                "pages=4k; [ -n \"$LAB_FULL\" ] && pages='*'
                 for device in rdma af-xdp; do cowtrace provoke $device/4k/mprotect --pages 3; done
                 cowtrace verify --json --case \"rdma/$pages/*\" --case \"af-xdp/$pages/*\"",
                verify_agrees_with_the_network,
            )
        },
    ]
}

/// The workloads by the hundred, on a machine that has what they ask for.
fn matrix() -> Vec<Case> {
    let machine = spacious();
    vec![
        Case {
            machine: machine.clone(),
            kernels: THREE_RULES,
            more_kernels: BETWEEN,
            limit: 900,
            ..Case::new(
                "verify agrees with each of more than 150 workloads",
                "cowtrace verify --json --case 'io-uring/*' --case 'vmsplice/4k/*' --case 'vmsplice/thp*' \
                 --case 'process-vm-write/4k/*' --case 'process-vm-write/hugetlb/*' --case 'none/4k/*' \
                 --case 'udmabuf/*'",
                verify_agrees,
            )
        },
        Case {
            kernels: BETWEEN,
            ..Case::new(
                "verify agrees with the workloads of base pages that a device has for long",
                "cowtrace verify --json --case 'io-uring/4k/*' --case 'vmsplice/4k/*'",
                verify_agrees_with_a_few,
            )
        },
        on_three(
            "verify agrees where another thread stores than the one that pinned",
            "cowtrace verify --json --writer thread --case 'io-uring/4k/*' --case 'vmsplice/4k/*'",
            verify_agrees_with_a_few,
        ),
        Case {
            kernels: NOT_LAZY,
            more_kernels: BETWEEN,
            ..Case::new(
                "the findings of a random schedule are what its own books say",
                "cowtrace verify --json --random 7 --length 10s",
                a_schedule_agrees,
            )
        },
    ]
}

/// A device behind an IOMMU, and a disk whose I/O ends in an interrupt. The rows share a boot for each kernel.
fn devices() -> Vec<Case> {
    let machine = Machine { devices: vec![Device::Edu], slow_disk: true, ..spacious() };
    vec![
        Case {
            machine: machine.clone(),
            kernels: THREE_RULES,
            more_kernels: BETWEEN,
            limit: 600,
            ..Case::new(
                "verify agrees where a device does DMA to what vfio pinned, and from it",
                "cowtrace verify --json --case 'vfio*/4k/*' --case 'vfio*/file/*' --case 'vfio*/shmem/*' \
                 --case 'vfio*/zero/*'",
                verify_agrees_with_a_device,
            )
        },
        Case {
            machine: machine.clone(),
            kernels: THREE_RULES,
            more_kernels: BETWEEN,
            ..Case::new(
                "what vfio pins belongs to the container, the group and the device that sysfs names",
                // One more: the page that the workload tells the device's own bytes with.
                concat!("export device=vfio pages=4\n", include_str!("scripts/owner.sh")),
                the_owner_is_the_one_that_the_process_has,
            )
        },
        Case {
            machine: machine.clone(),
            kernels: &["5.10", "6.12"],
            ..Case::new(
                "a finding names the device that writes to the old page, where it finds it and until when",
                include_str!("scripts/device.sh"),
                names_the_device,
            )
        },
        Case {
            machine,
            // Its O_DIRECT pins, and the interrupt that ends it finds the CPU idle.
            kernels: &["6.12"],
            ..Case::new(
                "what an interrupt unpins is taken off the books, listed or only counted",
                "for how in --short-term ''; do
                     cowtrace stream $how --format json -- \\
                         cowtrace provoke o-direct/4k/nothing --slow-disk $LAB_SLOW_DISK
                 done",
                books_are_even,
            )
        },
    ]
}

/// A machine with all that workloads ask for beside devices.
fn spacious() -> Machine {
    Machine { hugepages: Some(8), swap: Some(64), numa: true, ..Machine::default() }
}
