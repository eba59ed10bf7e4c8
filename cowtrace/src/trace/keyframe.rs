//! Keyframes: all that later records build on, told as records, so that a part of a recording stands alone.
//!
//! Promise: a trace made of a keyframe judges what comes as the trace that it was taken of, and finds again what was
//! found and is open. The facts are told once more, not what was concluded: causes and findings come of the events
//! that brought them about. Not kept: what was counted before, findings that were closed, or that are of no event (what a
//! child inherited, what the audit saw), which secondary MMUs were told of open ones, and how many suspects of a process
//! were listed.

use std::collections::HashSet;

use super::{Trace, gap::Known};
use crate::{
    encode::Writer,
    event::{Before, Event, Fault, Protect, Stack, Task, Time, Untold, What, Zap},
    finding::{Cause, CauseKind, Finding, How, Proof, Verdict},
    source::Batch,
    trace::{findings, reach, repeats::Recent},
};

/// A keyframe being taken in.
#[derive(Clone, Debug)]
pub struct Restoring {
    /// The finding opened last.
    pub last: Option<usize>,
    /// What was known before, which it counts once more.
    pub before: Known,
}

impl Trace {
    /// Whether nothing is held back that has to be told soon: a keyframe does not tell it.
    pub fn is_settled(&self) -> bool {
        self.held.is_empty() && self.lineage.is_settled()
    }

    /// Whether what is taken in is of a keyframe: it tells what was before once more.
    pub fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// A keyframe of now.
    pub fn keyframe(&self) -> Batch {
        let mut batch = Batch::new();
        let mut writer = Writer::new(&mut batch, self.now);
        writer.begin();
        self.tell_of_the_source(&mut writer);
        for event in self.past() {
            writer.again(&event);
        }
        let mut owned = HashSet::new();
        for (event, held) in self.ledger.held() {
            writer.held(&event, &held);
            if let Some(owner) = self.owners.of(held.call).filter(|_| owned.insert(held.call)) {
                writer.owner((event.time, event.task.tid), owner);
            }
        }
        for (finding, content) in self.open_findings() {
            for event in evidence(finding) {
                writer.again(&event);
            }
            if let Some(hash) = content {
                let what = What::Content { pfn: finding.old_pfn, hash, at_unpin: false };
                writer.again(&of(finding.broken_at, what));
            }
            writer.grade(finding.verdict, finding.proof);
            for event in reach::ended_events(finding) {
                writer.again(&event);
            }
        }
        for event in self.map_events() {
            writer.again(&event);
        }
        for Recent { tid, time, program, mark } in self.repeats.recent() {
            writer.at(time).told(tid, program, mark);
        }
        writer.end(&Untold {
            malformed: self.counts.malformed,
            unknown: self.counts.unknown,
            unlisted: self.ledger.unlisted(),
        });
        batch
    }

    fn tell_of_the_source(&self, writer: &mut Writer) {
        for (key, value) in self.facts.iter() {
            writer.fact(key, value);
        }
        for probe in self.probes.values() {
            writer.probe(probe);
        }
        for (program, tally) in &self.tallies {
            writer.tally(*program, tally);
        }
        for (program, cost) in &self.costs {
            writer.cost(*program, cost);
        }
        if let Some(kept) = &self.budget {
            writer.budget(kept);
        }
        writer.outcomes(&self.outcomes);
        writer.short_term(&self.short_term);
        let mut symbols: Vec<_> = self.symbols.iter().collect();
        symbols.sort_unstable();
        for ((tgid, address), name) in symbols {
            writer.symbol(*tgid, *address, name);
        }
        let mut cgroups: Vec<_> = self.cgroups.iter().collect();
        cgroups.sort_unstable();
        for (id, path) in cgroups {
            writer.cgroup(*id, path);
        }
        self.vma_names.write(writer);
    }

    /// What happened to address spaces: who was forked, what was protected or discarded, who has to be told.
    fn past(&self) -> Vec<Event> {
        let mut events = self.lineage.events();
        events.extend(self.history.events());
        events.extend(self.secondaries.events());
        events.extend(self.references.events());
        let ranges = self.file_ranges.iter().map(|(tid, range)| {
            let mut event = of(self.now, What::FileRange(*range));
            event.task.tid = *tid;
            event
        });
        events.extend(ranges);
        events.extend(self.attached_events());
        events
    }

    /// A record of a keyframe.
    pub(super) fn before(&mut self, event: &Event, before: &Before) {
        match before {
            // It was, before anything that is due by then.
            Before::Begin => {}
            Before::Held(held) => {
                self.ledger.hold(event, held);
                self.owners.wait(event.time, event.task.tid, held.call);
            }
            Before::Grade(verdict, proof) => self.grade(*verdict, *proof),
            Before::Told(mark) => {
                if let Some(program) = event.program {
                    let (tid, time) = (event.task.tid, event.time);
                    self.repeats.remember(Recent { tid, time, program, mark: *mark });
                }
            }
            Before::End(untold) => self.go_on(event.time, untold),
        }
    }

    fn grade(&mut self, verdict: Verdict, proof: Option<Proof>) {
        let last = self.restoring.as_mut().and_then(|restoring| restoring.last.take());
        let Some(finding) = last.and_then(|index| self.findings.get_mut(index)) else { return };
        match (verdict, proof) {
            (Verdict::Inconclusive, _) => findings::doubt(finding),
            (_, Some(proof)) => findings::prove(finding, proof),
            (verdict, None) => finding.verdict = verdict,
        }
    }
}

/// The events that brought a finding about, as far as it knows them.
fn evidence(finding: &Finding) -> Vec<Event> {
    let written = |what| Event {
        time: finding.broken_at,
        task: finding.writer,
        cpu: 0,
        program: None,
        stack: finding.writer_stack.clone(),
        what,
    };
    let (mm, address, pfn) = (finding.mm, finding.address, finding.new_pfn);
    let again = || written(What::Refault { mm, address, pfn });
    match (finding.how, &finding.cause) {
        (How::Copied, _) => {
            finding.fault.map(|fault: Fault| written(What::Fault(fault))).into_iter().collect()
        }
        (How::WillBeCopied, Some(Cause { kind: CauseKind::Protect(by), .. })) => {
            let range = (address, finding.end());
            vec![written(What::Protect(Protect {
                mm,
                start: range.0,
                end: range.1,
                vma_flags: finding.vma_flags,
                mapped_shift: 0,
                by: Some(*by),
            }))]
        }
        (How::Zapped, Some(cause)) if matches!(cause.kind, CauseKind::Zap(_)) => {
            let zap = What::Zap(Zap {
                mm,
                start: address,
                end: finding.end(),
                vma: finding.vma,
                vma_flags: finding.vma_flags,
                spares_cows: false,
                first: None,
            });
            let (time, task, stack) = (cause.time, cause.task, cause.stack.clone());
            let zapped = Event { time, task, stack, ..of(time, zap) };
            let mapped = finding.is_broken().then(again);
            [zapped].into_iter().chain(mapped).collect()
        }
        (How::Zapped, _) => vec![again()],
        _ => Vec::new(),
    }
}

/// An event of nobody.
pub(super) fn of(time: Time, what: What) -> Event {
    let (task, stack) = (Task::default(), Stack::default());
    Event { time, task, cpu: 0, program: None, stack, what }
}
