//! The help: the key table, what the verdicts mean, what a filter can ask for.

use ratatui::text::{Line, Span};

use super::text;
use crate::{
    finding::Verdict,
    sinks::tui::{
        keys::Keys,
        palette::{Palette, STRONG, symbol},
        view::Tab,
    },
};

/// Columns of the keys' names.
const NAMES: usize = 12;

/// Its lines.
pub fn lines(keys: &Keys, palette: Palette, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for key in keys.rows() {
        let wrapped = text::wrap(key.does, width.saturating_sub(NAMES + 3).max(10));
        for (n, does) in wrapped.into_iter().enumerate() {
            let name = if n == 0 { key.names() } else { String::new() };
            lines.push(Line::from(vec![
                Span::styled(format!("  {name:<NAMES$}"), STRONG),
                Span::raw(does),
            ]));
        }
    }
    lines.push(Line::default());
    lines.extend(Verdict::ALL.iter().rev().map(|verdict| verdict_line(*verdict, palette)));
    lines.push(Line::default());
    lines.push(Line::raw(
        "  A filter is FIELD=VALUE with = != < <= > >= and * for anything, or words.",
    ));
    for tab in Tab::ALL.into_iter().filter(|tab| tab.has_rows()) {
        let names: Vec<_> = tab.fields().iter().map(|field| field.name()).collect();
        let fields = format!("{}: {}", tab.name(), names.join(", "));
        let wrapped = text::wrap(&fields, width.saturating_sub(5).max(10));
        lines.extend(wrapped.into_iter().map(|line| Line::raw(format!("    {line}"))));
    }
    lines
}

fn verdict_line(verdict: Verdict, palette: Palette) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("  {} {verdict:<19}", symbol(verdict)), palette.verdict(verdict)),
        Span::raw(verdict.certainty()),
    ])
}
