//! Draws the state. Takes it by shared reference: drawing changes nothing, and the same state on the
//! same size is the same screen.

mod detail;
mod empty;
mod events;
mod findings;
mod footer;
mod header;
mod help;
mod list;
mod notifiers;
mod pins;
mod probes;
mod stacks;
mod text;
mod timeline;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    palette::{Palette, QUIET, STRONG},
    view::{Drawn, Level, Rows, Selected, Tab, View},
};
use crate::{sinks::text::and_unlisted, trace::Trace};

/// Everything that is looked at while drawing.
#[derive(Clone, Copy)]
struct Scene<'a> {
    view: &'a View,
    /// What is shown; while the user pauses, as it was then.
    trace: &'a Trace,
    palette: Palette,
}

/// From here on what is selected stands beside the list, not below.
const BESIDE: u16 = 200;

/// Draws one screen; what was where.
pub fn draw(frame: &mut Frame, view: &View, trace: &Trace, palette: Palette) -> Drawn {
    let [top, bar, body, footer] = Layout::vertical([
        Constraint::Length(header::LINES),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let scene = Scene { view, trace: view.shown(trace).0, palette };
    header::draw(frame, top, scene, trace);
    let tabs = header::tabs(frame, bar, scene);
    footer::draw(frame, footer, scene);
    Drawn { tabs, ..page(frame, body, scene) }
}

fn page(frame: &mut Frame, body: Rect, scene: Scene) -> Drawn {
    let Scene { view, palette, .. } = scene;
    let width = body.width.into();
    match view.tab {
        _ if view.help => {
            sheet(frame, body, scene, "Help", help::lines(&view.keys, palette, width))
        }
        Tab::Notifiers => sheet(frame, body, scene, "Notifiers", notifiers::lines(scene, width)),
        Tab::Probes => sheet(frame, body, scene, "Probes", probes::lines(scene, width)),
        _ if view.place().level == Level::One => {
            one(frame, body, scene, &view.selected(view.shown(scene.trace)))
        }
        _ => rows(frame, body, scene),
    }
}

/// The list, and the selected row below it or beside it.
fn rows(frame: &mut Frame, body: Rect, scene: Scene) -> Drawn {
    let (rows, selected) = scene.view.rows(scene.view.shown(scene.trace));
    let title = title(scene, &rows);
    let Some(at) = selected else {
        let width = body.width.into();
        let lines = match scene.view.tab {
            Tab::Pins => pins::none(scene, width),
            Tab::Events => events::none(scene, width),
            _ => empty::lines(scene, width),
        };
        return sheet(frame, body, scene, &title, lines);
    };
    let [list, other] = if body.width >= BESIDE {
        Layout::horizontal([Constraint::Percentage(45), Constraint::Min(0)]).spacing(1).areas(body)
    } else {
        // The list takes what it needs up to two fifths: reading one row is what this is for. Of events it is the
        // list that is read.
        let all = u16::try_from(rows.len()).unwrap_or(u16::MAX).saturating_add(2);
        let fifths = if scene.view.tab == Tab::Events { 3 } else { 2 };
        let lines = (body.height * fifths / 5).clamp(3, all.max(3));
        Layout::vertical([Constraint::Length(lines), Constraint::Min(0)]).areas(body)
    };
    let above = (title.as_str(), note(scene, &rows));
    let drawn = match &rows {
        Rows::Groups(rows) => {
            list::draw(frame, list, scene, above, &findings::groups(), (rows, at))
        }
        Rows::Findings(rows) => {
            list::draw(frame, list, scene, above, &findings::members(), (rows, at))
        }
        Rows::Holders(rows) => list::draw(frame, list, scene, above, &pins::holders(), (rows, at)),
        Rows::Pins(rows) => list::draw(frame, list, scene, above, &pins::pins(), (rows, at)),
        Rows::Events(rows) => list::draw(frame, list, scene, above, &events::events(), (rows, at)),
    };
    one(frame, other, scene, &rows.select(at));
    drawn
}

/// How many of what, by which order, and whether all are listed.
fn title(scene: Scene, rows: &Rows) -> String {
    let view = scene.view;
    let (place, tail) = (view.place(), view.shown(scene.trace).1);
    let what = match rows {
        Rows::Groups(groups) => {
            let listed: usize = groups.iter().map(|group| group.findings.len()).sum();
            let findings = text::count(listed as u64, "finding");
            let unlisted = and_unlisted(scene.trace);
            format!("{findings} in {}{unlisted}", text::count(groups.len() as u64, "group"))
        }
        Rows::Findings(findings) => format!("{} findings that are alike", findings.len()),
        Rows::Holders(holders) => {
            let pins: usize = holders.iter().map(|holder| holder.pins.len()).sum();
            let holders = text::count(holders.len() as u64, "holder");
            format!("{} of {holders}", text::count(pins as u64, "pin"))
        }
        Rows::Pins(pins) => format!("{} that are alike", text::count(pins.len() as u64, "pin")),
        Rows::Events(events) => {
            format!("{} of {}", events.len(), text::count(tail.count(), "event"))
        }
    };
    let order = match view.tab.orders() {
        [_] => String::new(),
        _ if rows.level() == Level::Members => String::new(),
        _ => format!(", by {}", place.order(view.tab).name()),
    };
    let filter = match place.filter.text() {
        "" => String::new(),
        filter => format!(", with {filter}"),
    };
    format!("{what}{order}{filter}")
}

/// What moves the list.
fn note(scene: Scene, rows: &Rows) -> &'static str {
    match rows {
        _ if scene.view.paused() => "paused",
        Rows::Events(_) | Rows::Findings(_) if scene.view.follows() => "following",
        _ => "",
    }
}

/// The selected row, on all of an area.
fn one(frame: &mut Frame, area: Rect, scene: Scene, selected: &Selected) -> Drawn {
    let (title, lines) = described(scene, selected, area.width.into());
    sheet(frame, area, scene, &title, lines)
}

/// The selected row, as a title and lines.
fn described(scene: Scene, selected: &Selected, width: usize) -> (String, Vec<Line<'static>>) {
    match selected {
        Selected::Nothing => (String::new(), Vec::new()),
        Selected::Group(group) => {
            (format!("Finding {}", group.first().id), detail::group_lines(scene, group, width))
        }
        Selected::Finding(finding) => {
            (format!("Finding {}", finding.id), detail::lines(scene, finding, width))
        }
        Selected::Holder(holder) => ("Holder".to_owned(), pins::holder_lines(scene, holder, width)),
        Selected::Pin(pinned) => {
            (format!("Pin {}", pinned.pin.call), pins::pin_lines(scene, pinned, width))
        }
        Selected::Event(numbered) => {
            (format!("Event {}", numbered.number), events::lines(scene, numbered, width))
        }
    }
}

/// Columns of what is copied: as a mail takes them.
const COPIED: usize = 100;

/// The selected row as text, for the clipboard.
pub fn copied(view: &View, trace: &Trace, palette: Palette) -> String {
    let scene = Scene { view, trace: view.shown(trace).0, palette };
    let selected = view.selected(view.shown(trace));
    let (title, lines) = described(scene, &selected, COPIED);
    let lines = lines.iter().map(|line| line.to_string().trim_end().to_owned());
    [title].into_iter().chain(lines).map(|line| line + "\n").collect()
}

/// A titled page of lines that scrolls.
fn sheet(frame: &mut Frame, area: Rect, scene: Scene, title: &str, lines: Vec<Line>) -> Drawn {
    let rows = usize::from(area.height.saturating_sub(1));
    let beyond = lines.len().saturating_sub(rows);
    let drawn = Drawn { rows, beyond, ..Drawn::default() };
    let list = !scene.view.scrolls();
    let scroll = if list { 0 } else { scene.view.scroll() };
    let scroll = scroll.min(drawn.beyond);
    let more = match drawn.beyond - scroll {
        0 => String::new(),
        beyond if list => format!("{beyond} more lines"),
        beyond => format!("{beyond} more lines below"),
    };
    rule(frame, area, title, &more);
    let [_, inner] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let shown: Vec<_> = lines.into_iter().skip(scroll).take(rows).collect();
    frame.render_widget(Paragraph::new(shown), inner);
    drawn
}

/// The line above a part of the screen: `── title ─────────── note ──`.
fn rule(frame: &mut Frame, area: Rect, title: &str, note: &str) {
    let quiet = QUIET;
    let mut spans =
        vec![Span::styled("── ", quiet), Span::styled(title.to_owned(), STRONG), Span::raw(" ")];
    let note = if note.is_empty() { String::new() } else { format!(" {note} ──") };
    let used: usize = spans.iter().map(Span::width).sum();
    let note_width = Span::raw(note.as_str()).width();
    let free = usize::from(area.width).saturating_sub(used + note_width);
    spans.push(Span::styled("─".repeat(free), quiet));
    spans.push(Span::styled(note, Style::new()));
    let line = Rect { height: area.height.min(1), ..area };
    frame.render_widget(Line::from(spans), line);
}
