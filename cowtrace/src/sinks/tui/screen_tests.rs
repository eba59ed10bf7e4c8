//! Whole screens, as text: each tab, by size and state.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use cowtrace_common::setting::Stage;
use expect_test::{Expect, expect};

use super::{
    scenario::Run,
    view::{Feed, Play},
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
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 1 finding in 1 group, by verdict ────────────────────────────────────────────
              times verdict            last      holder        cause         pinned through
            ▶ 1     ✖ lost             +0.480s   provoke       fork          io_sqe_buffers…
            ── Finding 1 ────────────────────────────────────────────────── 11 more lines ──
              ✖ lost (proven): the old page was unpinned dirty after the process had lost
                it: what was written to it never reached the process

              ● pinned ─ 120ms ─ ○ protected ────── ◆ copied ─ 120ms ─ ■ unpinned dirty
                +0.240s            +0.360s            +0.480s            +0.600s
                provoke[1234]      provoke[1234]      provoke[1234]      provoke[1234]

              page    PFN 0x10e002 → 0x12abc2; the old one (anonymous page) had 1025
                      references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234002000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB),
                      /dev/shm/buffer-of-provoke (deleted)
              pin     4 pages from 0x7f1234000000 on, flags WRITE|LONGTERM (0x101)
              cause   fork of process 1240 (alive) at +0.360s by provoke[1234]
              advice  This kernel copies any write-protected page with extra references
                      (page_count rule, 5.9 to 5.18): run 5.19 or later (LTS: 6.1). Until
                      then keep the buffer from being write-protected while it is
             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
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
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 1 finding in 1 group, by verdict ────────────────────────────────────────────────────────────────────────────────────────────────────────
              times   verdict             last       first      when             pages   holder           cause              pinned through
            ▶ 1       ✖ lost              +0.480s    +0.480s                █    1       provoke          fork               io_sqe_buffers_register
            ── Finding 1 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
              ✖ lost (proven): the old page was unpinned dirty after the process had lost it: what was written to it never reached the process

              ● pinned ──────── 120ms ───────── ○ write-protected ──── 120ms ──── ◆ copied ──────── 120ms ───────── ■ unpinned dirty
                +0.240s                           +0.360s                           +0.480s                           +0.600s
                provoke[1234]                     provoke[1234]                     provoke[1234/1236]                provoke[1234]

              page    PFN 0x10e002 → 0x12abc2; the old one (anonymous page) had 1025 references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234002000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB), /dev/shm/buffer-of-provoke (deleted)
              pin     4 pages from 0x7f1234000000 on, flags WRITE|LONGTERM (0x101)
              cause   fork of process 1240 (alive) at +0.360s by provoke[1234]
              advice  This kernel copies any write-protected page with extra references (page_count rule, 5.9 to 5.18): run 5.19 or later (LTS: 6.1).
                      Until then keep the buffer from being write-protected while it is registered: no mprotect, userfaultfd-wp, soft-dirty (CRIU),
                      swap or NUMA balancing on it.

              pinned by provoke[1234]                                               written by provoke[1234/1236]
                internal_get_user_pages_fast+0x6c0                                    do_wp_page+0x1f0
                io_sqe_buffers_register+0x2d4                                         cowtrace::provoke::write_to_every_page_of_the_buffer
                cowtrace::provoke::register                                           0x555500003000














             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn on_a_very_wide_terminal_the_finding_stands_beside_the_list() {
    check(
        Run::busy(9),
        (210, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:01  1 live pin on 4 pages  10 events
             1 Findings 9  2 Pins 1  3 Events  4 Notifiers  5 Probes
            ── 9 findings in 1 group, by verdict ────────────────────────────────────────────────────────── ── Finding 1 ───────────────────────────────────────────────────────────────────────────────────── 1 more lines ──
              times verdict            last      holder        cause         pinned through                   9 findings on 9 pages, from +0.360s to +1.320s; the first of them, #1:
            ▶ 9     ≠ diverged         +1.320s   provoke       not seen      io_sqe_buffers_register          ≠ diverged (certain that the pages differ): the process was given a copy while the pin on the old page is live

                                                                                                              ● pinned ────────────────── ? write-protected ───────── ◆ copied ────────────────── … still pinned
                                                                                                                +0.240s                     not seen                    +0.360s
                                                                                                                provoke[1234]                                           provoke[1234/1236]

                                                                                                              page    PFN 0x10e000 → 0x12abc0; the old one (anonymous page) had 1025 references, 0 mappings, 1 pin
                                                                                                                      (maybe-pinned)
                                                                                                              at      0x7f1234000000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB), /dev/shm/buffer-of-provoke
                                                                                                                      (deleted)
                                                                                                              pin     4 pages from 0x7f1234000000 on, flags WRITE|LONGTERM (0x101)
                                                                                                              advice  This kernel copies any write-protected page with extra references (page_count rule, 5.9 to 5.18): run
                                                                                                                      5.19 or later (LTS: 6.1). Until then keep the buffer from being write-protected while it is
                                                                                                                      registered: no mprotect, userfaultfd-wp, soft-dirty (CRIU), swap or NUMA balancing on it.

                                                                                                              pinned by provoke[1234]                                  written by provoke[1234/1236]
                                                                                                                internal_get_user_pages_fast+0x6c0                       do_wp_page+0x1f0
                                                                                                                io_sqe_buffers_register+0x2d4                            cowtrace::provoke::write_to_every_page_of_the_buffer
             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
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
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── Finding 1 ───────────────────────────────────────────────────────────────────
                      references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234002000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB),
                      /dev/shm/buffer-of-provoke (deleted)
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
             ↑↓ scroll  esc back  space pause  y copy  ? help  q quit
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
             1 Findings 1  2  3  4  5
            ── Finding 1 ────────────── 12 more lines below ──
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
                      16 KiB), /dev/shm/buffer-of-provoke
                      (deleted)
              pin     4 pages from 0x7f1234000000 on, flags
                      WRITE|LONGTERM (0x101)
              cause   fork of process 1240 (alive) at
                      +0.360s by provoke[1234]
              advice  This kernel copies any write-protected
                      page with extra references (page_count
                      rule, 5.9 to 5.18): run 5.19 or later
                      (LTS: 6.1). Until then keep the buffer
                      from being write-protected while it is
             ↑↓ scroll  esc back  space pause  y copy  ? help
        "#]],
    );
}

#[test]
fn the_members_of_a_group_and_an_unknown_cause() {
    check(
        after(Run::busy(9), "enter k"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:01  1 live pin on 4 pages  10 events
             1 Findings 9  2 Pins 1  3 Events  4 Notifiers  5 Probes
            ── 9 findings that are alike ───────────────────────────────────────────────────
              #      verdict            time      holder        writer        address
              4      ≠ diverged         +0.720s   provoke[1234] provoke[1234] 0x7f1234003000
              5      ≠ diverged         +0.840s   provoke[1234] provoke[1234] 0x7f1234000000
              6      ≠ diverged         +0.960s   provoke[1234] provoke[1234] 0x7f1234001000
              7      ≠ diverged         +1.080s   provoke[1234] provoke[1234] 0x7f1234002000
            ▶ 8      ≠ diverged         +1.200s   provoke[1234] provoke[1234] 0x7f1234003000
              9      ≠ diverged         +1.320s   provoke[1234] provoke[1234] 0x7f1234000000
            ── Finding 8 ────────────────────────────────────────────────── 15 more lines ──
              ≠ diverged (certain that the pages differ): the process was given a copy
                while the pin on the old page is live

              ● pinned ───────── ? protected ────── ◆ copied ───────── … still pinned
                +0.240s            not seen           +1.200s
                provoke[1234]                         provoke[1234]

              page    PFN 0x10e003 → 0x12abc3; the old one (anonymous page) had 1025
                      references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234003000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB),
                      /dev/shm/buffer-of-provoke (deleted)
             enter open  esc back  f filter  / search  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn a_pin_that_was_not_seen() {
    let mut run = Run::new(Feed::Live);
    run.fault(2);
    check(
        run,
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  1 event
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 1 finding in 1 group, by verdict ────────────────────────────────────────────
              times verdict            last      holder        cause         pinned through
            ▶ 1     ? suspect          +0.240s   provoke       not seen      not seen
            ── Finding 1 ─────────────────────────────────────────────────── 2 more lines ──
              ? suspect (possible): the kernel's own test calls the old page maybe-pinned,
                but no pin of it was seen: it predates the trace, or 1024 plain references
                look like one

              ? pinned ───────── ? protected ────── ◆ copied ───────── ? unpinned
                not seen           not seen           +0.240s            not seen
                                                      provoke[1234]

              page    PFN 0x10e002 → 0x12abc2; the old one (anonymous page) had 1025
                      references, 0 mappings, 1 pin (maybe-pinned)
              at      0x7f1234002000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB)
              advice  Restart the application under cowtrace, so that its pins are seen
                      from the start.

              written by provoke[1234/1236]
                do_wp_page+0x1f0
             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn nothing_found() {
    check(
        Run::new(Feed::Live),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  0 events
             1 Findings  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 0 findings in 0 groups, by verdict ──────────────────────────────────────────

              Nothing found so far.

              Watched in all processes: write-protect fault answered, pages pinned, pages
              unpinned.
              Seen: 0 pins, 0 unpins, 0 write-protect faults that might matter to a pin.













             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn the_title_says_what_is_shed_to_keep_the_budget() {
    let first = |stages: &[Stage]| {
        let mut run = Run::new(Feed::Live);
        run.shed(stages);
        run.screen(80, 24).lines().next().unwrap_or_default().trim_end().to_owned()
    };
    let title = " cowtrace 0.1.0  LIVE   shed: ";
    assert!(first(&[Stage::Events]).starts_with(&format!("{title}events (2 % of 1 %)")));
    let all = first(&Stage::ALL);
    assert!(all.starts_with(&format!("{title}all up to causes (2 % of 1 %)")), "{all}");
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
             cowtrace 0.1.0  LIVE   7 lost: try --buffer 64M  lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  0 events  not watched: pages unpinned (range)
             1 Findings  2 Pins  3 Events  4 Notifiers  5 Probes ✖
            ── 0 findings in 0 groups, by verdict ──────────────────────────────────────────

              Nothing found, but not everything was seen: "nothing" cannot be claimed.
              • pin_exit lost 7 of 5000: 7 did not fit the ring, 0 did not fit a map, 0
                were skipped by the kernel
              • "pages unpinned (range)" is not watched: unpins of RDMA

              Watched in all processes: write-protect fault answered, pages pinned, pages
              unpinned.
              Seen: 0 pins, 0 unpins, 0 write-protect faults that might matter to a pin.










             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn a_filter_that_hides_everything() {
    let mut run = Run::lost();
    run.press("f");
    run.type_line("comm=nccl*");
    check(
        run,
        (80, 10),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 0 findings in 0 groups, by verdict, with comm=nccl* ─────────────────────────

              No finding meets "comm=nccl*" (1 without it). esc shows all.



             enter open  esc back  f filter  / search  s sort  space pause  y copy  ? help
        "#]],
    );
}

#[test]
fn a_filter_that_cannot_be_read_while_paused() {
    let mut run = after(Run::busy(2), "space f");
    run.type_line("verdict>=bad");
    run.fault(0);
    check(
        run,
        (100, 12),
        &expect![[r#"
             cowtrace 0.1.0  LIVE  PAUSED (1 new)  lab  5.10.0-35-cloud-amd64
             00:00:00  1 live pin on 4 pages  3 events
             1 Findings 2  2 Pins 1  3 Events  4 Notifiers  5 Probes
            ── 2 findings in 1 group, by verdict ───────────────────────────────────────────────────── paused ──
              times verdict            last      holder        cause         pinned through
            ▶ 2     ≠ diverged         +0.480s   provoke       not seen      io_sqe_buffers_register
            ── Finding 1 ────────────────────────────────────────────────────────────────────── 22 more lines ──
              2 findings on 2 pages, from +0.360s to +0.480s; the first of them, #1:
              ≠ diverged (certain that the pages differ): the process was given a copy while the pin on the
                old page is live

             filter: verdict>=bad   no verdict "bad": there are inconclusive, suspect-get, suspect, armed, snaps
        "#]],
    );
}

#[test]
fn who_holds_pins() {
    let mut run = Run::busy(3);
    run.pin_by(77, 2_000_000);
    run.pin_by(78, 40);
    check(
        after(run, "2"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  3 live pins on 2000044 pages  6 events
             1 Findings 3  2 Pins 3  3 Events  4 Notifiers  5 Probes
            ── 3 pins of 3 holders, by pages ───────────────────────────────────────────────
              size     pins oldest   process        mapped      owner
            ▶ 7812 MiB 1    120ms    provoke[77]    not known   io_sqe_buffers_register
              160 KiB  1    0us      provoke[78]    not known   io_sqe_buffers_register
              16 KiB   1    600ms    provoke[1234]  /de…provoke io_sqe_buffers_register
            ── Holder ──────────────────────────────────────────────────────────────────────
              7812 MiB of 2000000 pages pinned by provoke[77] in 1 call, the first 120ms ago

              by      provoke[77]
              owner   io_sqe_buffers_register
              cgroup  not known
              at      +0.720s, 120ms ago
              mapped  not known
              range   2000000 pages from 0x7f1234000000 on
              flags   WRITE|LONGTERM (0x101)
              MMUs    not known: notifiers from before the trace were not listed

              pinned from
                internal_get_user_pages_fast+0x6c0
                io_sqe_buffers_register+0x2d4
             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn who_holds_pins_on_a_large_terminal() {
    let mut run = Run::busy(3);
    run.pin_by(77, 2_000_000);
    run.pin_by(78, 40);
    check(
        after(run, "2 s"),
        (140, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  3 live pins on 2000044 pages  6 events
             1 Findings 3  2 Pins 3  3 Events  4 Notifiers  5 Probes
            ── 3 pins of 3 holders, by age ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
              pages     size      pins   oldest    process              flags          mapped                       owner
            ▶ 4         16 KiB    1      600ms     provoke[1234]        WRITE|LONGTERM /dev/shm/buffer-of-provoke   io_sqe_buffers_register
              2000000   7812 MiB  1      120ms     provoke[77]          WRITE|LONGTERM not known                    io_sqe_buffers_register
              40        160 KiB   1      0us       provoke[78]          WRITE|LONGTERM not known                    io_sqe_buffers_register
            ── Holder ────────────────────────────────────────────────────────────────────────────────────────────────────────────────── 1 more lines ──
              16 KiB of 4 pages pinned by provoke[1234] in 1 call, the first 600ms ago

              by      provoke[1234]
              owner   io_sqe_buffers_register
              cgroup  not known
              at      +0.240s, 600ms ago
              mapped  /dev/shm/buffer-of-provoke (deleted)
              range   4 pages from 0x7f1234000000 on
              flags   WRITE|LONGTERM (0x101)
              MMUs    not known: notifiers from before the trace were not listed

              pinned from
                internal_get_user_pages_fast+0x6c0
                io_sqe_buffers_register+0x2d4
             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn the_pins_of_a_holder() {
    let mut run = Run::new(Feed::Live);
    run.pin_by(77, 2_000_000);
    run.pin_by(77, 512);
    run.pin_by(77, 512);
    check(
        after(run, "2 enter j"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  3 live pins on 2001024 pages  3 events
             1 Findings  2 Pins 3  3 Events  4 Notifiers  5 Probes
            ── 3 pins that are alike ───────────────────────────────────────────────────────
              pages     size     age       from address           owner
              2000000   7812 MiB 240ms     0x7f1234000000         io_sqe_buffers_register
            ▶ 512       2048 KiB 120ms     0x7f1234000000         io_sqe_buffers_register
              512       2048 KiB 0us       0x7f1234000000         io_sqe_buffers_register
            ── Pin 1 ───────────────────────────────────────────────────────────────────────
              512 pages of 512 still pinned

              by      provoke[77]
              owner   io_sqe_buffers_register
              cgroup  not known
              at      +0.360s, 120ms ago
              mapped  not known
              range   512 pages from 0x7f1234000000 on
              flags   WRITE|LONGTERM (0x101)
              MMUs    not known: notifiers from before the trace were not listed

              pinned from
                internal_get_user_pages_fast+0x6c0
                io_sqe_buffers_register+0x2d4
             enter open  esc back  f filter  / search  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn no_pins() {
    check(
        after(Run::new(Feed::Live), "2"),
        (80, 10),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  0 events
             1 Findings  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 0 pins of 0 holders, by pages ───────────────────────────────────────────────
              Nothing is pinned that was pinned since the trace began. Short-term pins, as
              O_DIRECT has them, are counted only (0 pages now). `cowtrace audit` tells
              what registered buffers there were before.


             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn the_newest_events() {
    check(
        after(Run::lost(), "3"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 4 of 4 events ────────────────────────────────────────────────── following ──
              time        by                 event
              +0.240000   provoke[1234]      pin        0x7f1234000000 4 pages in 1 extent,…
              +0.360000   provoke[1234]      fork       child 1240
              +0.480000   provoke[1234/1236] fault      0x7f1234002000 copy: PFN 0x10e002 -…
            ▶ +0.600000   provoke[1234]      unpin      PFN 0x10e000 4 pages, dirty
            ── Event 4 ─────────────────────────────────────────────────────────────────────
              unpin PFN 0x10e000 4 pages, dirty

              at      +0.600000
              by      provoke[1234] on CPU 0
              cgroup  1
              seen by unpin_pages







             enter open  f filter  / search  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn one_event() {
    check(
        after(Run::lost(), "3 k enter"),
        (80, 16),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── Event 3 ─────────────────────────────────────────────────────────────────────
              fault 0x7f1234002000 copy: PFN 0x10e002 -> 0x12abc2, 1 pins, 1025 references

              at      +0.480000
              by      provoke[1234/1236] on CPU 0
              cgroup  1
              seen by wp_fault_exit

                do_wp_page+0x1f0
                cowtrace::provoke::write_to_every_page_of_the_buffer
                0x555500003000

             ↑↓ scroll  esc back  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn a_pin_has_an_owner() {
    let mut run = Run::new(Feed::Live);
    run.pin();
    run.own("ring fd 3, buffer 0");
    check(
        after(run, "2"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  1 live pin on 4 pages  1 event
             1 Findings  2 Pins 1  3 Events  4 Notifiers  5 Probes
            ── 1 pin of 1 holder, by pages ─────────────────────────────────────────────────
              size     pins oldest   process        mapped      owner
            ▶ 16 KiB   1    0us      provoke[1234]  /de…provoke io_uring ring fd 3, buffer 0
            ── Holder ──────────────────────────────────────────────────────────────────────
              16 KiB of 4 pages pinned by provoke[1234] in 1 call, the first 0us ago

              by      provoke[1234]
              owner   io_uring ring fd 3, buffer 0
              cgroup  not known
              at      +0.240s, 0us ago
              mapped  /dev/shm/buffer-of-provoke (deleted)
              range   4 pages from 0x7f1234000000 on
              flags   WRITE|LONGTERM (0x101)
              MMUs    not known: notifiers from before the trace were not listed

              pinned from
                internal_get_user_pages_fast+0x6c0
                io_sqe_buffers_register+0x2d4
                cowtrace::provoke::register

             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn a_finding_names_the_owner_of_its_pin() {
    let mut run = Run::new(Feed::Live);
    run.pin();
    run.own("ring fd 3, buffer 0");
    run.fault(2);
    check(
        after(run, "enter"),
        (100, 24),
        &expect![[r#"
         cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
         00:00:00  1 live pin on 4 pages  2 events
         1 Findings 1  2 Pins 1  3 Events  4 Notifiers  5 Probes
        ── Finding 1 ───────────────────────────────────────────────────────────────── 7 more lines below ──
          ≠ diverged (certain that the pages differ): the process was given a copy while the pin on the
            old page is live

          ● pinned ────────────── ? write-protected ───── ◆ copied ────────────── … still pinned
            +0.240s                 not seen                +0.360s
            provoke[1234]                                   provoke[1234/1236]

          page    PFN 0x10e002 → 0x12abc2; the old one (anonymous page) had 1025 references, 0 mappings, 1
                  pin (maybe-pinned)
          at      0x7f1234002000 in VMA 0x7f1234000000-0x7f1234004000 (rw-p, 16 KiB),
                  /dev/shm/buffer-of-provoke (deleted)
          pin     4 pages from 0x7f1234000000 on, flags WRITE|LONGTERM (0x101)
          owner   io_uring ring fd 3, buffer 0
          advice  This kernel copies any write-protected page with extra references (page_count rule, 5.9
                  to 5.18): run 5.19 or later (LTS: 6.1). Until then keep the buffer from being
                  write-protected while it is registered: no mprotect, userfaultfd-wp, soft-dirty (CRIU),
                  swap or NUMA balancing on it.

          pinned by provoke[1234]
         ↑↓ scroll  esc back  space pause  y copy  ? help  q quit
    "#]],
    );
}

#[test]
fn what_secondary_mmus_were_told() {
    let mut run = Run::lost();
    run.pin();
    for took in [900, 1_500, 1_700, 40_000, 2_000_000] {
        run.invalidate(took);
    }
    check(
        after(run, "4"),
        (80, 24),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:01  1 live pin on 4 pages  10 events
             1 Findings 1  2 Pins 1  3 Events  4 Notifiers 1  5 Probes
            ── Notifiers ───────────────────────────────────────────────────────────────────
              No secondary MMU was registered since the trace began; those from before show
              where a range is invalidated.

              address spaces with pins: pinned pages, changes there and elsewhere
              process               pinned  changed  elsewhere  coherent by notifier
              provoke[1234]              4        5          0  not known

              event           by                 times   half us    99% us   most us
              clear           the kernel             5         3      2000      2000

              clear by the kernel
                under          2 us  ███████████████                1
                under          3 us  ██████████████████████████████ 2
                under         66 us  ███████████████                1
                under       2098 us  ███████████████                1




             ↑↓ scroll  space pause  ? help  q quit
        "#]],
    );
}

#[test]
fn what_is_coherent_by_notifier_and_what_relies_on_the_pin() {
    let mut run = Run::new(Feed::Live);
    run.kvm();
    run.pin();
    run.invalidate(900);
    run.pin_by(77, 512);
    check(
        after(run, "4"),
        (80, 14),
        &expect![[r#"
         cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
         00:00:00  2 live pins on 516 pages  4 events
         1 Findings  2 Pins 2  3 Events  4 Notifiers 1  5 Probes
        ── Notifiers ───────────────────────────────────────────── 4 more lines below ──
          secondary MMUs that were seen to be registered
            KVM in process 1234, 1 time

          address spaces with pins: pinned pages, changes there and elsewhere
          process               pinned  changed  elsewhere  coherent by notifier
          provoke[77]              512        0          0  not known
          provoke[1234]              4        1          0  KVM (all addresses)

          event           by                 times   half us    99% us   most us
         ↑↓ scroll  space pause  ? help  q quit
    "#]],
    );
}

#[test]
fn who_keeps_a_pin_coherent() {
    let mut run = Run::new(Feed::Live);
    run.kvm();
    run.pin();
    run.pin();
    check(
        after(run, "2 enter"),
        (132, 20),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  2 live pins on 8 pages  3 events
             1 Findings  2 Pins 2  3 Events  4 Notifiers  5 Probes
            ── 2 pins that are alike ───────────────────────────────────────────────────────────────────────────────────────────────────────────
              pages     size      age        from address    mapped       by               coherent by        owner
            ▶ 4         16 KiB    120ms      0x7f1234000000  /de…-provoke provoke[1234]    pin; KVM by notif… io_sqe_buffers_register
              4         16 KiB    0us        0x7f1234000000  /de…-provoke provoke[1234]    pin; KVM by notif… io_sqe_buffers_register
            ── Pin 0 ─────────────────────────────────────────────────────────────────────────────────────────────────────────── 4 more lines ──
              4 pages of 4 still pinned

              by      provoke[1234]
              owner   io_sqe_buffers_register
              cgroup  not known
              at      +0.360s, 120ms ago
              mapped  /dev/shm/buffer-of-provoke (deleted)
              range   4 pages from 0x7f1234000000 on
              flags   WRITE|LONGTERM (0x101)
              MMUs    KVM is coherent by notifier here and follows changes; what pinned the page relies on the pin and is not told

             enter open  esc back  f filter  / search  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn no_secondary_mmus() {
    check(
        after(Run::new(Feed::Live), "4"),
        (80, 12),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  0 events
             1 Findings  2 Pins  3 Events  4 Notifiers  5 Probes
            ── Notifiers ───────────────────────────────────────────────────────────────────
              No secondary MMU was registered since the trace began; those from before show
              where a range is invalidated.

              No range was invalidated in a secondary MMU while pages of it were pinned.
              Notifiers are told only where one is registered: a device that relies on a
              pin alone is told nothing.

             ↑↓ scroll  space pause  ? help  q quit
        "#]],
    );
}

#[test]
fn the_probes_of_a_replay_with_losses() {
    let mut run = Run::new(Feed::Replayed);
    run.probe(4, "pages unpinned (range)", "", "unpins of RDMA");
    run.lose(7);
    run.cost(1000, 350_000);
    check(
        after(run, "5"),
        (80, 30),
        &expect![[r#"
             cowtrace 0.1.0  REPLAY   7 lost: record again with --buffer 64M  lab  5.10.0-35
             00:00:00  0 live pins on 0 pages  0 events  not watched: pages unpinned (range)
             1 Findings  2 Pins  3 Events  4 Notifiers  5 Probes ✖
            ── Probes ──────────────────────────────────────────────────────────────────────
              ✔ write-protect fault answered  fexit do_wp_page
              ✔ pages pinned                  kprobe pin_user_pages + kretprobe
                                              pin_user_pages
              ✔ pages unpinned                fentry unpin_user_pages
              - folios unpinned               not needed on this kernel
              ✖ pages unpinned (range)        NOT ATTACHED, unseen: unpins of RDMA

                program                       hits      lost   ns each
              ✔ wp_fault_exit                   12         0         -
              ✖ pin_exit                      5000         7       350

              Not seen:
              • pin_exit lost 7 of 5000: 7 did not fit the ring, 0 did not fit a map, 0
                were skipped by the kernel
              • "pages unpinned (range)" is not watched: unpins of RDMA










             ↑↓ scroll  space pause  ? help  q quit
        "#]],
    );
}

#[test]
fn the_help() {
    check(
        after(Run::lost(), "?"),
        (80, 64),
        &expect![[r#"
             cowtrace 0.1.0  LIVE   lab  5.10.0-35-cloud-amd64
             00:00:00  0 live pins on 0 pages  4 events
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── Help ────────────────────────────────────────────────────────────────────────
              ↑ k         previous row, or one line up
              ↓ j         next row, or one line down
              PgUp        a screenful up
              PgDn        a screenful down
              Home g      first row
              End G       last row; where rows stand by time, follow those to come
              enter       into the selected row: the members of a group, then one on the
                          whole screen
              esc         back; in a list: clear the filter
              tab         next tab
              shift-tab   tab before
              1           what was found
              2           what is pinned now
              3           the newest events
              4           what secondary MMUs were told
              5 p         what is watched, at what cost, and what was lost
              f           list only what meets a filter: comm=nccl* verdict>=diverged
              /           go to what meets a filter, or has these words
              n           next one that was searched for
              N           the one before
              s           the rows in another order
              space       hold what is shown, or go on; nothing is missed meanwhile. Of a
                          recording: play it, or stand still
              t           go to a time: +12.5s, 3m ago, 14:03:20 (UTC)
              ←           a fiftieth of the recording back
              →           a fiftieth of the recording on
              [           play half as fast
              ]           play twice as fast
              r           begin a recording in this folder, or end it
              w           write the processes of the selected row as a recording of their
                          own
              y           copy the selected row as text to the terminal's clipboard (OSC
                          52)
              ? F1        this help
              q Ctrl-C    take all probes off and leave (Ctrl-C also while typing)

              ✖ lost               proven
              ≠ diverged           certain that the pages differ
              ∅ range-invalidated  certain that the range is gone
              « stale-read         certain that the pages differ
              ⑂ snapshot           certain that the child has other pages
              ! armed              prediction
              ? suspect            possible
              & suspect-get        possible
              ~ inconclusive       cannot be told

              A filter is FIELD=VALUE with = != < <= > >= and * for anything, or words.
                Findings: verdict, comm, pid, tid, cgroup, address, pfn, pages, cause,
                site, owner, vma, flags, stack, id
                Pins: comm, pid, tid, cgroup, address, pages, site, owner, vma, flags,
                stack
                Events: kind, comm, pid, tid, cgroup, address, pfn, pages, flags, stack







             ↑↓ scroll  esc back  space pause  ? help  q quit
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
             1 Findings  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 0 findings in 0 groups, by verdict ──────────────────────────────────────────

              Nothing found so far.

              Nothing is watched yet.
              Seen: 0 pins, 0 unpins, 0 write-protect faults that might matter to a pin.


             enter open  f filter  / search  s sort  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn a_recording_that_is_played() {
    let mut run = Run::lost();
    run.view.feed = Feed::Replayed;
    let now = run.trace.now;
    run.view.play = Some(Play::new(Some((now - 500_000_000, now + 1_500_000_000))));
    check(
        after(run, "3 space ]"),
        (80, 10),
        &expect![[r#"
             cowtrace 0.1.0  REPLAY   lab  5.10.0-35-cloud-amd64
             00:00:00 of 00:00:02 ▕███         ▏ ×2  0 live pins on 0 pages  4 events
             1 Findings 1  2 Pins  3 Events  4 Notifiers  5 Probes
            ── 4 of 4 events ────────────────────────────────────────────────── following ──
              time        by                 event
            ▶ +0.600000   provoke[1234]      unpin      PFN 0x10e000 4 pages, dirty
            ── Event 4 ───────────────────────────────────────────────────── 4 more lines ──
              unpin PFN 0x10e000 4 pages, dirty

             enter open  f filter  / search  space pause  y copy  ? help  q quit
        "#]],
    );
}

#[test]
fn a_recording_under_way_is_seen_in_the_title() {
    let mut run = Run::new(Feed::Live);
    run.view.records = true;
    let title = run.screen(80, 10);
    assert!(title.starts_with(" cowtrace 0.1.0  LIVE  ● REC  lab"), "{title}");
}

#[test]
fn the_newest_of_many_findings_is_in_sight() {
    let mut run = after(Run::busy(70_000), "enter");
    assert!(run.screen(80, 24).contains("▶ 70000  ≠ diverged"));
}

#[test]
fn any_size_can_be_drawn() {
    let mut runs = vec![Run::busy(40), Run::new(Feed::Replay)];
    let keys = ["enter", "2", "2 enter", "3", "3 enter", "4", "5", "?", "f a b c", "space"];
    runs.extend(keys.map(|keys| after(Run::busy(40), keys)));
    let widths = [1, 2, 3, 5, 8, 13, 21, 40, 75, 76, 77, 80, 109, 110, 129, 130, 131, 200, 300];
    for run in &mut runs {
        for width in widths {
            for height in [1, 2, 3, 4, 5, 6, 7, 8, 12, 24, 100] {
                run.screen(width, height);
            }
        }
    }
}
