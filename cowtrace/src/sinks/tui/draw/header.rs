//! The top of the screen: where this is, what is going on, what is watched, and what was lost.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{Scene, text};
use crate::{
    event::{ProbeState, Tally},
    facts::key,
    sinks::{
        budget,
        tui::{
            keys::Action,
            palette::{SELECTED, STRONG},
            view::{Feed, Play, Tab},
        },
    },
    trace::Trace,
};

/// Lines that it takes.
pub const LINES: u16 = 2;

/// Draws it. `now` is the trace as it is, also while the user pauses.
pub fn draw(frame: &mut Frame, area: Rect, scene: Scene, now: &Trace) {
    let lines = [title(scene, now), balance(scene)];
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

/// Draws the tab bar; where each tab's name is.
pub fn tabs(frame: &mut Frame, area: Rect, scene: Scene) -> [Rect; Tab::ALL.len()] {
    let unseen = !scene.trace.blind_spots().is_empty();
    let long = Tab::ALL.map(|tab| name(scene, tab, true, unseen));
    let fits = long.iter().map(|name| name.chars().count()).sum::<usize>() <= area.width.into();
    let mut x = area.x;
    Tab::ALL.map(|tab| {
        let open = tab == scene.view.tab && !scene.view.help;
        let style = if open { SELECTED } else { Style::new() };
        let name = name(scene, tab, fits || tab == scene.view.tab, unseen);
        let width = u16::try_from(name.chars().count()).unwrap_or(u16::MAX);
        let cell = Rect { x, width, ..area }.intersection(area);
        let style =
            if tab == Tab::Probes && unseen { style.patch(scene.palette.alarm()) } else { style };
        frame.render_widget(Span::styled(name, style), cell);
        x = x.saturating_add(width);
        cell
    })
}

/// A tab's key and how many rows it has, and its name where there is room.
fn name(scene: Scene, tab: Tab, long: bool, unseen: bool) -> String {
    let key = scene.view.keys.name(Action::Tab(tab as usize));
    let name = if long { tab.name() } else { "" };
    format!(" {} ", [key.as_str(), name, &count(scene, tab, unseen)].join(" ").trim_end())
}

/// How many rows a tab has; of the probes whether something is not seen.
fn count(scene: Scene, tab: Tab, unseen: bool) -> String {
    let trace = scene.trace;
    let count = match tab {
        Tab::Findings if trace.unlisted() > 0 => {
            return format!("{}+{}", trace.findings.len(), trace.unlisted());
        }
        Tab::Findings => trace.findings.len(),
        Tab::Pins => trace.ledger.live_pins(),
        Tab::Notifiers => trace.invalidated.len(),
        Tab::Probes if unseen => return "✖".to_owned(),
        Tab::Events | Tab::Probes => 0,
    };
    if count == 0 { String::new() } else { count.to_string() }
}

/// What matters most stands first: a narrow terminal cuts the end off.
fn title<'a>(scene: Scene<'a>, now: &'a Trace) -> Line<'a> {
    let Scene { view, trace, palette } = scene;
    let fact = |key| trace.facts.text(key).unwrap_or("?");
    let mut spans = vec![
        Span::styled(format!(" cowtrace {} ", fact(key::VERSION)), STRONG),
        Span::styled(format!(" {} ", view.feed.name()), SELECTED),
    ];
    if view.records {
        spans.push(Span::styled(" ● REC", palette.warning()));
    }
    if view.paused() {
        spans.push(Span::styled(" PAUSED", palette.warning()));
    }
    match view.held_back(now) {
        0 => {}
        new => spans.push(Span::styled(format!(" ({new} new)"), palette.warning())),
    }
    if let Some(loss) = loss(now, view.feed) {
        spans.push(Span::styled(format!("  {loss}"), palette.alarm()));
    }
    if let Some(shed) = budget::title(now) {
        spans.push(Span::styled(format!("  {shed}"), palette.warning()));
    }
    spans.push(Span::raw(format!("  {}  {}", fact(key::HOST), fact(key::KERNEL))));
    Line::from(spans)
}

/// How much was lost, and what helps against it.
fn loss(trace: &Trace, feed: Feed) -> Option<String> {
    let lost = trace.lost();
    if lost == 0 {
        return trace
            .facts
            .text(key::DAMAGE)
            .map(|_| "recording damaged: Probes tells more".to_owned());
    }
    let ring_full = trace.tallies.values().any(|Tally { ring_full, .. }| *ring_full > 0);
    Some(match (ring_full, feed) {
        (true, Feed::Live | Feed::Stopped) => format!("{lost} lost: try --buffer 64M"),
        (true, _) => format!("{lost} lost: record again with --buffer 64M"),
        (false, _) => format!("{lost} lost: Probes tells where"),
    })
}

fn balance(scene: Scene<'_>) -> Line<'_> {
    let Scene { view, trace, palette } = scene;
    let elapsed = trace.since_start(trace.now);
    let ledger = &trace.ledger;
    let pins = text::count(ledger.live_pins() as u64, "live pin");
    let pages = text::count(ledger.live_pages(), "page");
    let rate = match (view.feed, view.rate()) {
        (Feed::Live, Some(rate)) => format!("{rate} events/s"),
        _ => text::count(trace.counts.records, "event"),
    };
    let missing: Vec<&str> = trace.probes.values().filter_map(missing).collect();
    let mut spans = vec![Span::raw(format!(" {}", text::clock(elapsed)))];
    spans.extend(view.play.and_then(|play| played(&play, trace)).map(Span::raw));
    spans.push(Span::raw(format!("  {pins} on {pages}  {rate}")));
    if !missing.is_empty() {
        let missing = format!("  not watched: {}", missing.join(", "));
        spans.push(Span::styled(missing, palette.alarm()));
    }
    Line::from(spans)
}

/// Columns of the bar that shows how far a recording has been read.
const BAR: usize = 12;

/// ` of 00:01:00 ▕███      ▏ ×2`: how far a recording has been read, and how fast it is played.
fn played(play: &Play, trace: &Trace) -> Option<String> {
    let (_, last) = play.span?;
    let part = play.part(trace.now, BAR)?;
    let speed = play.speed.map(|speed| format!(" ×{speed}")).unwrap_or_default();
    let all = text::clock(trace.since_start(last));
    Some(format!(" of {all} ▕{}{}▏{speed}", "█".repeat(part), " ".repeat(BAR - part)))
}

/// What a row would see, if it should be attached and is not.
fn missing(probe: &ProbeState) -> Option<&str> {
    (probe.attached.is_empty() && !probe.unseen.is_empty()).then_some(&probe.sees)
}
