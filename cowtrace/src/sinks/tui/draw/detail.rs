//! One finding: the answer first, then its evidence, then what to do.

use ratatui::text::{Line, Span};

use super::{Scene, stacks, text, timeline};
use crate::{
    event::Fault,
    finding::{Cause, Finding, How},
    ledger::PinRecord,
    sinks::{
        coherence,
        group::Group,
        mapped, reach, stack,
        tui::palette::{QUIET, symbol},
    },
};

/// Columns in front of a field's text.
const LABEL: usize = 10;

/// A group's lines: what they have in common, then the first of them.
pub fn group_lines(scene: Scene, group: &Group, width: usize) -> Vec<Line<'static>> {
    let first = group.first();
    if group.findings.len() == 1 {
        return lines(scene, first, width);
    }
    let (from, to) = group.times();
    let sentence = format!(
        "{} on {}, from {} to {}; the first of them, #{}:",
        text::count(group.findings.len() as u64, "finding"),
        text::count(group.pages(), "page"),
        text::since(scene.trace, from),
        text::since(scene.trace, to),
        first.id,
    );
    let mut all = vec![Line::styled(format!("  {sentence}"), QUIET)];
    all.extend(lines(scene, first, width));
    all
}

/// Its lines.
pub fn lines(scene: Scene, finding: &Finding, width: usize) -> Vec<Line<'static>> {
    let mut lines = verdict(scene, finding, width);
    lines.push(Line::default());
    lines.extend(timeline::lines(scene, finding, width));
    lines.push(Line::default());
    for (label, text) in evidence(scene, finding) {
        lines.extend(field(label, &text, width));
    }
    lines.extend(field("advice", finding.advice, width));
    lines.push(Line::default());
    lines.extend(stacks::lines(scene, finding, width));
    lines
}

/// `✖ lost (proven): why`.
fn verdict(scene: Scene, finding: &Finding, width: usize) -> Vec<Line<'static>> {
    let style = scene.palette.verdict(finding.verdict);
    let name = format!("{} {}", symbol(finding.verdict), finding.verdict);
    let sentence = format!("{name} ({}): {}", finding.verdict.certainty(), finding.reason);
    let mut wrapped = text::wrap(&sentence, width.saturating_sub(4).max(20)).into_iter();
    let first = wrapped.next().unwrap_or_default();
    let rest = first.strip_prefix(&name).unwrap_or(&first).to_owned();
    let mut lines =
        vec![Line::from(vec![Span::styled(format!("  {name}"), style), Span::raw(rest)])];
    lines.extend(wrapped.map(|line| Line::raw(format!("    {line}"))));
    lines
}

fn evidence(scene: Scene, finding: &Finding) -> Vec<(&'static str, String)> {
    let mut fields = vec![("page", page(finding)), ("at", place(finding))];
    if let Some(pin) = &finding.pin {
        fields.push(("pin", pin_call(scene, pin)));
    }
    if let Some(owner) = &finding.owner {
        fields.push(("owner", owner.to_string()));
    }
    if let Some(cause) = &finding.cause {
        let when = text::since(scene.trace, cause.time);
        fields.push((
            "cause",
            format!(
                "{} at {when} by {}{}",
                cause.kind,
                text::thread(cause.task, 60),
                others(cause)
            ),
        ));
    }
    if let Some(reference) = &finding.reference {
        let when = text::since(scene.trace, reference.time);
        let who = text::thread(reference.task, 60);
        fields.push(("held by", format!("a plain reference, taken at {when} by {who}")));
    }
    if let Some(told) = &finding.told {
        let when = text::since(scene.trace, told.began);
        let took = told.ended.saturating_sub(told.began) / 1000;
        let who = stack::secondary_mmus(scene.trace, told);
        fields.push(("told", format!("{who} told at {when} ({}), and took {took} us", told.event)));
    }
    fields.extend(reach::lines(scene.trace, finding).into_iter().map(|line| ("device", line)));
    if let Some(sentence) = coherence::sentence(scene.trace, &finding.coherence) {
        fields.push(("MMUs", sentence));
    }
    fields
}

fn others(cause: &Cause) -> String {
    match cause.others {
        0 => String::new(),
        others => format!(", the last of {} that cover the page", others + 1),
    }
}

/// Which page the device has, which one the process, and how the old one was held.
fn page(finding: &Finding) -> String {
    let new = match (finding.new_pfn, finding.how) {
        (0, How::WillBeCopied) => "the same until the next write".to_owned(),
        (0, _) => "none yet".to_owned(),
        (pfn, _) => format!("{pfn:#x}"),
    };
    let pages = format!("PFN {:#x} → {new}", finding.old_pfn);
    let Some(fault) = finding.fault.filter(Fault::page_known) else {
        return pages;
    };
    let references = text::count(fault.references, "reference");
    let mappings = text::count(fault.mappings, "mapping");
    let pins = text::count(fault.pins, "pin");
    let maybe = if fault.maybe_pinned() { " (maybe-pinned)" } else { "" };
    let kind = fault.page_kind();
    format!("{pages}; the old one ({kind}) had {references}, {mappings}, {pins}{maybe}")
}

fn place(finding: &Finding) -> String {
    let at = match finding.pages {
        1 => format!("{:#x}", finding.address),
        pages => format!("{} from {:#x} on", text::count(pages, "page"), finding.address),
    };
    let name = finding.vma_name.as_ref().map(|name| format!(", {}", mapped(name)));
    let name = name.unwrap_or_default();
    let (start, end) = finding.vma;
    if end == 0 {
        return at + &name;
    }
    let kib = end.saturating_sub(start) / 1024;
    let protection = protection(finding.vma_flags);
    format!("{at} in VMA {start:#x}-{end:#x} ({protection}, {kib} KiB){name}")
}

/// As `/proc/PID/maps` writes it. `VM_READ`, `VM_WRITE`, `VM_EXEC` and `VM_SHARED` never changed their
/// bits.
fn protection(flags: u64) -> String {
    let bit = |bit: u64, set: char, clear: char| if flags & bit != 0 { set } else { clear };
    [bit(1, 'r', '-'), bit(2, 'w', '-'), bit(4, 'x', '-'), bit(8, 's', 'p')].iter().collect()
}

fn pin_call(scene: Scene, pin: &PinRecord) -> String {
    let flags = scene.trace.facts.flag_names(pin.gup_flags);
    let pages = text::count(pin.pages, "page");
    format!("{pages} from {} on, flags {flags} ({:#x})", pin.place(), pin.gup_flags)
}

/// A labelled text, over as many lines as it takes.
pub fn field(label: &'static str, text: &str, width: usize) -> Vec<Line<'static>> {
    let wrapped = text::wrap(text, width.saturating_sub(LABEL + 2).max(20));
    let mut label = label;
    let mut lines = Vec::new();
    for part in wrapped {
        let name = format!("  {label:<0$}", LABEL - 2);
        lines.push(Line::from(vec![Span::styled(name, QUIET), Span::raw(part)]));
        label = "";
    }
    lines
}
