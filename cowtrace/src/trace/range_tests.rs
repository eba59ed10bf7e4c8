//! Ranges that are zapped, moved or write-protected under a pin: script in, verdicts out.

use cowtrace_common::wire::{POINTERS, page_bit};

use super::*;
use crate::decode::Records;
use crate::event::{Audit, Extent, ForkCopy, Pin, Protect, Protector, Stack, Task, Unpin, Zap};

const MM: u64 = 0xaa;
const AT: u64 = 0x1_0000;
const PFN: u64 = 0x40;
const SECOND: Time = 1_000_000_000;

/// A trace in which pages are pinned at `AT`, and the clock.
struct Script {
    trace: Trace,
    now: Time,
}

impl Script {
    /// `exclusive`: the kernel keeps pinned pages exclusive.
    fn new(exclusive: bool) -> Self {
        let mut script = Self { trace: Trace::default(), now: 1 };
        script.fact(key::FOLL_WRITE, "1");
        script.fact(key::FOLL_LONGTERM, "256");
        script.fact(key::ANON_EXCLUSIVE, if exclusive { "yes" } else { "no" });
        script.pin(4);
        script
    }

    fn fact(&mut self, key: &str, value: &str) {
        self.tell(What::Fact { key: key.to_owned(), value: value.to_owned() });
    }

    /// A stack of one frame, which has that name.
    fn called(&mut self, frame: &str, what: What) {
        self.tell(What::Symbol { address: 0xf00, tgid: 0, name: format!("{frame}+0x5") });
        self.record(what, Stack::new(&[0xf00], &[]));
    }

    fn tell(&mut self, what: What) {
        self.record(what, Stack::default());
    }

    fn record(&mut self, what: What, stack: Stack) {
        self.now += 1;
        let (time, task) = (self.now, Task::default());
        self.trace.take(Ok(Event { time, task, cpu: 0, program: None, stack, what }));
    }

    fn pin(&mut self, pages: u64) {
        self.tell(What::Pin(Pin {
            mm: MM,
            address: AT,
            pages,
            call_pages: pages,
            unlisted: 0,
            gup_flags: 0x101,
            part: 0,
            extents: [Extent::new(PFN, pages)].into(),
        }));
    }

    fn unpin(&mut self, make_dirty: bool) {
        let extents = [Extent::new(PFN, 4)].into();
        self.tell(What::Unpin(Unpin { pages: 4, unlisted: 0, make_dirty, extents }));
    }

    fn zap(&mut self, frame: &str, vma_flags: u64, spares_cows: bool) {
        let zap = Zap { vma_flags, spares_cows, ..zap() };
        self.called(frame, What::Zap(zap));
    }

    fn refault(&mut self, pfn: u64) {
        self.tell(What::Refault { mm: MM, address: AT, pfn });
    }

    /// The ring was full for so many unpins.
    fn lose(&mut self, ring_full: u64) {
        let tally = Tally { ring_full, ..Tally::default() };
        self.now += 1;
        let (time, task) = (self.now, Task::default());
        let (program, stack) = (Some(Program::UnpinPage), Stack::default());
        let what = What::Tally(tally);
        self.trace.take(Ok(Event { time, task, cpu: 0, program, stack, what }));
    }

    /// The findings' verdicts, and how many were none after all.
    fn says(&self) -> String {
        let verdicts: Vec<_> =
            self.trace.findings.iter().map(|finding| finding.verdict.name()).collect();
        let unmapped = self.trace.benign.get(&Benign::Unmapped).copied().unwrap_or(0);
        format!("{} / {unmapped}", verdicts.join(" "))
    }
}

/// A zap of all that is pinned.
fn zap() -> Zap {
    let (start, end) = (AT, AT + 0x4000);
    let (vma, vma_flags) = ((start, end), 0);
    Zap { mm: MM, start, end, vma, vma_flags, spares_cows: false, first: Some((PFN, true)) }
}

#[test]
fn a_page_that_the_kernel_does_not_count_as_pinned_was_unpinned_by_somebody_unseen() {
    let mut script = Script::new(true);
    script.called("do_madvise", What::Zap(Zap { first: Some((PFN, false)), ..zap() }));
    assert_eq!(script.says(), " / 0");
}

#[test]
fn the_count_of_another_page_than_the_pinned_one_says_nothing_of_the_pin() {
    let mut script = Script::new(true);
    let first = Some((0x99, false));
    script.called("do_madvise", What::Zap(Zap { first, ..zap() }));
    assert_eq!(script.says(), "range-invalidated / 0", "its first page was lost before");
}

#[test]
fn a_zap_that_only_the_books_speak_of_cannot_be_told_once_records_were_lost() {
    let mut script = Script::new(true);
    script.lose(1);
    script.called("do_madvise", What::Zap(Zap { first: None, ..zap() }));
    assert_eq!(script.says(), "inconclusive / 0");
    let mut script = Script::new(true);
    script.lose(1);
    script.zap("do_madvise", 0, false);
    assert_eq!(script.says(), "range-invalidated / 0", "the kernel's count says so too");
}

#[test]
fn what_was_lost_before_a_page_was_pinned_says_nothing_of_its_end() {
    let mut script = Script::new(true);
    script.lose(1);
    script.unpin(false);
    script.pin(4);
    script.called("do_madvise", What::Zap(Zap { first: None, ..zap() }));
    assert_eq!(script.says(), "range-invalidated / 0");
}

#[test]
fn a_part_that_begins_behind_a_loss_doubts_what_the_whole_does() {
    let part_says = |pins_again| {
        let mut script = Script::new(true);
        script.lose(1);
        if pins_again {
            script.unpin(false);
            script.pin(4);
        }
        let keyframe = script.trace.keyframe();
        let mut part = Script { trace: Trace::default(), now: script.now };
        Records::new(&keyframe).for_each(|event| drop(part.trace.take(event)));
        part.called("do_madvise", What::Zap(Zap { first: None, ..zap() }));
        part.says()
    };
    assert_eq!(part_says(false), "inconclusive / 0");
    assert_eq!(part_says(true), "range-invalidated / 0");
}

#[test]
fn what_is_to_be_given_up_is_not_put_off_by_further_losses() {
    let mut script = Script::new(true);
    script.called("do_madvise", What::Zap(zap()));
    script.tell(What::MmExit { mm: MM });
    for minute in 1..=11 {
        assert_eq!(script.trace.ledger.live_pages(), 4, "minute {minute}");
        script.now += 60 * SECOND;
        script.lose(minute);
    }
    script.now += 60 * SECOND;
    script.lose(12);
    assert_eq!(script.trace.ledger.live_pages(), 0);
    let finding = &script.trace.findings[0];
    assert!(finding.end_unseen && finding.unpinned.is_none());
    assert!(script.trace.open_indices().is_empty());
}

#[test]
fn a_pin_whose_end_was_lost_with_its_process_is_off_the_books_when_no_io_can_last_so_long() {
    let held_after = |seconds| {
        let mut script = Script::new(true);
        script.lose(1);
        script.tell(What::MmExit { mm: MM });
        script.now += seconds * SECOND;
        script.lose(1);
        script.trace.ledger.live_pages()
    };
    assert_eq!(held_after(60), 4);
    assert_eq!(held_after(601), 0);
}

#[test]
fn a_finding_about_a_huge_page_is_open_until_its_pin_holds_nothing_there() {
    let order = 3 << page_bit::ORDER_SHIFT;
    let mut script = Script { trace: Trace::default(), now: 1 };
    script.fact(key::FOLL_WRITE, "1");
    script.pin(4);
    script.tell(What::Fault(Fault {
        mm: MM,
        address: AT,
        vma: (AT, AT + 0x8000),
        vma_flags: 0,
        // The pinned pages are those behind the head.
        old_pfn: PFN,
        new_pfn: 0x90,
        references: 5,
        mappings: 0,
        pins: 4,
        fault_flags: 1,
        page_bits: page_bit::KNOWN
            | page_bit::MAYBE_PINNED
            | page_bit::ANON
            | page_bit::HUGETLB
            | order,
        outcome: Outcome::Copy,
    }));
    assert_eq!(script.says(), "diverged / 0");
    for (pfn, pages, is_open) in [(PFN + 3, 1, true), (PFN, 2, true), (PFN + 2, 1, false)] {
        let extents = [Extent::new(pfn, pages)].into();
        script.tell(What::Unpin(Unpin { pages, unlisted: 0, make_dirty: true, extents }));
        assert_eq!(script.trace.findings[0].unpinned.is_none(), is_open, "{pfn:#x}");
    }
    assert_eq!(script.says(), "lost / 0");
}

#[test]
fn a_finding_that_rests_on_the_books_is_taken_back_when_losses_are_told_soon_after() {
    let told = |first, after: Time, frame| {
        let mut script = Script::new(true);
        script.called(frame, What::Zap(Zap { first, ..zap() }));
        script.refault(0x99);
        script.now += after;
        script.lose(1);
        script.says()
    };
    assert_eq!(told(None, SECOND, "do_madvise"), "inconclusive / 0");
    assert_eq!(told(None, SECOND, "__x64_sys_munmap"), "inconclusive / 0");
    assert_eq!(told(Some((PFN, true)), SECOND, "do_madvise"), "diverged / 0");
    assert_eq!(told(None, 60 * SECOND, "do_madvise"), "diverged / 0", "long before the loss");
}

#[test]
fn an_unpin_that_nobody_saw_speaks_of_its_whole_call() {
    let zapped = |pinned| {
        let mut script = Script::new(true);
        let address = AT + 0x4000;
        for (part, from, pages) in [(0, 0, POINTERS as u64), (1, POINTERS as u64, 4)] {
            script.tell(What::Pin(Pin {
                mm: MM,
                address: address + from * 4096,
                pages,
                call_pages: POINTERS as u64 + 4,
                unlisted: 0,
                gup_flags: 0x101,
                part,
                extents: [Extent::new(PFN + 4 + from, pages)].into(),
            }));
        }
        let (start, end) = (address, address + 0x20_0000);
        let first = Some((PFN + 4, pinned));
        script.called("do_madvise", What::Zap(Zap { start, end, first, ..zap() }));
        script.says()
    };
    assert_eq!(zapped(false), " / 0");
    assert_eq!(zapped(true), "range-invalidated / 0");
}

/// What the page map shows at the addresses that were pinned.
fn audited(script: &mut Script, pfns: [u64; 4]) {
    let extent = |pfn| Extent::new(pfn, 1);
    let extents = pfns.into_iter().map(extent).collect();
    script.tell(What::Audit(Audit { mm: MM, start: AT, extents }));
}

#[test]
fn an_audit_finds_what_no_probe_saw_once() {
    let mut script = Script::new(true);
    audited(&mut script, [PFN, 0, 0x99, PFN + 3]);
    let Audited { same, unmapped, others } = script.trace.audited;
    assert_eq!((same, unmapped, others), (2, 1, 1));
    assert_eq!(script.says(), "diverged / 0");
    let finding = &script.trace.findings[0];
    assert_eq!((finding.address, finding.old_pfn, finding.new_pfn), (AT + 0x2000, PFN + 2, 0x99));
    assert!(finding.reason.starts_with("hook missed"));
    audited(&mut script, [PFN, 0, 0x99, PFN + 3]);
    assert_eq!(script.says(), "diverged / 0");
}

#[test]
fn an_audit_has_nothing_to_add_to_what_was_seen_or_unpinned() {
    let mut seen = Script::new(true);
    seen.zap("do_madvise", 0, false);
    audited(&mut seen, [0x99, 0, 0, 0]);
    assert_eq!(seen.says(), "range-invalidated / 0");
    let mut unpinned = Script::new(true);
    unpinned.unpin(false);
    audited(&mut unpinned, [0x99, 0, 0, 0]);
    assert_eq!(unpinned.says(), " / 0");
    assert_eq!(unpinned.trace.audited, Audited::default());
}

#[test]
fn an_audit_after_losses_cannot_tell_what_was_missed() {
    let mut script = Script::new(true);
    script.lose(1);
    audited(&mut script, [0x99, 0, 0, 0]);
    assert_eq!(script.says(), "inconclusive / 0");
}

#[test]
fn what_is_discarded_under_a_pin_is_invalidated_then_diverged_then_lost() {
    let mut script = Script::new(true);
    script.zap("do_madvise", 0, false);
    assert_eq!(script.says(), "range-invalidated / 0");
    assert_eq!(script.trace.findings[0].pages, 4);
    script.refault(0x99);
    assert_eq!(script.says(), "diverged / 0");
    assert_eq!(script.trace.findings[0].new_pfn, 0x99);
    script.unpin(true);
    assert_eq!(script.says(), "lost / 0");
}

#[test]
fn a_finding_whose_pin_has_ended_keeps_who_pinned_and_no_list_of_pages() {
    let mut script = Script::new(true);
    let (address, pages) = (AT + 0x10_0000, 8);
    let scattered = || (0..pages).map(|page| Extent::new(0x100 + 2 * page, 1)).collect();
    script.tell(What::Pin(Pin {
        mm: MM,
        address,
        pages,
        call_pages: pages,
        unlisted: 0,
        gup_flags: 0x101,
        part: 0,
        extents: scattered(),
    }));
    let (start, end) = (address, address + pages * 0x1000);
    script.called("do_madvise", What::Zap(Zap { start, end, first: None, ..zap() }));
    let first = |script: &Script| {
        let pin = script.trace.findings[0].pin.as_ref().expect("its pin");
        (pin.address, pin.pages, pin.pfn_at(0))
    };
    assert_eq!(first(&script), (address, pages, Some(0x100)));
    let extents = scattered();
    script.tell(What::Unpin(Unpin { pages, unlisted: 0, make_dirty: false, extents }));
    assert_eq!(first(&script), (address, pages, None));
}

#[test]
fn other_bytes_in_the_old_page_prove_a_loss_and_the_same_bytes_prove_nothing() {
    for (at_the_end, says) in [(7, "diverged / 0"), (8, "lost / 0")] {
        let mut script = Script::new(true);
        script.zap("do_madvise", 0, false);
        script.tell(What::Content { pfn: PFN, hash: 7, at_unpin: false });
        script.refault(0x99);
        script.tell(What::Content { pfn: PFN, hash: at_the_end, at_unpin: true });
        script.unpin(false);
        assert_eq!(script.says(), says);
    }
}

#[test]
fn what_is_discarded_around_a_page_that_was_lost_before_is_found_on_both_sides() {
    let mut script = Script::new(true);
    let (start, end) = (AT + 0x1000, AT + 0x2000);
    script.called("do_madvise", What::Zap(Zap { start, end, first: None, ..zap() }));
    script.zap("do_madvise", 0, false);
    assert_eq!(script.says(), "range-invalidated range-invalidated range-invalidated / 0");
    let ranges = script.trace.findings.iter().map(|finding| (finding.address - AT, finding.pages));
    assert!(ranges.eq([(0x1000, 1), (0, 1), (0x2000, 2)]));
}

#[test]
fn a_refault_of_the_same_page_is_nothing_new() {
    let mut script = Script::new(true);
    script.zap("do_madvise", 0, false);
    script.refault(PFN);
    assert_eq!(script.says(), "range-invalidated / 0");
}

#[test]
fn a_buffer_that_is_freed_while_its_pin_ends_is_no_finding() {
    let mut script = Script::new(true);
    script.zap("__x64_sys_munmap", 0, false);
    assert_eq!(script.says(), " / 0");
    script.unpin(true);
    assert_eq!(script.says(), " / 1");
}

#[test]
fn a_buffer_that_is_freed_while_its_pin_lives_on_is_one_a_second_later() {
    let mut script = Script::new(true);
    script.zap("__x64_sys_munmap", 0, false);
    script.now += SECOND;
    script.fact(key::HOST, "any record tells the time");
    assert_eq!(script.says(), "range-invalidated / 0");
}

#[test]
fn what_is_mapped_where_a_pinned_buffer_was_freed_is_found_at_once() {
    let mut script = Script::new(true);
    script.zap("__x64_sys_munmap", 0, false);
    script.refault(0x99);
    assert_eq!(script.says(), "diverged / 0");
    let cause = script.trace.findings[0].cause.as_ref().expect("a cause");
    assert_eq!(cause.kind.name(), "munmap");
}

#[test]
fn a_shared_mapping_finds_its_pages_again_unless_its_file_was_cut() {
    const SHARED: u64 = 8;
    let mut script = Script::new(true);
    script.zap("do_madvise", SHARED, false);
    assert_eq!(script.says(), " / 0");
    script.zap("do_truncate", SHARED, true);
    assert_eq!(script.says(), "range-invalidated / 0");
}

#[test]
fn a_hole_in_a_file_leaves_what_a_private_mapping_was_written_to() {
    let mut script = Script::new(true);
    script.zap("vfs_fallocate", 0, true);
    assert_eq!(script.says(), " / 0");
}

#[test]
fn what_mremap_takes_along_is_not_lost_with_its_old_range() {
    let mut script = Script::new(true);
    script.tell(What::Move { mm: MM, from: AT, to: 0x9_0000, len: 0x4000 });
    script.zap("__x64_sys_mremap", 0, false);
    script.now += SECOND;
    script.fact(key::HOST, "any record tells the time");
    assert_eq!(script.says(), " / 0");
}

#[test]
fn a_truncation_that_unmaps_twice_is_one_finding() {
    let mut script = Script::new(true);
    script.zap("do_truncate", 0, false);
    script.zap("do_truncate", 0, false);
    assert_eq!(script.says(), "range-invalidated / 0");
}

fn mprotect(mapped_shift: u32, vma_flags: u64) -> What {
    let (start, end) = (AT, AT + 0x4000);
    let by = Some(Protector::Mprotect);
    What::Protect(Protect { mm: MM, start, end, vma_flags, mapped_shift, by })
}

#[test]
fn write_protection_arms_only_where_this_kernel_would_copy() {
    let armed = |exclusive, what| {
        let mut script = Script::new(exclusive);
        script.tell(what);
        script.says() == "armed / 0"
    };
    assert!(armed(false, mprotect(12, 0)));
    assert!(!armed(true, mprotect(12, 0)), "exclusive pages are kept");
    assert!(!armed(false, mprotect(12, 1 << 22)), "hugetlb goes by mappings");
    assert!(!armed(false, mprotect(12, 8)), "shared memory is never copied");
    assert!(armed(false, mprotect(21, 0)), "a part of a huge page splits its mapping");
    let huge = What::Protect(Protect {
        mm: MM,
        start: 0,
        end: 1 << 21,
        vma_flags: 0,
        mapped_shift: 21,
        by: Some(Protector::Mprotect),
    });
    assert!(!armed(false, huge), "a huge page that stays mapped as one is kept");
}

#[test]
fn io_behind_the_end_of_a_page_s_pin_proves_nothing_of_it() {
    let mut script = Script::new(true);
    for page in [0, 1] {
        let (address, old_pfn) = (AT + page * 0x1000, PFN + page);
        script.tell(What::Fault(Fault { mm: MM, address, old_pfn, ..Fault::copied() }));
    }
    assert_eq!(script.says(), "diverged diverged / 0");
    let extents = [Extent::new(PFN, 1)].into();
    script.tell(What::Unpin(Unpin { pages: 1, unlisted: 0, make_dirty: false, extents }));
    script.tell(What::Io { mm: MM, start: AT, end: AT + 0x2000, to_memory: true });
    assert_eq!(script.says(), "diverged lost / 0", "the first had ended");
}

#[test]
fn what_was_predicted_and_then_doubted_is_still_found_when_it_is_lost() {
    let mut script = Script::new(false);
    script.tell(mprotect(12, 0));
    script.lose(1);
    assert_eq!(script.says(), "inconclusive / 0");
    script.zap("do_madvise", 0, false);
    assert_eq!(script.says(), "inconclusive range-invalidated / 0");
}

#[test]
fn pages_that_are_unmapped_one_by_one_are_a_finding_each_and_none_once_the_pin_has_ended() {
    let unmapped = |count: u64| {
        let mut script = Script::new(true);
        for page in 0..count {
            let start = AT + page * 0x1000;
            let first = Some((PFN + page, true));
            let zap = Zap { start, end: start + 0x1000, first, ..zap() };
            script.called("__x64_sys_munmap", What::Zap(zap));
        }
        script
    };
    let mut script = unmapped(4);
    script.refault(0x99);
    assert_eq!(script.says(), "diverged / 0", "the first is told, the others are held back");
    script.unpin(false);
    assert_eq!(script.says(), "diverged / 3");
    let mut script = unmapped(3);
    script.now += SECOND - 1;
    script.tell(What::MmExit { mm: 0x77 });
    assert_eq!(script.says(), "range-invalidated range-invalidated / 0", "the last is still young");
}

/// The holder forks, and ends; `vma_flags` of what the child got.
fn forked_and_ended(vma_flags: u64) -> Script {
    let mut script = Script::new(true);
    let (start, end) = (AT, AT + 0x4000);
    script.tell(What::Fork { parent_mm: MM, child_mm: 0xbb, child_tgid: 9 });
    let (parent_mm, child_mm) = (MM, 0xbb);
    script.tell(What::ForkCopy(ForkCopy { parent_mm, child_mm, start, end, vma_flags, began: 1 }));
    script.tell(What::MmExit { mm: MM });
    script
}

#[test]
fn a_child_that_is_left_with_the_device_has_only_a_snapshot() {
    let mut script = forked_and_ended(0);
    assert_eq!(script.says(), " / 0", "the holder may be about to unpin");
    script.now += SECOND;
    script.fact(key::HOST, "any record tells the time");
    assert_eq!(script.says(), "snapshot / 0");
    assert_eq!(script.trace.counts.fork_copies, 4);
}

#[test]
fn of_several_children_the_first_that_lives_is_named() {
    let named = |first_dies| {
        let mut script = Script::new(true);
        for (child_mm, child_tgid) in [(0xcc, 7), (0xbb, 9)] {
            let (parent_mm, start, end) = (MM, AT, AT + 0x4000);
            script.tell(What::Fork { parent_mm, child_mm, child_tgid });
            let copy = ForkCopy { parent_mm, child_mm, start, end, vma_flags: 0, began: 1 };
            script.tell(What::ForkCopy(copy));
        }
        script.tell(What::MmExit { mm: MM });
        if first_dies {
            script.tell(What::MmExit { mm: 0xcc });
        }
        script.now += SECOND;
        script.fact(key::HOST, "any record tells the time");
        assert_eq!(script.says(), "snapshot / 0");
        script.trace.findings[0].mm
    };
    assert_eq!(named(false), 0xcc);
    assert_eq!(named(true), 0xbb);
}

#[test]
fn a_holder_that_unpins_as_it_ends_or_shares_its_memory_leaves_no_snapshot() {
    let mut unpinned = forked_and_ended(0);
    unpinned.unpin(false);
    let mut shared = forked_and_ended(8);
    let mut alone = forked_and_ended(0);
    alone.tell(What::MmExit { mm: 0xbb });
    for script in [&mut unpinned, &mut shared, &mut alone] {
        script.now += SECOND;
        script.fact(key::HOST, "any record tells the time");
        assert_eq!(script.says(), " / 0");
    }
}
