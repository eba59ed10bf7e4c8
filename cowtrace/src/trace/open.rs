//! A finding is opened: what it is made of is put together, and its pins are watched from here on.

use std::{collections::BTreeSet, ops::Range, rc::Rc};

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::{Change, Trace, findings::doubt, ranges::Ranges};
use crate::{
    event::Pfn,
    finding::{CauseKind, Finding, How},
    ledger::{PinId, PinRecord},
    rules,
};

/// Findings whose pins live.
#[derive(Clone, Debug, Default)]
pub struct Open {
    /// By the call that pinned: number of its first record.
    pub by_call: HashMap<PinId, OfCall>,
    /// Calls of a finding that live; one is closed when the last has ended.
    pub pins_left: HashMap<usize, usize>,
    /// Those that have any, by the page that was lost, oldest first.
    pub by_page: HashMap<Pfn, SmallVec<[usize; 1]>>,
    /// What the old page held when it was lost.
    pub content: HashMap<usize, u64>,
    /// Those of them that rest on the [books](Basis::Books).
    pub by_books: HashSet<usize>,
}

/// Those about one call.
#[derive(Clone, Debug, Default)]
pub struct OfCall {
    /// In the order found, those that have ended included.
    found: SmallVec<[usize; 1]>,
    /// How many have not.
    left: usize,
    /// Where they are, but for those that only predict.
    pub lost: Ranges,
    /// Those whose page was copied, by the first page: they end with their pages, the others with the call.
    copied: BTreeSet<(Pfn, usize)>,
    /// None of these has more pages.
    most_copied: u64,
}

impl OfCall {
    fn put(&mut self, index: usize, finding: &Finding) {
        self.found.push(index);
        self.left += 1;
        if finding.how != How::WillBeCopied {
            self.lost.put((finding.address, finding.end()), index);
        }
        if finding.how == How::Copied {
            self.copied.insert((finding.old_pfn, index));
            self.most_copied = self.most_copied.max(finding.pages);
        }
    }

    /// One that has ended for this call.
    pub fn take(&mut self, index: usize, finding: &Finding) {
        self.left = self.left.saturating_sub(1);
        self.lost.take((finding.address, finding.end()), index);
        self.copied.remove(&(finding.old_pfn, index));
    }

    /// Whether all have ended.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Those that have not ended, in the order found.
    pub fn left(&self, findings: &[Finding]) -> Vec<usize> {
        let ended = |index: &usize| {
            let finding = &findings[*index];
            finding.how == How::Copied && !self.copied.contains(&(finding.old_pfn, *index))
        };
        self.found.iter().copied().filter(|index| !ended(index)).collect()
    }

    /// Those whose copied pages may be among these.
    pub fn copied(&self, pages: &Range<Pfn>) -> Vec<usize> {
        let from = pages.start.saturating_sub(self.most_copied);
        let near = self.copied.range((from, 0)..(pages.end.max(from), 0));
        near.map(|(_, index)| *index).collect()
    }
}

/// What says that the page of a finding is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The kernel's own count of the page.
    Count,
    /// The ledger alone: nobody asked for that count. Not to be relied on where the end of a pin may be lost.
    Books,
}

impl Open {
    /// Of a call that lives, in the order found, those that have ended included.
    pub fn of(&self, call: PinId) -> impl Iterator<Item = usize> {
        self.by_call.get(&call).into_iter().flat_map(|of| &of.found).copied()
    }

    /// Where a call's pages are lost in a range, by address, and the findings that say so.
    pub fn lost(
        &self,
        call: PinId,
        start: u64,
        end: u64,
    ) -> impl Iterator<Item = (u64, u64, usize)> {
        let of = self.by_call.get(&call).into_iter();
        of.flat_map(move |of| of.lost.overlapping(start, end))
    }

    /// One pin of a finding has ended; how many of it live.
    pub fn one_less(pins_left: &mut HashMap<usize, usize>, index: usize) -> usize {
        pins_left.get_mut(&index).map_or(0, |left| {
            *left = left.saturating_sub(1);
            *left
        })
    }

    /// Those whose old page it is.
    pub fn about(&self, pfn: Pfn) -> SmallVec<[usize; 1]> {
        self.by_page.get(&pfn).cloned().unwrap_or_default()
    }

    /// The last pin of a finding has ended.
    pub fn forget(&mut self, index: usize, page: Pfn) {
        self.pins_left.remove(&index);
        self.content.remove(&index);
        self.by_books.remove(&index);
        if let Some(about) = self.by_page.get_mut(&page) {
            about.retain(|other| *other != index);
            if about.is_empty() {
                self.by_page.remove(&page);
            }
        }
    }
}

impl Trace {
    /// Findings whose pins live, with what the old page held when it was lost.
    pub(super) fn open_findings(&self) -> impl Iterator<Item = (&Finding, Option<u64>)> {
        let content = |index| self.open.content.get(&index).copied();
        self.open_indices().into_iter().map(move |index| (&self.findings[index], content(index)))
    }

    /// Where they are, in the order found.
    pub(super) fn open_indices(&self) -> Vec<usize> {
        let mut open: Vec<usize> = self.open.pins_left.keys().copied().collect();
        open.sort_unstable();
        open
    }

    /// Takes in a finding about some pins, of which the first is named; nothing where it is [counted](super::listed) only.
    pub(super) fn open(
        &mut self,
        mut finding: Finding,
        mut pins: Vec<Rc<PinRecord>>,
        basis: Basis,
    ) -> Option<Change> {
        finding.pin = pins.first().cloned();
        let known = self.known(&finding);
        if known.is_none() && !self.listed.takes(&finding, self.findings.len()) {
            return None;
        }
        let index = known.unwrap_or(self.findings.len());
        finding.id = index + 1;
        self.restoring.iter_mut().for_each(|restoring| restoring.last = Some(index));
        if let Some(CauseKind::Fork { child, alive }) =
            finding.cause.as_mut().map(|cause| &mut cause.kind)
        {
            *alive = self.lineage.lives(*child);
        }
        if basis == Basis::Books {
            // What a keyframe tells once more has its grade.
            if self.restoring.is_none() && pins.iter().any(|pin| self.may_have_ended(pin)) {
                doubt(&mut finding);
            }
            self.open.by_books.insert(index);
        }
        let mut seen = HashSet::new();
        pins.retain(|pin| self.ledger.is_live(pin.call) && seen.insert(pin.call));
        for pin in &pins {
            self.open.by_call.entry(pin.call).or_default().put(index, &finding);
        }
        if pins.is_empty() {
            finding.pin = finding.pin.as_ref().map(PinRecord::ended);
        } else {
            self.open.pins_left.insert(index, pins.len());
            self.open.by_page.entry(finding.old_pfn).or_default().push(index);
        }
        if let Some(known) = self.findings.get_mut(index) {
            known.pin = finding.pin;
            self.watched.entry(known.old_pfn).or_default().push(index);
            return Some(Change::Updated(index));
        }
        self.watch(&mut finding, index);
        finding.vma_name = self.vma_name_of(&finding);
        finding.owner = finding.pin.as_ref().and_then(|pin| self.owner(pin)).cloned();
        finding.coherence = self.coherence(finding.mm, finding.address, finding.end());
        finding.advice = rules::advice(&finding, &self.facts);
        self.share_stacks(&mut finding);
        self.findings.push(finding);
        Some(Change::Opened(index))
    }

    fn share_stacks(&mut self, finding: &mut Finding) {
        let cause = finding.cause.as_mut().map(|cause| &mut cause.stack);
        let reference = finding.reference.as_mut().map(|reference| &mut reference.stack);
        for stack in cause.into_iter().chain(reference).chain([&mut finding.writer_stack]) {
            self.stacks.share(stack);
        }
    }

    /// What was mapped at the address of a finding as it was pinned.
    fn vma_name_of(&self, finding: &Finding) -> Option<Rc<str>> {
        let pin = finding.pin.as_ref()?;
        let here = self.vma_names.at(finding.mm, finding.address, pin.time);
        here.or_else(|| self.vma_name(pin)).cloned()
    }

    /// The last pins of these have ended. What they pinned is nobody's question any more, and may be long.
    pub(super) fn no_more(&mut self, indices: &[usize]) {
        let mut last: Option<Rc<PinRecord>> = None;
        for index in indices {
            let finding = &mut self.findings[*index];
            if let Some(pin) = &finding.pin {
                // Findings about one pin end together, and have one of them.
                let known = last.take().filter(|last| last.id == pin.id);
                let ended = known.unwrap_or_else(|| PinRecord::ended(pin));
                finding.pin = Some(Rc::clone(last.insert(ended)));
            }
            self.open.forget(*index, finding.old_pfn);
        }
    }

    /// What the old page of a finding held when it was lost.
    pub(super) fn keep_content(&mut self, index: usize, hash: u64) {
        self.open.content.insert(index, hash);
    }
}
