//! A list of rows with columns, the selected one in sight.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::Span,
};

use super::{Scene, rule};
use crate::sinks::tui::{
    palette::{QUIET, SELECTED},
    view::Drawn,
};

/// A column. What is not there at 80 columns is in the detail.
pub struct Column<R> {
    title: &'static str,
    /// Its width on a terminal of 80 columns; 0: not there.
    narrow: u16,
    /// Its width where there is room for all.
    wide: u16,
    cell: fn(&R, Scene, usize) -> String,
    style: fn(&R, Scene) -> Style,
}

impl<R> Column<R> {
    /// A heading, both widths, and the text of a row, which is given the width that there is.
    pub fn new(
        title: &'static str,
        narrow: u16,
        wide: u16,
        cell: fn(&R, Scene, usize) -> String,
    ) -> Self {
        Self::styled(title, narrow, wide, cell, |_, _| Style::new())
    }

    /// The same with how a row's text looks.
    pub fn styled(
        title: &'static str,
        narrow: u16,
        wide: u16,
        cell: fn(&R, Scene, usize) -> String,
        style: fn(&R, Scene) -> Style,
    ) -> Self {
        Self { title, narrow, wide, cell, style }
    }
}

/// From here on there is room for all columns at their full width.
const WIDE: u16 = 130;

/// Draws it under a title. The selected row is kept in sight without remembering what was in sight before.
pub fn draw<R>(
    frame: &mut Frame,
    area: Rect,
    scene: Scene,
    (title, note): (&str, &str),
    columns: &[Column<R>],
    (rows, selected): (&[R], usize),
) -> Drawn {
    rule(frame, area, title, note);
    let [_, heading, list] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0)])
            .areas(area);
    for (column, cell) in cells(columns, heading) {
        frame.render_widget(Span::styled(column.title, QUIET), cell);
    }
    let room = usize::from(list.height);
    let first = selected.saturating_sub(room / 2).min(rows.len().saturating_sub(room));
    for ((index, row), line) in rows.iter().enumerate().skip(first).zip(list.rows()) {
        for (column, cell) in cells(columns, line) {
            let text = (column.cell)(row, scene, cell.width.into());
            frame.render_widget(Span::styled(text, (column.style)(row, scene)), cell);
        }
        if index == selected {
            // The arrow, since reversed colours may not be told apart.
            frame.render_widget(Span::raw("▶"), line);
            frame.buffer_mut().set_style(line, SELECTED);
        }
    }
    Drawn { rows: room, list, first, ..Drawn::default() }
}

/// The columns that have room in a line, each with its cell. The last one has what is left.
fn cells<R>(columns: &[Column<R>], line: Rect) -> impl Iterator<Item = (&Column<R>, Rect)> {
    let wide = line.width >= WIDE;
    let mut x = line.x.saturating_add(2); // Behind the arrow.
    columns.iter().enumerate().filter_map(move |(n, column)| {
        let mut width = if wide { column.wide } else { column.narrow };
        if n + 1 == columns.len() && width > 0 {
            width = line.right().saturating_sub(x);
        }
        let cell = Rect { x, width, ..line }.intersection(line);
        x = x.saturating_add(width + u16::from(width > 0));
        (cell.width > 0).then_some((column, cell))
    })
}
