//! Holders of single pages that are told only when a process is moved off one: short-term pins and plain
//! references.

use std::collections::VecDeque;

use super::Trace;
use crate::{
    event::{Event, Extent, Fault, Holder, Mm, Pfn, Pin, What},
    finding::Reference,
};

/// References kept until their fault comes, which is the next record of the same program.
const KEPT: usize = 64;

/// References that were told.
#[derive(Clone, Debug, Default)]
pub struct References(VecDeque<(Reference, Holder)>);

impl References {
    /// References, as a keyframe tells them.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        self.0.iter().map(|(reference, holder)| Event {
            time: reference.time,
            task: reference.task,
            cpu: 0,
            program: None,
            stack: reference.stack.clone(),
            what: What::Holder(*holder),
        })
    }

    /// In which address space a reference to a page was taken last.
    pub fn mm_of(&self, pfn: Pfn) -> Option<Mm> {
        let mut all = self.0.iter().rev();
        all.find(|(_, holder)| holder.pfn == pfn).map(|(_, holder)| holder.mm)
    }

    /// Who took a reference to the page that a fault has replaced: in another address space it may have been
    /// another page's.
    pub fn of(&self, fault: &Fault) -> Option<Reference> {
        let is_it = |holder: &Holder| holder.pfn == fault.old_pfn && holder.mm == fault.mm;
        let found = self.0.iter().rev().find(|(_, holder)| is_it(holder));
        found.map(|(reference, _)| reference.clone())
    }
}

impl Trace {
    /// Who holds a page that a process has just been moved off.
    pub(super) fn holder(&mut self, event: &Event, holder: &Holder) {
        if !holder.is_pin {
            let Holder { address, gup_flags, .. } = *holder;
            let (time, task, stack) = (event.time, event.task, event.stack.clone());
            let reference = Reference { time, task, stack, address, gup_flags };
            if self.references.0.len() == KEPT {
                self.references.0.pop_front();
            }
            self.references.0.push_back((reference, *holder));
            return;
        }
        let extent = Extent::new(holder.pfn, 1);
        let pin = Pin {
            mm: holder.mm,
            address: holder.address,
            pages: 1,
            call_pages: 1,
            unlisted: 0,
            gup_flags: holder.gup_flags,
            part: 0,
            extents: [extent].into(),
        };
        self.ledger.pin(event, &pin);
    }
}
