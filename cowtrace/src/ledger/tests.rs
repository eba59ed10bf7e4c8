//! Scripts in, balances out.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;
use crate::event::What;

/// Pages of the folios that `unpin-folio` names.
const FOLIO: u32 = 8;

/// Runs a script of `pin PFN xN`, `unpin PFN xN`, `unpin-folio PFN xN` and `unpin-in-folio PFN xN` (references, by a
/// page that their call pinned), PFNs in hex, and compares what the ledger holds.
fn check(script: &str, expected: &Expect) {
    let mut ledger = Ledger::default();
    ledger.ignore(0x777);
    for line in script.lines() {
        step(&mut ledger, line.trim());
    }
    expected.assert_eq(&show(&ledger));
}

fn step(ledger: &mut Ledger, line: &str) {
    let mut words = line.split_whitespace();
    let (Some(verb), Some(pfn), Some(pages)) = (words.next(), words.next(), words.next()) else {
        panic!("no step: {line}");
    };
    let pfn = u64::from_str_radix(pfn, 16).expect("a PFN in hex");
    let pages = pages.trim_start_matches('x').parse().expect("a count");
    let folio = if verb.starts_with("unpin-") { FOLIO } else { 0 };
    let extents = [Extent { pfn, pages, folio, is_named: verb != "unpin-folio" }];
    match verb {
        "pin" => pin(ledger, &extents),
        _ => drop(ledger.unpin(&Unpin {
            pages,
            unlisted: 0,
            make_dirty: false,
            extents: extents.into(),
        })),
    }
}

fn pin(ledger: &mut Ledger, extents: &[Extent]) {
    let pin = pin_of(extents, extents.iter().map(|extent| extent.pages).sum());
    ledger.pin(&event_of(&pin), &pin);
}

/// The first part of a call of so many pages.
fn pin_of(extents: &[Extent], call_pages: u64) -> Pin {
    Pin {
        mm: 2,
        address: 0x10_0000,
        pages: extents.iter().map(|extent| extent.pages).sum(),
        call_pages,
        unlisted: 0,
        gup_flags: 1,
        part: 0,
        extents: extents.into(),
    }
}

fn event_of(pin: &Pin) -> Event {
    Event {
        time: 0,
        task: Task::default(),
        cpu: 0,
        program: None,
        stack: Stack::default(),
        what: What::Pin(pin.clone()),
    }
}

fn show(ledger: &Ledger) -> String {
    let mut text = String::new();
    for (start, segment) in &ledger.segments {
        let ids: Vec<_> = segment.holders.iter().map(|pin| pin.id).collect();
        let _ = writeln!(text, "{start:x} x{} held by {ids:?}", segment.pages);
    }
    let _ = writeln!(
        text,
        "pinned {} unpinned {} live {} unmatched {}",
        ledger.pinned(),
        ledger.unpinned(),
        ledger.live_pages(),
        ledger.unmatched()
    );
    text
}

#[test]
fn a_pin_and_its_unpin_leave_nothing() {
    check(
        "pin 40 x4
         unpin 40 x4",
        &expect![[r"
            pinned 4 unpinned 4 live 0 unmatched 0
        "]],
    );
}

#[test]
fn an_unpin_without_its_pin_is_counted_not_subtracted() {
    check(
        "pin 40 x2
         unpin 40 x1
         unpin 99 x1",
        &expect![[r"
            41 x1 held by [0]
            pinned 2 unpinned 1 live 1 unmatched 1
        "]],
    );
}

#[test]
fn overlapping_pins_are_counted_each() {
    check(
        "pin 40 x4
         pin 42 x4
         unpin 41 x2",
        &expect![[r"
            40 x1 held by [0]
            42 x1 held by [0]
            43 x1 held by [0, 1]
            44 x2 held by [1]
            pinned 8 unpinned 2 live 6 unmatched 0
        "]],
    );
}

#[test]
fn an_unpin_across_two_pins_and_a_gap_takes_from_both_and_counts_the_gap() {
    check(
        "pin 40 x2
         pin 44 x2
         unpin 40 x6",
        &expect![[r"
            pinned 4 unpinned 4 live 0 unmatched 2
        "]],
    );
}

#[test]
fn a_page_pinned_twice_needs_two_unpins() {
    check(
        "pin 40 x1
         pin 40 x1
         unpin 40 x1",
        &expect![[r"
            40 x1 held by [0]
            pinned 2 unpinned 1 live 1 unmatched 0
        "]],
    );
}

#[test]
fn the_zero_page_is_neither_pinned_nor_unpinned() {
    check(
        "pin 775 x4
         unpin 777 x1",
        &expect![[r"
            775 x2 held by [0]
            778 x1 held by [0]
            pinned 3 unpinned 0 live 3 unmatched 0
        "]],
    );
}

#[test]
fn a_folio_is_held_whole_until_all_its_references_are_dropped() {
    // io_uring pins 8 pages of a folio, drops 7 of the references, and goes on to use all 8.
    check(
        "pin 200 x8
         unpin-folio 200 x7",
        &expect![[r"
            200 x8 held by [0]
            pinned 8 unpinned 7 live 1 unmatched 0
        "]],
    );
    check(
        "pin 200 x8
         unpin-folio 200 x7
         unpin-folio 200 x1",
        &expect![[r"
            pinned 8 unpinned 8 live 0 unmatched 0
        "]],
    );
}

#[test]
fn references_dropped_on_a_folio_leave_the_pages_beside_it_alone() {
    check(
        "pin 206 x4
         unpin-folio 200 x2",
        &expect![[r"
            208 x2 held by [0]
            pinned 4 unpinned 2 live 2 unmatched 0
        "]],
    );
    check(
        "pin 208 x1
         unpin-folio 200 x1",
        &expect![[r"
            208 x1 held by [0]
            pinned 1 unpinned 0 live 1 unmatched 1
        "]],
    );
}

#[test]
fn of_two_pins_on_a_folio_the_younger_is_dropped_first() {
    check(
        "pin 200 x8
         pin 200 x2
         unpin-folio 200 x3",
        &expect![[r"
            200 x2 held by [0]
            202 x6 held by [0]
            pinned 10 unpinned 3 live 7 unmatched 0
        "]],
    );
}

#[test]
fn of_two_pins_on_a_folio_the_one_on_the_named_page_is_dropped() {
    // Two buffers in one huge page: the older one is unregistered.
    check(
        "pin 200 x4
         pin 204 x4
         unpin-in-folio 201 x3
         unpin-in-folio 200 x1",
        &expect![[r"
            204 x4 held by [1]
            pinned 8 unpinned 4 live 4 unmatched 0
        "]],
    );
}

#[test]
fn what_is_dropped_in_a_folio_and_page_by_page_ends_a_call_all_the_same() {
    check(
        "pin 200 x8
         unpin-folio 200 x4
         unpin 200 x4",
        &expect![[r"
            pinned 8 unpinned 8 live 0 unmatched 0
        "]],
    );
}

#[test]
fn a_thread_is_remembered_for_as_long_as_its_call_is_told() {
    let mut ledger = Ledger::default();
    let part = |part, pages| Pin {
        mm: 2,
        address: 0x10_0000 + u64::from(part) * 256 * 4096,
        pages,
        call_pages: 8,
        unlisted: 0,
        gup_flags: 1,
        part,
        extents: [Extent::new(0x40 + 4 * u64::from(part), pages)].into(),
    };
    ledger.pin(&event_of(&part(0, 4)), &part(0, 4));
    ledger.pin(&event_of(&part(1, 3)), &part(1, 3));
    assert_eq!(ledger.long_calls.len(), 1);
    let rest = part(2, 1);
    ledger.pin_rest(&event_of(&rest), &rest);
    assert!(ledger.long_calls.is_empty());
    assert_eq!((ledger.live_pins(), ledger.live_pages()), (1, 8), "one call");
}

#[test]
fn once_unpins_were_lost_what_was_pinned_for_one_io_or_by_who_is_gone_is_given_up() {
    let mut ledger = Ledger::default();
    pin(&mut ledger, &[Extent::new(0x40, 4)]);
    assert!(ledger.give_up(1, |_| true).is_empty(), "it is for long, and its process lives");
    assert!(ledger.give_up(0, |_| false).is_empty(), "it is younger");
    assert_eq!(ledger.give_up(1, |_| false), [0]);
    pin(&mut ledger, &[Extent::new(0x40, 4)]);
    ledger.mm_exit(2);
    assert_eq!(ledger.give_up(1, |_| true), [1]);
    assert_eq!((ledger.live_pins(), ledger.live_pages(), ledger.given_up()), (0, 0, 8));
    assert!(ledger.segments.is_empty() && ledger.gone.is_empty());
}

#[test]
fn what_is_pinned_of_a_file_lives_on_when_one_that_maps_it_is_gone() {
    let file = 0x8000_0000_0000_0007;
    assert!(is_file(file));
    let mut ledger = Ledger::default();
    let of_file = Pin { mm: file, address: 0, ..pin_of(&[Extent::new(0x40, 4)], 4) };
    ledger.pin(&event_of(&of_file), &of_file);
    ledger.mapped(&FileRange { file, offset: 0, mm: 9, start: 0x7000, end: 0xb000 });
    assert_eq!(ledger.mm_exit(9).len(), 1);
    assert!(ledger.gone.is_empty());
    assert!(ledger.give_up(1, |_| false).is_empty());
}

#[test]
fn a_page_is_found_by_where_it_was_pinned() {
    let mut ledger = Ledger::default();
    let extent = |pfn, pages| Extent::new(pfn, pages);
    pin(&mut ledger, &[extent(0x40, 2), extent(0x90, 1), extent(0x40, 1)]);
    // The page is mapped twice in the range, and held twice.
    assert_eq!(ledger.holders(0x40).len(), 2);
    let place = &ledger.places(2, 0x10_0000, 0x10_4000)[0];
    let pfns: Vec<_> = place.pfns().collect();
    assert_eq!(pfns, [(0x10_0000, 0x40), (0x10_1000, 0x41), (0x10_2000, 0x90), (0x10_3000, 0x40)]);
}

#[test]
fn a_pin_whose_address_space_is_gone_is_nobody_elses_at_that_address() {
    let mut ledger = Ledger::default();
    pin(&mut ledger, &[Extent::new(0x40, 1)]);
    assert_eq!(ledger.mm_exit(2).len(), 1);
    assert!(ledger.places(2, 0, u64::MAX).is_empty());
    assert_eq!(ledger.live_pages(), 1, "the pin lives on");
}

#[test]
fn a_long_call_is_one_call_to_whoever_asks_its_parts() {
    let mut ledger = Ledger::default();
    for part in [0, 1] {
        let pfn = 0x1000 * u64::from(part + 1);
        let pin = Pin {
            mm: 1,
            address: 0x10_0000 + u64::from(part) * 256 * 4096,
            pages: 256,
            call_pages: 512,
            unlisted: 0,
            gup_flags: 1,
            part,
            extents: [Extent::new(pfn, 256)].into(),
        };
        let kernel = if part == 0 { vec![0xabc].into() } else { Rc::default() };
        let event = Event {
            time: 0,
            task: Task::default(),
            cpu: 0,
            program: None,
            stack: Stack::new(&kernel, &[]),
            what: What::Pin(pin.clone()),
        };
        ledger.pin(&event, &pin);
    }
    let second = &ledger.holders(0x2001)[0];
    assert_eq!((second.address, second.pages), (0x10_0000, 512));
    assert_eq!(*second.stack.kernel(), [0xabc]);
    let place = &ledger.places(1, 0x10_0000 + 257 * 4096, 0x10_0000 + 258 * 4096)[0];
    assert_eq!(place.pfn(), Some(0x2001));
}

#[test]
fn random_pins_and_unpins_keep_the_books() {
    // Against the simplest ledger there is: a count for each page.
    use std::collections::BTreeMap;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut ledger = Ledger::default();
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for _ in 0..2000 {
        let (pfn, pages) = (random(64), 1 + random(8));
        let extent = Extent::new(pfn, pages);
        if random(2) == 0 {
            pin(&mut ledger, &[extent]);
            (pfn..pfn + pages).for_each(|page| *counts.entry(page).or_default() += 1);
        } else {
            // Kernels from 6.12 on tell a page's unpin as that of its folio.
            let extents = [Extent { folio: (pages == 1).into(), is_named: false, ..extent }].into();
            let unpin = Unpin { pages, unlisted: 0, make_dirty: false, extents };
            ledger.unpin(&unpin);
            for page in pfn..pfn + pages {
                counts.entry(page).and_modify(|count| *count = count.saturating_sub(1));
            }
        }
        for page in 0..72 {
            let count = counts.get(&page).copied().unwrap_or(0);
            assert_eq!(ledger.holders(page).len() as u64, count, "page {page}");
        }
        assert_eq!(ledger.live_pages(), counts.values().sum::<u64>());
    }
}
