//! Who was forked from whom, and who is left with a device that writes to somebody else's pages.

use std::{collections::BTreeSet, rc::Rc};

use hashbrown::HashMap;

use super::{Change, Trace, keyframe, open::Basis};
use crate::{
    event::{Event, ForkCopy, Mm, Time, VM_HUGETLB, What},
    facts::Facts,
    finding::CauseKind,
    finding::{Finding, How, Verdict},
    history::cause,
    ledger::PinRecord,
};

/// How long a process that ends may take to unpin: files are closed after the address space is gone, and
/// io_uring unpins from a worker.
const GRACE_NS: Time = 1_000_000_000;

/// A process whose address space ended while its pins, and a child, lived on.
#[derive(Clone, Debug)]
struct Ended {
    end: Event,
    /// By process, then address space: those that lived on and still do.
    children: Vec<(u32, Mm)>,
    pins: Vec<Rc<PinRecord>>,
}

/// Children that are alive, and parents that are not.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// By the child's address space: the parent's, and the child.
    children: HashMap<Mm, (Mm, u32)>,
    /// By the child's address space: what it got a copy of. What is shared it sees as its parent did.
    /// Once each: where the end of an address space was lost, the next one at its place comes to its ranges.
    copies: HashMap<Mm, BTreeSet<(u64, u64)>>,
    ended: Vec<Ended>,
}

impl Lineage {
    /// A child got a copy of an address space with pins.
    pub fn born(&mut self, parent: Mm, child: Mm, tgid: u32) {
        self.children.insert(child, (parent, tgid));
    }

    /// A child got a range; whether its pinned pages were copied for it.
    pub fn copied(&mut self, copy: &ForkCopy, facts: &Facts) -> bool {
        let hugetlb = copy.vma_flags & VM_HUGETLB != 0;
        let copied = !copy.shared() && (!hugetlb || facts.forks_copy_hugetlb());
        if copied {
            self.copies.entry(copy.child_mm).or_default().insert((copy.start, copy.end));
        }
        copied
    }

    /// Whether a child still has the address space that fork gave it.
    pub fn lives(&self, tgid: u32) -> bool {
        self.children.values().any(|(_, child)| *child == tgid)
    }

    /// Whether nobody has to be asked for soon.
    pub fn is_settled(&self) -> bool {
        self.ended.is_empty()
    }

    /// The births of children that live, as a keyframe tells them; of the forks themselves history knows more.
    pub fn events(&self) -> Vec<Event> {
        let mut children: Vec<_> = self.children.iter().collect();
        children.sort_unstable();
        let born = children.into_iter().map(|(child_mm, (parent_mm, child_tgid))| {
            let (parent_mm, child_mm, child_tgid) = (*parent_mm, *child_mm, *child_tgid);
            What::Fork { parent_mm, child_mm, child_tgid }
        });
        // Also of a child that is not born yet: its pages are copied first.
        let mut ranges: Vec<_> = self.copies.iter().collect();
        ranges.sort_unstable();
        let copied = ranges.into_iter().flat_map(|(child_mm, ranges)| {
            let copy = |(start, end): &(u64, u64)| ForkCopy {
                parent_mm: 0,
                child_mm: *child_mm,
                start: *start,
                end: *end,
                vma_flags: 0,
                began: 0,
            };
            ranges.iter().map(move |range| What::ForkCopy(copy(range)))
        });
        born.chain(copied).map(|what| keyframe::of(0, what)).collect()
    }

    fn has_copy(&self, child: Mm, address: u64) -> bool {
        let ranges = self.copies.get(&child).into_iter().flatten();
        ranges.into_iter().any(|(start, end)| (*start..*end).contains(&address))
    }

    /// The ranges that a child got no copy of: what lies between those that it got one of.
    fn without_copy(&self, child: Mm) -> Vec<(u64, u64)> {
        let copies = self.copies.get(&child).into_iter().flatten();
        let mut from = 0;
        let between = copies.copied().chain([(u64::MAX, u64::MAX)]).map(|(start, end)| {
            let gap = (from, start);
            from = from.max(end);
            gap
        });
        between.filter(|(start, end)| start < end).collect()
    }

    /// An address space ended; `pins` were mapped in it and live on.
    pub fn died(&mut self, mm: Mm, pins: Vec<Rc<PinRecord>>, event: &Event) {
        self.children.remove(&mm);
        self.copies.remove(&mm);
        self.ended.retain_mut(|ended| {
            ended.children.retain(|(_, child)| *child != mm);
            !ended.children.is_empty()
        });
        let of_it = self.children.iter().filter(|(_, (parent, _))| *parent == mm);
        let mut children: Vec<_> = of_it.map(|(child, (_, tgid))| (*tgid, *child)).collect();
        // A replay is to name the same one.
        children.sort_unstable();
        if !children.is_empty() && !pins.is_empty() {
            self.ended.push(Ended { end: event.clone(), children, pins });
        }
    }
}

impl Trace {
    /// Pinned pages of anonymous memory that a child was just not given: its ranges were copied by now.
    pub(super) fn kept_from(&self, parent: Mm, child: Mm) -> u64 {
        let is_anonymous = |pin: &PinRecord| self.vma_name(pin).is_some_and(|name| name.is_empty());
        // What is pinned where a copy was made is not looked at: that is nearly all, and may be millions of pages.
        let kept = self.lineage.without_copy(child).into_iter();
        kept.flat_map(|(start, end)| self.ledger.places(parent, start, end))
            .filter(|place| is_anonymous(&place.pin))
            .map(|place| place.pages)
            .sum()
    }

    /// Pins whose holder ended long enough ago, while a child of it lives.
    pub(super) fn inherited(&mut self, event: &Event) -> Vec<Change> {
        let due = |ended: &Ended| event.time.saturating_sub(ended.end.time) > GRACE_NS;
        if !self.lineage.ended.iter().any(due) {
            return Vec::new();
        }
        let (due, rest) = self.lineage.ended.drain(..).partition(due);
        self.lineage.ended = rest;
        let due: Vec<Ended> = due;
        due.into_iter().filter_map(|ended| self.inheritance(ended)).collect()
    }

    fn inheritance(&mut self, ended: Ended) -> Option<Change> {
        let (ledger, facts) = (&self.ledger, &self.facts);
        let mut pins = ended.pins;
        pins.retain(|pin| ledger.is_live(pin.call) && facts.is_longterm(pin.gup_flags));
        let copied = |child: Mm| pins.iter().any(|pin| self.lineage.has_copy(child, pin.address));
        let (child, child_mm) = ended.children.into_iter().find(|(_, child)| copied(*child))?;
        pins.retain(|pin| self.lineage.has_copy(child_mm, pin.address));
        let pin = pins.first()?.clone();
        let finding = Finding {
            pages: pins
                .iter()
                .filter(|other| other.address == pin.address)
                .fold(0, |pages, pin| pages.saturating_add(pin.pages)),
            reason: format!(
                "the holder's address space ended and its pins live on, while its child {child} lives: what the \
                 device writes goes to the holder's pages, of which the child has a copy made at fork"
            )
            .into(),
            cause: Some(cause(CauseKind::Fork { child, alive: true }, &ended.end)),
            writer: ended.end.task,
            broken_at: ended.end.time,
            mm: child_mm,
            address: pin.address,
            old_pfn: pin.pfn_at(0).unwrap_or(0),
            ..Finding::new(Verdict::Snapshot, How::Inherited)
        };
        self.open(finding, pins, Basis::Books)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_without_what_lies_between_its_copies_however_these_overlap() {
        let mut lineage = Lineage::default();
        for (start, end) in [(0x1000, 0x9000), (0x2000, 0x3000), (0xa000, 0xb000), (0xb000, 0xc000)]
        {
            let (parent_mm, child_mm, vma_flags, began) = (1, 2, 0, 0);
            let copy = ForkCopy { parent_mm, child_mm, start, end, vma_flags, began };
            assert!(lineage.copied(&copy, &Facts::default()));
        }
        let gaps = [(0, 0x1000), (0x9000, 0xa000), (0xc000, u64::MAX)];
        assert_eq!(lineage.without_copy(2), gaps);
        assert_eq!(lineage.without_copy(3), [(0, u64::MAX)], "nothing was copied for that one");
    }
}
