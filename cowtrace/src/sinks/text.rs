//! Lines for people: a finding as a paragraph, an event as a line, the end as an answer.

use std::io::{self, Write};

use super::stack;
use crate::{
    event::{Event, Stack, Task, Time, What},
    facts::key,
    finding::{CauseKind, Finding, Verdict},
    trace::{Change, Trace},
};

/// A paragraph when a finding is opened, a line when its pin has ended.
pub fn change(out: &mut dyn Write, trace: &Trace, change: Change) -> io::Result<()> {
    match change {
        Change::Opened(index) => match trace.findings.get(index) {
            Some(finding) => paragraph(out, trace, finding),
            None => Ok(()),
        },
        Change::Closed(index) => match trace.findings.get(index) {
            Some(finding) => closed(out, trace, finding),
            None => Ok(()),
        },
    }
}

fn paragraph(out: &mut dyn Write, trace: &Trace, finding: &Finding) -> io::Result<()> {
    let fault = &finding.fault;
    writeln!(
        out,
        "#{} {} ({}): page {:#x} of process {}",
        finding.id,
        finding.verdict.name().to_uppercase(),
        finding.verdict.certainty(),
        fault.address,
        finding
            .pin
            .as_ref()
            .map_or(finding.writer.tgid, |pin| pin.holder.tgid),
    )?;
    writeln!(out, "  {}", finding.reason)?;
    writeln!(
        out,
        "  device has PFN {:#x}, process has PFN {:#x}   VMA {:#x}-{:#x}",
        fault.old_pfn, fault.new_pfn, fault.vma.0, fault.vma.1
    )?;
    if let Some(pin) = &finding.pin {
        let what = format!(
            "pinned by {}, {} pages at {:#x}, {}",
            task(&pin.holder),
            pin.pages,
            pin.address,
            trace.facts.flag_names(pin.gup_flags)
        );
        step(out, trace, pin.time, &what)?;
        let same = |other: &Finding| {
            other
                .pin
                .as_ref()
                .is_some_and(|other| other.stack == pin.stack)
        };
        frames(
            out,
            trace,
            &pin.holder,
            &pin.stack,
            earlier(trace, finding, same),
        )?;
    }
    if let Some(cause) = &finding.cause {
        let what = match cause.kind {
            CauseKind::Protect(by) => {
                format!("write-protected ({}) by {}", by.name(), task(&cause.task))
            }
            kind => format!("perhaps write-protected: {kind} by {}", task(&cause.task)),
        };
        step(out, trace, cause.time, &what)?;
        let same = |other: &Finding| {
            other
                .cause
                .as_ref()
                .is_some_and(|other| other.stack == cause.stack)
        };
        frames(
            out,
            trace,
            &cause.task,
            &cause.stack,
            earlier(trace, finding, same),
        )?;
    }
    let what = format!("written and copied by {}", task(&finding.writer));
    step(out, trace, finding.broken_at, &what)?;
    let same = |other: &Finding| other.writer_stack == finding.writer_stack;
    let told = earlier(trace, finding, same);
    frames(out, trace, &finding.writer, &finding.writer_stack, told)?;
    writeln!(out, "  {}", finding.advice)
}

/// Findings that are looked at for a stack that was told before: a bound on work, not on truth.
const EARLIER: usize = 64;

/// The first finding before this one that tells the same.
fn earlier(trace: &Trace, finding: &Finding, same: impl Fn(&Finding) -> bool) -> Option<usize> {
    let before = trace
        .findings
        .iter()
        .take(EARLIER)
        .take_while(|other| other.id < finding.id);
    before
        .filter(|other| same(other))
        .map(|other| other.id)
        .next()
}

fn step(out: &mut dyn Write, trace: &Trace, time: Time, what: &str) -> io::Result<()> {
    writeln!(out, "  {} {what}", clock(trace, time))
}

/// The frames of a stack, or the finding that has told them already.
fn frames(
    out: &mut dyn Write,
    trace: &Trace,
    task: &Task,
    stack: &Stack,
    told: Option<usize>,
) -> io::Result<()> {
    if let Some(id) = told {
        return writeln!(out, "               from the same place as in #{id}");
    }
    for frame in stack::lines(trace, task.tgid, stack) {
        writeln!(out, "               {frame}")?;
    }
    Ok(())
}

fn closed(out: &mut dyn Write, trace: &Trace, finding: &Finding) -> io::Result<()> {
    let Some(end) = finding.unpinned else {
        return Ok(());
    };
    writeln!(
        out,
        "#{} {} {} unpinned {} by {}: {}",
        finding.id,
        finding.verdict.name().to_uppercase(),
        clock(trace, end.time).trim_start(),
        if end.dirty { "dirty" } else { "clean" },
        task(&end.task),
        finding.reason
    )
}

/// Seconds since the trace began, to the microsecond.
fn clock(trace: &Trace, time: Time) -> String {
    let micros = trace.since_start(time) / 1000;
    format!(
        "{:>+5}.{:06}",
        micros / 1_000_000,
        (micros % 1_000_000).abs()
    )
}

fn task(task: &Task) -> String {
    if task.tid == task.tgid {
        format!("{}[{}]", task.comm, task.tgid)
    } else {
        format!("{}[{}/{}]", task.comm, task.tgid, task.tid)
    }
}

/// One line; nothing for records of the source's own.
pub fn event(out: &mut dyn Write, trace: &Trace, event: &Event) -> io::Result<()> {
    let what = match &event.what {
        What::Fault(fault) => format!(
            "fault      {:#x} {}: PFN {:#x} -> {:#x}, {} pins, {} references",
            fault.address,
            format!("{:?}", fault.outcome).to_lowercase(),
            fault.old_pfn,
            fault.new_pfn,
            fault.pins,
            fault.references
        ),
        What::Pin(pin) => format!(
            "pin        {:#x} {} pages in {} extents, {}",
            pin.address,
            pin.pages,
            pin.extents.len(),
            trace.facts.flag_names(pin.gup_flags)
        ),
        What::Unpin(unpin) => format!(
            "unpin      PFN {:#x} {} pages, {}",
            unpin.extents.first().map_or(0, |extent| extent.pfn),
            unpin.pages,
            if unpin.make_dirty { "dirty" } else { "clean" }
        ),
        What::Invalidate(range) => {
            format!(
                "invalidate {:#x}-{:#x} {}",
                range.start,
                range.end,
                range.event_name()
            )
        }
        What::Protect(protect) => format!(
            "protect    {:#x}-{:#x} {}",
            protect.start,
            protect.end,
            protect.by.map_or("writable again", |by| by.name())
        ),
        What::Notifier(notifier) => {
            let ops = trace.symbol(0, notifier.ops).unwrap_or("?");
            format!("notifier   {ops} registered")
        }
        What::Fork { child_tgid, .. } => format!("fork       child {child_tgid}"),
        What::MmExit { .. } => "mm-exit    address space gone".to_owned(),
        _ => return Ok(()),
    };
    writeln!(
        out,
        "{} {:<24} {what}",
        clock(trace, event.time),
        task(&event.task)
    )
}

/// The answer, then what it rests on.
pub fn summary(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    let blind = trace.unseen();
    writeln!(out, "{}", answer(trace, blind.is_empty()))?;
    for spot in &blind {
        writeln!(out, "  not seen: {spot}")?;
    }
    let counts = &trace.counts;
    writeln!(
        out,
        "watched {} of host {}: {} pin calls of {} pages, {} write-protect faults where pages were pinned, {} forks, {} invalidations",
        trace.facts.text(key::KERNEL).unwrap_or("an unknown kernel"),
        trace.facts.text(key::HOST).unwrap_or("unknown"),
        counts.pins,
        trace.ledger.pinned(),
        counts.faults,
        counts.forks,
        counts.invalidations
    )?;
    if let Some(filter) = trace.facts.text(key::FILTER) {
        writeln!(out, "only {filter}")?;
    }
    writeln!(out, "{}", books(trace))
}

fn answer(trace: &Trace, complete: bool) -> String {
    if trace.findings.is_empty() {
        return if complete {
            "clean: no write-protect fault replaced a pinned page".to_owned()
        } else {
            "inconclusive: nothing was found, but not everything was seen".to_owned()
        };
    }
    let parts: Vec<String> = Verdict::ALL
        .iter()
        .rev()
        .filter_map(|verdict| {
            let count = trace
                .findings
                .iter()
                .filter(|f| f.verdict == *verdict)
                .count();
            (count > 0).then(|| format!("{count} {verdict}"))
        })
        .collect();
    let plural = if trace.findings.len() == 1 { "" } else { "s" };
    format!(
        "{} finding{plural}: {}",
        trace.findings.len(),
        parts.join(", ")
    )
}

/// The ledger against the kernel's own count.
fn books(trace: &Trace) -> String {
    let live = trace.ledger.live_pages();
    let ours = format!(
        "ledger: {live} pages pinned at the end, {} unpinned that were pinned before",
        trace.ledger.unmatched()
    );
    let facts = &trace.facts;
    match (
        facts.number(key::VMSTAT_START),
        facts.number(key::VMSTAT_END),
    ) {
        (Some(before), Some(after)) => {
            format!("{ours}; the kernel's own count went from {before} to {after}")
        }
        _ => ours,
    }
}
