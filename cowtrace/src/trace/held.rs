//! Ranges that were unmapped under a pin which may be about to end: closing an AF_XDP socket or a ring and
//! then freeing the buffer is right, though the kernel unpins later, from a worker.
//!
//! Such a finding is held back until something else is mapped there, the pin has lived on for a second, or the
//! trace ends. If the pin ends first, it never was one.

use std::rc::Rc;

use super::{Change, Trace, findings::doubt, open::Basis};
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

impl Held {
    fn is_about(&self, call: PinId, address: u64) -> bool {
        let within = (self.finding.address..self.finding.end()).contains(&address);
        within && self.is_of(call)
    }

    /// Whether it is about pages of a call.
    pub fn is_of(&self, call: PinId) -> bool {
        self.pins.iter().any(|pin| pin.call == call)
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
        self.held.iter_mut().filter(recent).for_each(|held| doubt(&mut held.finding));
    }

    /// Whether one is held back about a pin at an address.
    pub(super) fn is_held(&self, call: PinId, address: u64) -> bool {
        self.held.iter().any(|held| held.is_about(call, address))
    }

    /// Opens the one about a pin at an address: something else was mapped there.
    pub(super) fn unhold(&mut self, call: PinId, address: u64) -> Option<Change> {
        let at = self.held.iter().position(|held| held.is_about(call, address))?;
        let held = self.held.remove(at);
        self.list(held)
    }

    /// Opens those whose pins have lived on for too long, or all at the end of the trace.
    pub(super) fn overdue(&mut self, event: &Event) -> Vec<Change> {
        let ended = matches!(&event.what, What::Fact { key, .. } if key == key::ENDED);
        let late =
            |held: &Held| ended || event.time.saturating_sub(held.finding.broken_at) > GRACE_NS;
        // They stand as they came. One that was overtaken waits for those before it.
        if !self.held.first().is_some_and(late) {
            return Vec::new();
        }
        let (due, rest): (Vec<_>, Vec<_>) = self.held.drain(..).partition(late);
        self.held = rest;
        due.into_iter().filter_map(|held| self.list(held)).collect()
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
        let held = self.held.iter_mut().rev().find(|held| held.finding.old_pfn == pfn);
        held.map(|held| held.content = Some(hash)).is_some()
    }

    /// Pins have ended: those whose pins have all ended are as they should be.
    pub(super) fn forget_held(&mut self) {
        let ledger = &self.ledger;
        let before = self.held.len();
        self.held.retain(|held| held.pins.iter().any(|pin| ledger.is_live(pin.call)));
        let ended = before - self.held.len();
        if ended > 0 {
            *self.benign.entry(Benign::Unmapped).or_default() += ended as u64;
        }
    }
}
