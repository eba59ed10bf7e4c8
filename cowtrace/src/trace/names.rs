//! Names of addresses and cgroups, as many as there is room for.
//!
//! Promise: what a finding or a live pin tells keeps its names. Surprise: a process that is in neither may lose them
//! in a flood of processes; its frames are addresses then, until the source tells them again.

use std::collections::HashSet;

use super::Trace;
use crate::{event::Task, finding::Finding};

/// Names of addresses that are kept: some 100 bytes each.
const NAMES: usize = 1 << 18;
/// Paths of cgroups that are kept.
const CGROUPS: usize = 1 << 14;

/// From how many on is looked for what nobody needs: twice as many as were needed last.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    names: usize,
    cgroups: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { names: NAMES, cgroups: CGROUPS }
    }
}

impl Trace {
    /// Keeps a name of an address.
    pub(super) fn name(&mut self, tgid: u32, address: u64, name: String) {
        self.symbols.insert((tgid, address), name);
        if self.symbols.len() > self.room.names {
            let needed: HashSet<u32> = self.tasks().map(|task| task.tgid).collect();
            self.symbols.retain(|(tgid, _), _| *tgid == 0 || needed.contains(tgid));
            self.room.names = NAMES.max(2 * self.symbols.len());
        }
    }

    /// Keeps a path of a cgroup.
    pub(super) fn name_cgroup(&mut self, id: u64, path: String) {
        self.cgroups.insert(id, path);
        if self.cgroups.len() > self.room.cgroups {
            let needed: HashSet<u64> = self.tasks().map(|task| task.cgroup).collect();
            self.cgroups.retain(|id, _| needed.contains(id));
            self.room.cgroups = CGROUPS.max(2 * self.cgroups.len());
        }
    }

    /// Who is in findings, and who holds pins.
    fn tasks(&self) -> impl Iterator<Item = &Task> {
        let found = self.findings.iter().chain(self.held.findings()).flat_map(tasks_of);
        found.chain(self.ledger.calls().map(|(pin, _)| &pin.holder))
    }
}

fn tasks_of(finding: &Finding) -> impl Iterator<Item = &Task> {
    let pin = finding.pin.as_ref().map(|pin| &pin.holder);
    let cause = finding.cause.as_ref().map(|cause| &cause.task);
    let reference = finding.reference.as_ref().map(|reference| &reference.task);
    let unpinned = finding.unpinned.as_ref().map(|end| &end.task);
    [pin, cause, reference, unpinned, Some(&finding.writer)].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Extent, Pin, Stack, What};

    #[test]
    fn a_flood_of_processes_does_not_take_the_names_of_those_that_pin() {
        let mut trace = Trace::default();
        let task = Task { tgid: 7, cgroup: 7, ..Task::default() };
        let pin = Pin {
            mm: 1,
            address: 0x1000,
            pages: 1,
            call_pages: 1,
            unlisted: 0,
            gup_flags: 1,
            part: 0,
            extents: [Extent::new(0x40, 1)].into(),
        };
        let (stack, what) = (Stack::default(), What::Pin(pin));
        trace.take(Ok(Event { time: 1, task, cpu: 0, program: None, stack, what }));
        trace.name(0, 1, "kernel".to_owned());
        trace.name(7, 1, "pins".to_owned());
        trace.name_cgroup(7, "/pins".to_owned());
        for tgid in 10..10 + 2 * u32::try_from(NAMES).expect("few") {
            trace.name(tgid, 1, "passes".to_owned());
            trace.name_cgroup(tgid.into(), "/passes".to_owned());
        }
        assert!(trace.symbols.len() <= NAMES + 1 && trace.cgroups.len() <= CGROUPS + 1);
        assert_eq!(trace.symbol(0, 1), Some("kernel"));
        assert_eq!(trace.symbol(7, 1), Some("pins"));
        assert_eq!(trace.cgroup(7), Some("/pins"));
    }
}
