//! The bottom line: the keys that matter most, or the filter while it is typed.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::Scene;
use crate::sinks::tui::{
    keys::{Action, KEYS},
    palette::{QUIET, SELECTED, STRONG},
    view::Page,
};

/// Draws it.
pub fn draw(frame: &mut Frame, area: Rect, scene: Scene) {
    let line = match &scene.view.typing {
        Some(text) => typing(text, area.width.into()),
        None => hints(scene),
    };
    frame.render_widget(line, area);
}

fn typing(text: &str, width: usize) -> Line<'static> {
    // The end is where the user types: of a long text that is what has to be seen.
    let skipped = (text.chars().count() + 4).saturating_sub(width);
    Line::from(vec![
        Span::styled(" /", STRONG),
        Span::raw(text.chars().skip(skipped).collect::<String>()),
        Span::styled(" ", SELECTED),
        Span::styled("  enter applies, esc shows all", QUIET),
    ])
}

fn hints(scene: Scene<'_>) -> Line<'_> {
    let mut spans = Vec::new();
    if scene.view.page != Page::Findings {
        spans.push(Span::styled(" ↑↓", STRONG));
        spans.push(Span::styled(" scroll ", QUIET));
    }
    for key in KEYS.iter().filter(|key| !key.hint.is_empty() && applies(key.action, scene)) {
        let name = key.name.split_whitespace().next().unwrap_or_default();
        spans.push(Span::styled(format!(" {name}"), STRONG));
        spans.push(Span::styled(format!(" {} ", key.hint), QUIET));
    }
    Line::from(spans)
}

/// Whether a key is worth its place on the page that is open.
fn applies(action: Action, scene: Scene) -> bool {
    let list = scene.view.page == Page::Findings;
    match action {
        Action::Open | Action::Filter | Action::Pause => list,
        Action::Back => !list || !scene.view.filter.is_empty(),
        _ => true,
    }
}
