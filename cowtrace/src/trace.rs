//! Everything known so far: the one state, folded from events, that all sinks look at.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    rc::Rc,
};

use cowtrace_common::{program::Program, wire::Outcome};

use crate::{
    decode::Malformed,
    event::{Event, Fault, Mm, ProbeState, Tally, Time, Unpin, What},
    facts::{Facts, key},
    finding::{Cause, CauseKind, Finding, Unpinned, Verdict},
    ledger::{Ledger, PinRecord},
    rules::{self, Benign, Judgement},
};

/// What an event changed among the findings; the index into [`Trace::findings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new one.
    Opened(usize),
    /// Its pin has ended, which may have changed its verdict.
    Closed(usize),
}

/// How many events of each sort there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records from the kernel side.
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
    /// Bytes that were no event.
    pub malformed: u64,
    /// Records of kinds that this version does not know.
    pub unknown: u64,
}

/// What happened to an address space that matters for a later break.
#[derive(Clone, Debug, Default)]
struct History {
    /// Newest last.
    causes: Vec<(Cause, (u64, u64))>,
}

/// The state.
#[derive(Debug, Default)]
pub struct Trace {
    /// Host, kernel, run.
    pub facts: Facts,
    /// The probe table as attached, by row.
    pub probes: BTreeMap<u8, ProbeState>,
    /// What each program counted.
    pub tallies: BTreeMap<Program, Tally>,
    /// Write-protect faults by outcome, streamed or not.
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Who holds what.
    pub ledger: Ledger,
    /// What the rules found, in that order.
    pub findings: Vec<Finding>,
    /// Faults on pinned pages that are as they should be.
    pub benign: BTreeMap<Benign, u64>,
    /// Events by sort.
    pub counts: Counts,
    /// Time of the newest event.
    pub now: Time,
    symbols: HashMap<(u32, u64), String>,
    histories: HashMap<Mm, History>,
    open: HashMap<u64, Vec<usize>>,
    recent_faults: VecDeque<(u32, Fault)>,
}

/// Faults that an understudy's record is compared with: more than there are CPUs to interleave.
const RECENT_FAULTS: usize = 256;
/// Causes kept for one address space.
const CAUSES: usize = 64;

impl Trace {
    /// Takes one event in; what it changed among the findings.
    pub fn take(&mut self, event: Result<Event, Malformed>) -> Vec<Change> {
        if let Ok(event) = event {
            return self.event(event);
        }
        self.counts.malformed += 1;
        Vec::new()
    }

    /// Records that were not seen, for whatever reason.
    pub fn lost(&self) -> u64 {
        let untold = self.counts.malformed.saturating_add(self.ledger.unlisted());
        self.losses().map(|(_, tally)| tally.lost()).fold(untold, u64::saturating_add)
    }

    /// What each program counted, with as many skipped runs as may have gone unseen: where a program has an
    /// understudy, what the kernel made it skip is lost only if that one was skipped too.
    pub fn losses(&self) -> impl Iterator<Item = (Program, Tally)> {
        let is_understudy =
            |program: Program| Program::ALL.iter().any(|other| other.understudy() == Some(program));
        self.tallies.iter().map(move |(program, tally)| {
            let recursion = match program.understudy() {
                Some(other) => {
                    let skipped = self.tallies.get(&other).map_or(0, |tally| tally.recursion);
                    tally.recursion.min(skipped)
                }
                None if is_understudy(*program) => 0,
                None => tally.recursion,
            };
            (*program, Tally { recursion, ..*tally })
        })
    }

    /// Why "nothing found" cannot be said of a trace that has ended: the [blind spots](Self::blind_spots),
    /// and that it has not been ended by cowtrace.
    pub fn unseen(&self) -> Vec<String> {
        let mut unseen = self.blind_spots();
        if self.facts.text(key::ENDED).is_none() {
            unseen.push("the end: the recording stops before cowtrace did".to_owned());
        }
        unseen
    }

    /// What was missed up to now, a sentence each.
    pub fn blind_spots(&self) -> Vec<String> {
        let mut spots = Vec::new();
        for (program, tally) in self.losses() {
            if tally.lost() > 0 {
                spots.push(format!(
                    "{} lost {} of {}: {} did not fit the ring, {} did not fit a map, {} were skipped by the kernel",
                    program.name(), tally.lost(), tally.hits.max(tally.lost()), tally.ring_full,
                    tally.map_full, tally.recursion,
                ));
            }
        }
        if self.counts.malformed > 0 {
            spots.push(format!("{} records could not be decoded", self.counts.malformed));
        }
        if self.counts.unknown > 0 {
            spots.push(format!(
                "{} records are of kinds that this cowtrace does not know: a newer one wrote them",
                self.counts.unknown
            ));
        }
        if self.ledger.unlisted() > 0 {
            spots.push(format!("{} pinned pages could not be listed", self.ledger.unlisted()));
        }
        if let Some(damage) = self.facts.text(key::DAMAGE) {
            spots.push(damage.to_owned());
        }
        for probe in self.probes.values() {
            if probe.attached.is_empty() && !probe.unseen.is_empty() {
                spots.push(format!("\"{}\" is not watched: {}", probe.sees, probe.unseen));
            }
        }
        spots
    }

    /// The name of an address in a process (0: the kernel), if the source had one.
    pub fn symbol(&self, tgid: u32, address: u64) -> Option<&str> {
        self.symbols.get(&(tgid, address)).map(String::as_str)
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

    fn event(&mut self, event: Event) -> Vec<Change> {
        self.now = self.now.max(event.time);
        if event.program.is_some() && !matches!(event.what, What::Tally(_)) {
            self.counts.records += 1;
        }
        match &event.what {
            What::Fault(fault) => return self.fault(&event, fault),
            What::Unpin(unpin) => return self.unpin(&event, unpin),
            What::Pin(pin) => {
                self.counts.pins += u64::from(pin.part == 0);
                self.ledger.pin(&event, pin);
            }
            What::PinRest(pin) => self.ledger.pin_rest(&event, pin),
            What::Fork { parent_mm, child_tgid, .. } => {
                self.counts.forks += 1;
                let kind = CauseKind::Fork { child: *child_tgid };
                self.remember(*parent_mm, kind, &event, (0, u64::MAX));
            }
            What::Invalidate(invalidate) => {
                self.counts.invalidations += 1;
                if invalidate.is_protection() {
                    let kind = CauseKind::Invalidation(invalidate.event_name());
                    self.remember(invalidate.mm, kind, &event, (invalidate.start, invalidate.end));
                }
            }
            What::Protect(protect) => {
                if let Some(by) = protect.by {
                    let range = (protect.start, protect.end);
                    self.remember(protect.mm, CauseKind::Protect(by), &event, range);
                }
            }
            What::Notifier(_) => self.counts.notifiers += 1,
            // The pins outlive the address space, but the address may soon name another one.
            What::MmExit { mm } => drop(self.histories.remove(mm)),
            _ => self.source(event),
        }
        Vec::new()
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
                self.symbols.insert((tgid, address), name);
            }
            What::Tally(tally) => {
                if let Some(program) = event.program {
                    self.tallies.insert(program, tally);
                }
            }
            What::Outcomes(outcomes) => self.outcomes = outcomes,
            What::Unknown { .. } => self.counts.unknown += 1,
            _ => {}
        }
    }

    fn remember(&mut self, mm: Mm, kind: CauseKind, event: &Event, range: (u64, u64)) {
        let causes = &mut self.histories.entry(mm).or_default().causes;
        if causes.len() == CAUSES {
            causes.remove(0);
        }
        let stack = event.stack.clone();
        causes.push((Cause { kind, time: event.time, task: event.task, stack }, range));
    }

    fn fault(&mut self, event: &Event, fault: &Fault) -> Vec<Change> {
        if self.was_told(event, fault) {
            return Vec::new();
        }
        self.counts.faults += 1;
        match rules::write_protect_fault(fault, &self.ledger, &self.facts, || self.lost()) {
            Judgement::Unconcerned => Vec::new(),
            Judgement::Benign(why) => {
                *self.benign.entry(why).or_default() += 1;
                Vec::new()
            }
            Judgement::Found { verdict, reason, pin } => {
                vec![self.open(event, fault, verdict, reason, pin)]
            }
        }
    }

    /// Whether the understudy tells again what the program itself has just told.
    fn was_told(&mut self, event: &Event, fault: &Fault) -> bool {
        let told = (event.task.tid, *fault);
        // The thread's last fault: the same one cannot follow itself, but may well come again later.
        let mut recent = self.recent_faults.iter().rev();
        if event.program == Some(Program::WpFaultAgain)
            && recent.find(|(tid, _)| *tid == event.task.tid) == Some(&told)
        {
            return true;
        }
        if self.recent_faults.len() == RECENT_FAULTS {
            self.recent_faults.pop_front();
        }
        self.recent_faults.push_back(told);
        false
    }

    fn open(
        &mut self,
        event: &Event,
        fault: &Fault,
        verdict: Verdict,
        reason: &str,
        pin: Option<Rc<PinRecord>>,
    ) -> Change {
        let index = self.findings.len();
        if let Some(pin) = &pin {
            self.open.entry(pin.id).or_default().push(index);
        }
        self.findings.push(Finding {
            id: index + 1,
            verdict,
            reason: reason.to_owned(),
            writer: event.task,
            writer_stack: event.stack.clone(),
            fault: *fault,
            broken_at: event.time,
            cause: self.cause(fault, pin.as_deref()),
            pin,
            unpinned: None,
            advice: rules::advice(verdict, fault, &self.facts).to_owned(),
        });
        Change::Opened(index)
    }

    /// The most direct of the things since the pin that cover the address and can have write-protected it; of
    /// several as direct the last.
    fn cause(&self, fault: &Fault, pin: Option<&PinRecord>) -> Option<Cause> {
        let since = pin.map_or(0, |pin| pin.time);
        let history = self.histories.get(&fault.mm)?;
        history
            .causes
            .iter()
            .filter(|(cause, (start, end))| {
                cause.time >= since && (*start..*end).contains(&fault.address)
            })
            .map(|(cause, _)| cause)
            .max_by_key(|cause| (cause.kind.directness(), cause.time))
            .cloned()
    }

    fn unpin(&mut self, event: &Event, unpin: &Unpin) -> Vec<Change> {
        self.counts.unpins += 1;
        let released = self.ledger.unpin(unpin);
        if self.open.is_empty() {
            return Vec::new();
        }
        let end = Unpinned { time: event.time, task: event.task, dirty: unpin.make_dirty };
        let mut changes = Vec::new();
        for release in &released {
            let Some(open) = self.open.get_mut(&release.pin) else {
                continue;
            };
            open.retain(|index| {
                let finding = &mut self.findings[*index];
                let pages = release.pfn..release.pfn + release.pages;
                if !pages.contains(&finding.fault.old_pfn) {
                    return true;
                }
                close(finding, end);
                changes.push(Change::Closed(*index));
                false
            });
            if open.is_empty() {
                self.open.remove(&release.pin);
            }
        }
        changes
    }
}

/// The pin of a finding has ended.
fn close(finding: &mut Finding, end: Unpinned) {
    finding.unpinned = Some(end);
    if !matches!(finding.verdict, Verdict::Diverged | Verdict::StaleRead) {
        return;
    }
    if end.dirty {
        finding.verdict = Verdict::Lost;
        "the old page was unpinned dirty after the process had been given a copy: what was written \
         to it never reached the process"
            .clone_into(&mut finding.reason);
    } else {
        "the process was given a copy while the pin was live; the old page was then unpinned clean, \
         so nothing proves that it was used after"
            .clone_into(&mut finding.reason);
    }
}

#[cfg(test)]
mod tests;
