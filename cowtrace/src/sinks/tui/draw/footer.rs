//! The bottom line: the keys that matter most, or the filter while it is typed.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::Scene;
use crate::sinks::tui::{
    keys::Action,
    palette::{QUIET, SELECTED, STRONG},
    view::{Ask, Level, Prompt},
};

/// Draws it.
pub fn draw(frame: &mut Frame, area: Rect, scene: Scene) {
    let view = scene.view;
    let line = match (&view.prompt, &view.notice) {
        (Some(prompt), _) => typing(scene, prompt, area.width.into()),
        (None, Some(notice)) => Line::styled(format!(" {notice}"), scene.palette.warning()),
        (None, None) => hints(scene),
    };
    frame.render_widget(line, area);
}

fn typing(scene: Scene, prompt: &Prompt, width: usize) -> Line<'static> {
    let name = match prompt.ask {
        Ask::Filter => " filter: ",
        Ask::Search => " search: ",
        Ask::Time => " time: ",
    };
    let (note, style) = match &prompt.wrong {
        Some(wrong) => (wrong.clone(), scene.palette.alarm()),
        None => ("enter takes it, esc leaves".to_owned(), QUIET),
    };
    // The end is where the user types: of a long text that is what has to be seen.
    let room = width.saturating_sub(name.len() + 4);
    let skipped = prompt.text.chars().count().saturating_sub(room);
    Line::from(vec![
        Span::styled(name, STRONG),
        Span::raw(prompt.text.chars().skip(skipped).collect::<String>()),
        Span::styled(" ", SELECTED),
        Span::styled(format!("  {note}"), style),
    ])
}

fn hints(scene: Scene<'_>) -> Line<'_> {
    let mut spans = Vec::new();
    if scene.view.scrolls() {
        spans.push(Span::styled(" ↑↓", STRONG));
        spans.push(Span::styled(" scroll ", QUIET));
    }
    let rows = scene.view.keys.rows().iter();
    for key in rows.filter(|key| !key.hint.is_empty() && applies(key.action, scene)) {
        spans.push(Span::styled(format!(" {}", key.name()), STRONG));
        spans.push(Span::styled(format!(" {} ", key.hint), QUIET));
    }
    Line::from(spans)
}

/// Whether a key is worth its place on what is open.
fn applies(action: Action, scene: Scene) -> bool {
    let view = scene.view;
    let list = !view.scrolls();
    match action {
        Action::Open | Action::Filter | Action::Search => list,
        Action::Reorder => list && view.tab.orders().len() > 1 && view.place().level == Level::List,
        Action::Copy => view.tab.has_rows() && !view.help,
        Action::Back => {
            view.help || view.place().level != Level::List || !view.place().filter.is_empty()
        }
        _ => true,
    }
}
