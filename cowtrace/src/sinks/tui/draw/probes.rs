//! The probe table as attached, and what each program counted and lost.

use cowtrace_common::program::Program;
use ratatui::text::{Line, Span};

use super::{Scene, text};
use crate::{
    event::{Cost, ProbeState},
    sinks::tui::palette::{Palette, QUIET},
    trace::Trace,
};

/// Its lines.
pub fn lines(scene: Scene, width: usize) -> Vec<Line<'static>> {
    let Scene { trace, palette, .. } = scene;
    let name = trace.probes.values().map(|probe| probe.sees.chars().count()).max().unwrap_or(0);
    let mut lines: Vec<_> =
        trace.probes.values().flat_map(|probe| row(probe, name, width, palette)).collect();
    if lines.is_empty() {
        lines.push(Line::raw("  Nothing is attached yet."));
    }
    lines.push(Line::default());
    lines.extend(tallies(trace, palette));
    lines.extend(blind_spots(trace, width, palette));
    lines
}

fn row(probe: &ProbeState, name: usize, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let (mark, style, how) = match (probe.attached.as_str(), probe.unseen.as_str()) {
        ("", "") => ('-', QUIET, "not needed on this kernel".to_owned()),
        ("", unseen) => ('✖', palette.alarm(), format!("NOT ATTACHED, unseen: {unseen}")),
        (attached, _) => ('✔', palette.good(), attached.to_owned()),
    };
    let sees = format!("{:<name$}  ", probe.sees);
    let wrapped = text::wrap(&how, width.saturating_sub(name + 6).max(20));
    let first = Span::styled(format!("  {mark} "), style);
    let mut lines = Vec::new();
    for (n, part) in wrapped.into_iter().enumerate() {
        lines.push(if n == 0 {
            Line::from(vec![first.clone(), Span::raw(sees.clone()), Span::styled(part, style)])
        } else {
            Line::from(vec![Span::raw(" ".repeat(name + 6)), Span::styled(part, style)])
        });
    }
    lines
}

/// Counts of the programs: one can serve several rows.
fn tallies(trace: &Trace, palette: Palette) -> Vec<Line<'static>> {
    let head = format!("    {:<22}{:>12}{:>10}{:>10}", "program", "hits", "lost", "ns each");
    let mut lines = vec![Line::styled(head, QUIET)];
    for (program, tally) in trace.losses() {
        let lost = tally.lost();
        let style = if lost > 0 { palette.alarm() } else { palette.good() };
        lines.push(Line::from(vec![
            Span::styled(if lost > 0 { "  ✖ " } else { "  ✔ " }, style),
            Span::raw(format!("{:<22}{:>12}", program.name(), tally.hits)),
            Span::styled(format!("{lost:>10}"), style),
            Span::raw(format!("{:>10}", cost(trace, program))),
        ]));
    }
    lines
}

/// How long a run of a program takes, where that is measured.
fn cost(trace: &Trace, program: Program) -> String {
    let each = trace.costs.get(&program).and_then(Cost::each);
    each.map_or_else(|| "-".to_owned(), |each| each.to_string())
}

fn blind_spots(trace: &Trace, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let spots = trace.blind_spots();
    if spots.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::default(), Line::styled("  Not seen:", palette.alarm())];
    lines.extend(super::empty::bullets(&spots, width));
    lines
}
