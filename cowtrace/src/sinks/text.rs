//! Lines for people: a finding as a paragraph, an event as a line, the end as an answer.

mod summary;

use std::io::{self, Write};

pub use self::summary::summary;
pub(super) use self::summary::{and_unlisted, books, part, unlisted};
use super::{coherence, container, count, mapped, reach, stack};
use crate::{
    event::{Event, Stack, Task, Time, What},
    finding::{Cause, CauseKind, Finding, How, Told},
    trace::{Change, Trace},
};

/// A paragraph when a finding is opened, a line when its pin has ended.
pub fn change(out: &mut dyn Write, trace: &Trace, change: Change) -> io::Result<()> {
    match change {
        Change::Opened(index) => match trace.findings.get(index) {
            Some(finding) => paragraph(out, trace, finding),
            None => Ok(()),
        },
        Change::Updated(index) => match trace.findings.get(index) {
            Some(finding) => updated(out, trace, finding),
            None => Ok(()),
        },
    }
}

fn paragraph(out: &mut dyn Write, trace: &Trace, finding: &Finding) -> io::Result<()> {
    heading(out, finding)?;
    if let Some(container) = container(trace, finding.holder()) {
        writeln!(out, "  in {container}")?;
    }
    for (n, step) in steps(trace, finding).into_iter().enumerate() {
        let Some(step) = step else { continue };
        writeln!(out, "  {} {}", clock(trace, step.time), step.what)?;
        match earlier(trace, finding, n) {
            _ if *step.stack == Stack::default() => {}
            Some(id) => writeln!(out, "               from the same place as in #{id}")?,
            None => frames(out, trace, &step)?,
        }
    }
    if let Some(told) = &finding.told {
        writeln!(out, "  {} {}", clock(trace, told.began), told_words(trace, told))?;
    }
    for line in reach::lines(trace, finding) {
        writeln!(out, "  {line}")?;
    }
    if !finding.coherence.mmus.is_empty()
        && let Some(sentence) = coherence::sentence(trace, &finding.coherence)
    {
        writeln!(out, "  {sentence}")?;
    }
    writeln!(out, "  {}", finding.advice)
}

/// Which secondary MMUs were told, of what, and how long they took.
fn told_words(trace: &Trace, told: &Told) -> String {
    let took = told.ended.saturating_sub(told.began) / 1000;
    let who = stack::secondary_mmus(trace, told);
    format!("{who} told ({}), answered after {took} us", told.event)
}

fn heading(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    writeln!(out, "#{} {}", finding.id, headline(finding))?;
    writeln!(out, "  {}", finding.reason)?;
    write!(out, "  device has PFN {:#x}, process has {}", finding.old_pfn, process_has(finding))?;
    match finding.vma {
        (0, 0) => writeln!(out)?,
        (start, end) => writeln!(out, "   VMA {start:#x}-{end:#x}")?,
    }
    let Some(fault) = &finding.fault else {
        return Ok(());
    };
    writeln!(
        out,
        "  the old page: {}, {}, {}, {}{}",
        fault.page_kind(),
        count(fault.references, "reference"),
        count(fault.mappings, "mapping"),
        count(fault.pins, "pin"),
        if fault.maybe_pinned() { " (maybe-pinned)" } else { "" },
    )
}

/// How bad it is, what is lost, and whose it is.
fn headline(finding: &Finding) -> String {
    format!(
        "{} ({}): {} of process {}",
        finding.verdict.name().to_uppercase(),
        finding.verdict.certainty(),
        place(finding),
        finding.holder().tgid,
    )
}

/// A finding in a sentence.
pub fn sentence(finding: &Finding) -> String {
    format!("{}: {}", headline(finding), finding.reason)
}

/// `page 0x1000`, or how many from there on.
pub(super) fn place(finding: &Finding) -> String {
    match finding.pages {
        1 => format!("page {:#x}", finding.address),
        pages => format!("{} from {:#x} on", count(pages, "page"), finding.address),
    }
}

pub(super) fn process_has(finding: &Finding) -> String {
    match (finding.new_pfn, finding.how) {
        (0, How::WillBeCopied) => "the same until its next write".to_owned(),
        (0, _) => "none yet".to_owned(),
        (pfn, _) => format!("PFN {pfn:#x}"),
    }
}

/// Something that led to a finding.
pub(super) struct Step<'a> {
    /// When.
    pub(super) time: Time,
    /// In words.
    pub(super) what: String,
    /// By whom.
    pub(super) task: &'a Task,
    /// From where.
    pub(super) stack: &'a Stack,
}

/// Pinned or referenced, write-protected, written: those that are known.
pub(super) fn steps<'a>(trace: &Trace, finding: &'a Finding) -> [Option<Step<'a>>; 3] {
    let pinned = finding.pin.as_ref().map(|pin| Step {
        time: pin.time,
        what: format!(
            "pinned by {}{}, {} at {}{}, {}",
            task(&pin.holder),
            for_owner(finding),
            count(pin.pages, "page"),
            pin.place(),
            finding
                .vma_name
                .as_ref()
                .map_or_else(String::new, |name| format!(" in {}", mapped(name))),
            trace.facts.flag_names(pin.gup_flags)
        ),
        task: &pin.holder,
        stack: &pin.stack,
    });
    let referenced = finding.reference.as_ref().map(|reference| Step {
        time: reference.time,
        what: format!(
            "plain reference taken by {} at {:#x}; it may be held still",
            task(&reference.task),
            reference.address
        ),
        task: &reference.task,
        stack: &reference.stack,
    });
    let protected = finding.cause.as_ref().map(|cause| Step {
        time: cause.time,
        what: cause_words(cause),
        task: &cause.task,
        stack: &cause.stack,
    });
    let written = finding.is_broken().then(|| Step {
        time: finding.broken_at,
        what: format!("{} by {}", finding.how.deed(), task(&finding.writer)),
        task: &finding.writer,
        stack: &finding.writer_stack,
    });
    [pinned.or(referenced), protected, written]
}

/// ` for io_uring ring fd 3, buffer 0`
fn for_owner(finding: &Finding) -> String {
    finding.owner.as_ref().map_or_else(String::new, |owner| format!(" for {owner}"))
}

fn cause_words(cause: &Cause) -> String {
    let by = task(&cause.task);
    let what = match cause.kind {
        CauseKind::Protect(protector) => format!("write-protected ({}) by {by}", protector.name()),
        CauseKind::Zap(kind) => format!("discarded ({}) by {by}", kind.words()),
        kind if kind.is_told_by_the_page() => kind.to_string(),
        kind => format!("perhaps write-protected: {kind} by {by}"),
    };
    match cause.others {
        0 => what,
        others => format!("{what} (the last of {} that cover the page)", others + 1),
    }
}

/// Findings that are looked at for a stack that was told before: a bound on work, not on truth.
const EARLIER: usize = 64;

/// The first finding before this one whose step `n` has the same stack.
fn earlier(trace: &Trace, finding: &Finding, n: usize) -> Option<usize> {
    let own = stacks(finding)[n];
    let before = trace.findings.iter().take(EARLIER).take_while(|other| other.id < finding.id);
    before.filter(|other| stacks(other)[n] == own).map(|other| other.id).next()
}

/// The stacks of the steps, in the order of [`steps`].
fn stacks(finding: &Finding) -> [Option<&Stack>; 3] {
    let pinned = finding.pin.as_ref().map(|pin| &pin.stack);
    let protected = finding.cause.as_ref().map(|cause| &cause.stack);
    [pinned, protected, finding.is_broken().then_some(&finding.writer_stack)]
}

fn frames(out: &mut dyn Write, trace: &Trace, step: &Step) -> io::Result<()> {
    for frame in stack::lines(trace, step.task.tgid, step.stack) {
        writeln!(out, "               {frame}")?;
    }
    Ok(())
}

fn updated(out: &mut dyn Write, trace: &Trace, finding: &Finding) -> io::Result<()> {
    write!(out, "#{} {} ", finding.id, finding.verdict.name().to_uppercase())?;
    let owner = finding.owner.as_ref().filter(|owner| owner.is_known());
    if let Some(end) = finding.unpinned {
        return writeln!(
            out,
            "{} unpinned {} by {}: {}{}{}",
            clock(trace, end.time).trim_start(),
            if end.dirty { "dirty" } else { "clean" },
            task(&end.task),
            finding.reason,
            owner.map_or_else(String::new, |owner| format!("; it was pinned for {owner}")),
            reach::behind(trace, finding)
        );
    }
    let told = finding.told.as_ref().map(|told| format!("; {}", told_words(trace, told)));
    writeln!(
        out,
        "device{} has PFN {:#x}, process has {}: {}{}{}",
        owner.map_or_else(String::new, |owner| format!(" ({owner})")),
        finding.old_pfn,
        process_has(finding),
        finding.reason,
        told.unwrap_or_default(),
        reach::behind(trace, finding)
    )
}

/// Seconds since the trace began, to the microsecond.
pub(super) fn clock(trace: &Trace, time: Time) -> String {
    let micros = trace.since_start(time) / 1000;
    format!("{:>+5}.{:06}", micros / 1_000_000, (micros % 1_000_000).abs())
}

pub(super) fn task(task: &Task) -> String {
    if task.tid == task.tgid {
        format!("{}[{}]", task.comm, task.tgid)
    } else {
        format!("{}[{}/{}]", task.comm, task.tgid, task.tid)
    }
}

/// One line; nothing for records of the source's own.
pub fn event(out: &mut dyn Write, trace: &Trace, event: &Event) -> io::Result<()> {
    let what = event_words(trace, event);
    if what.is_empty() {
        return Ok(());
    }
    writeln!(out, "{} {:<24} {what}", clock(trace, event.time), task(&event.task))
}

/// What an event says; empty for records of the source's own.
pub fn event_words(trace: &Trace, event: &Event) -> String {
    match &event.what {
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
            "pin        {:#x} {} in {}, {}",
            pin.address,
            count(pin.pages, "page"),
            count(pin.extents.len() as u64, "extent"),
            trace.facts.flag_names(pin.gup_flags)
        ),
        What::Unpin(unpin) => format!(
            "unpin      PFN {:#x} {}, {}",
            unpin.extents.first().map_or(0, |extent| extent.pfn),
            count(unpin.pages, "page"),
            if unpin.make_dirty { "dirty" } else { "clean" }
        ),
        What::Invalidate(range) => {
            format!("invalidate {:#x}-{:#x} {}", range.start, range.end, range.event_name())
        }
        What::Protect(protect) => format!(
            "protect    {:#x}-{:#x} {}",
            protect.start,
            protect.end,
            protect.by.map_or("writable again", |by| by.name())
        ),
        What::Zap(zap) => format!(
            "zap        {:#x}-{:#x}{}",
            zap.start,
            zap.end,
            if zap.spares_cows { ", pages of the file only" } else { "" }
        ),
        What::Move { from, to, len, .. } => {
            format!("move       {from:#x} -> {to:#x}, {}", count(len / 4096, "page"))
        }
        What::Refault { address, pfn, .. } => format!("refault    {address:#x} PFN {pfn:#x}"),
        What::Content { pfn, hash, at_unpin } => {
            let when = if *at_unpin { "unpin" } else { "break" };
            format!("content    PFN {pfn:#x} {hash:016x} at the {when}")
        }
        What::Holder(holder) => format!(
            "holder     {:#x} PFN {:#x} by a {}",
            holder.address,
            holder.pfn,
            if holder.is_pin { "short-term pin" } else { "plain reference" }
        ),
        What::Io { start, end, to_memory, .. } => {
            let what = if *to_memory { "to memory" } else { "from memory" };
            format!("io         {start:#x}-{end:#x} {what}")
        }
        What::FileRange(range) => {
            format!("file range {:#x}-{:#x} from {:#x}", range.start, range.end, range.offset)
        }
        What::ForkCopy(copy) => format!("fork copy  {:#x}-{:#x}", copy.start, copy.end),
        What::Fork { child_tgid, .. } => format!("fork       child {child_tgid}"),
        What::MmExit { .. } => "mm-exit    address space gone".to_owned(),
        what => of_mmus(trace, what),
    }
}

/// The same of what devices reach, and of secondary MMUs.
fn of_mmus(trace: &Trace, what: &What) -> String {
    match what {
        What::DeviceMap(map) => format!(
            "device map {:#x}-{:#x} PFN {:#x} {}",
            map.iova,
            map.end(),
            map.pfns().0,
            reach::who(&trace.device_of(map), map.api)
        ),
        What::DeviceUnmap(unmap) => {
            let end = unmap.iova.saturating_add(unmap.bytes);
            match unmap.bytes {
                u64::MAX => "device end all of a domain".to_owned(),
                _ => format!("device end {:#x}-{end:#x} {}", unmap.iova, unmap.api.name()),
            }
        }
        What::Attached(attached) => format!("attached   {} to a domain", attached.name),
        What::Notifier(notifier) => {
            let ops = trace.symbol(0, notifier.ops).unwrap_or("?");
            format!("notifier   {ops} registered")
        }
        What::NotifierGone(notifier) => {
            let (start, end) = notifier.range;
            format!("notifier   {} gone from {start:#x}-{end:#x}", trace.mmu_name(notifier.ops))
        }
        What::Secondary(list) => {
            format!("notifiers  {}", coherence::listed(trace, list))
        }
        _ => String::new(),
    }
}
