//! What secondary MMUs were told of pinned ranges, and how long that took.

use ratatui::text::{Line, Span};

use super::{Scene, empty, text};
use crate::{
    event::Time,
    sinks::tui::palette::{QUIET, STRONG},
    trace::{Durations, Trace},
};

/// Columns of a bar.
const BAR: u64 = 30;

/// Its lines.
pub fn lines(scene: Scene, width: usize) -> Vec<Line<'static>> {
    let trace = scene.trace;
    let mut lines = registered(trace, width);
    lines.push(Line::default());
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
    let mut lines = vec![Line::styled("  secondary MMUs registered since the trace began", STRONG)];
    for (tgid, ops, count) in all {
        let name = trace.symbol(0, ops).map_or_else(|| format!("{ops:#x}"), str::to_owned);
        let line = format!("    {name} in process {tgid}, {}", text::count(count as u64, "time"));
        lines.push(Line::raw(text::shorten(&line, width)));
    }
    lines
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
