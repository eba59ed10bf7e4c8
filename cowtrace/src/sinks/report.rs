//! The report: what a trace came to, for the ticket. It begins with the answer.
//!
//! Promise: a report is a value made of traces alone, and all its forms say the same. Findings that have
//! verdict, holder, cause and code site in common are one group with one example.

mod example;
mod gate;
mod html;
mod junit;
mod markdown;
mod plain;
mod sarif;

use std::{
    collections::HashMap,
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use serde::Serialize;

pub use self::{
    example::{Example, Step},
    gate::{Answer, Gate, Ran},
};
pub use super::group::Kind;
use super::{coherence, count, filter::Filter, group, owners, text};
use crate::{
    event::Time,
    facts::key,
    finding::{Finding, Verdict},
    trace::Trace,
};

/// The forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// For a terminal or a mail: 80 columns.
    #[default]
    Text,
    /// For a ticket.
    Markdown,
    /// A page that needs nothing else: no network, no script.
    Html,
    /// One object.
    Json,
    /// Test cases as CI servers read them.
    Junit,
    /// Findings as code scanning reads them.
    Sarif,
}

/// What recordings came to.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Report {
    /// The answer, in a paragraph.
    pub answer: String,
    /// A part for each recording.
    pub hosts: Vec<Host>,
}

/// One recording.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Host {
    /// What it was read from.
    pub file: String,
    /// Name of the host.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -v`.
    pub kernel_build: Option<String>,
    /// Version of the cowtrace that recorded, and which build.
    pub cowtrace: String,
    /// When the last probe was attached: RFC 3339, UTC.
    pub began: Option<String>,
    /// From then to the end, seconds.
    pub seconds: f64,
    /// What the trace was limited to.
    pub only: Option<String>,
    /// The worst verdict; none without a finding.
    pub verdict: Option<&'static str>,
    /// Nothing was missed.
    pub complete: bool,
    /// The answer, in a paragraph.
    pub answer: String,
    /// Findings by verdict, the worst first.
    pub verdicts: Vec<(&'static str, usize)>,
    /// Findings that were counted and are in no group, by verdict, in words.
    pub unlisted: Option<String>,
    /// Findings that are alike, the worst first.
    pub groups: Vec<Group>,
    /// What was watched, and by what.
    pub watched: Vec<(String, String)>,
    /// What was not, and what went unseen for that.
    pub unwatched: Vec<(String, String)>,
    /// What was missed.
    pub missed: Vec<String>,
    /// What tracing cost, and what was shed for that, where it had a budget.
    pub budget: Vec<String>,
    /// Who learns of changes, for each address space that has secondary MMUs beside its pins; and what was done that
    /// this kernel does not need.
    pub notes: Vec<String>,
    /// Calls that pinned.
    pub pin_calls: u64,
    /// Pages that they pinned.
    pub pinned_pages: u64,
    /// Pages that were pinned for short, and are only counted.
    pub short_term_pages: u64,
    /// Write-protect faults that might matter to a pin: those that were told.
    pub write_protect_faults: u64,
    /// Forks of processes with pins.
    pub forks: u64,
    /// MMU-notifier invalidations of pinned ranges.
    pub invalidations: u64,
    /// The ledger against the kernel's own count.
    pub books: String,
    /// What is still pinned at the end, and for whom.
    pub owned: Vec<String>,
    /// Build ids of the files in stacks, by path.
    pub binaries: Vec<(String, String)>,
    /// What it does not have, where it is a part of a longer recording.
    pub part: Option<String>,
}

/// Findings that are alike.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Group {
    /// In what.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its verdict, to be compared.
    #[serde(skip)]
    pub grade: Verdict,
    /// How sure the verdict is.
    pub certainty: &'static str,
    /// How many.
    pub findings: usize,
    /// Pages of all of them.
    pub pages: u64,
    /// The first, seconds since the beginning.
    pub first: f64,
    /// The last.
    pub last: f64,
    /// Why this verdict, of the first.
    pub reason: String,
    /// What to do.
    pub advice: String,
    /// The first finding.
    pub example: Example,
}

impl Report {
    /// Of traces, each with the name of what it was read from: the findings that meet a filter.
    pub fn new(traces: &[(String, Trace)], filter: &Filter) -> Self {
        let hosts: Vec<Host> =
            traces.iter().map(|(file, trace)| host(file, trace, filter)).collect();
        let answer = match hosts.as_slice() {
            [one] => one.answer.clone(),
            several => compared(several),
        };
        Self { answer, hosts }
    }

    /// Writes it in a form; `gate` says to a CI what fails.
    pub fn write(&self, form: Form, gate: &Gate, out: &mut dyn Write) -> io::Result<()> {
        match form {
            Form::Text => plain::write(out, self),
            Form::Markdown => markdown::write(out, self),
            Form::Html => out.write_all(html::page(self).into_string().as_bytes()),
            Form::Json => {
                serde_json::to_writer_pretty(&mut *out, self)?;
                writeln!(out)
            }
            Form::Junit => out.write_all(junit::document(self, gate).as_bytes()),
            Form::Sarif => {
                serde_json::to_writer_pretty(&mut *out, &sarif::document(self, gate))?;
                writeln!(out)
            }
        }
    }
}

fn host(file: &str, trace: &Trace, filter: &Filter) -> Host {
    let fact = |key| trace.facts.text(key).unwrap_or("unknown").to_owned();
    let missed = trace.unseen();
    let findings: Vec<&Finding> =
        trace.findings.iter().filter(|finding| filter.takes(trace, *finding)).collect();
    let unlisted = text::unlisted(trace);
    let left_out = left_out(trace.findings.len() - findings.len(), filter);
    let more = unlisted.as_ref().map(|unlisted| format!("{unlisted}."));
    let left_out: Vec<_> = left_out.into_iter().chain(more).collect();
    let left_out = (!left_out.is_empty()).then(|| left_out.join(" "));
    let groups = groups(trace, &findings);
    let verdicts = verdicts(&groups);
    let probes = || trace.probes.values();
    Host {
        file: file.to_owned(),
        host: fact(key::HOST),
        kernel: fact(key::KERNEL),
        kernel_build: trace.facts.text(key::KERNEL_BUILD).map(str::to_owned),
        cowtrace: version(trace),
        began: began(trace),
        seconds: seconds(trace, trace.now),
        only: trace.facts.text(key::FILTER).map(str::to_owned),
        verdict: groups.first().map(|group| group.kind.verdict),
        complete: missed.is_empty(),
        answer: answer(&groups, left_out, &missed),
        verdicts,
        unlisted,
        groups,
        watched: probes()
            .filter(|probe| !probe.attached.is_empty())
            .map(|probe| (probe.sees.clone(), probe.attached.clone()))
            .collect(),
        unwatched: probes()
            .filter(|probe| probe.attached.is_empty() && !probe.unseen.is_empty())
            .map(|probe| (probe.sees.clone(), probe.unseen.clone()))
            .collect(),
        missed,
        budget: super::budget::lines(trace),
        notes: coherence::notes(trace),
        pin_calls: trace.counts.pins,
        pinned_pages: trace.ledger.pinned(),
        short_term_pages: trace.short_term.pinned,
        write_protect_faults: trace.counts.faults,
        forks: trace.counts.forks,
        invalidations: trace.counts.invalidations,
        books: text::books(trace),
        owned: owners::lines(trace),
        binaries: trace.facts.binaries().map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
        part: text::part(trace),
    }
}

fn version(trace: &Trace) -> String {
    let version = trace.facts.text(key::VERSION).unwrap_or("unknown");
    match trace.facts.text(key::BUILD) {
        Some(build) => format!("{version} ({build})"),
        None => version.to_owned(),
    }
}

fn seconds(trace: &Trace, time: Time) -> f64 {
    Duration::from_nanos(trace.since_start(time).max(0).cast_unsigned()).as_secs_f64()
}

fn began(trace: &Trace) -> Option<String> {
    let nanos = trace.facts.boot()?.checked_add(trace.facts.number(key::STARTED)?)?;
    let time = UNIX_EPOCH.checked_add(Duration::from_nanos(nanos.try_into().ok()?))?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

/// How many findings there are by verdict; groups stand in the order of their verdicts.
fn verdicts(groups: &[Group]) -> Vec<(&'static str, usize)> {
    let mut verdicts: Vec<(&'static str, usize)> = Vec::new();
    for group in groups {
        match verdicts.last_mut().filter(|(verdict, _)| *verdict == group.kind.verdict) {
            Some((_, count)) => *count += group.findings,
            None => verdicts.push((group.kind.verdict, group.findings)),
        }
    }
    verdicts
}

/// That a filter has left findings out, in a sentence.
fn left_out(findings: usize, filter: &Filter) -> Option<String> {
    let left = count(findings as u64, "finding");
    let verb = if findings == 1 { "does" } else { "do" };
    (findings > 0).then(|| format!("{left} {verb} not meet \"{}\".", filter.text()))
}

fn groups(trace: &Trace, findings: &[&Finding]) -> Vec<Group> {
    let alike = group::groups(trace, findings);
    let mut groups: Vec<Group> = alike.into_iter().map(|alike| group(trace, alike)).collect();
    name_repeated_stacks(&mut groups);
    groups
}

/// Says of each stack that an example before has, which.
fn name_repeated_stacks(groups: &mut [Group]) {
    let mut seen: HashMap<Vec<String>, usize> = HashMap::new();
    for example in groups.iter_mut().map(|group| &mut group.example) {
        for step in example.steps.iter_mut().filter(|step| !step.stack.is_empty()) {
            let first = *seen.entry(step.stack.clone()).or_insert(example.id);
            step.same_stack_as = (first != example.id).then_some(first);
        }
    }
}

fn group(trace: &Trace, alike: group::Group) -> Group {
    let example = alike.first();
    let (first, last) = alike.times();
    Group {
        certainty: alike.verdict.certainty(),
        findings: alike.findings.len(),
        pages: alike.pages(),
        first: seconds(trace, first),
        last: seconds(trace, last),
        reason: example.reason.to_string(),
        advice: example.advice.to_owned(),
        example: example::example(trace, example),
        grade: alike.verdict,
        kind: alike.kind,
    }
}

/// The answer for one trace: the worst, and how sure the whole is.
fn answer(groups: &[Group], left_out: Option<String>, missed: &[String]) -> String {
    let whole = match missed.len() {
        0 => "Nothing was missed.".to_owned(),
        n => format!("Not everything was seen ({}, below).", count(n as u64, "reason")),
    };
    let left = left_out.as_ref().map_or(String::new(), |left| format!(" {left}"));
    let Some(worst) = groups.first() else {
        return if let Some(left) = left_out {
            format!("No finding is listed: {left} {whole}")
        } else if missed.is_empty() {
            format!("No process lost a page that was pinned. {whole}")
        } else {
            format!("Nothing was found. {whole} So it cannot be said that nothing happened.")
        };
    };
    let all: usize = groups.iter().map(|group| group.findings).sum();
    let others = match all - worst.findings {
        0 => String::new(),
        n => format!(" Beside that, there {} of other kinds.", is_are(n)),
    };
    format!(
        "{} ({}): {}. {}. {}{others}{left} {whole}",
        worst.kind.verdict.to_uppercase(),
        worst.certainty,
        title(worst),
        capitalized(&worst.reason),
        worst.advice,
    )
}

fn is_are(findings: usize) -> String {
    let verb = if findings == 1 { "is" } else { "are" };
    format!("{verb} {}", count(findings as u64, "finding"))
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The answer for several hosts.
fn compared(hosts: &[Host]) -> String {
    let with: Vec<String> = hosts.iter().filter_map(verdicts_of).collect();
    let unclear = hosts.iter().filter(|host| host.verdict.is_none() && !host.complete).count();
    let recordings = count(hosts.len() as u64, "recording");
    let found = match with.len() {
        0 => format!("Nothing was found in {recordings}."),
        n => format!("There are findings in {n} of {recordings}: {}.", with.join("; ")),
    };
    match unclear {
        0 => found,
        n => format!("{found} Of those without, {n} missed something."),
    }
}

/// A host with findings, and these by verdict.
fn verdicts_of(host: &Host) -> Option<String> {
    host.verdict?;
    Some(format!("{} ({}) {}", host.host, host.kernel, by_verdict(host)))
}

/// A host's findings by verdict, in words.
fn by_verdict(host: &Host) -> String {
    let verdicts = host.verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}"));
    let verdicts: Vec<_> = verdicts.collect();
    if verdicts.is_empty() { "none".to_owned() } else { verdicts.join(", ") }
}

/// What a group has in common, in a line.
fn title(group: &Group) -> String {
    let Kind { holder, cause, site, .. } = &group.kind;
    let site = site.as_ref().map_or(String::new(), |site| format!(", pinned through {site}"));
    format!("{} of {holder}{site}; cause: {cause}", count(group.pages, "page"))
}

/// What a group has in common, and its example, a line each.
fn outline(group: &Group) -> Vec<String> {
    let site = group.kind.site.as_ref().map(|site| format!("pinned through {site}"));
    let example = &group.example;
    let when = if group.findings == 1 {
        format!("at {:+.6} s", group.first)
    } else {
        format!("from {:+.6} s to {:+.6} s", group.first, group.last)
    };
    let one = format!(
        "#{}: {}; the device has {}, the process has {}",
        example.id, example.place, example.device_has, example.process_has
    );
    let owner = example.owner.as_ref().map(|owner| format!("the pin is of {owner}"));
    let cause = format!("cause: {}; {when}", group.kind.cause);
    let lines = site.into_iter().chain(owner).chain([cause, one]);
    lines.chain(example.devices.iter().cloned()).collect()
}

/// What is known of a host and its trace, a line each.
fn facts(host: &Host) -> Vec<String> {
    let began = host.began.as_deref().unwrap_or("an unknown time");
    let only = host
        .only
        .as_deref()
        .map_or_else(|| "all processes".to_owned(), |only| format!("only {only}"));
    vec![
        format!("{}, recorded by cowtrace {}", host.file, host.cowtrace),
        format!("from {began} on, for {:.1} s; {only}", host.seconds),
        format!(
            "{} of {}, {} that might matter to a pin, {}, {}",
            count(host.pin_calls, "pin call"),
            count(host.pinned_pages, "page"),
            count(host.write_protect_faults, "write-protect fault"),
            count(host.forks, "fork"),
            count(host.invalidations, "invalidation"),
        ),
        host.books.clone(),
    ]
    .into_iter()
    .chain(host.owned.iter().cloned())
    .chain(host.kernel_build.as_ref().map(|build| format!("kernel {}, {build}", host.kernel)))
    .chain(host.binaries.iter().map(|(path, id)| format!("{path} has build id {id}")))
    .chain(host.part.clone())
    .chain(host.budget.iter().cloned())
    .chain(host.notes.iter().cloned())
    .collect()
}

fn watched(host: &Host) -> String {
    let sees: Vec<&str> = host.watched.iter().map(|(sees, _)| sees.as_str()).collect();
    if sees.is_empty() { "nothing".to_owned() } else { sees.join(", ") }
}

fn unwatched(host: &Host) -> String {
    let sees: Vec<&str> = host.unwatched.iter().map(|(sees, _)| sees.as_str()).collect();
    if sees.is_empty() { "nothing".to_owned() } else { sees.join(", ") }
}

#[cfg(test)]
mod tests;
