//! Records as bytes: the source's own, and those of a keyframe. The programs write theirs the same way, in the kernel.

mod again;

use cowtrace_common::{
    program::Program,
    wire::{Header, Unpin, kind, unpin_form},
};

use crate::source::Batch;
use crate::{
    budget::{Kept, Shed},
    decode::Head,
    event::{
        Cost, Event, Extent, Held, Mm, Pfn, Pin, ProbeState, ShortTerm, Tally, Task, Time, Untold,
    },
    facts::key,
    finding::{Proof, Verdict},
    owner::{Found, Owner},
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

    /// The same batch at another time.
    pub fn at(&mut self, time: Time) -> Writer<'_> {
        Writer { batch: self.batch, time }
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

    /// What is mapped in a VMA; empty for anonymous memory.
    pub fn vma_name(&mut self, mm: Mm, start: u64, end: u64, name: &str) {
        let mut body = [mm, start, end].map(u64::to_le_bytes).concat();
        body.extend_from_slice(name.as_bytes());
        self.record(kind::VMA_NAME, 0, &body);
    }

    /// Who a pin belongs to that a thread made at a time.
    pub fn owner(&mut self, (pinned, tid): (Time, u32), owner: &Owner) {
        let fit = match owner.found {
            Found::TooLate => 0,
            Found::Nowhere => u32::MAX,
            Found::Sure => 1,
            Found::OneOf(several) => several,
        };
        let mut body = pinned.to_le_bytes().to_vec();
        body.extend([owner.kind as u32, fit].map(u32::to_le_bytes).as_flattened());
        body.extend_from_slice(owner.name.as_bytes());
        self.record_in(&Task { tid, ..Task::default() }, kind::OWNER, 0, &body);
    }

    /// How long a program has run.
    pub fn cost(&mut self, program: Program, cost: &Cost) {
        let numbers = [cost.runs, cost.nanos];
        self.record(kind::COST, program as u16, numbers.map(u64::to_le_bytes).as_flattened());
    }

    /// What the budget came to.
    pub fn budget(&mut self, kept: &Kept) {
        let Kept { limit, programs, user, window, beyond, .. } = *kept;
        let Kept { beyond_spent, spent, measured, stages, .. } = *kept;
        let head = [limit.ppm, programs, user, window, beyond, beyond_spent, spent, measured];
        let stages = stages.map(|Shed { times, nanos, from, until }| [times, nanos, from, until]);
        let numbers = head.into_iter().chain(stages.into_iter().flatten());
        let body: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        self.record(kind::BUDGET, 0, &body);
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
        let mut body = Vec::new();
        for number in [pin.mm, address, 0, pin.call_pages, 0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        for number in [pin.gup_flags, pfns.len() as u32, SHIFT, pin.part + 1] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend(pointers(pfns));
        self.record_in(task, kind::PIN_REST, 0, &body);
    }

    /// Small pages that were unpinned one by one; `of` is the record in front of them.
    pub fn unpins(&mut self, of: &Head, pfns: &[Pfn]) {
        let count = pfns.len() as u32;
        let mut body = Vec::with_capacity(size_of::<Unpin>() + 8 * pfns.len());
        body.extend([0, u64::from(count), 0].map(u64::to_le_bytes).as_flattened());
        body.extend([0, count, SHIFT, unpin_form::ARRAY].map(u32::to_le_bytes).as_flattened());
        body.extend(pointers(pfns));
        self.append(&Head { kind: kind::UNPIN, time: self.time, frames: (0, 0), ..*of }, &body);
    }

    /// An event of a program once more, for a keyframe; whether its kind can be told so. The program is left out, since
    /// this is no record of it.
    pub fn again(&mut self, event: &Event) -> bool {
        let Some((kind, body)) = again::body(&event.what) else { return false };
        self.record_of(event, kind, NO_PROGRAM, &body);
        true
    }

    /// A pin that is held, by `event`'s task, since its time, from its stack.
    pub fn held(&mut self, event: &Event, held: &Held) {
        self.record_of(event, kind::HELD, 0, &again::held(held));
    }

    /// What the finding told last has come to.
    pub fn grade(&mut self, verdict: Verdict, proof: Option<Proof>) {
        let verdict = Verdict::ALL.iter().position(|other| *other == verdict).unwrap_or(0);
        let proof = proof.and_then(|proof| Proof::ALL.iter().position(|other| *other == proof));
        let numbers = [verdict as u32, proof.map_or(0, |proof| proof as u32 + 1)];
        self.record(kind::GRADE, 0, numbers.map(u32::to_le_bytes).as_flattened());
    }

    /// What a program told of a thread.
    pub fn told(&mut self, tid: u32, program: Program, mark: [u64; 3]) {
        let task = Task { tid, ..Task::default() };
        let body = mark.map(u64::to_le_bytes);
        self.record_in(&task, kind::TOLD, program as u16, body.as_flattened());
    }

    /// A keyframe begins.
    pub fn begin(&mut self) {
        self.record(kind::KEYFRAME, 0, &[]);
    }

    /// A keyframe ends.
    pub fn end(&mut self, untold: &Untold) {
        let numbers = [untold.malformed, untold.unknown, untold.unlisted];
        self.record(kind::KEYFRAME_END, 0, numbers.map(u64::to_le_bytes).as_flattened());
    }

    fn record(&mut self, kind: u16, program: u16, body: &[u8]) {
        self.record_in(&Task::default(), kind, program, body);
    }

    fn record_in(&mut self, task: &Task, kind: u16, program: u16, body: &[u8]) {
        let head = Head { kind, program, time: self.time, task: *task, ..Head::default() };
        self.append(&head, body);
    }

    /// With time, task and stacks of an event.
    fn record_of(&mut self, event: &Event, kind: u16, program: u16, body: &[u8]) {
        let (kernel, user) = (event.stack.kernel(), event.stack.user());
        let frames = (kernel.len() as u16, user.len() as u16);
        let (time, task, cpu) = (event.time, event.task, event.cpu);
        let stacks = kernel.iter().chain(user.iter()).flat_map(|address| address.to_le_bytes());
        let body: Vec<u8> = body.iter().copied().chain(stacks).collect();
        self.append(&Head { kind, program, time, task, cpu, frames }, &body);
    }

    /// The fields in the order of `wire::Header`.
    fn append(&mut self, head: &Head, body: &[u8]) {
        let Head { kind, program, time, task, cpu, frames: (kernel, user) } = *head;
        let len = (size_of::<Header>() + body.len()) as u32;
        self.batch.extend_from_slice(&len.to_le_bytes());
        self.batch.extend_from_slice(&kind.to_le_bytes());
        self.batch.extend_from_slice(&program.to_le_bytes());
        self.batch.extend_from_slice(&time.to_le_bytes());
        self.batch.extend_from_slice(&task.cgroup.to_le_bytes());
        for number in [task.tgid, task.tid, cpu] {
            self.batch.extend_from_slice(&number.to_le_bytes());
        }
        for number in [kernel, user] {
            self.batch.extend_from_slice(&number.to_le_bytes());
        }
        self.batch.extend_from_slice(&task.comm.0);
        self.batch.extend_from_slice(body);
    }
}

/// Page pointers as if `struct page` 0 stood at 0, one page's [behind](SHIFT) the other.
fn pointers(pfns: &[Pfn]) -> impl Iterator<Item = u8> {
    pfns.iter().flat_map(|pfn| (pfn << SHIFT).to_le_bytes())
}

/// log2 of what such a `struct page` takes.
const SHIFT: u32 = 6;

/// Number of no program.
const NO_PROGRAM: u16 = u16::MAX;
