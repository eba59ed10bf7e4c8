//! Draws the state. Takes it by shared reference: drawing changes nothing, and the same state on the
//! same size is the same screen.

mod detail;
mod empty;
mod footer;
mod header;
mod help;
mod probes;
mod stacks;
mod table;
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
    view::{Drawn, Page, View},
};
use crate::{finding::Finding, trace::Trace};

/// Everything that is looked at while drawing.
#[derive(Clone, Copy)]
struct Scene<'a> {
    view: &'a View,
    trace: &'a Trace,
    palette: Palette,
}

/// Draws one screen; how much of it there was room for.
pub fn draw(frame: &mut Frame, view: &View, trace: &Trace, palette: Palette) -> Drawn {
    let scene = Scene { view, trace, palette };
    let [header, body, footer] = Layout::vertical([
        Constraint::Length(header::LINES),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    header::draw(frame, header, scene);
    footer::draw(frame, footer, scene);
    match view.page {
        Page::Findings => findings(frame, body, scene),
        Page::Finding => finding(frame, body, scene),
        Page::Probes => {
            let lines = probes::lines(scene, body.width.into());
            sheet(frame, body, scene, "Probes", lines)
        }
        Page::Help => sheet(frame, body, scene, "Help", help::lines(palette, body.width.into())),
    }
}

/// The list, and below it the selected finding.
fn findings(frame: &mut Frame, body: Rect, scene: Scene) -> Drawn {
    let listed = scene.view.listed(scene.trace);
    let Some(selected) = scene.view.selected(&listed) else {
        let title = table::title(scene, 0);
        return sheet(frame, body, scene, &title, empty::lines(scene, body.width.into()));
    };
    // The list takes what it needs up to two fifths: reading one finding is what this is for.
    let all = u16::try_from(listed.len()).unwrap_or(u16::MAX).saturating_add(2);
    let rows = (body.height * 2 / 5).clamp(3, all);
    let [list, below] =
        Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(body);
    let drawn = table::draw(frame, list, scene, &listed, selected);
    one(frame, below, scene, listed[selected]);
    drawn
}

/// The selected finding on all of the body.
fn finding(frame: &mut Frame, body: Rect, scene: Scene) -> Drawn {
    let listed = scene.view.listed(scene.trace);
    match scene.view.selected(&listed) {
        Some(selected) => one(frame, body, scene, listed[selected]),
        None => Drawn::default(),
    }
}

fn one(frame: &mut Frame, area: Rect, scene: Scene, finding: &Finding) -> Drawn {
    let title = format!("Finding {}", finding.id);
    sheet(frame, area, scene, &title, detail::lines(scene, finding, area.width.into()))
}

/// A titled page of lines that scrolls.
fn sheet(frame: &mut Frame, area: Rect, scene: Scene, title: &str, lines: Vec<Line>) -> Drawn {
    let rows = usize::from(area.height.saturating_sub(1));
    let drawn = Drawn { rows, beyond: lines.len().saturating_sub(rows) };
    let list = scene.view.page == Page::Findings;
    let scroll = if list { 0 } else { scene.view.scroll };
    let scroll = scroll.min(drawn.beyond);
    let more = match drawn.beyond - scroll {
        0 => String::new(),
        beyond if list => format!("enter: {beyond} more lines"),
        beyond => format!("{beyond} more lines"),
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
