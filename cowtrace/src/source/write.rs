//! The source's own records, as bytes. The programs write theirs the same way, in the kernel.

use cowtrace_common::{
    program::Program,
    wire::{Header, kind},
};

use super::Batch;
use crate::{
    event::{Cost, Extent, Mm, Pfn, Pin, ProbeState, ShortTerm, Tally, Task, Time},
    facts::key,
};

/// Appends records to a batch, stamped with one time.
pub struct Writer<'a> {
    batch: &'a mut Batch,
    time: Time,
}

impl<'a> Writer<'a> {
    /// Writes at the end of `batch`.
    pub fn new(batch: &'a mut Batch, time: Time) -> Self {
        Self { batch, time }
    }

    /// A fact about host, kernel or run.
    pub fn fact(&mut self, key: &str, value: &str) {
        self.record(kind::FACT, 0, format!("{key}\0{value}").as_bytes());
    }

    /// A row of the probe table.
    pub fn probe(&mut self, probe: &ProbeState) {
        let mut body = vec![probe.row];
        let text = format!("{}\0{}\0{}", probe.sees, probe.attached, probe.unseen);
        body.extend_from_slice(text.as_bytes());
        self.record(kind::PROBE, 0, &body);
    }

    /// A name for an address.
    pub fn symbol(&mut self, tgid: u32, address: u64, name: &str) {
        let mut body = address.to_le_bytes().to_vec();
        body.extend_from_slice(&tgid.to_le_bytes());
        body.extend_from_slice(name.as_bytes());
        self.record(kind::SYMBOL, 0, &body);
    }

    /// What a program has counted.
    pub fn tally(&mut self, program: Program, tally: &Tally) {
        let numbers = [tally.hits, tally.ring_full, tally.map_full, tally.recursion];
        self.record(kind::TALLY, program as u16, numbers.map(u64::to_le_bytes).as_flattened());
    }

    /// Where a cgroup stands.
    pub fn cgroup(&mut self, id: u64, path: &str) {
        let mut body = id.to_le_bytes().to_vec();
        body.extend_from_slice(path.as_bytes());
        self.record(kind::CGROUP, 0, &body);
    }

    /// How long a program has run.
    pub fn cost(&mut self, program: Program, cost: &Cost) {
        let numbers = [cost.runs, cost.nanos];
        self.record(kind::COST, program as u16, numbers.map(u64::to_le_bytes).as_flattened());
    }

    /// Write-protect faults by outcome.
    pub fn outcomes(&mut self, counts: &[u64]) {
        let body: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        self.record(kind::OUTCOMES, 0, &body);
    }

    /// Short-term pins that were counted only.
    pub fn short_term(&mut self, counts: &ShortTerm) {
        let numbers = [counts.pinned, counts.unpinned, counts.told];
        self.record(kind::SHORT_TERM, 0, numbers.map(u64::to_le_bytes).as_flattened());
    }

    /// What is mapped at consecutive addresses.
    pub fn audit(&mut self, mm: Mm, start: u64, extents: &[Extent]) {
        let pairs = extents.iter().flat_map(|extent| [extent.pfn, extent.pages]);
        let numbers = [mm, start].into_iter().chain(pairs);
        let body: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        self.record(kind::AUDIT, 0, &body);
    }

    /// The audit has not looked at everything.
    pub fn audit_ended(&mut self) {
        self.fact(key::AUDIT, "ended early");
    }

    /// Pages that a call pinned beyond its own records. The task is the pin's.
    pub fn pin_rest(&mut self, task: &Task, pin: &Pin, address: u64, pfns: &[Pfn]) {
        // Pointers are PFNs here: as if `struct page` 0 stood at 0.
        const SHIFT: u32 = 6;
        let mut body = Vec::new();
        for number in [pin.mm, address, 0, pin.call_pages, 0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        for number in [pin.gup_flags, pfns.len() as u32, SHIFT, pin.part + 1] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend(pfns.iter().flat_map(|pfn| (pfn << SHIFT).to_le_bytes()));
        self.record_in(task, kind::PIN_REST, 0, &body);
    }

    fn record(&mut self, kind: u16, program: u16, body: &[u8]) {
        self.record_in(&Task::default(), kind, program, body);
    }

    /// The fields in the order of `wire::Header`; the source has no CPU and no frames.
    fn record_in(&mut self, task: &Task, kind: u16, program: u16, body: &[u8]) {
        let len = (size_of::<Header>() + body.len()) as u32;
        let (cpu, frames) = (0u32, 0u32);
        self.batch.extend_from_slice(&len.to_le_bytes());
        self.batch.extend_from_slice(&kind.to_le_bytes());
        self.batch.extend_from_slice(&program.to_le_bytes());
        self.batch.extend_from_slice(&self.time.to_le_bytes());
        self.batch.extend_from_slice(&task.cgroup.to_le_bytes());
        for number in [task.tgid, task.tid, cpu, frames] {
            self.batch.extend_from_slice(&number.to_le_bytes());
        }
        self.batch.extend_from_slice(&task.comm.0);
        self.batch.extend_from_slice(body);
    }
}
