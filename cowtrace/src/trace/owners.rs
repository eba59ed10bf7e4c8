//! Who live pins belong to.
//!
//! Promise: an owner is told once and does not change. Surprise: it is told a moment after the pin, whose call has to end
//! before its owner can be seen; a finding that came earlier learns it then.

use std::{collections::BTreeMap, rc::Rc};

use hashbrown::HashMap;

use super::{Change, Trace};
use crate::{
    event::Time,
    ledger::{Ledger, PinId, PinRecord},
    owner::Owner,
};

/// Pins whose owners may still be told: beyond, the oldest is not waited for any more.
const WAITING: usize = 1 << 16;
/// Findings that are looked at for a pin that has ended meanwhile, the last ones.
const LATEST: usize = 1 << 10;
/// Owners of pins that have ended are kept up to so many.
const ENDED: usize = 1 << 10;

/// The owners.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Calls by time and thread.
    waiting: BTreeMap<(Time, u32), PinId>,
    of: HashMap<PinId, Rc<Owner>>,
}

impl Owners {
    /// A call has pinned, and its owner will be told.
    pub fn wait(&mut self, time: Time, tid: u32, call: PinId) {
        self.waiting.insert((time, tid), call);
        if self.waiting.len() > WAITING {
            self.waiting.pop_first();
        }
    }

    /// The owner of a call.
    pub fn of(&self, call: PinId) -> Option<&Rc<Owner>> {
        self.of.get(&call)
    }

    fn tell(&mut self, pin: (Time, u32), owner: &Rc<Owner>, ledger: &Ledger) -> Option<PinId> {
        let call = self.waiting.remove(&pin)?;
        self.of.insert(call, Rc::clone(owner));
        if self.of.len() > 2 * ledger.live_pins() + ENDED {
            self.of.retain(|call, _| ledger.is_live(*call));
        }
        Some(call)
    }
}

impl Trace {
    /// Who a pin belongs to, if the source has told it.
    pub fn owner(&self, pin: &PinRecord) -> Option<&Rc<Owner>> {
        self.owners.of(pin.call)
    }

    /// The owner of a pin is known now.
    pub(super) fn owned(&mut self, pin: (Time, u32), owner: &Rc<Owner>) -> Vec<Change> {
        let Some(call) = self.owners.tell(pin, owner, &self.ledger) else { return Vec::new() };
        let mut about: Vec<usize> = self.open.of(call).collect();
        if about.is_empty() {
            let is_its = |index: &usize| {
                self.findings[*index].pin.as_ref().is_some_and(|pin| pin.call == call)
            };
            let latest = self.findings.len().saturating_sub(LATEST)..self.findings.len();
            about = latest.filter(is_its).collect();
        }
        let mut changes = Vec::new();
        for index in about {
            let Some(finding) = self.findings.get_mut(index) else { continue };
            let is_named = finding.pin.as_ref().is_some_and(|pin| pin.call == call);
            if is_named && finding.owner.is_none() {
                finding.owner = Some(Rc::clone(owner));
                // That nobody knows it is no news.
                changes.extend(owner.is_known().then_some(Change::Updated(index)));
            }
        }
        changes
    }
}
