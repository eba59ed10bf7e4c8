//! Losses and doubles.

use cowtrace_common::{setting::Stage, wire::POINTERS};

use super::*;
use crate::{
    budget::Share,
    decode::Records,
    encode::Writer,
    event::{Extent, Pin, Stack, Task, Unpin},
    owner::{Found, Kind, Owner},
    sinks::{Format, filter::Filter, report::Report},
};

/// Has a program tell something, later than all before it.
fn tell(trace: &mut Trace, program: Program, what: What) {
    tell_at(trace, trace.now + 1, Some(program), what);
}

/// Has a program, or the source, tell something of a time.
fn tell_at(trace: &mut Trace, time: Time, program: Option<Program>, what: What) {
    let (task, stack) = (Task { tid: 7, ..Task::default() }, Stack::default());
    trace.take(Ok(Event { time, task, cpu: 0, program, stack, what }));
}

/// A copy of a maybe-pinned page: a suspect, since no pin was seen.
fn copy(new_pfn: u64) -> What {
    What::Fault(Fault { new_pfn, ..Fault::copied() })
}

/// A page is pinned.
fn pin() -> What {
    What::Pin(Pin {
        mm: 2,
        address: 0x1000,
        pages: 1,
        call_pages: 1,
        unlisted: 0,
        gup_flags: 0x101,
        part: 0,
        extents: [Extent::new(0x40, 1)].into(),
    })
}

/// So many runs, and so many that were skipped.
fn ran(hits: u64, recursion: u64) -> What {
    What::Tally(Tally { hits, recursion, ..Tally::default() })
}

#[test]
fn what_the_understudy_tells_again_is_one_fault() {
    let mut trace = Trace::default();
    tell(&mut trace, Program::WpFaultExit, copy(0x50));
    tell(&mut trace, Program::WpFaultAgain, copy(0x50));
    assert_eq!((trace.findings.len(), trace.counts.faults), (1, 1));
}

#[test]
fn a_fault_that_comes_again_after_others_is_another() {
    let mut trace = Trace::default();
    tell(&mut trace, Program::WpFaultExit, copy(0x50));
    tell(&mut trace, Program::WpFaultExit, copy(0x60));
    tell(&mut trace, Program::WpFaultExit, copy(0x70));
    tell(&mut trace, Program::WpFaultAgain, copy(0x50));
    assert_eq!((trace.findings.len(), trace.counts.faults), (4, 4));
}

#[test]
fn an_unpin_like_the_one_before_is_another_if_the_page_was_pinned_again_in_between() {
    let mut trace = Trace::default();
    let extents = || [Extent::new(0x40, 1)].into();
    let unpin =
        || What::Unpin(Unpin { pages: 1, unlisted: 0, make_dirty: false, extents: extents() });
    tell(&mut trace, Program::PinFastExit, pin());
    tell(&mut trace, Program::UnpinFolio, unpin());
    tell(&mut trace, Program::PinFastExit, pin());
    assert_eq!(trace.ledger.live_pages(), 1);
    tell(&mut trace, Program::UnpinFolioAgain, unpin());
    assert_eq!(trace.ledger.live_pages(), 0, "the program itself was made to skip this one");
}

const PART: u64 = POINTERS as u64;

/// A record of a pin of two full ones and five pages.
fn part_of_a_pin(part: u64) -> Pin {
    let (pages, unlisted) = [(PART, 0), (PART, 5), (5, 0)][part as usize];
    Pin {
        mm: 2,
        address: 0x1000 + 4096 * PART * part,
        pages,
        call_pages: 2 * PART + 5,
        unlisted,
        gup_flags: 0x101,
        part: part as u32,
        extents: [Extent::new(0x1000 * (part + 1), pages)].into(),
    }
}

#[test]
fn a_long_pin_that_the_understudy_tells_again_is_one_pin() {
    let mut trace = Trace::default();
    for (time, program) in [(10, Program::PinFastExit), (20, Program::PinFastAgain)] {
        tell_at(&mut trace, time, Some(program), What::Pin(part_of_a_pin(0)));
        tell_at(&mut trace, time, Some(program), What::Pin(part_of_a_pin(1)));
        tell_at(&mut trace, time, None, What::PinRest(part_of_a_pin(2)));
        assert_eq!((trace.counts.pins, trace.ledger.live_pages()), (1, 2 * PART + 5));
    }
}

#[test]
fn what_is_lost_of_a_long_pin_its_understudy_adds() {
    let mut trace = Trace::default();
    tell_at(&mut trace, 10, Some(Program::PinFastExit), What::Pin(part_of_a_pin(0)));
    tell_at(&mut trace, 20, Some(Program::PinFastAgain), What::Pin(part_of_a_pin(0)));
    assert_eq!(trace.ledger.live_pages(), PART);
    tell_at(&mut trace, 20, Some(Program::PinFastAgain), What::Pin(part_of_a_pin(1)));
    tell_at(&mut trace, 20, None, What::PinRest(part_of_a_pin(2)));
    assert_eq!(trace.ledger.live_pages(), 2 * PART + 5);
}

#[test]
fn a_longer_pin_from_the_same_page_on_is_another_one() {
    let mut trace = Trace::default();
    let short = Pin { call_pages: PART, ..part_of_a_pin(0) };
    tell(&mut trace, Program::PinFastExit, What::Pin(short));
    tell(&mut trace, Program::PinFastAgain, What::Pin(part_of_a_pin(0)));
    assert_eq!(trace.counts.pins, 2);
}

#[test]
fn a_long_unpin_that_the_understudy_tells_again_is_one_unpin() {
    let mut trace = Trace::default();
    for (time, program) in [(10, Program::UnpinPages), (20, Program::UnpinPagesAgain)] {
        for pfn in [0x1000, 0x2000] {
            let extents = [Extent::new(pfn, PART)].into();
            let unpin = Unpin { pages: PART, unlisted: 0, make_dirty: false, extents };
            tell_at(&mut trace, time, Some(program), What::Unpin(unpin));
        }
        assert_eq!(trace.ledger.unmatched(), 2 * PART, "nobody has pinned them");
    }
}

#[test]
fn a_page_that_the_understudy_tells_again_may_be_the_last_of_a_record() {
    let mut trace = Trace::default();
    let unpin = |pfn, pages| {
        let extents = [Extent::new(pfn, pages)].into();
        What::Unpin(Unpin { pages, unlisted: 0, make_dirty: false, extents })
    };
    tell(&mut trace, Program::UnpinFolio, unpin(0x40, 3));
    assert_eq!(trace.ledger.unmatched(), 3, "nobody has pinned them");
    tell(&mut trace, Program::UnpinFolioAgain, unpin(0x42, 1));
    assert_eq!(trace.ledger.unmatched(), 3, "the last of them");
    tell(&mut trace, Program::UnpinFolioAgain, unpin(0x41, 1));
    assert_eq!(trace.ledger.unmatched(), 4, "one that only the understudy has seen");
}

#[test]
fn what_only_the_understudy_tells_is_a_fault() {
    let mut trace = Trace::default();
    tell(&mut trace, Program::WpFaultExit, copy(0x50));
    tell(&mut trace, Program::WpFaultAgain, copy(0x60));
    assert_eq!((trace.findings.len(), trace.counts.faults), (2, 2));
}

#[test]
fn a_skipped_run_is_lost_only_if_the_understudy_was_skipped_too() {
    let mut trace = Trace::default();
    tell(&mut trace, Program::WpFaultExit, ran(100, 9));
    assert_eq!((trace.lost(), trace.blind_spots().len()), (0, 0));
    tell(&mut trace, Program::WpFaultAgain, ran(9, 4));
    assert_eq!((trace.lost(), trace.blind_spots().len()), (0, 0), "it was skipped for others");
    tell(&mut trace, Program::WpFaultAgain, ran(7, 4));
    assert_eq!((trace.lost(), trace.blind_spots().len()), (2, 1));
}

#[test]
fn a_skipped_run_of_a_program_without_understudy_is_lost() {
    let mut trace = Trace::default();
    tell(&mut trace, Program::MoveExit, ran(100, 3));
    assert_eq!(trace.lost(), 3);
}

#[test]
fn a_fork_that_is_the_cause_says_whether_the_child_still_has_its_copy() {
    let cause = |child_ends: bool| {
        let mut trace = Trace::default();
        let fork = What::Fork { parent_mm: 1, child_mm: 0xbb, child_tgid: 9 };
        tell(&mut trace, Program::Fork, fork);
        if child_ends {
            tell(&mut trace, Program::MmExit, What::MmExit { mm: 0xbb });
        }
        tell(&mut trace, Program::WpFaultExit, copy(0x50));
        trace.findings[0].cause.as_ref().map(|cause| cause.kind.to_string())
    };
    assert_eq!(cause(false).as_deref(), Some("fork of process 9 (alive)"));
    assert_eq!(cause(true).as_deref(), Some("fork of process 9 (gone by now)"));
}

#[test]
fn a_keyframe_keeps_what_is_mapped_where_a_pin_is() {
    let fold = |trace: &mut Trace, batch: &[u8]| {
        Records::new(batch).for_each(|event| drop(trace.take(event)));
    };
    let (mut trace, mut batch) = (Trace::default(), Vec::new());
    Writer::new(&mut batch, 1).vma_name(2, 0x1000, 0x2000, "/dev/shm/a\u{7}b");
    fold(&mut trace, &batch);
    tell(&mut trace, Program::PinExit, pin());
    // Time goes on, and the name is still that of then.
    trace.now = 9;
    let mut part = Trace::default();
    fold(&mut part, &trace.keyframe());
    for trace in [trace, part] {
        let (pin, _) = trace.ledger.calls().next().expect("it is held");
        assert_eq!(trace.vma_name(pin).map(|name| &**name), Some("/dev/shm/a?b"));
    }
}

/// The source tells the owner of the pin of thread 7 at time 1.
fn own(trace: &mut Trace, name: &str) -> Vec<Change> {
    tell_owner(trace, &Owner::new(Kind::Rdma, Found::Sure, name))
}

fn tell_owner(trace: &mut Trace, owner: &Owner) -> Vec<Change> {
    let mut batch = Vec::new();
    Writer::new(&mut batch, 3).owner((1, 7), owner);
    Records::new(&batch).flat_map(|event| trace.take(event)).collect()
}

#[test]
fn a_pin_keeps_the_owner_that_was_told_first_and_so_does_its_part_of_a_recording() {
    let mut trace = Trace::default();
    tell(&mut trace, Program::PinExit, pin());
    assert_eq!(own(&mut trace, "memory region 3 of rxe0"), []);
    own(&mut trace, "memory region 4 of rxe0");
    let mut part = Trace::default();
    Records::new(&trace.keyframe()).for_each(|event| drop(part.take(event)));
    for trace in [trace, part] {
        let (pin, _) = trace.ledger.calls().next().expect("it is held");
        assert_eq!(trace.owner(pin).map(|owner| &*owner.name), Some("memory region 3 of rxe0"));
    }
}

#[test]
fn a_finding_that_came_before_its_owner_learns_it_even_when_the_pin_has_ended() {
    for has_ended in [false, true] {
        let mut trace = Trace::default();
        tell(&mut trace, Program::PinExit, pin());
        let What::Fault(fault) = copy(0x50) else { unreachable!("a fault") };
        tell(&mut trace, Program::WpFaultExit, What::Fault(Fault { mm: 2, ..fault }));
        if has_ended {
            let extents = [Extent::new(0x40, 1)].into();
            let unpin = Unpin { pages: 1, unlisted: 0, make_dirty: false, extents };
            tell(&mut trace, Program::UnpinPages, What::Unpin(unpin));
        }
        assert_eq!(trace.findings[0].owner, None);
        assert_eq!(own(&mut trace, "memory region 3 of rxe0"), [Change::Updated(0)]);
        let owner = trace.findings[0].owner.as_ref().map(ToString::to_string);
        assert_eq!(owner.as_deref(), Some("RDMA memory region 3 of rxe0"), "ended: {has_ended}");
        let mut line = Vec::new();
        Format::Text.change(&mut line, &trace, Change::Updated(0)).expect("a Vec takes everything");
        let line = String::from_utf8_lossy(&line);
        assert!(line.contains("RDMA memory region 3 of rxe0"), "ended: {has_ended}: {line}");
    }
}

#[test]
fn that_an_owner_is_not_known_is_no_news_of_a_finding() {
    let mut trace = Trace::default();
    tell(&mut trace, Program::PinExit, pin());
    let What::Fault(fault) = copy(0x50) else { unreachable!("a fault") };
    tell(&mut trace, Program::WpFaultExit, What::Fault(Fault { mm: 2, ..fault }));
    let owner = Owner::new(Kind::Rdma, Found::TooLate, "");
    assert_eq!(tell_owner(&mut trace, &owner), []);
    assert_eq!(trace.findings[0].owner.as_deref(), Some(&owner));
}

#[test]
fn a_hundred_thousand_findings_are_listed_and_more_that_are_alike_are_counted() {
    let mut trace = Trace::default();
    for new_pfn in 0..100_007 {
        tell(&mut trace, Program::WpCopyExit, copy(new_pfn + 0x50));
    }
    assert_eq!((trace.findings.len(), trace.unlisted()), (100_000, 7));
    let (mut text, mut json) = (Vec::new(), Vec::new());
    Format::Text.summary(&mut text, &trace).expect("a Vec takes everything");
    Format::Json.summary(&mut json, &trace).expect("a Vec takes everything");
    let (text, json) = (String::from_utf8_lossy(&text), String::from_utf8_lossy(&json));
    assert!(text.contains("100000 findings and 7 not listed: 100000 suspect"), "{text}");
    assert!(text.contains("7 more findings counted and not listed, each alike"), "{text}");
    assert!(json.contains("\"findings_unlisted\":7"), "{json}");
    let report = Report::new(&[(String::new(), trace)], &Filter::default());
    assert!(report.answer.contains("7 more findings counted"), "{}", report.answer);
}

/// The source tells that a stage is shed from a time on.
fn shed(trace: &mut Trace, stage: Stage, from: Time) {
    let mut kept = Kept { limit: Share { ppm: 10_000 }, window: 1, ..Kept::default() };
    kept.shed(stage, from);
    let (task, stack) = (Task::default(), Stack::default());
    let what = What::Budget(Box::new(kept));
    trace.take(Ok(Event { time: 1, task, cpu: 0, program: None, stack, what }));
}

#[test]
fn a_finding_without_a_cause_says_so_where_causes_were_shed() {
    let cause_of = |trace: &Trace| trace.findings[0].cause.as_ref().map(|cause| cause.kind);
    let mut trace = Trace::default();
    tell(&mut trace, Program::WpFaultExit, copy(0x50));
    assert_eq!(cause_of(&trace), None);
    let mut trace = Trace::default();
    shed(&mut trace, Stage::Causes, 1);
    tell(&mut trace, Program::WpFaultExit, copy(0x50));
    assert_eq!(cause_of(&trace), Some(CauseKind::Shed));
}

#[test]
fn a_page_that_somebody_held_for_a_moment_cannot_be_told_where_holders_are_shed() {
    for (stage, verdict) in
        [(Stage::Events, Verdict::Suspect), (Stage::Holders, Verdict::Inconclusive)]
    {
        let mut trace = Trace::default();
        shed(&mut trace, stage, 1);
        tell(&mut trace, Program::WpFaultExit, copy(0x50));
        assert_eq!(trace.findings[0].verdict, verdict, "{stage:?}");
    }
}

#[test]
fn a_keyframe_tells_what_the_budget_came_to() {
    let mut trace = Trace::default();
    shed(&mut trace, Stage::Causes, 7);
    let mut part = Trace::default();
    for event in Records::new(&trace.keyframe()) {
        part.take(event);
    }
    assert!(trace.budget.is_some());
    assert_eq!(part.budget, trace.budget);
}
