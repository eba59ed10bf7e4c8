//! What stands where the findings would: why there are none, and whether that means anything.

use ratatui::text::Line;

use super::{Scene, text};
use crate::{event::ProbeState, facts::key, rules::Benign, sinks::tui::keys::Action, trace::Trace};

/// Its lines.
pub fn lines(scene: Scene, width: usize) -> Vec<Line<'static>> {
    let Scene { view, trace, palette } = scene;
    let mut lines = vec![Line::default()];
    let filter = &view.place().filter;
    if !filter.is_empty() && !trace.findings.is_empty() {
        let all = trace.findings.len();
        let what =
            format!("No finding meets \"{}\" ({all} without it). {}", filter.text(), clears(scene));
        lines.extend(paragraph(&what, width).into_iter().map(|line| line.style(palette.warning())));
        return lines;
    }
    let spots = trace.blind_spots();
    if spots.is_empty() {
        lines.push(Line::styled("  Nothing found so far.", palette.good()));
    } else {
        let what = "  Nothing found, but not everything was seen: \"nothing\" cannot be claimed.";
        lines.push(Line::styled(what, palette.alarm()));
        lines.extend(bullets(&spots, width));
    }
    lines.push(Line::default());
    for sentence in [watched(trace), seen(trace)] {
        lines.extend(indented(&sentence, "  ", width));
    }
    lines
}

/// How to see all again.
pub fn clears(scene: Scene) -> String {
    format!("{} shows all.", scene.view.keys.name(Action::Back))
}

/// A sentence or two.
pub fn paragraph(text: &str, width: usize) -> Vec<Line<'static>> {
    indented(text, "  ", width)
}

/// Sentences as a list.
pub fn bullets(sentences: &[String], width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for sentence in sentences {
        let wrapped = indented(sentence, "    ", width);
        lines.extend(wrapped.into_iter().enumerate().map(|(n, line)| {
            if n == 0 {
                Line::raw(format!("  • {}", line.to_string().trim_start()))
            } else {
                line
            }
        }));
    }
    lines
}

fn indented(sentence: &str, indent: &str, width: usize) -> Vec<Line<'static>> {
    let width = width.saturating_sub(indent.len() + 1).max(20);
    let wrapped = text::wrap(sentence, width);
    wrapped.into_iter().map(|line| Line::raw(format!("{indent}{line}"))).collect()
}

fn watched(trace: &Trace) -> String {
    let attached = |probe: &&ProbeState| !probe.attached.is_empty();
    let seen: Vec<_> =
        trace.probes.values().filter(attached).map(|probe| probe.sees.as_str()).collect();
    if seen.is_empty() {
        return "Nothing is watched yet.".to_owned();
    }
    let whose = match trace.facts.text(key::FILTER) {
        Some(filter) => format!("in {filter}"),
        None => "in all processes".to_owned(),
    };
    format!("Watched {whose}: {}.", seen.join(", "))
}

fn seen(trace: &Trace) -> String {
    let counts = trace.counts;
    let mut sentence = format!(
        "Seen: {}, {}, {} that might matter to a pin",
        text::count(counts.pins, "pin"),
        text::count(counts.unpins, "unpin"),
        text::count(counts.faults, "write-protect fault"),
    );
    let benign: Vec<_> = trace.benign.iter().map(|(why, n)| benign(*why, *n)).collect();
    if !benign.is_empty() {
        sentence.push_str(", harmless among them ");
        sentence.push_str(&benign.join(", "));
    }
    sentence + "."
}

fn benign(why: Benign, count: u64) -> String {
    format!("{count} {}", why.name())
}
