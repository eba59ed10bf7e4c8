//! Findings: what is one, what adds to it until the end of its pins, and what closes it.

use std::{collections::BTreeSet, rc::Rc};

use cowtrace_common::setting::Stage;

use super::{
    Change, Trace, held,
    open::{Basis, OfCall, Open},
};
use crate::{
    event::{Event, Fault, Mm, Pfn, Protect, Stack, Time, Unpin, VM_SHARED, Zap},
    finding::{Cause, CauseKind, Finding, How, Proof, Unpinned, Verdict, ZapKind},
    history::cause,
    ledger::{PinId, PinRecord, Place, Release},
    rules,
};

impl Trace {
    /// A write-protect fault took the process off a page.
    pub(super) fn broken(
        &mut self,
        event: &Event,
        fault: &Fault,
        verdict: Verdict,
        reason: &'static str,
        pin: Option<Rc<PinRecord>>,
    ) -> Option<Change> {
        let since = pin.as_ref().map_or(0, |pin| pin.time);
        let finding = Finding {
            reason: reason.into(),
            writer: event.task,
            writer_stack: event.stack.clone(),
            broken_at: event.time,
            mm: fault.mm,
            address: fault.start(),
            pages: fault.pages(),
            old_pfn: fault.old_pfn,
            new_pfn: fault.new_pfn,
            vma: fault.vma,
            vma_flags: fault.vma_flags,
            cause: self
                .history
                .cause_of(fault, event, since)
                .or_else(|| self.shed_cause(event, since)),
            fault: Some(*fault),
            reference: self.references.of(fault).filter(|_| pin.is_none()).map(Box::new),
            told: self.told_of_fault(event.task.tid, fault).map(Box::new),
            ..Finding::new(verdict, How::Copied)
        };
        self.open(finding, pin.into_iter().collect(), Basis::Count)
    }

    /// That nobody looked for the cause, if there was a time since then when nobody did.
    fn shed_cause(&self, event: &Event, since: Time) -> Option<Cause> {
        let shed = self.budget.as_ref()?.stage(Stage::Causes).was_since(since);
        shed.then(|| Cause { stack: Stack::default(), ..cause(CauseKind::Shed, event) })
    }

    /// Mappings were discarded.
    pub(super) fn zap(&mut self, event: &Event, zap: &Zap) -> Vec<Change> {
        self.counts.zaps += 1;
        let frames = event.stack.kernel().iter();
        let kind = ZapKind::of(frames.filter_map(|address| self.zap_frames.get(address).copied()));
        self.history.remember(zap.mm, CauseKind::Zap(kind), event, (zap.start, zap.end));
        let file = self.file_ranges.remove(&event.task.tid).filter(|_| kind.is_of_file());
        if let Some(range) = file.filter(|range| (range.mm, range.start) == (zap.mm, zap.start)) {
            self.ledger.mapped(&range);
        }
        let places = rules::invalidates(zap, kind, &self.ledger, &self.facts);
        // What was lost before cannot be lost again: a truncation unmaps twice, and a page that took the place
        // of a pinned one is not pinned.
        let left = |place: &Place| place.without(&self.lost_of(place));
        let places: Vec<Place> = places.iter().flat_map(left).collect();
        let ranges = contiguous(places);
        ranges.into_iter().filter_map(|range| self.gone(event, zap, kind, range)).collect()
    }

    /// Pinned pages at consecutive addresses were discarded.
    fn gone(
        &mut self,
        event: &Event,
        zap: &Zap,
        kind: ZapKind,
        mut places: Vec<Place>,
    ) -> Option<Change> {
        let start = places.first()?.start;
        let end = places.iter().map(Place::end).max()?;
        // Named is the pin that lets a device write, the oldest of them.
        places
            .sort_by_key(|place| (place.start > start, !self.facts.is_write(place.pin.gup_flags)));
        let first = places.first()?;
        let asked = zap.is_pinned(first.start, first.pfn()).is_some();
        let basis = if asked { Basis::Count } else { Basis::Books };
        let finding = Finding {
            reason: GONE.into(),
            writer: event.task,
            writer_stack: event.stack.clone(),
            broken_at: event.time,
            mm: zap.mm,
            address: first.start,
            pages: (end - start) / PAGE,
            old_pfn: first.pfn().unwrap_or(0),
            vma: zap.vma,
            vma_flags: zap.vma_flags,
            cause: Some(cause(CauseKind::Zap(kind), event)),
            ..Finding::new(Verdict::RangeInvalidated, How::Zapped)
        };
        let pins = places.into_iter().map(|place| place.pin).collect();
        if held::only_unmaps(kind) && self.restoring.is_none() {
            self.hold(finding, pins, basis);
            return None;
        }
        self.open(finding, pins, basis)
    }

    /// What is mapped where something was zapped, or copied.
    pub(super) fn refault(&mut self, event: &Event, mm: Mm, address: u64, pfn: Pfn) -> Vec<Change> {
        let mut places = self.ledger.places(mm, address, address + 1);
        places.retain(|place| {
            let old = place.pfn();
            // A fault in the middle of the pin call itself was answered before the pin was told.
            old.is_some_and(|old| old != pfn && self.ledger.holds(place.pin.id, old))
                && place.pin.time < event.time
        });
        let Some(place) = places.first() else {
            return Vec::new();
        };
        let call = place.pin.call;
        let mut changes: Vec<_> = self.unhold(call, address).into_iter().collect();
        if let Some(index) = self.about(call, address) {
            changes.extend(self.mapped_again(index, event, address, pfn));
            return changes;
        }
        if !self.facts.is_write(place.pin.gup_flags) && !self.facts.is_longterm(place.pin.gup_flags)
        {
            return Vec::new();
        }
        let (old, pin) = (place.pfn().unwrap_or(0), Rc::clone(&place.pin));
        let finding = Finding {
            reason: DIVERGED.into(),
            writer: event.task,
            writer_stack: event.stack.clone(),
            broken_at: event.time,
            mm,
            address,
            old_pfn: old,
            new_pfn: pfn,
            cause: self.history.last_at(mm, address, pin.time..=event.time),
            ..Finding::new(self.differs(&pin), How::Zapped)
        };
        self.open(finding, vec![pin], Basis::Books).into_iter().collect()
    }

    /// Records were lost, just now: the ledger may hold pins that had ended by then.
    pub(super) fn doubt_books(&mut self) -> Vec<Change> {
        let since = self.now.saturating_sub(TALLIED_WITHIN_NS);
        self.doubt_held(since);
        let recent = |index: &usize| {
            let finding = &self.findings[*index];
            finding.broken_at >= since && finding.verdict > Verdict::Inconclusive
        };
        let by_books = self.open.by_books.iter().copied();
        let mut doubtful: Vec<usize> = by_books.filter(recent).collect();
        doubtful.sort_unstable();
        for index in &doubtful {
            doubt(&mut self.findings[*index]);
        }
        doubtful.into_iter().map(Change::Updated).collect()
    }

    /// The finding about a pin at an address; not one that only predicts.
    pub(super) fn about(&self, call: PinId, address: u64) -> Option<usize> {
        self.open.by_call.get(&call)?.lost.at(address)
    }

    /// What of a place is known to be lost, held back or told.
    fn lost_of(&self, place: &Place) -> Vec<(u64, u64)> {
        let (call, start, end) = (place.pin.call, place.start, place.end());
        let told = self.open.lost(call, start, end).map(|(start, end, _)| (start, end));
        told.chain(self.held.lost(call, start, end)).collect()
    }

    /// The process has another page where its own was zapped.
    fn mapped_again(&mut self, index: usize, event: &Event, address: u64, pfn: Pfn) -> Vec<Change> {
        let differs = self.findings[index].pin.as_ref().map(|pin| self.differs(pin));
        let finding = &mut self.findings[index];
        let (Verdict::RangeInvalidated, Some(verdict)) = (finding.verdict, differs) else {
            return Vec::new();
        };
        finding.verdict = verdict;
        finding.reason = DIVERGED.into();
        finding.writer = event.task;
        finding.writer_stack = event.stack.clone();
        finding.broken_at = event.time;
        if address == finding.address {
            finding.new_pfn = pfn;
        }
        finding.advice = rules::advice(finding, &self.facts);
        vec![Change::Updated(index)]
    }

    /// The grade of two pages where one should be.
    pub(super) fn differs(&self, pin: &PinRecord) -> Verdict {
        if self.facts.is_write(pin.gup_flags) { Verdict::Diverged } else { Verdict::StaleRead }
    }

    /// Pages were write-protected, or may be written to again.
    pub(super) fn protect(&mut self, event: &Event, protect: &Protect) -> Vec<Change> {
        let Some(by) = protect.by else {
            return Vec::new();
        };
        let range = (protect.start, protect.end);
        self.history.remember(protect.mm, CauseKind::Protect(by), event, range);
        let mut places = rules::arms(protect, &self.ledger, &self.facts);
        places.retain(|place| !self.open.by_call.contains_key(&place.pin.call));
        let Some(first) = places.first() else {
            return Vec::new();
        };
        let finding = Finding {
            reason: "the page is write-protected while it is pinned, and this kernel answers the next write with \
                     a copy"
                .into(),
            writer: event.task,
            writer_stack: event.stack.clone(),
            broken_at: event.time,
            mm: protect.mm,
            address: first.start,
            pages: extent(places.iter().map(|place| (place.start, place.end())), first.start),
            old_pfn: first.pfn().unwrap_or(0),
            vma_flags: protect.vma_flags,
            cause: Some(cause(CauseKind::Protect(by), event)),
            ..Finding::new(Verdict::Armed, How::WillBeCopied)
        };
        let pins = places.into_iter().map(|place| place.pin).collect();
        self.open(finding, pins, Basis::Books).into_iter().collect()
    }

    /// What an old page held, then and now. The stack is of who is about to unpin it.
    pub(super) fn content(
        &mut self,
        pfn: Pfn,
        hash: u64,
        at_unpin: bool,
        stack: &Stack,
    ) -> Vec<Change> {
        let about = self.open.about(pfn);
        if !at_unpin && self.content_of_held(pfn, hash) {
            return Vec::new();
        }
        if !at_unpin {
            self.open.content.extend(about.last().map(|index| (*index, hash)));
            return Vec::new();
        }
        let mut stack = stack.clone();
        if !about.is_empty() {
            self.stacks.share(&mut stack);
        }
        for index in &about {
            self.findings[*index].unpin_stack = stack.clone();
        }
        let changed = |index: &usize| {
            let before = self.open.content.get(index);
            before.is_some_and(|before| *before != hash) && may_prove(&self.findings[*index])
        };
        let changed: Vec<usize> = about.into_iter().filter(changed).collect();
        for index in &changed {
            prove(&mut self.findings[*index], Proof::ContentChanged);
        }
        changed.into_iter().map(Change::Updated).collect()
    }

    /// I/O was submitted for a range of a registered buffer: it goes to the pages that were pinned.
    pub(super) fn io(&mut self, mm: Mm, start: u64, end: u64) -> Vec<Change> {
        let lost = |index: &usize| {
            matches!(self.findings[*index].verdict, Verdict::Diverged | Verdict::StaleRead)
        };
        let places = self.ledger.places(mm, start, end);
        let about = places.iter().flat_map(|place| self.open.lost(place.pin.call, start, end));
        let lost: BTreeSet<usize> = about.map(|(.., index)| index).filter(lost).collect();
        for index in &lost {
            prove(&mut self.findings[*index], Proof::IoSubmitted);
        }
        lost.into_iter().map(Change::Updated).collect()
    }

    /// Pages were unpinned.
    pub(super) fn unpin(&mut self, event: &Event, unpin: &Unpin) -> Vec<Change> {
        self.counts.unpins += 1;
        let released = self.ledger.unpin(unpin);
        if unpin.unlisted > 0 {
            self.ends_were_lost();
        }
        for release in &released {
            if !self.held.is_empty() && !self.ledger.is_live(release.call) {
                self.forget_held(release.call);
            }
        }
        if self.open.by_call.is_empty() {
            return Vec::new();
        }
        let end = Unpinned { time: event.time, task: event.task, dirty: unpin.make_dirty };
        released.iter().flat_map(|release| self.release(release, end)).collect()
    }

    /// The end of a call was lost: closes what was about it, and does not know when that was.
    pub(super) fn ended_unseen(&mut self, call: PinId) -> Vec<Change> {
        let about = self.open.by_call.remove(&call).unwrap_or_default();
        let mut changes = Vec::new();
        let mut ended = Vec::new();
        for index in about.left(&self.findings) {
            if Open::one_less(&mut self.open.pins_left, index) == 0 {
                let finding = &mut self.findings[index];
                finding.reason = format!("{}{UNWITNESSED}", finding.reason).into();
                finding.end_unseen = true;
                ended.push(index);
                changes.push(Change::Updated(index));
            }
        }
        self.no_more(&ended);
        changes
    }

    /// A pin has left some pages: closes what was about them.
    fn release(&mut self, release: &Release, end: Unpinned) -> Vec<Change> {
        let call = release.call;
        let Some(of) = self.open.by_call.get(&call) else {
            return Vec::new();
        };
        let is_live = self.ledger.is_live(call);
        let over = if is_live { self.over(of, release) } else { of.left(&self.findings) };
        let Some(of) = self.open.by_call.get_mut(&call) else {
            return Vec::new();
        };
        let (mut changes, mut ended) = (Vec::new(), Vec::new());
        for index in over {
            let finding = &mut self.findings[index];
            of.take(index, finding);
            let left = Open::one_less(&mut self.open.pins_left, index);
            if end.dirty || left == 0 {
                close(finding, end, left == 0);
                changes.push(Change::Updated(index));
            }
            if left == 0 {
                ended.push(index);
            }
        }
        if of.is_over() {
            self.open.by_call.remove(&call);
        }
        self.no_more(&ended);
        changes
    }

    /// What ends with some pages of a call that goes on.
    fn over(&self, of: &OfCall, release: &Release) -> Vec<usize> {
        let released = release.pfn..release.pfn.saturating_add(release.pages);
        let is_over = |index: &usize| {
            let finding = &self.findings[*index];
            let lost = finding.old_pages();
            let touches = released.start < lost.end && lost.start < released.end;
            // A huge page is lost as a whole, and its pin ends page by page.
            touches && !(finding.pages > 1 && self.ledger.holds_any(release.call, lost))
        };
        let mut over = of.copied(&released);
        over.retain(is_over);
        over.sort_unstable();
        over
    }
}

const GONE: &str = "the range was unmapped or discarded while it is pinned: the device goes on with pages that \
                    are no longer the process's";
const DOUBTFUL: &str = "whether the page was still pinned cannot be told: the record of an unpin may be among those \
                        lost";
const DIVERGED: &str = "the process has another page at an address whose old page is pinned: its mapping had been discarded";

const UNWITNESSED: &str = "; records were lost, that of the end of its pin among them";

/// Page size on the one architecture that is traced.
const PAGE: u64 = 4096;
/// Losses are counted each second while records come, of which one brings the next count near, and told later than that
/// on a machine that has no time.
const TALLIED_WITHIN_NS: Time = 10_000_000_000;

/// Takes back what rests on an unpin that may have been lost.
pub(super) fn doubt(finding: &mut Finding) {
    finding.verdict = Verdict::Inconclusive;
    finding.proof = None;
    finding.reason = DOUBTFUL.into();
}

/// Places, grouped by runs of addresses without a gap.
fn contiguous(mut places: Vec<Place>) -> Vec<Vec<Place>> {
    places.sort_by_key(|place| place.start);
    let mut runs: Vec<(u64, Vec<Place>)> = Vec::new();
    for place in places {
        match runs.last_mut() {
            Some((end, run)) if place.start <= *end => {
                *end = place.end().max(*end);
                run.push(place);
            }
            _ => runs.push((place.end(), vec![place])),
        }
    }
    runs.into_iter().map(|(_, run)| run).collect()
}

/// Pages from `first` on to the end of all ranges that touch each other.
fn extent(ranges: impl Iterator<Item = (u64, u64)>, first: u64) -> u64 {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_unstable();
    let mut end = first;
    for (start, next) in ranges {
        if start > end && start > first {
            break;
        }
        end = end.max(next);
    }
    (end.saturating_sub(first)) / 4096
}

/// Whether other bytes in the old page prove something: a child that still maps it could have written them.
fn may_prove(finding: &Finding) -> bool {
    let alone = finding.fault.is_none_or(|fault| fault.mappings <= 0);
    alone && finding.vma_flags & VM_SHARED == 0 && finding.verdict == Verdict::Diverged
}

/// It is certain now that the page was used.
pub(super) fn prove(finding: &mut Finding, proof: Proof) {
    finding.verdict = Verdict::Lost;
    finding.proof = Some(proof);
    finding.reason = proof.words().into();
}

/// A pin of a finding has ended, and perhaps the last one.
fn close(finding: &mut Finding, end: Unpinned, last: bool) {
    if last {
        finding.unpinned = Some(end);
    }
    match finding.verdict {
        Verdict::Diverged | Verdict::StaleRead if end.dirty => prove(finding, Proof::UnpinnedDirty),
        Verdict::Diverged | Verdict::StaleRead if last => {
            finding.reason = "the process had another page while the pin was live; the old page was then unpinned clean, so \
             nothing proves that it was used after".into();
        }
        Verdict::Armed if last => {
            finding.reason =
                "the page was write-protected while it was pinned; the pin has ended".into();
        }
        _ => {}
    }
}
