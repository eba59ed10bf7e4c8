//! The audit: pages that are pinned, held against the page map.

use super::{Change, Trace, open::Basis};
use crate::{
    event::{Audit, Pfn, is_file},
    finding::{Finding, How},
    ledger::Place,
    pagemap::Question,
};

/// What the audit came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Pages of long-term pins that are mapped where they were pinned.
    pub same: u64,
    /// Not mapped now: swapped out while the pin keeps the page, or a file's.
    pub unmapped: u64,
    /// Other pages, which findings tell of.
    pub others: u64,
}

const MISSED: &str = "hook missed: the page map shows another page than the pinned one, and no probe saw it \
                      come, though one should have";

impl Trace {
    /// What an audit has to look up: the live long-term pins, where they are mapped.
    pub fn questions(&self) -> Vec<Question> {
        let places = self.ledger.all_places();
        let longterm = places
            .filter(|(mm, place)| !is_file(*mm) && self.facts.is_longterm(place.pin.gup_flags));
        let question = |(mm, place): (_, &Place)| {
            let tgid = place.pin.holder.tgid;
            Question { mm, tgid, start: place.start, pages: place.pages }
        };
        longterm.map(question).collect()
    }

    /// What is mapped in a range where something is, or was, pinned.
    pub(super) fn audit(&mut self, audit: &Audit) -> Vec<Change> {
        let end = audit.start.saturating_add(audit.pages() << 12);
        let mut places = self.ledger.places(audit.mm, audit.start, end);
        places.retain(|place| self.facts.is_longterm(place.pin.gup_flags));
        places.iter().flat_map(|place| self.audit_place(audit, place)).collect()
    }

    fn audit_place(&mut self, audit: &Audit, place: &Place) -> Vec<Change> {
        let mut changes = Vec::new();
        for (address, pfn) in place.pfns() {
            let Some(mapped) = audit.pfn_at(address) else { break };
            if !self.ledger.holds(place.pin.id, pfn) {
                continue;
            }
            match mapped {
                0 => self.audited.unmapped += 1,
                same if same == pfn => self.audited.same += 1,
                other => {
                    self.audited.others += 1;
                    changes.extend(self.missed(audit, place, address, (pfn, other)));
                }
            }
        }
        changes
    }

    /// Another page is mapped than the pinned one: a finding, unless there is one.
    fn missed(
        &mut self,
        audit: &Audit,
        place: &Place,
        address: u64,
        (old_pfn, new_pfn): (Pfn, Pfn),
    ) -> Option<Change> {
        let call = place.pin.call;
        if self.about(call, address).is_some() || self.is_held(call, address) {
            return None;
        }
        let finding = Finding {
            reason: MISSED.into(),
            broken_at: self.now,
            mm: audit.mm,
            address,
            old_pfn,
            new_pfn,
            ..Finding::new(self.differs(&place.pin), How::Unseen)
        };
        self.open(finding, vec![place.pin.clone()], Basis::Books)
    }
}
