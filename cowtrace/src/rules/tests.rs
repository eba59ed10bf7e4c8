//! Each row of the verdict ladder as a sentence.

use cowtrace_common::wire::page_bit;

use super::*;
use crate::{
    event::{Event, Extent, Pin, Stack, Task, What},
    facts::key,
    finding::{Finding, How},
};

const MM: u64 = 0xaa;
const PAGE: u64 = 0x7000_0000;
const WRITE: u32 = 0x1;
const LONGTERM: u32 = 0x10000;

/// A kernel of the page_count rule.
fn facts() -> Facts {
    let mut facts = Facts::default();
    facts.set(key::FOLL_WRITE.to_owned(), "1".to_owned());
    facts.set(key::FOLL_LONGTERM.to_owned(), "65536".to_owned());
    facts.set(key::ANON_EXCLUSIVE.to_owned(), "no".to_owned());
    facts
}

fn ledger_with(mm: u64, gup_flags: u32) -> Ledger {
    let pin = Pin {
        mm,
        address: PAGE,
        pages: 1,
        call_pages: 1,
        unlisted: 0,
        gup_flags,
        part: 0,
        extents: [Extent::new(0x40, 1)].into(),
    };
    let event = Event {
        time: 5,
        task: Task::default(),
        cpu: 0,
        program: None,
        stack: Stack::default(),
        what: What::Pin(pin.clone()),
    };
    let mut ledger = Ledger::default();
    ledger.pin(&event, &pin);
    ledger
}

/// A copy of an anonymous page that the kernel's test calls maybe-pinned.
fn copy() -> Fault {
    Fault { mm: MM, address: PAGE, vma: (PAGE, PAGE + 0x1000), ..Fault::copied() }
}

fn judge(fault: &Fault, ledger: &Ledger, lost: u64) -> String {
    judge_referenced(fault, ledger, None, lost)
}

fn judge_referenced(fault: &Fault, ledger: &Ledger, mm: Option<Mm>, lost: u64) -> String {
    let missed = || if lost == 0 { Missed::Nothing } else { Missed::Lost };
    answer(write_protect_fault(fault, ledger, &facts(), mm, missed))
}

fn answer(judgement: Judgement) -> String {
    match judgement {
        Judgement::Unconcerned => "unconcerned".to_owned(),
        Judgement::Benign(why) => format!("benign: {}", why.name()),
        Judgement::Found { verdict, pin, .. } => {
            format!("{verdict}{}", if pin.is_some() { " of a pin" } else { "" })
        }
    }
}

#[test]
fn a_copy_under_a_live_write_pin_has_diverged() {
    assert_eq!(judge(&copy(), &ledger_with(MM, WRITE | LONGTERM), 0), "diverged of a pin");
    assert_eq!(judge(&copy(), &ledger_with(MM, WRITE), 0), "diverged of a pin");
}

#[test]
fn a_copy_under_a_read_only_long_term_pin_is_a_stale_read() {
    assert_eq!(judge(&copy(), &ledger_with(MM, LONGTERM), 0), "stale-read of a pin");
}

#[test]
fn a_copy_under_a_short_read_only_pin_is_by_design() {
    assert_eq!(judge(&copy(), &ledger_with(MM, 0), 0), "benign: short-read");
}

#[test]
fn a_child_that_copies_what_its_parent_pinned_is_benign() {
    assert_eq!(judge(&copy(), &ledger_with(0xbb, WRITE), 0), "benign: other-mm");
}

#[test]
fn a_reuse_of_a_pinned_page_is_how_it_should_be() {
    let fault = Fault { outcome: Outcome::Reuse, new_pfn: 0x40, ..copy() };
    assert_eq!(judge(&fault, &ledger_with(MM, WRITE), 0), "benign: reuse");
}

#[test]
fn an_unshare_that_gup_asked_for_is_benign() {
    let fault = Fault { outcome: Outcome::Unshare, ..copy() };
    assert_eq!(judge(&fault, &Ledger::default(), 0), "benign: unshare");
}

#[test]
fn a_maybe_pinned_page_without_a_record_is_a_suspect() {
    assert_eq!(judge(&copy(), &Ledger::default(), 0), "suspect");
}

#[test]
fn a_maybe_pinned_page_without_a_record_cannot_be_told_when_holders_were_shed() {
    let shed = write_protect_fault(&copy(), &Ledger::default(), &facts(), None, || Missed::Shed);
    assert_eq!(answer(shed), "inconclusive");
}

#[test]
fn a_maybe_pinned_page_without_a_record_cannot_be_told_when_records_were_lost() {
    assert_eq!(judge(&copy(), &Ledger::default(), 1), "inconclusive");
}

#[test]
fn a_pin_that_the_kernels_count_denies_cannot_be_told() {
    let fault =
        Fault { page_bits: page_bit::KNOWN | page_bit::ANON, references: 1, pins: 0, ..copy() };
    assert_eq!(judge(&fault, &ledger_with(MM, WRITE), 0), "inconclusive of a pin");
}

#[test]
fn a_zero_page_under_a_long_term_pin_is_judged_by_the_record_alone() {
    let fault = Fault { page_bits: 0, references: 0, pins: 0, mappings: 0, ..copy() };
    assert_eq!(judge(&fault, &ledger_with(MM, LONGTERM), 0), "stale-read of a pin");
}

#[test]
fn an_anonymous_page_that_was_moved_is_still_the_pinned_one() {
    let fault = Fault { address: PAGE + 0x10_0000, ..copy() };
    assert_eq!(judge(&fault, &ledger_with(MM, WRITE), 0), "diverged of a pin");
}

#[test]
fn a_file_page_broken_at_another_address_than_the_pinned_one_is_not_this_pin() {
    let fault = Fault {
        address: PAGE + 0x10_0000,
        page_bits: page_bit::KNOWN | page_bit::MAYBE_PINNED,
        ..copy()
    };
    assert_eq!(judge(&fault, &ledger_with(MM, WRITE), 0), "benign: other-mm");
}

#[test]
fn an_ordinary_copy_does_not_concern_a_pin() {
    let bits = page_bit::KNOWN | page_bit::ANON | page_bit::ON_LRU;
    let fault = Fault { page_bits: bits, pins: 0, references: 1, mappings: 1, ..copy() };
    assert_eq!(judge(&fault, &Ledger::default(), 0), "unconcerned");
    for outcome in [Outcome::Shared, Outcome::Retry, Outcome::Gone] {
        let fault = Fault { outcome, ..copy() };
        assert_eq!(judge(&fault, &ledger_with(MM, WRITE), 0), "unconcerned");
    }
}

#[test]
fn references_that_nothing_explains_are_a_suspect_apart_from_pins() {
    let bits = page_bit::KNOWN | page_bit::ANON;
    let of = |page_bits, references, mappings| Fault {
        page_bits,
        pins: 0,
        references,
        mappings,
        ..copy()
    };
    let judged = |fault: &Fault| judge_referenced(fault, &Ledger::default(), Some(MM), 0);
    assert_eq!(judged(&of(bits | page_bit::ON_LRU, 2, 1)), "suspect-get");
    // A page on its way to an LRU list is held by a CPU's batch, one in the swap cache by that.
    assert_eq!(judged(&of(bits, 2, 1)), "unconcerned");
    assert_eq!(judged(&of(bits | page_bit::ON_LRU | page_bit::SWAPCACHE, 2, 1)), "unconcerned");
    // hugetlb pages are on no list.
    let order = 9 << page_bit::ORDER_SHIFT;
    assert_eq!(
        judged(&of(bits | page_bit::HUGETLB | page_bit::LARGE | order, 2, 1)),
        "suspect-get"
    );
    // The first private write to a page of a file is a copy by design.
    assert_eq!(judged(&of(page_bit::KNOWN | page_bit::ON_LRU, 9, 1)), "unconcerned");
}

#[test]
fn a_reference_is_no_suspect_unless_somebody_was_seen_to_take_it() {
    let page_bits = page_bit::KNOWN | page_bit::ANON | page_bit::ON_LRU;
    let of = |references, mappings| Fault { page_bits, pins: 0, references, mappings, ..copy() };
    let judged = |fault: &Fault, mm| judge_referenced(fault, &Ledger::default(), mm, 0);
    assert_eq!(judged(&of(2, 1), None), "benign: unexplained-references");
    assert_eq!(judged(&of(2, 1), Some(MM)), "suspect-get");
    assert_eq!(judged(&of(2, 1), Some(MM + 1)), "benign: other-mm", "a child took the copy");
    assert_eq!(judged(&of(2, 0), None), "benign: unexplained-references");
    assert_eq!(judged(&of(1, 0), Some(MM + 1)), "suspect-get");
}

#[test]
fn advice_names_the_rule_of_the_kernel_it_was_found_on() {
    let mut exclusive = facts();
    exclusive.set(key::ANON_EXCLUSIVE.to_owned(), "yes".to_owned());
    let finding = Finding { fault: Some(copy()), ..Finding::new(Verdict::Diverged, How::Copied) };
    assert!(advice(&finding, &facts()).contains("run 5.19 or later"));
    assert!(advice(&finding, &exclusive).contains("kernel bug or a driver"));
}
