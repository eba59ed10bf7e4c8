//! Ranges that were unmapped under a pin which may be about to end: closing an AF_XDP socket or a ring and
//! then freeing the buffer is right, though the kernel unpins later, from a worker.
//!
//! Such a finding is held back until something else is mapped there, the pin has lived on for a second, or the
//! trace ends. If the pin ends first, it never was one.

use std::{
    collections::{BTreeSet, VecDeque},
    rc::Rc,
};

use hashbrown::HashMap;

use super::{Change, Trace, findings::doubt, open::Basis, ranges::Ranges};
use crate::{
    event::{Event, Pfn, Time, What},
    facts::key,
    finding::{Finding, ZapKind},
    ledger::{PinId, PinRecord},
    rules::Benign,
};

/// How long a pin may take to end after its range was unmapped.
const GRACE_NS: Time = 1_000_000_000;

/// One that is held back.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it would say.
    pub finding: Finding,
    pins: Vec<Rc<PinRecord>>,
    /// What the old page held when it was unmapped.
    content: Option<u64>,
    basis: Basis,
}

/// Those that are held back, by a number that grows as they come.
#[derive(Clone, Debug, Default)]
pub struct HeldBack {
    /// From number `first` on; none for those that are no more, and never at the front.
    held: VecDeque<Option<Held>>,
    first: usize,
    /// Where pages of a call are, and which of them it is about.
    by_call: HashMap<PinId, Ranges>,
    /// The last one about a page.
    by_page: HashMap<Pfn, usize>,
}

impl HeldBack {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What each would say, as they came.
    pub fn findings(&self) -> impl DoubleEndedIterator<Item = &Finding> {
        self.held.iter().flatten().map(|held| &held.finding)
    }

    /// The same, to be changed.
    pub fn findings_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Finding> {
        self.all_mut().map(|held| &mut held.finding)
    }

    /// Where pages of a call are in a range, by address.
    pub fn lost(&self, call: PinId, start: u64, end: u64) -> Vec<(u64, u64)> {
        let ranges = self.by_call.get(&call).into_iter();
        ranges
            .flat_map(|of| of.overlapping(start, end))
            .map(|(start, end, _)| (start, end))
            .collect()
    }

    fn all_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Held> {
        self.held.iter_mut().flatten()
    }

    fn get_mut(&mut self, number: usize) -> Option<&mut Held> {
        self.held.get_mut(number.checked_sub(self.first)?)?.as_mut()
    }

    fn push(&mut self, held: Held) {
        let (finding, number) = (&held.finding, self.first + self.held.len());
        for pin in &held.pins {
            let of = self.by_call.entry(pin.call).or_default();
            of.put((finding.address, finding.end()), number);
        }
        self.by_page.insert(finding.old_pfn, number);
        self.held.push_back(Some(held));
    }

    fn remove(&mut self, number: usize) -> Option<Held> {
        let held = self.held.get_mut(number.checked_sub(self.first)?)?.take()?;
        while let Some(None) = self.held.front() {
            self.held.pop_front();
            self.first += 1;
        }
        let finding = &held.finding;
        for pin in &held.pins {
            if let Some(of) = self.by_call.get_mut(&pin.call) {
                of.take((finding.address, finding.end()), number);
                if of.is_empty() {
                    self.by_call.remove(&pin.call);
                }
            }
        }
        if self.by_page.get(&finding.old_pfn) == Some(&number) {
            self.by_page.remove(&finding.old_pfn);
        }
        Some(held)
    }

    /// The first one, if it is so.
    fn pop_if(&mut self, is_so: impl Fn(&Held) -> bool) -> Option<Held> {
        let held = self.held.front()?.as_ref()?;
        if is_so(held) { self.remove(self.first) } else { None }
    }

    fn at(&self, call: PinId, address: u64) -> Option<usize> {
        self.by_call.get(&call)?.at(address)
    }
}

/// Whether a zap leaves nothing mapped: what is mapped over, cut or discarded is lost at once.
pub fn only_unmaps(kind: ZapKind) -> bool {
    matches!(kind, ZapKind::Munmap | ZapKind::Brk | ZapKind::Mremap)
}

impl Trace {
    /// Holds a finding back.
    pub(super) fn hold(&mut self, finding: Finding, pins: Vec<Rc<PinRecord>>, basis: Basis) {
        self.held.push(Held { finding, pins, content: None, basis });
    }

    /// Records were lost: those held back since then that rest on the ledger cannot be told.
    pub(super) fn doubt_held(&mut self, since: Time) {
        let recent =
            |held: &&mut Held| held.basis == Basis::Books && held.finding.broken_at >= since;
        let held = self.held.all_mut();
        held.filter(recent).for_each(|held| doubt(&mut held.finding));
    }

    /// Whether one is held back about a pin at an address.
    pub(super) fn is_held(&self, call: PinId, address: u64) -> bool {
        self.held.at(call, address).is_some()
    }

    /// Opens the one about a pin at an address: something else was mapped there.
    pub(super) fn unhold(&mut self, call: PinId, address: u64) -> Option<Change> {
        let number = self.held.at(call, address)?;
        let held = self.held.remove(number)?;
        self.list(held)
    }

    /// Opens those whose pins have lived on for too long, or all at the end of the trace. They stand as they came: one
    /// that was overtaken waits for those before it.
    pub(super) fn overdue(&mut self, event: &Event) -> Vec<Change> {
        let ended = matches!(&event.what, What::Fact { key, .. } if key == key::ENDED);
        let late =
            |held: &Held| ended || event.time.saturating_sub(held.finding.broken_at) > GRACE_NS;
        let mut changes = Vec::new();
        while let Some(held) = self.held.pop_if(late) {
            // A later one may have hidden it from the end of its pin.
            if held.pins.iter().any(|pin| self.ledger.is_live(pin.call)) {
                changes.extend(self.list(held));
            } else {
                *self.benign.entry(Benign::Unmapped).or_default() += 1;
            }
        }
        changes
    }

    fn list(&mut self, held: Held) -> Option<Change> {
        let change = self.open(held.finding, held.pins, held.basis);
        if let (Some(Change::Opened(index)), Some(hash)) = (change, held.content) {
            self.keep_content(index, hash);
        }
        change
    }

    /// What the page of one that is held back held; whether there is one.
    pub(super) fn content_of_held(&mut self, pfn: Pfn, hash: u64) -> bool {
        let number = self.held.by_page.get(&pfn).copied();
        let held = number.and_then(|number| self.held.get_mut(number));
        held.map(|held| held.content = Some(hash)).is_some()
    }

    /// A pin has ended: those about it whose pins have all ended are as they should be.
    pub(super) fn forget_held(&mut self, call: PinId) {
        let Some(about) = self.held.by_call.get(&call) else {
            return;
        };
        let about: BTreeSet<usize> = about.numbers().collect();
        for number in about {
            let ledger = &self.ledger;
            let lives = |held: &Held| held.pins.iter().any(|pin| ledger.is_live(pin.call));
            if self.held.get_mut(number).is_some_and(|held| !lives(held)) {
                self.held.remove(number);
                *self.benign.entry(Benign::Unmapped).or_default() += 1;
            }
        }
    }
}
