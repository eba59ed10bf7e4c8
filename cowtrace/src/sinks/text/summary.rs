//! The last lines of a run: the answer, then what it rests on.

use std::io::{self, Write};

use super::super::{budget, coherence, count, owners};
use crate::{
    event::Time,
    facts::key,
    trace::{Audited, Trace},
};

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
        "watched {} of host {}: {} of {}, {} that might matter to a pin, {}, {}",
        trace.facts.text(key::KERNEL).unwrap_or("an unknown kernel"),
        trace.facts.text(key::HOST).unwrap_or("unknown"),
        count(counts.pins, "pin call"),
        count(trace.ledger.pinned(), "page"),
        count(counts.faults, "write-protect fault"),
        count(counts.forks, "fork"),
        count(counts.invalidations, "invalidation")
    )?;
    lost_beside(out, trace)?;
    if counts.fork_copies > 0 {
        writeln!(
            out,
            "forks copied {} for the children at once, which took {} us",
            count(counts.fork_copies, "pinned page"),
            counts.fork_ns / 1000
        )?;
    }
    let short = trace.short_term;
    if short.pinned > 0 {
        writeln!(
            out,
            "short-term pins: {} pinned and {} unpinned, counted but not listed (--short-term lists them)",
            count(short.pinned, "page"),
            short.unpinned
        )?;
    }
    invalidations(out, trace)?;
    for note in coherence::notes(trace) {
        writeln!(out, "{note}")?;
    }
    audited(out, trace)?;
    owners::lines(trace).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    if counts.suspects_unlisted > 0 {
        writeln!(
            out,
            "not listed: {} more of the same processes' pages, held by plain references, were replaced",
            counts.suspects_unlisted
        )?;
    }
    if let Some(unlisted) = unlisted(trace) {
        writeln!(out, "{unlisted}")?;
    }
    for line in budget::lines(trace) {
        writeln!(out, "{line}")?;
    }
    if let Some(filter) = trace.facts.text(key::FILTER) {
        writeln!(out, "only {filter}")?;
    }
    if let Some(part) = part(trace) {
        writeln!(out, "{part}")?;
    }
    writeln!(out, "{}", books(trace))
}

/// That a recording is a part of a longer one, and what it does not have.
pub(in crate::sinks) fn part(trace: &Trace) -> Option<String> {
    let seconds = |time: Time| {
        let tenths = trace.since_start(time) / 100_000_000;
        format!("{:+}.{} s", tenths / 10, tenths.abs() % 10)
    };
    match (trace.part_from(), trace.goes_on()) {
        (None, false) => None,
        (None, true) => Some(format!(
            "a part of a recording, up to {}: what comes then is in the next one",
            seconds(trace.now)
        )),
        (Some(from), goes_on) => {
            let until = if goes_on {
                format!("up to {}, and what comes then in the next one", seconds(trace.now))
            } else {
                "on".to_owned()
            };
            Some(format!(
                "a part of a recording, from {} {until}: what was found and closed before is in those before it",
                seconds(from)
            ))
        }
    }
}

/// What was lost that takes nothing from the verdicts on pins.
fn lost_beside(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    if trace.watches_devices() && trace.lost_of_devices() > 0 {
        writeln!(
            out,
            "{} of what devices map were lost: what they map is then not known; no verdict hangs on it",
            count(trace.lost_of_devices(), "record")
        )?;
    }
    if trace.lost_references() > 0 {
        writeln!(
            out,
            "{} of plain references were not seen: a suspect-get may be missing, no verdict on a pin is",
            count(trace.lost_references(), "call")
        )?;
    }
    Ok(())
}

/// Pinned pages held against the page map.
fn audited(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    let Audited { same, unmapped, others } = trace.audited;
    if same + unmapped + others == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "audit: of the {} pinned for long at the end, {same} are mapped where they were pinned, {others} are \
         replaced by others, {unmapped} are not mapped",
        count(same + unmapped + others, "page")
    )
}

/// What secondary MMUs were told of pinned ranges, and how long they took.
fn invalidations(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    if trace.invalidated.is_empty() {
        return Ok(());
    }
    writeln!(out, "pinned ranges invalidated in secondary MMUs:")?;
    for ((event, initiator), durations) in &trace.invalidated {
        writeln!(
            out,
            "  {event:<15} by {initiator:<14} {:>6} times: half within {} us, 99 % within {} us, the longest {} us",
            durations.count,
            durations.within(50).div_ceil(1000),
            durations.within(99).div_ceil(1000),
            durations.longest / 1000
        )?;
    }
    Ok(())
}

fn answer(trace: &Trace, complete: bool) -> String {
    if trace.findings.is_empty() {
        return if complete && part(trace).is_some() {
            "nothing found in this part: no process lost a page that was pinned while it was recorded"
                .to_owned()
        } else if complete {
            "clean: no process lost a page that was pinned".to_owned()
        } else {
            "inconclusive: nothing was found, but not everything was seen".to_owned()
        };
    }
    let parts: Vec<String> =
        trace.verdicts().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    let more = and_unlisted(trace);
    format!("{}{more}: {}", count(trace.findings.len() as u64, "finding"), parts.join(", "))
}

/// Behind a count of findings: how many more there were, if any.
pub(in crate::sinks) fn and_unlisted(trace: &Trace) -> String {
    match trace.unlisted() {
        0 => String::new(),
        more => format!(" and {more} not listed"),
    }
}

/// What findings there were beside those that are listed, in a sentence without its full stop.
pub(in crate::sinks) fn unlisted(trace: &Trace) -> Option<String> {
    let each = trace.unlisted_verdicts();
    let each: Vec<_> = each.map(|(verdict, count)| format!("{count} {verdict}")).collect();
    (!each.is_empty()).then(|| {
        format!(
            "{} counted and not listed, each alike to one that is: {}",
            count(trace.unlisted(), "more finding"),
            each.join(", ")
        )
    })
}

/// The ledger against the kernel's own count.
pub(in crate::sinks) fn books(trace: &Trace) -> String {
    let live = trace.ledger.live_pages() + trace.short_term.live();
    let ours = format!(
        "ledger: {} pinned at the end, {} unpinned whose pin was not seen",
        count(live, "page"),
        count(trace.ledger.unmatched(), "page")
    );
    let ours = match trace.ledger.given_up() {
        0 => ours,
        pages => format!("{ours}, {} taken off since their unpins were lost", count(pages, "page")),
    };
    let facts = &trace.facts;
    match (facts.number(key::VMSTAT_START), facts.number(key::VMSTAT_END)) {
        (Some(before), Some(after)) => {
            format!("{ours}; the kernel's own count went from {before} to {after}")
        }
        _ => ours,
    }
}
