//! Everything known so far: the one state, folded from events, that all sinks look at.

mod audit;
mod findings;
mod gap;
mod held;
mod holders;
mod keyframe;
mod lineage;
mod listed;
mod losses;
mod names;
mod notifiers;
mod open;
mod owners;
mod ranges;
mod reach;
mod repeats;
mod secondary;
mod stacks;
mod vmas;

use std::{collections::BTreeMap, rc::Rc};

use cowtrace_common::{program::Program, wire::Outcome};
use hashbrown::HashMap;

pub use self::{
    audit::Audited,
    notifiers::{Durations, Sort},
    secondary::AddressSpace,
};
use self::{
    held::HeldBack, holders::References, keyframe::Restoring, lineage::Lineage, listed::Listed,
    names::Room, notifiers::Notifiers, open::Open, owners::Owners, reach::Watched,
    repeats::Repeats, secondary::Secondaries, stacks::Stacks, vmas::VmaNames,
};
use crate::{
    budget::Kept,
    decode::Malformed,
    event::{Before, Cost, Event, Fault, FileRange, Mm, ProbeState, ShortTerm, Tally, Time, What},
    facts::{Facts, key},
    finding::{CauseKind, Finding, Telling, Verdict, ZapKind},
    history::History,
    ledger::{Ledger, PinRecord},
    reach::Reaches,
    rules::{self, Benign, Judgement},
};

/// What an event changed among the findings; the index into [`Trace::findings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new one.
    Opened(usize),
    /// There is more to say of it, and its verdict may have changed; its pin may have ended.
    Updated(usize),
}

/// How many events of each sort there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records of what programs saw.
    pub records: u64,
    /// Write-protect faults streamed.
    pub faults: u64,
    /// Calls that pinned something.
    pub pins: u64,
    /// Unpin records.
    pub unpins: u64,
    /// Invalidations.
    pub invalidations: u64,
    /// Notifiers registered.
    pub notifiers: u64,
    /// Forks.
    pub forks: u64,
    /// Zaps of ranges that may have pins.
    pub zaps: u64,
    /// Pinned pages that the kernel copied for children, as it forked.
    pub fork_copies: u64,
    /// Nanoseconds that forks spent on ranges with pins.
    pub fork_ns: u64,
    /// Pinned pages of anonymous memory that children were not given (`MADV_DONTFORK`).
    pub fork_kept: u64,
    /// Suspects by plain references beyond those listed for their process.
    pub suspects_unlisted: u64,
    /// Bytes that were no event.
    pub malformed: u64,
    /// Records of kinds that this version does not know.
    pub unknown: u64,
}

/// The state.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Host, kernel, run.
    pub facts: Facts,
    /// The probe table as attached, by row.
    pub probes: BTreeMap<u8, ProbeState>,
    /// What each program counted.
    pub tallies: BTreeMap<Program, Tally>,
    /// How long each program has run, where that was measured.
    pub costs: BTreeMap<Program, Cost>,
    /// What the budget came to, where there is one.
    pub budget: Option<Box<Kept>>,
    /// Write-protect faults by outcome, streamed or not.
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Who holds what.
    pub ledger: Ledger,
    /// What the rules found, in that order.
    pub findings: Vec<Finding>,
    /// Faults on pinned pages that are as they should be.
    pub benign: BTreeMap<Benign, u64>,
    /// Pinned pages held against the page map.
    pub audited: Audited,
    /// Short-term pins that are only counted.
    pub short_term: ShortTerm,
    /// What secondary MMUs were told of pinned ranges.
    pub invalidated: BTreeMap<Sort, Durations>,
    /// Events by sort.
    pub counts: Counts,
    /// Time of the newest event.
    pub now: Time,
    /// From when to when records are missing between two parts.
    gaps: Vec<(Time, Time)>,
    symbols: HashMap<(u32, u64), String>,
    /// What the kernel's symbols tell of zaps, by address.
    zap_frames: HashMap<u64, Telling>,
    cgroups: HashMap<u64, String>,
    vma_names: VmaNames,
    owners: Owners,
    room: Room,
    history: History,
    open: Open,
    listed: Listed,
    stacks: Stacks,
    held: HeldBack,
    lineage: Lineage,
    suspects: HashMap<Mm, usize>,
    references: References,
    notifiers: Notifiers,
    secondaries: Secondaries,
    repeats: Repeats,
    restoring: Option<Restoring>,
    reaches: Reaches,
    watched: Watched,
    /// By thread, what its zap will be of.
    file_ranges: HashMap<u32, FileRange>,
}

/// Suspects by plain references that are listed for one process; beyond, they are counted.
const SUSPECTS: usize = 64;

impl Trace {
    /// Takes one event in; what it changed among the findings.
    pub fn take(&mut self, event: Result<Event, Malformed>) -> Vec<Change> {
        if let Ok(event) = event {
            return self.event(event);
        }
        self.counts.malformed += 1;
        self.ends_were_lost();
        Vec::new()
    }

    /// The name of an address in a process (0: the kernel), if the source had one.
    pub fn symbol(&self, tgid: u32, address: u64) -> Option<&str> {
        self.symbols.get(&(tgid, address)).map(String::as_str)
    }

    /// The path of a cgroup below the root of the hierarchy, if the source had it.
    pub fn cgroup(&self, id: u64) -> Option<&str> {
        self.cgroups.get(&id).map(String::as_str)
    }

    /// What a pin was of, by name, if the source had it and nothing else was pinned there since; empty for anonymous
    /// memory.
    pub fn vma_name(&self, pin: &PinRecord) -> Option<&Rc<str>> {
        self.vma_names.at(pin.mm, pin.address, pin.time)
    }

    /// How many findings there are of each verdict that there is one of, the worst first.
    pub fn verdicts(&self) -> impl Iterator<Item = (Verdict, usize)> {
        let of =
            |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let all = Verdict::ALL.into_iter().rev().map(move |verdict| (verdict, of(verdict)));
        all.filter(|(_, count)| *count > 0)
    }

    /// Nanoseconds since the trace began, for display.
    pub fn since_start(&self, time: Time) -> i64 {
        let start = self.facts.number(key::STARTED).unwrap_or(0);
        time.cast_signed().saturating_sub(start)
    }

    /// Write-protect faults by outcome, streamed or not.
    pub fn faults_by_outcome(&self) -> impl Iterator<Item = (String, u64)> {
        Outcome::ALL
            .iter()
            .zip(self.outcomes)
            .map(|(outcome, count)| (format!("{outcome:?}").to_lowercase(), count))
    }

    /// Copies that `wp_page_copy` itself made, where it is a function of its own.
    pub fn copies_witnessed(&self) -> Option<u64> {
        self.tallies.get(&Program::WpCopyExit).map(|tally| tally.hits)
    }

    fn event(&mut self, mut event: Event) -> Vec<Change> {
        if matches!(event.what, What::Before(Before::Begin)) {
            self.begin_again(event.time);
        }
        self.now = self.now.max(event.time);
        if event.program.is_some()
            && !matches!(event.what, What::Tally(_) | What::Cost(_) | What::Before(_))
        {
            self.counts.records += 1;
        }
        if self.repeats.is_one(&event) {
            return Vec::new();
        }
        if let What::Pin(_) = event.what {
            self.stacks.share(&mut event.stack);
        }
        let mut changes = self.inherited(&event);
        changes.extend(self.overdue(&event));
        match &event.what {
            What::Fault(fault) => changes.extend(self.fault(&event, fault)),
            What::Unpin(unpin) => changes.extend(self.unpin(&event, unpin)),
            What::FileRange(range) => drop(self.file_ranges.insert(event.task.tid, *range)),
            What::Zap(zap) => changes.extend(self.zap(&event, zap)),
            What::Refault { mm, address, pfn } => {
                changes.extend(self.refault(&event, *mm, *address, *pfn));
            }
            What::Protect(protect) => changes.extend(self.protect(&event, protect)),
            What::Content { pfn, hash, at_unpin } => {
                changes.extend(self.content(*pfn, *hash, *at_unpin, &event.stack));
            }
            What::Pin(pin) => {
                self.counts.pins += u64::from(pin.part == 0);
                if pin.part == 0 && self.facts.is_longterm(pin.gup_flags) {
                    self.owners.wait(event.time, event.task.tid, self.ledger.records());
                }
                self.secondaries.pinned(pin.mm, event.task, pin.pages);
                self.ledger.pin(&event, pin);
            }
            What::Owner { pinned, owner } => {
                changes.extend(self.owned((*pinned, event.task.tid), owner));
            }
            What::PinRest(pin) => self.ledger.pin_rest(&event, pin),
            What::Move { mm, from, to, len } => self.ledger.moved(*mm, *from, *to, *len),
            What::Fork { .. } | What::ForkCopy(_) | What::MmExit { .. } => self.lineage(&event),
            What::Invalidate(invalidate) => {
                self.invalidate(&event, invalidate);
                if invalidate.is_protection() {
                    let kind = CauseKind::Invalidation(invalidate.event_name());
                    let range = (invalidate.start, invalidate.end);
                    self.history.remember(invalidate.mm, kind, &event, range);
                }
            }
            What::Audit(audit) => changes.extend(self.audit(audit)),
            What::Notifier(notifier) => self.notifier(&event, notifier),
            What::Secondary(_) | What::NotifierGone(_) => self.secondary(&event),
            What::Holder(holder) => self.holder(&event, holder),
            What::Io { mm, start, end, .. } => changes.extend(self.io(*mm, *start, *end)),
            What::DeviceMap(map) => changes.extend(self.device_map(&event, map)),
            What::DeviceUnmap(unmap) => changes.extend(self.device_unmap(&event, unmap)),
            What::Attached(attached) => changes.extend(self.attached(&event, attached)),
            What::Before(before) => self.before(&event, before),
            What::Cost(cost) => self.costs.extend(event.program.map(|program| (program, *cost))),
            What::Tally(tally) => changes.extend(self.tally(event.program, *tally)),
            _ => self.source(event),
        }
        changes
    }

    /// Birth and death of address spaces.
    fn lineage(&mut self, event: &Event) {
        match &event.what {
            What::Fork { parent_mm, child_mm, child_tgid } => {
                self.counts.forks += 1;
                // A keyframe tells a child's birth without a time, and the fork without its address space.
                if event.time != 0 {
                    let kind = CauseKind::Fork { child: *child_tgid, alive: true };
                    self.history.remember(*parent_mm, kind, event, (0, u64::MAX));
                }
                if event.time != 0 {
                    self.counts.fork_kept += self.kept_from(*parent_mm, *child_mm);
                }
                if *child_mm != 0 {
                    self.lineage.born(*parent_mm, *child_mm, *child_tgid);
                }
            }
            What::ForkCopy(copy) => {
                if self.lineage.copied(copy, &self.facts) {
                    let places = self.ledger.places(copy.parent_mm, copy.start, copy.end);
                    self.counts.fork_copies += places.iter().map(|place| place.pages).sum::<u64>();
                }
                let took = event.time.saturating_sub(copy.began);
                self.counts.fork_ns = self.counts.fork_ns.saturating_add(took);
            }
            What::MmExit { mm } => {
                self.address_space_ended(*mm);
                self.history.forget(*mm);
                self.suspects.remove(mm);
                self.notifiers.forget(*mm);
                self.vma_names.forget(*mm);
                let left = self.ledger.mm_exit(*mm);
                self.lineage.died(*mm, left, event);
            }
            _ => {}
        }
    }

    /// Records of the source's own.
    fn source(&mut self, event: Event) {
        match event.what {
            What::Fact { key, value } => {
                if key == key::ZERO_PFN
                    && let Ok(pfn) = value.parse()
                {
                    self.ledger.ignore(pfn);
                }
                self.facts.set(key, value);
            }
            What::Probe(probe) => drop(self.probes.insert(probe.row, probe)),
            What::Symbol { address, tgid, name } => {
                match ZapKind::telling(&name).filter(|_| tgid == 0) {
                    Some(telling) => drop(self.zap_frames.insert(address, telling)),
                    None if tgid == 0 => drop(self.zap_frames.remove(&address)),
                    None => {}
                }
                self.name(tgid, address, name);
            }
            What::VmaName(vma) => self.vma_names.tell(&vma, event.time),
            What::Cgroup { id, path } => self.name_cgroup(id, path),
            What::Outcomes(outcomes) => self.outcomes = outcomes,
            What::ShortTerm(counts) => self.short_term = counts,
            What::Budget(kept) => self.budget = Some(kept),
            What::Unknown { .. } => self.counts.unknown += 1,
            _ => {}
        }
    }

    fn tally(&mut self, program: Option<Program>, tally: Tally) -> Vec<Change> {
        let before = (self.lost_ends(), self.lost_ends_of_reach());
        self.tallies.extend(program.map(|program| (program, tally)));
        let mut changes = Vec::new();
        // A keyframe tells when that was.
        if self.restoring.is_none() {
            if self.lost_ends() > before.0 {
                self.ends_were_lost();
                changes.extend(self.doubt_books());
            }
            changes.extend(self.give_up_pins());
        }
        if self.restoring.is_none() && self.lost_ends_of_reach() > before.1 {
            changes.extend(self.doubt_reach());
        }
        changes
    }

    fn fault(&mut self, event: &Event, fault: &Fault) -> Vec<Change> {
        self.counts.faults += 1;
        let referenced = self.references.mm_of(fault.old_pfn);
        let missed = || self.may_have_missed();
        match rules::write_protect_fault(fault, &self.ledger, &self.facts, referenced, missed) {
            Judgement::Unconcerned => Vec::new(),
            Judgement::Benign(why) => {
                *self.benign.entry(why).or_default() += 1;
                Vec::new()
            }
            Judgement::Found { verdict: Verdict::SuspectGet, .. } if self.is_one_more(fault.mm) => {
                self.counts.suspects_unlisted += 1;
                Vec::new()
            }
            Judgement::Found { verdict, reason, pin } => {
                self.broken(event, fault, verdict, reason, pin).into_iter().collect()
            }
        }
    }

    /// Whether so many pages of a process are suspects by plain references that one more tells nothing new.
    fn is_one_more(&mut self, mm: Mm) -> bool {
        let listed = self.suspects.entry(mm).or_default();
        *listed += 1;
        *listed > SUSPECTS
    }
}

#[cfg(test)]
mod range_tests;
#[cfg(test)]
mod reach_tests;
#[cfg(test)]
mod tests;
