//! The top of the screen: where this is, what is going on, what is watched, and what was lost.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{Scene, text};
use crate::{
    event::{ProbeState, Tally},
    facts::key,
    sinks::tui::{
        palette::{SELECTED, STRONG},
        view::Feed,
    },
    trace::Trace,
};

/// Lines that it takes.
pub const LINES: u16 = 3;

/// Draws it.
pub fn draw(frame: &mut Frame, area: Rect, scene: Scene) {
    let lines = [title(scene), balance(scene), probes(scene)];
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

/// What matters most stands first: a narrow terminal cuts the end off.
fn title(scene: Scene<'_>) -> Line<'_> {
    let Scene { view, trace, palette } = scene;
    let fact = |key| trace.facts.text(key).unwrap_or("?");
    let mut spans = vec![
        Span::styled(format!(" cowtrace {} ", fact(key::VERSION)), STRONG),
        Span::styled(format!(" {} ", view.feed.name()), SELECTED),
    ];
    if view.paused() {
        spans.push(Span::styled(" PAUSED", palette.warning()));
    }
    match view.held_back(trace) {
        0 => {}
        new => spans.push(Span::styled(format!(" ({new} new)"), palette.warning())),
    }
    if let Some(loss) = loss(trace, view.feed) {
        spans.push(Span::styled(format!("  {loss}"), palette.alarm()));
    }
    spans.push(Span::raw(format!("  {}  {}", fact(key::HOST), fact(key::KERNEL))));
    Line::from(spans)
}

/// How much was lost, and what helps against it.
fn loss(trace: &Trace, feed: Feed) -> Option<String> {
    let lost = trace.lost();
    if lost == 0 {
        return trace.facts.text(key::DAMAGE).map(|_| "recording damaged: p tells more".to_owned());
    }
    let ring_full = trace.tallies.values().any(|Tally { ring_full, .. }| *ring_full > 0);
    Some(match (ring_full, feed) {
        (true, Feed::Live | Feed::Stopped) => format!("{lost} lost: try --ring 64M"),
        (true, _) => format!("{lost} lost: record again with --ring 64M"),
        (false, _) => format!("{lost} lost: p tells where"),
    })
}

fn balance(scene: Scene<'_>) -> Line<'_> {
    let Scene { view, trace, .. } = scene;
    let elapsed = trace.since_start(trace.now);
    let ledger = &trace.ledger;
    let pins = text::count(ledger.live_pins() as u64, "live pin");
    let pages = text::count(ledger.live_pages(), "page");
    let rate = match (view.feed, view.rate()) {
        (Feed::Live, Some(rate)) => format!("{rate} events/s"),
        _ => text::count(trace.counts.records, "event"),
    };
    Line::raw(format!(" {}  {pins} on {pages}  {rate}", text::clock(elapsed)))
}

/// How the rows of the probe table are attached, and which are not.
fn probes(scene: Scene<'_>) -> Line<'_> {
    let Scene { trace, palette, .. } = scene;
    let attached = trace.probes.values().filter(|probe| !probe.attached.is_empty()).count();
    let missing: Vec<&str> = trace.probes.values().filter_map(missing).collect();
    let all = attached + missing.len();
    let mut spans = vec![Span::raw(format!(" probes {attached} of {all} attached"))];
    if missing.is_empty() {
        spans.push(Span::raw(modes(trace)));
    } else {
        spans.push(Span::styled(format!("  missing: {}", missing.join(", ")), palette.alarm()));
    }
    Line::from(spans)
}

/// What a row would see, if it should be attached and is not.
fn missing(probe: &ProbeState) -> Option<&str> {
    (probe.attached.is_empty() && !probe.unseen.is_empty()).then_some(&probe.sees)
}

/// ` (9 fexit, 2 kprobe)`: rows by the kind of hook that serves them.
fn modes(trace: &Trace) -> String {
    let mut modes: Vec<(&str, usize)> = Vec::new();
    for probe in trace.probes.values() {
        let Some(mode) = probe.attached.split_whitespace().next() else {
            continue;
        };
        match modes.iter_mut().find(|(name, _)| *name == mode) {
            Some((_, count)) => *count += 1,
            None => modes.push((mode, 1)),
        }
    }
    let modes: Vec<_> = modes.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if modes.is_empty() { String::new() } else { format!(" ({})", modes.join(", ")) }
}
