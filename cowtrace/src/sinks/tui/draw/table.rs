//! The list of findings, newest last.

use ratatui::{Frame, layout::Rect, style::Style, text::Span};

use super::{Scene, rule, text};
use crate::{
    finding::{CauseKind, Finding},
    sinks::tui::{
        palette::{QUIET, SELECTED, symbol},
        view::Drawn,
    },
    trace::Trace,
};

/// A column. What is not there at 80 columns is in the detail below.
struct Column {
    title: &'static str,
    /// On a terminal of 80 columns; 0: not there.
    narrow: u16,
    /// On a wide one.
    wide: u16,
    cell: fn(&Finding, &Trace, usize) -> String,
}

/// From here on there is room for all columns at their full width.
const WIDE: u16 = 130;

const COLUMNS: &[Column] = &[
    Column { title: "#", narrow: 6, wide: 7, cell: |finding, _, _| finding.id.to_string() },
    Column { title: "verdict", narrow: 19, wide: 20, cell: |finding, _, _| verdict(finding) },
    Column {
        title: "time",
        narrow: 8,
        wide: 10,
        cell: |finding, trace, _| text::since(trace, finding.broken_at),
    },
    Column {
        title: "holder",
        narrow: 13,
        wide: 22,
        cell: |finding, _, width| holder(finding, width),
    },
    Column {
        title: "writer",
        narrow: 13,
        wide: 24,
        cell: |finding, _, width| text::thread(finding.writer, width),
    },
    Column {
        title: "address",
        narrow: 14,
        wide: 14,
        cell: |finding, _, _| format!("{:#x}", finding.address),
    },
    Column { title: "page", narrow: 0, wide: 17, cell: |finding, _, _| pages(finding) },
    Column { title: "cause", narrow: 0, wide: 20, cell: |finding, _, _| cause(finding) },
];

/// Its title: how many, which of them, and whether new ones get selected.
pub fn title(scene: Scene, listed: usize) -> String {
    let all = scene.trace.findings.len();
    if scene.view.filter.is_empty() {
        return format!("Findings {listed}");
    }
    format!("Findings {listed} of {all} with \"{}\"", scene.view.filter.text())
}

/// Draws it. The selected row is kept in sight without remembering what was in sight before.
pub fn draw(
    frame: &mut Frame,
    area: Rect,
    scene: Scene,
    listed: &[&Finding],
    selected: usize,
) -> Drawn {
    let note = match (scene.view.paused(), scene.view.follows()) {
        (true, _) => "space goes on",
        (false, true) => "following",
        (false, false) => "G follows",
    };
    rule(frame, area, &title(scene, listed.len()), note);
    let mut rows = area.rows().skip(1);
    if let Some(row) = rows.next() {
        heading(frame, row);
    }
    let room = usize::from(area.height.saturating_sub(2));
    let first = selected.saturating_sub(room / 2).min(listed.len().saturating_sub(room));
    for (index, row) in (first..listed.len()).zip(rows) {
        finding(frame, row, scene, listed[index], index == selected);
    }
    Drawn { rows: room, beyond: 0 }
}

fn heading(frame: &mut Frame, row: Rect) {
    for (column, cell) in cells(row) {
        frame.render_widget(Span::styled(column.title, QUIET), cell);
    }
}

fn finding(frame: &mut Frame, row: Rect, scene: Scene, finding: &Finding, selected: bool) {
    for (column, cell) in cells(row) {
        let text = (column.cell)(finding, scene.trace, cell.width.into());
        let style = match column.title {
            "verdict" => scene.palette.verdict(finding.verdict),
            _ => Style::new(),
        };
        frame.render_widget(Span::styled(text, style), cell);
    }
    if selected {
        // The arrow, since reversed colours may not be told apart.
        frame.render_widget(Span::raw("▶"), row);
        frame.buffer_mut().set_style(row, SELECTED);
    }
}

/// The columns that have room in a row, each with its cell.
fn cells(row: Rect) -> impl Iterator<Item = (&'static Column, Rect)> {
    let wide = row.width >= WIDE;
    let mut x = row.x.saturating_add(2); // Behind the arrow.
    COLUMNS.iter().filter_map(move |column| {
        let width = if wide { column.wide } else { column.narrow };
        let cell = Rect { x, width, ..row }.intersection(row);
        x = x.saturating_add(width + u16::from(width > 0));
        (cell.width > 0).then_some((column, cell))
    })
}

fn verdict(finding: &Finding) -> String {
    format!("{} {}", symbol(finding.verdict), finding.verdict)
}

fn holder(finding: &Finding, width: usize) -> String {
    match &finding.pin {
        Some(pin) => text::process(pin.holder, width),
        None => "not seen".to_owned(),
    }
}

fn pages(finding: &Finding) -> String {
    match finding.new_pfn {
        0 => format!("{:x}", finding.old_pfn),
        new => format!("{:x}→{new:x}", finding.old_pfn),
    }
}

fn cause(finding: &Finding) -> String {
    match finding.cause.as_ref().map(|cause| cause.kind) {
        Some(CauseKind::Fork { child, .. }) => format!("fork of {child}"),
        Some(CauseKind::Invalidation(event)) => event.to_owned(),
        Some(kind) => kind.name().to_owned(),
        None => "not seen".to_owned(),
    }
}
