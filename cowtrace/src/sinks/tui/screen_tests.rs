//! Whole screens, as text.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::{Expect, expect};

use super::{
    scenario::Run,
    view::{Feed, Filter},
};

fn check(mut run: Run, (width, height): (u16, u16), expected: &Expect) {
    expected.assert_eq(&run.screen(width, height));
}

fn after(mut run: Run, keys: &str) -> Run {
    run.press(keys);
    run
}

#[test]
fn a_lost_page_on_a_small_terminal() {
    check(
        Run::lost(),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Findings 1 ───────────────────────────────────────────────────── following ──
              #      verdict             time     holder        writer        address
            ▶ 1      ✖ lost              +0.480s  provoke[1234] provoke[1234] 0x7f1234002000
            ── Finding 1 ─────────────────────────────────────────── enter: 10 more lines ──
              ✖ lost (proven): the old page was unpinned dirty after the process had lost
                it: what was written to it never reached the process

              ● pinned ─ 120ms ─ ○ protected ────── ◆ copied ─ 120ms ─ ■ unpinned dirty
                +0.240s            +0.360s            +0.480s            +0.600s
                provoke[1234]      provoke[1234]      provoke[1234]      provoke[1234]

              page    PFN 0x10e002 → 0x12abc2; the old one (anonymous page) had 1025
                      references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234002000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB)
              pin     4 pages from 0x7f1234000000 on, flags WRITE|LONGTERM (0x101)
              cause   fork of process 1240 (alive) at +0.360s by provoke[1234]
              advice  This kernel copies any write-protected page with extra references
                      (page_count rule, 5.9 to 5.18): run 5.19 or later (LTS: 6.1). Until
                      then keep the buffer from being write-protected while it is
                      registered: no mprotect, userfaultfd-wp, soft-dirty (CRIU), swap or
             enter open  / filter  space pause  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn a_lost_page_on_a_large_terminal() {
    let mut run = Run::lost();
    run.measure(1000, 1234);
    check(
        run,
        (140, 40),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  234 events/s
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Findings 1 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────── following ──
              #       verdict              time       holder                 writer                   address        page              cause
            ▶ 1       ✖ lost               +0.480s    provoke[1234]          provoke[1234/1236]       0x7f1234002000 10e002→12abc2     fork of 1240
            ── Finding 1 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
              ✖ lost (proven): the old page was unpinned dirty after the process had lost it: what was written to it never reached the process

              ● pinned ──────── 120ms ───────── ○ write-protected ──── 120ms ──── ◆ copied ──────── 120ms ───────── ■ unpinned dirty
                +0.240s                           +0.360s                           +0.480s                           +0.600s
                provoke[1234]                     provoke[1234]                     provoke[1234/1236]                provoke[1234]

              page    PFN 0x10e002 → 0x12abc2; the old one (anonymous page) had 1025 references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234002000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB)
              pin     4 pages from 0x7f1234000000 on, flags WRITE|LONGTERM (0x101)
              cause   fork of process 1240 (alive) at +0.360s by provoke[1234]
              advice  This kernel copies any write-protected page with extra references (page_count rule, 5.9 to 5.18): run 5.19 or later (LTS: 6.1).
                      Until then keep the buffer from being write-protected while it is registered: no mprotect, userfaultfd-wp, soft-dirty (CRIU),
                      swap or NUMA balancing on it.

              pinned by provoke[1234]                                               written by provoke[1234/1236]
                internal_get_user_pages_fast+0x6c0                                    do_wp_page+0x1f0
                io_sqe_buffers_register+0x2d4                                         cowtrace::provoke::write_to_every_page_of_the_buffer
                cowtrace::provoke::register                                           0x555500003000














             enter open  / filter  space pause  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn one_finding_on_the_whole_screen_scrolled_to_its_end() {
    check(
        after(Run::lost(), "enter G"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Finding 1 ───────────────────────────────────────────────────────────────────
              page    PFN 0x10e002 → 0x12abc2; the old one (anonymous page) had 1025
                      references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234002000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB)
              pin     4 pages from 0x7f1234000000 on, flags WRITE|LONGTERM (0x101)
              cause   fork of process 1240 (alive) at +0.360s by provoke[1234]
              advice  This kernel copies any write-protected page with extra references
                      (page_count rule, 5.9 to 5.18): run 5.19 or later (LTS: 6.1). Until
                      then keep the buffer from being write-protected while it is
                      registered: no mprotect, userfaultfd-wp, soft-dirty (CRIU), swap or
                      NUMA balancing on it.

              pinned by provoke[1234]
                internal_get_user_pages_fast+0x6c0
                io_sqe_buffers_register+0x2d4
                cowtrace::provoke::register
              written by provoke[1234/1236]
                do_wp_page+0x1f0
                cowtrace::provoke::write_to_every_page_of_the_buffer
                0x555500003000
             ↑↓ scroll  esc back  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn one_finding_on_a_narrow_terminal() {
    check(
        after(Run::lost(), "enter"),
        (50, 30),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fent
            ── Finding 1 ──────────────────── 11 more lines ──
              ✖ lost (proven): the old page was unpinned
                dirty after the process had lost it: what was
                written to it never reached the process

              ● pinned             +0.240s  provoke[1234]
              ○ write-protected    +0.360s  provoke[1234]
              ◆ copied             +0.480s  provoke[1234/1236]
              ■ unpinned dirty     +0.600s  provoke[1234]

              page    PFN 0x10e002 → 0x12abc2; the old one
                      (anonymous page) had 1025 references,
                      0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234002000 in VMA
                      0x7f1234000000-0x7f1234004000 (rw-p,
                      16 KiB)
              pin     4 pages from 0x7f1234000000 on, flags
                      WRITE|LONGTERM (0x101)
              cause   fork of process 1240 (alive) at
                      +0.360s by provoke[1234]
              advice  This kernel copies any write-protected
                      page with extra references (page_count
                      rule, 5.9 to 5.18): run 5.19 or later
                      (LTS: 6.1). Until then keep the buffer
                      from being write-protected while it is
                      registered: no mprotect,
             ↑↓ scroll  esc back  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn an_open_pin_and_an_unknown_cause() {
    let mut run = Run::busy(9);
    run.press("k");
    check(
        run,
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:01  1 live pin on 4 pages  10 events
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Findings 9 ───────────────────────────────────────────────────── G follows ──
              #      verdict             time     holder        writer        address
              4      ≠ diverged          +0.720s  provoke[1234] provoke[1234] 0x7f1234003000
              5      ≠ diverged          +0.840s  provoke[1234] provoke[1234] 0x7f1234000000
              6      ≠ diverged          +0.960s  provoke[1234] provoke[1234] 0x7f1234001000
              7      ≠ diverged          +1.080s  provoke[1234] provoke[1234] 0x7f1234002000
            ▶ 8      ≠ diverged          +1.200s  provoke[1234] provoke[1234] 0x7f1234003000
              9      ≠ diverged          +1.320s  provoke[1234] provoke[1234] 0x7f1234000000
            ── Finding 8 ─────────────────────────────────────────── enter: 14 more lines ──
              ≠ diverged (certain that the pages differ): the process was given a copy
                while the pin on the old page is live

              ● pinned ───────── ? protected ────── ◆ copied ───────── … still pinned
                +0.240s            not seen           +1.200s
                provoke[1234]                         provoke[1234]

              page    PFN 0x10e003 → 0x12abc3; the old one (anonymous page) had 1025
                      references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234003000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB)
              pin     4 pages from 0x7f1234000000 on, flags WRITE|LONGTERM (0x101)
             enter open  / filter  space pause  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn a_pin_that_was_not_seen() {
    let mut run = Run::new(Feed::Live);
    run.fault(0);
    check(
        run,
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  1 event
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Findings 1 ───────────────────────────────────────────────────── following ──
              #      verdict             time     holder        writer        address
            ▶ 1      ? suspect           +0.240s  not seen      provoke[1234] 0x7f1234000000
            ── Finding 1 ──────────────────────────────────────────── enter: 2 more lines ──
              ? suspect (possible): the kernel's own test calls the old page maybe-pinned,
                but no pin of it was seen: it predates the trace, or 1024 plain references
                look like one

              ? pinned ───────── ? protected ────── ◆ copied ───────── ? unpinned
                not seen           not seen           +0.240s            not seen
                                                      provoke[1234]

              page    PFN 0x10e000 → 0x12abc0; the old one (anonymous page) had 1025
                      references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234000000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB)
              advice  Restart the application under cowtrace, so that its pins are seen
                      from the start.

              written by provoke[1234/1236]
                do_wp_page+0x1f0
             enter open  / filter  space pause  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn nothing_found() {
    let mut run = Run::new(Feed::Live);
    run.pin();
    run.unpin();
    check(
        run,
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  2 events
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Findings 0 ──────────────────────────────────────────────────────────────────

              Nothing found so far.

              Watched in all processes: write-protect fault answered, pages pinned, pages
              unpinned.
              Seen: 1 pin, 1 unpin, 0 write-protect faults on pages that may be pinned.













             enter open  / filter  space pause  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn nothing_found_but_records_were_lost_and_a_probe_is_missing() {
    let mut run = Run::new(Feed::Live);
    run.probe(4, "pages unpinned (range)", "", "unpins of RDMA");
    run.lose(7);
    check(
        run,
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   7 lost: try --ring 64M  lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  0 events
             probes 3 of 4 attached  missing: pages unpinned (range)
            ── Findings 0 ──────────────────────────────────────────────────────────────────

              Nothing found, but not everything was seen: "nothing" cannot be claimed.
              • pin_exit lost 7 of 5000: 7 did not fit the ring, 0 did not fit a map, 0
                were skipped by the kernel
              • "pages unpinned (range)" is not watched: unpins of RDMA

              Watched in all processes: write-protect fault answered, pages pinned, pages
              unpinned.
              Seen: 0 pins, 0 unpins, 0 write-protect faults on pages that may be pinned.










             enter open  / filter  space pause  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn a_filter_that_hides_everything() {
    let mut run = Run::lost();
    run.view.filter = Filter::parse("nccl");
    check(
        run,
        (80, 10),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Findings 0 of 1 with "nccl" ─────────────────────────────────────────────────

              No finding has "nccl" (1 without the filter). esc shows all.



             enter open  esc back  / filter  space pause  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn a_filter_being_typed_while_paused() {
    let mut run = after(Run::busy(2), "space / d i v");
    run.fault(0);
    check(
        run,
        (80, 12),
        &expect![[r#"
             cowtrace 0.1.0  LIVE  PAUSED (1 new)  lab  5.10.0-35-cloud-amd64
             00:00:00  1 live pin on 4 pages  4 events
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Findings 2 ───────────────────────────────────────────────── space goes on ──
              #      verdict             time     holder        writer        address
            ▶ 2      ≠ diverged          +0.480s  provoke[1234] provoke[1234] 0x7f1234001000
            ── Finding 2 ─────────────────────────────────────────── enter: 21 more lines ──
              ≠ diverged (certain that the pages differ): the process was given a copy
                while the pin on the old page is live

              ● pinned ───────── ? protected ────── ◆ copied ───────── … still pinned
             /div   enter applies, esc shows all
        "#]],
    );
}

#[test]
fn the_probes_of_a_replay_with_losses() {
    let mut run = Run::new(Feed::Replayed);
    run.probe(4, "pages unpinned (range)", "", "unpins of RDMA");
    run.lose(7);
    check(
        after(run, "p"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  REPLAY   7 lost: record again with --ring 64M  lab  5.10.0-35-c
             00:00:00  0 live pins on 0 pages  0 events
             probes 3 of 4 attached  missing: pages unpinned (range)
            ── Probes ──────────────────────────────────────────────────────────────────────
              ✔ write-protect fault answered  fexit do_wp_page
              ✔ pages pinned                  kprobe pin_user_pages + kretprobe
                                              pin_user_pages
              ✔ pages unpinned                fentry unpin_user_pages
              - folios unpinned               not needed on this kernel
              ✖ pages unpinned (range)        NOT ATTACHED, unseen: unpins of RDMA

                program                       hits      lost
              ✔ wp_fault_exit                   12         0
              ✖ pin_exit                      5000         7

              Not seen:
              • pin_exit lost 7 of 5000: 7 did not fit the ring, 0 did not fit a map, 0
                were skipped by the kernel
              • "pages unpinned (range)" is not watched: unpins of RDMA




             ↑↓ scroll  esc back  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn the_help() {
    check(
        after(Run::lost(), "?"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             probes 3 of 3 attached (1 fexit, 1 kprobe, 1 fentry)
            ── Help ──────────────────────────────────────────────────────── 6 more lines ──
              k  ↑     previous finding, or one line up
              j  ↓     next finding, or one line down
              PgUp     a screenful up
              PgDn     a screenful down
              g  Home  first finding
              G  End   newest finding, and follow those to come
              enter    the finding on the whole screen, or back
              esc      back; in the list: clear the filter
              /        show only findings with these words in verdict, process, id or
                       address
              space    hold the list as it is, or go on; nothing is missed meanwhile
              p        what is watched, how it is attached, and what was lost
              ?  F1    this help
              q        take all probes off and leave
              Ctrl-C   the same, even while a filter is typed

              ✖ lost         proven
              ≠ diverged     certain that the pages differ
              ∅ range-invalidatedcertain that the range is gone
             ↑↓ scroll  esc back  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn before_the_first_record() {
    let mut run = Run::new(Feed::Live);
    run.trace = crate::trace::Trace::default();
    check(
        run,
        (80, 12),
        &expect![[r#"
             cowtrace ?  LIVE   ?  ?
             00:00:00  0 live pins on 0 pages  0 events
             probes 0 of 0 attached
            ── Findings 0 ──────────────────────────────────────────────────────────────────

              Nothing found so far.

              Nothing is watched yet.
              Seen: 0 pins, 0 unpins, 0 write-protect faults on pages that may be pinned.


             enter open  / filter  space pause  p probes  ? help  q quit
        "#]],
    );
}

#[test]
fn the_last_of_many_findings_is_in_sight() {
    let mut run = Run::busy(70_000);
    assert!(run.screen(80, 24).contains("▶ 70000  ≠ diverged"));
}

#[test]
fn any_size_can_be_drawn() {
    let mut runs = vec![Run::busy(40), Run::new(Feed::Replay)];
    runs.extend(["enter", "p", "?", "/ a b c"].map(|keys| after(Run::lost(), keys)));
    let widths = [1, 2, 3, 5, 8, 13, 21, 40, 75, 76, 77, 80, 109, 110, 129, 130, 131, 200, 300];
    for run in &mut runs {
        for width in widths {
            for height in [1, 2, 3, 4, 5, 6, 7, 8, 12, 24, 100] {
                run.screen(width, height);
            }
        }
    }
}
