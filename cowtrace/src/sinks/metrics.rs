//! What a trace comes to in numbers, for monitoring: counted once here, told as text to Prometheus and as messages to
//! an OpenTelemetry collector.
//!
//! Promise: a counter never shrinks, and labels have few values: no process, no address, and of names only the first
//! so many. Surprise: a finding counts once for each verdict that it is given, so that one which was `diverged` and is
//! `lost` now is in both counts; how many there are now is a gauge.

mod exposition;
mod family;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use cowtrace_common::{program::Program, setting::Stage};

pub use self::{
    exposition::{Form, text},
    family::{Distribution, Family, Kind, Labels, Point, Unit, Value},
};
use super::{owners::Sorts, stack};
use crate::{
    budget::{self, Kept, Share},
    event::{Comm, Stack, Time},
    facts::key,
    finding::{Finding, Verdict},
    ledger::PinRecord,
    trace::{Change, Durations, Trace},
};

/// Values that a label takes of those that nobody bounds; beyond, all are `other`.
const MOST: usize = 32;
/// What stands for the rest.
const OTHER: &str = "other";
/// What stands for what is not known.
const UNKNOWN: &str = "unknown";

/// What was counted as it came.
#[derive(Debug, Default)]
pub struct Metrics {
    /// The verdict that was counted last, by finding.
    told: HashMap<usize, Verdict>,
    found: BTreeMap<Found, u64>,
    /// When each verdict was given last: a page may have been lost long before that is proven.
    last: BTreeMap<Verdict, Time>,
    processes: Names,
    sites: Names,
    /// What was not seen. Counts of runs that were skipped come from two programs, and shrink when one is late.
    lost: BTreeMap<(Program, &'static str), u64>,
}

/// What findings are counted by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    verdict: Verdict,
    cause: &'static str,
    driver: String,
    site: String,
    process: String,
}

/// The first so many names.
#[derive(Debug, Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn take(&mut self, name: String) -> String {
        if self.0.contains(&name) {
            return name;
        }
        if self.0.len() >= MOST {
            return OTHER.to_owned();
        }
        self.0.insert(name.clone());
        name
    }
}

/// What the program tells of itself, which is no part of a trace.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// CPU time that it took.
    pub cpu: Duration,
    /// Bytes of memory that it has.
    pub resident: u64,
    /// Whether it records; none where it was not asked to.
    pub records: Option<bool>,
    /// What became of records for a collector; none where there is none.
    pub exported: Option<Exported>,
}

/// What became of records for a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The collector took them.
    pub sent: u64,
    /// It refused them, or was not there for too long, or too many waited.
    pub dropped: u64,
}

impl Metrics {
    /// Takes in what an event has changed. Not what a batch has: a verdict may be given and raised within one.
    pub fn changed(&mut self, trace: &Trace, change: Change) {
        let (Change::Opened(index) | Change::Updated(index)) = change;
        if let Some(finding) = trace.findings.get(index) {
            self.found(trace, finding);
        }
    }

    /// Takes in what a batch has told of losses.
    pub fn folded(&mut self, trace: &Trace) {
        for (program, tally) in trace.losses() {
            let reasons = [
                ("ring-full", tally.ring_full),
                ("map-full", tally.map_full),
                ("skipped", tally.recursion),
            ];
            for (reason, count) in reasons {
                let most = self.lost.entry((program, reason)).or_default();
                *most = (*most).max(count);
            }
        }
    }

    fn found(&mut self, trace: &Trace, finding: &Finding) {
        if self.told.insert(finding.id, finding.verdict) == Some(finding.verdict) {
            return;
        }
        let stack = stack::of(finding);
        let site = stack.and_then(|stack| stack::site(trace, stack));
        let holder = finding.holder();
        let found = Found {
            verdict: finding.verdict,
            cause: finding.cause.as_ref().map_or(UNKNOWN, |cause| cause.kind.name()),
            driver: driver(trace, stack),
            site: self.sites.take(site.unwrap_or_else(|| UNKNOWN.to_owned())),
            process: self.processes.take(class(holder.comm)),
        };
        *self.found.entry(found).or_default() += 1;
        self.last.insert(finding.verdict, trace.now);
    }

    /// All families as they stand.
    pub fn families(&self, trace: &Trace, own: &Own) -> Vec<Family> {
        let mut families = vec![build(trace), probes(trace), blind_spots(trace)];
        families.extend([self.findings(), unlisted(trace)]);
        families.extend([open_findings(trace), self.last_finding(trace)]);
        families.extend(pins(trace));
        families.push(owners(trace));
        families.extend([
            faults(trace),
            benign(trace),
            notifiers(trace),
            self.lost(),
            unread(trace),
        ]);
        families.extend(programs(trace));
        families.extend(trace.budget.iter().flat_map(|kept| budget(kept)));
        families.extend(of_own(own));
        families
    }

    fn findings(&self) -> Family {
        let help = "Findings, each counted once for every verdict that it was given";
        let mut family = Family::new(Kind::Counter, "cowtrace_findings", help);
        for (found, count) in &self.found {
            let labels = vec![
                ("verdict", found.verdict.name().to_owned()),
                ("cause", found.cause.to_owned()),
                ("driver", found.driver.clone()),
                ("site", found.site.clone()),
                ("process", found.process.clone()),
            ];
            family = family.with(labels, float(*count));
        }
        family
    }

    fn last_finding(&self, trace: &Trace) -> Family {
        let help = "When a verdict was given last";
        let name = "cowtrace_last_finding_timestamp_seconds";
        let mut family = Family::new(Kind::Gauge, name, help);
        // Without the clock's offset it would be a time since boot, which is another thing.
        let Some(boot) = trace.facts.boot() else { return family };
        for (verdict, time) in &self.last {
            let time = boot.cast_unsigned().saturating_add(*time);
            family = family.with(one("verdict", verdict.name()), seconds(time));
        }
        family
    }

    fn lost(&self) -> Family {
        let help = "Records that were not seen, by the program that they are of";
        let mut family = Family::new(Kind::Counter, "cowtrace_lost_records", help);
        for ((program, reason), count) in &self.lost {
            let labels =
                vec![("program", program.name().to_owned()), ("reason", (*reason).to_owned())];
            family = family.with(labels, float(*count));
        }
        family
    }
}

fn build(trace: &Trace) -> Family {
    let fact = |key| trace.facts.text(key).unwrap_or(UNKNOWN).to_owned();
    let labels = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("kernel", fact(key::KERNEL)),
        ("machine", fact(key::MACHINE)),
    ];
    Family::new(Kind::Gauge, "cowtrace_build_info", "Which cowtrace, on which kernel")
        .with(labels, 1.0)
}

fn probes(trace: &Trace) -> Family {
    let help = "Whether a row of the probe table is attached; without those that the kernel has no use for";
    let rows = trace.probes.values();
    let rows = rows.filter(|probe| !(probe.attached.is_empty() && probe.unseen.is_empty()));
    rows.fold(Family::new(Kind::Gauge, "cowtrace_probes_attached", help), |family, probe| {
        let attached = if probe.attached.is_empty() { 0.0 } else { 1.0 };
        family.with(one("row", &probe.sees), attached)
    })
}

fn blind_spots(trace: &Trace) -> Family {
    let help = "Reasons why nothing found does not mean that nothing was there";
    let spots = trace.blind_spots().len() as u64;
    Family::new(Kind::Gauge, "cowtrace_blind_spots", help).with(Labels::new(), float(spots))
}

fn unlisted(trace: &Trace) -> Family {
    let help =
        "Findings that are alike to others and are counted here only: there are too many to list";
    let unlisted = float(trace.unlisted());
    Family::new(Kind::Counter, "cowtrace_findings_unlisted", help).with(Labels::new(), unlisted)
}

fn open_findings(trace: &Trace) -> Family {
    let help = "Findings whose pins live, by the verdict that they have now";
    let mut open: BTreeMap<Verdict, u64> = Verdict::ALL.map(|verdict| (verdict, 0)).into();
    for finding in &trace.findings {
        if finding.pin.is_some() && !finding.has_ended() {
            *open.entry(finding.verdict).or_default() += 1;
        }
    }
    let family = Family::new(Kind::Gauge, "cowtrace_findings_open", help);
    open.iter().fold(family, |family, (verdict, count)| {
        family.with(one("verdict", verdict.name()), float(*count))
    })
}

/// What is pinned, by the class of process that pinned it: of the largest so many.
fn pins(trace: &Trace) -> [Family; 3] {
    let mut by_class: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for (pin, pages) in trace.ledger.calls() {
        let term = if trace.facts.is_longterm(pin.gup_flags) { "long" } else { "short" };
        *by_class.entry((class(pin.holder.comm), term)).or_default() += pages;
    }
    let help = "Page references that pins hold now; those that are only counted are of no process";
    let mut pinned = Family::new(Kind::Gauge, "cowtrace_pinned_pages", help);
    for ((process, term), pages) in largest(by_class) {
        pinned = pinned.with(vec![("process", process), ("term", term.to_owned())], float(pages));
    }
    let counted = trace.short_term.live();
    let labels = vec![("process", UNKNOWN.to_owned()), ("term", "counted".to_owned())];
    let pinned = pinned.with(labels, float(counted));
    let (ledger, short) = (&trace.ledger, &trace.short_term);
    let help = "Page references that were pinned";
    let taken = Family::new(Kind::Counter, "cowtrace_pages_pinned", help)
        .with(one("term", "listed"), float(ledger.pinned()))
        .with(one("term", "counted"), float(short.pinned));
    let help = "Page references that were unpinned";
    let dropped = Family::new(Kind::Counter, "cowtrace_pages_unpinned", help)
        .with(one("term", "listed"), float(ledger.unpinned()))
        .with(one("term", "unmatched"), float(ledger.unmatched()))
        .with(one("term", "counted"), float(short.unpinned));
    [pinned, taken, dropped]
}

/// What is pinned for long, by the sort of owner.
fn owners(trace: &Trace) -> Family {
    let (mut sorts, mut pages) = (Sorts::default(), BTreeMap::<_, u64>::new());
    let long = |pin: &PinRecord| trace.facts.is_longterm(pin.gup_flags);
    for (pin, held) in trace.ledger.calls().filter(|(pin, _)| long(pin)) {
        *pages.entry(sorts.of(trace, pin)).or_default() += held;
    }
    let help = "Page references that long-term pins hold now, by the sort of what they belong to";
    let family = Family::new(Kind::Gauge, "cowtrace_owned_pages", help);
    pages
        .into_iter()
        .fold(family, |family, (sort, pages)| family.with(one("owner", sort), float(pages)))
}

/// The largest so many, and the rest together.
fn largest(all: BTreeMap<(String, &str), u64>) -> BTreeMap<(String, &str), u64> {
    let mut by_size: Vec<_> = all.into_iter().collect();
    by_size.sort_by_key(|(_, pages)| std::cmp::Reverse(*pages));
    let mut kept = BTreeMap::new();
    for (n, ((process, term), pages)) in by_size.into_iter().enumerate() {
        let process = if n < MOST { process } else { OTHER.to_owned() };
        *kept.entry((process, term)).or_default() += pages;
    }
    kept
}

fn faults(trace: &Trace) -> Family {
    let help = "Write-protect faults by what the kernel did";
    let family = Family::new(Kind::Counter, "cowtrace_wp_faults", help);
    trace.faults_by_outcome().fold(family, |family, (outcome, count)| {
        family.with(one("outcome", &outcome), float(count))
    })
}

fn benign(trace: &Trace) -> Family {
    let help = "Faults on pinned pages that are as they should be";
    let family = Family::new(Kind::Counter, "cowtrace_benign_faults", help);
    trace
        .benign
        .iter()
        .fold(family, |family, (why, count)| family.with(one("reason", why.name()), float(*count)))
}

fn notifiers(trace: &Trace) -> Family {
    let help = "How long MMU notifiers took to answer for pinned ranges";
    let mut family = Family::new(Kind::Histogram, "cowtrace_notifier_duration_seconds", help);
    let mut initiators = Names::default();
    let mut by_labels: BTreeMap<(&str, String), Durations> = BTreeMap::new();
    for ((event, initiator), durations) in &trace.invalidated {
        let initiator = initiators.take(initiator.clone());
        by_labels.entry((event, initiator)).or_default().merge(durations);
    }
    for ((event, initiator), durations) in by_labels {
        let labels = vec![("event", event.to_owned()), ("initiator", initiator)];
        let value = Value::Distribution(distribution(&durations));
        family.points.push(Point { labels, value });
    }
    family
}

/// Binary logarithms of the nanoseconds that buckets end at: from a microsecond to half a minute.
const BOUNDS: std::ops::RangeInclusive<u32> = 10..=35;

fn distribution(durations: &Durations) -> Distribution {
    // The same buckets whatever came: sums over hosts and times need that.
    let mut buckets: Vec<(u64, u64)> = BOUNDS.step_by(2).map(|log| (1 << log, 0)).collect();
    for (under, count) in durations.histogram() {
        if let Some(bucket) = buckets.iter_mut().find(|(bound, _)| under <= *bound) {
            bucket.1 += count;
        }
    }
    Distribution {
        buckets: buckets.into_iter().map(|(bound, count)| (seconds(bound), count)).collect(),
        count: durations.count,
        sum: seconds(durations.total),
    }
}

fn unread(trace: &Trace) -> Family {
    let help = "Records that could not be read";
    Family::new(Kind::Counter, "cowtrace_unread_records", help)
        .with(one("reason", "malformed"), float(trace.counts.malformed))
        .with(one("reason", "unknown-kind"), float(trace.counts.unknown))
}

/// How often programs ran, and how long, where the kernel measures that.
fn programs(trace: &Trace) -> [Family; 2] {
    let help = "Runs of the eBPF programs";
    let mut runs = Family::new(Kind::Counter, "cowtrace_program_runs", help);
    for (program, tally) in &trace.tallies {
        runs = runs.with(one("program", program.name()), float(tally.hits));
    }
    let help = "Time that the eBPF programs took; only with --stats";
    let mut took = Family::new(Kind::Counter, "cowtrace_program_run_seconds", help);
    for (program, cost) in trace.costs.iter().filter(|(_, cost)| cost.runs > 0) {
        took = took.with(one("program", program.name()), seconds(cost.nanos));
    }
    [runs, took]
}

/// What tracing may cost and what it does, and what is shed for that.
fn budget(kept: &Kept) -> [Family; 5] {
    let gauge = |name, help| Family::new(Kind::Gauge, name, help);
    let counter = |name, help| Family::new(Kind::Counter, name, help);
    let ratio = |share: Share| float(share.ppm) / 1e6;
    let mut now = gauge("cowtrace_shed", "Whether a stage is shed to keep the budget");
    let mut long = counter("cowtrace_shed_seconds", "For how long a stage was shed");
    for (stage, shed) in Stage::ALL.into_iter().zip(&kept.stages) {
        let labels = || one("stage", budget::name(stage));
        now = now.with(labels(), if shed.is_now() { 1.0 } else { 0.0 });
        long = long.with(labels(), seconds(shed.nanos));
    }
    let beyond = "For how long all was shed and the budget not kept";
    [
        gauge("cowtrace_budget_ratio", "What tracing may cost, of one CPU")
            .with(Labels::new(), ratio(kept.limit)),
        gauge("cowtrace_cost_ratio", "What tracing cost in the last second, of one CPU")
            .with(Labels::new(), ratio(kept.cost())),
        now,
        long,
        counter("cowtrace_beyond_budget_seconds", beyond).with(Labels::new(), seconds(kept.beyond)),
    ]
}

/// Names that every Prometheus client has, and what is our own.
fn of_own(own: &Own) -> Vec<Family> {
    let gauge = |name, help| Family::new(Kind::Gauge, name, help);
    let counter = |name, help| Family::new(Kind::Counter, name, help);
    let mut families = vec![
        counter("process_cpu_seconds", "CPU time that cowtrace took, without its eBPF programs")
            .with(Labels::new(), own.cpu.as_secs_f64()),
        gauge("process_resident_memory_bytes", "Memory that cowtrace has")
            .with(Labels::new(), float(own.resident)),
    ];
    if let Some(records) = own.records {
        let help = "Whether the flight recorder runs: a full disk ends it";
        families.push(gauge("cowtrace_recording", help).with(Labels::new(), f64::from(records)));
    }
    if let Some(exported) = own.exported {
        let help = "Log records and reports of metrics for the collector, by what became of them";
        families.push(
            counter("cowtrace_exported_records", help)
                .with(one("result", "sent"), float(exported.sent))
                .with(one("result", "dropped"), float(exported.dropped)),
        );
    }
    families
}

/// The class of a process: its name without the number that tells it from its like, `nccl` of `nccl-12`.
fn class(comm: Comm) -> String {
    let comm = comm.to_string();
    let class = comm.trim_end_matches(|c: char| c.is_ascii_digit() || "-_:/#.".contains(c));
    if class.is_empty() { comm } else { class.to_owned() }
}

/// The kernel module that asked for a pin; `kernel` where it was the kernel proper.
fn driver(trace: &Trace, stack: Option<&Stack>) -> String {
    let module = stack.and_then(|stack| stack::module(trace, stack));
    module.unwrap_or_else(|| UNKNOWN.to_owned())
}

fn one(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "what reads it has doubles too")]
fn float(count: u64) -> f64 {
    count as f64
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

#[cfg(test)]
mod tests;
