//! What secondary MMUs (KVM, on-demand paging, HMM, SVA) were told of pinned ranges, by whom, and how long
//! they took.

use std::collections::{BTreeMap, VecDeque};

use super::{Trace, secondary::Secondaries};
use crate::{
    event::{Event, Fault, Invalidate, Mm, Time},
    finding::{Finding, How, Told},
};

/// What sort of invalidation, and which entry into the kernel brought it about.
pub type Sort = (&'static str, String);

/// Invalidations kept to be told with a finding: more than there are threads to interleave.
const RECENT: usize = 64;
/// Findings, from the newest on, that an invalidation can belong to.
const NEWEST: usize = 16;

/// How long invalidations took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many there were.
    pub count: u64,
    /// Nanoseconds of all together.
    pub total: Time,
    /// Nanoseconds of the longest.
    pub longest: Time,
    /// By the binary logarithm of the nanoseconds that they took, rounded down.
    buckets: BTreeMap<u32, u64>,
}

impl Durations {
    pub(crate) fn add(&mut self, took: Time) {
        self.count += 1;
        self.total = self.total.saturating_add(took);
        self.longest = self.longest.max(took);
        *self.buckets.entry(took.max(1).ilog2().min(62)).or_default() += 1;
    }

    /// Takes others in.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self.longest = self.longest.max(other.longest);
        for (log, count) in &other.buckets {
            *self.buckets.entry(*log).or_default() += count;
        }
    }

    /// Nanoseconds that they stayed under, to a factor of two, and how many.
    pub fn histogram(&self) -> impl Iterator<Item = (Time, u64)> {
        self.buckets.iter().map(|(log, count)| (2 << log, *count))
    }

    /// Nanoseconds that so many percent of them did not exceed, to a factor of two.
    pub fn within(&self, percent: u64) -> Time {
        let mut seen = 0;
        let mut histogram = self.histogram();
        let found = histogram.find(|(_, count)| {
            seen += count;
            seen * 100 >= self.count * percent
        });
        found.map_or(0, |(within, _)| within.min(self.longest))
    }
}

/// What was told lately.
#[derive(Clone, Debug, Default)]
pub struct Notifiers {
    /// Thread, time and range, newest last.
    recent: VecDeque<(u32, Time, Invalidate)>,
}

impl Notifiers {
    /// An address space is gone.
    pub fn forget(&mut self, mm: Mm) {
        self.recent.retain(|(_, _, invalidate)| invalidate.mm != mm);
    }

    /// What was told of the page that a fault of this thread has just replaced, and when that was answered.
    fn of_fault(&self, tid: u32, fault: &Fault) -> Option<(Time, Invalidate)> {
        let mut recent = self.recent.iter().rev();
        let (_, time, invalidate) = recent.find(|(by, ..)| *by == tid)?;
        let about = invalidate.mm == fault.mm
            && (invalidate.start..invalidate.end).contains(&fault.start())
            && invalidate.event_name() == "clear";
        about.then_some((*time, *invalidate))
    }
}

impl Trace {
    /// What secondary MMUs were told of the page that a fault of this thread has just replaced.
    pub(super) fn told_of_fault(&self, tid: u32, fault: &Fault) -> Option<Told> {
        let (time, invalidate) = self.notifiers.of_fault(tid, fault)?;
        Some(told(&self.secondaries, time, &invalidate))
    }

    /// Notifiers have been told of a range, and have answered.
    pub(super) fn invalidate(&mut self, event: &Event, invalidate: &Invalidate) {
        self.counts.invalidations += 1;
        if self.notifiers.recent.len() == RECENT {
            self.notifiers.recent.pop_front();
        }
        self.notifiers.recent.push_back((event.task.tid, event.time, *invalidate));
        // A zap is told when it begins, its notifiers answer when it ends.
        let newest = self.findings.iter_mut().rev().take(NEWEST);
        let since = |finding: &&mut Finding| finding.broken_at >= invalidate.began;
        let held = self.held.findings_mut().rev().take_while(since);
        for finding in newest.chain(held).filter(|f| belongs(f, event, invalidate)) {
            finding.told = Some(Box::new(told(&self.secondaries, event.time, invalidate)));
        }
        let pinned = self.ledger.places(invalidate.mm, invalidate.start, invalidate.end);
        let of_pinned = !pinned.is_empty() || self.is_broken_in(invalidate);
        self.secondaries.invalidated(invalidate.mm, of_pinned);
        if of_pinned {
            let sort = (invalidate.event_name(), self.initiator(event));
            let took = event.time.saturating_sub(invalidate.began);
            self.invalidated.entry(sort).or_default().add(took);
        }
    }

    /// Whether a page in the range was lost just before: it is pinned, but no longer mapped there.
    fn is_broken_in(&self, invalidate: &Invalidate) -> bool {
        let mut newest = self.findings.iter().rev().take(NEWEST);
        newest.any(|one| one.unpinned.is_none() && overlaps(one, invalidate))
    }

    /// Which entry into the kernel an event came from, as its stack tells.
    fn initiator(&self, event: &Event) -> String {
        const INNER: [(&str, &str); 6] = [
            ("khugepaged", "khugepaged"),
            ("kcompactd", "compaction"),
            ("compact_zone", "compaction"),
            ("task_numa_work", "NUMA balancing"),
            ("shrink_", "reclaim"),
            ("ksm_scan_thread", "KSM"),
        ];
        let frames = event.stack.kernel().iter().filter_map(|address| self.symbol(0, *address));
        let names: Vec<&str> =
            frames.map(|frame| frame.split('+').next().unwrap_or(frame)).collect();
        let inner = |(frame, name): &(&str, &'static str)| {
            names.iter().any(|own| own.starts_with(frame)).then_some(*name)
        };
        let call = names.iter().rev().find_map(|name| name.strip_prefix("__x64_sys_"));
        if let Some(name) = INNER.iter().find_map(inner).or(call) {
            return name.to_owned();
        }
        let fault =
            names.iter().any(|name| name.contains("page_fault") || name.contains("mm_fault"));
        if fault { "page fault".to_owned() } else { "the kernel".to_owned() }
    }
}

fn told(secondaries: &Secondaries, time: Time, invalidate: &Invalidate) -> Told {
    let Invalidate { mm, start, end, began, .. } = *invalidate;
    let mmus = secondaries.told_of(mm, start, end);
    Told { event: invalidate.event_name(), began, ended: time, mmus }
}

fn overlaps(finding: &Finding, invalidate: &Invalidate) -> bool {
    finding.mm == invalidate.mm
        && finding.address < invalidate.end
        && invalidate.start < finding.end()
}

/// Whether an invalidation is what took the mapping away that a finding is about.
fn belongs(finding: &Finding, event: &Event, invalidate: &Invalidate) -> bool {
    let by = finding.cause.as_ref().filter(|_| finding.how == How::Zapped);
    let within = by.is_some_and(|cause| {
        cause.task.tid == event.task.tid && (invalidate.began..=event.time).contains(&cause.time)
    });
    within && finding.told.is_none() && overlaps(finding, invalidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_tell_what_most_of_them_did_not_exceed() {
        let mut durations = Durations::default();
        for took in [0, 3, 3, 900, 5_000_000_000_000] {
            durations.add(took);
        }
        assert_eq!((durations.count, durations.longest), (5, 5_000_000_000_000));
        assert_eq!(durations.within(50), 4);
        assert_eq!(durations.within(80), 1024);
        assert_eq!(durations.within(100), 5_000_000_000_000);
        assert_eq!(durations.histogram().map(|(_, count)| count).sum::<u64>(), 5);
    }
}
