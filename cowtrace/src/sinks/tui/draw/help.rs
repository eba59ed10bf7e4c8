//! The help: the key table, and what the verdicts mean.

use ratatui::text::{Line, Span};

use super::text;
use crate::{
    finding::Verdict,
    sinks::tui::{
        keys::KEYS,
        palette::{Palette, STRONG, symbol},
    },
};

/// Its lines.
pub fn lines(palette: Palette, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for key in KEYS {
        let wrapped = text::wrap(key.does, width.saturating_sub(11).max(10));
        for (n, does) in wrapped.into_iter().enumerate() {
            let name = if n == 0 { key.name } else { "" };
            lines.push(Line::from(vec![
                Span::styled(format!("  {name:<9}"), STRONG),
                Span::raw(does),
            ]));
        }
    }
    lines.push(Line::default());
    lines.extend(Verdict::ALL.iter().rev().map(|verdict| verdict_line(*verdict, palette)));
    lines
}

fn verdict_line(verdict: Verdict, palette: Palette) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("  {} {verdict:<13}", symbol(verdict)), palette.verdict(verdict)),
        Span::raw(verdict.certainty()),
    ])
}
