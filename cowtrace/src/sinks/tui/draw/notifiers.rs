//! What secondary MMUs were told of pinned ranges, and how long that took.

use ratatui::text::{Line, Span};

use super::{Scene, empty, text};
use crate::{
    event::Time,
    sinks::{
        coherence,
        tui::palette::{QUIET, STRONG},
    },
    trace::{AddressSpace, Durations, Trace},
};

/// Columns of a bar.
const BAR: u64 = 30;

/// Its lines.
pub fn lines(scene: Scene, width: usize) -> Vec<Line<'static>> {
    let trace = scene.trace;
    let mut lines = registered(trace, width);
    lines.push(Line::default());
    lines.extend(spaces(trace, width));
    if trace.invalidated.is_empty() {
        lines.extend(empty::paragraph(
            "No range was invalidated in a secondary MMU while pages of it were pinned. Notifiers are told only \
             where one is registered: a device that relies on a pin alone is told nothing.",
            width,
        ));
        return lines;
    }
    let head = format!(
        "  {:<16}{:<16}{:>8}{:>10}{:>10}{:>10}",
        "event", "by", "times", "half us", "99% us", "most us"
    );
    lines.push(Line::styled(head, QUIET));
    for ((event, initiator), durations) in &trace.invalidated {
        lines.push(Line::raw(format!(
            "  {event:<16}{:<16}{:>8}{:>10}{:>10}{:>10}",
            text::shorten(initiator, 15),
            durations.count,
            micros(durations.within(50)),
            micros(durations.within(99)),
            micros(durations.longest),
        )));
    }
    for ((event, initiator), durations) in &trace.invalidated {
        lines.push(Line::default());
        lines.push(Line::styled(format!("  {event} by {initiator}"), STRONG));
        lines.extend(histogram(durations));
    }
    lines
}

/// Who is told, by process.
fn registered(trace: &Trace, width: usize) -> Vec<Line<'static>> {
    let all: Vec<_> = trace.secondary_mmus().collect();
    if all.is_empty() {
        let none = "No secondary MMU was registered since the trace began; those from before show where a \
                    range is invalidated.";
        return empty::paragraph(none, width);
    }
    let mut lines = vec![Line::styled("  secondary MMUs that were seen to be registered", STRONG)];
    for (tgid, ops, count) in all {
        let name = trace.mmu_name(ops);
        let line = format!("    {name} in process {tgid}, {}", text::count(count as u64, "time"));
        lines.push(Line::raw(text::shorten(&line, width)));
    }
    lines
}

/// Where pages are pinned: who follows changes there by notifier, and how much relies on the pin.
fn spaces(trace: &Trace, width: usize) -> Vec<Line<'static>> {
    let all = trace.address_spaces();
    if all.is_empty() {
        return Vec::new();
    }
    let head = format!(
        "  {:<20}{:>8}{:>9}{:>11}  {}",
        "process", "pinned", "changed", "elsewhere", "coherent by notifier"
    );
    let what = "  address spaces with pins: pinned pages, changes there and elsewhere";
    let mut lines =
        vec![Line::styled(text::shorten(what, width), STRONG), Line::styled(head, QUIET)];
    for space in &all {
        let line = format!(
            "  {:<20}{:>8}{:>9}{:>11}  {}",
            text::process(space.task, 19),
            space.held,
            space.invalidated_pinned,
            space.invalidated_elsewhere,
            who(trace, space),
        );
        lines.push(Line::raw(text::shorten(&line, width)));
    }
    lines.push(Line::default());
    lines
}

/// Who follows changes there.
fn who(trace: &Trace, space: &AddressSpace) -> String {
    let mmus = coherence::mmus(trace, space);
    let ended = if space.ended { ", ended" } else { "" };
    match space.mmus.is_empty() {
        true if space.complete => "nobody: the pin alone".to_owned(),
        true => "not known".to_owned(),
        false if (1..space.held).contains(&space.held_and_told) => {
            format!("{mmus}, at {} of the pages", space.held_and_told)
        }
        false => mmus + ended,
    }
}

/// A line for each power of two.
fn histogram(durations: &Durations) -> Vec<Line<'static>> {
    let most = durations.histogram().map(|(_, count)| count).max().unwrap_or(1).max(1);
    let line = |(within, count): (Time, u64)| {
        let bar = (u128::from(count) * u128::from(BAR)).div_ceil(most.into());
        let bar = "█".repeat(usize::try_from(bar).unwrap_or(0));
        Line::from(vec![
            Span::raw(format!("    under {:>10} us  ", micros(within))),
            Span::raw(format!("{bar:<30} {count}")),
        ])
    };
    durations.histogram().map(line).collect()
}

fn micros(nanos: Time) -> u64 {
    nanos.div_ceil(1000)
}
