//! What is shown of devices that map pinned pages.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::{Expect, expect};

use super::{scenario::Run, view::Feed};

/// The lines about devices on the screen.
fn check(run: &mut Run, expected: &Expect) {
    let screen = run.screen(120, 40);
    let mut lines = screen.lines().skip_while(|line| !line.starts_with("  device"));
    let first = lines.next().into_iter();
    // A text goes on where the labels stand empty.
    let all: Vec<_> =
        first.chain(lines.take_while(|line| line.starts_with("          "))).collect();
    expected.assert_eq(&all.join("\n"));
}

/// A pin of four pages that a device maps, of which the process loses the third.
fn diverged() -> Run {
    let mut run = Run::new(Feed::Live);
    run.pin();
    run.map_for_a_device();
    run.fault(2);
    run
}

#[test]
fn a_finding_says_where_the_device_still_finds_the_old_page_and_then_until_when() {
    let mut run = diverged();
    check(
        &mut run,
        &expect![
            "  device  device 0000:00:03.0 still maps IOVA 0x1002000 to PFN 0x10e002, since +0.480000"
        ],
    );
    run.unmap_for_the_device();
    check(
        &mut run,
        &expect![
            "  device  device 0000:00:03.0 mapped IOVA 0x1002000 to PFN 0x10e002 from +0.480000 to +0.720000"
        ],
    );
}

#[test]
fn a_pin_says_which_device_finds_it_and_where() {
    let mut run = diverged();
    run.press("2");
    check(
        &mut run,
        &expect!["  device  device 0000:00:03.0 finds 4 pages at IOVA 0x1000000-0x1004000"],
    );
}
