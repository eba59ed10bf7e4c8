//! The newest events, as they came.

use ratatui::text::Line;

use super::{Scene, detail, empty, list::Column, text};
use crate::sinks::{
    stack, text as words,
    tui::{palette::STRONG, view::Numbered},
};

/// Columns.
pub fn events<'t>() -> Vec<Column<&'t Numbered>> {
    vec![
        Column::new("time", 11, 14, |numbered, scene, _| {
            text::micros(scene.trace, numbered.event.time)
        }),
        Column::new("cpu", 0, 4, |numbered, _, _| numbered.event.cpu.to_string()),
        Column::new("by", 18, 28, |numbered, _, width| text::thread(numbered.event.task, width)),
        Column::new("event", 40, 80, |numbered, scene, width| {
            text::shorten(&words::event_words(scene.trace, &numbered.event), width)
        }),
    ]
}

/// An event's lines.
pub fn lines(scene: Scene, numbered: &Numbered, width: usize) -> Vec<Line<'static>> {
    let (trace, event) = (scene.trace, &numbered.event);
    let sentence = words::event_words(trace, event);
    let mut lines: Vec<_> = text::wrap(&sentence, width.saturating_sub(4).max(20))
        .into_iter()
        .map(|line| Line::styled(format!("  {line}"), STRONG))
        .collect();
    lines.push(Line::default());
    let cgroup = trace.cgroup(event.task.cgroup);
    let program = event.program.map_or("not known", |program| program.name());
    let fields = [
        ("at", text::micros(trace, event.time)),
        ("by", format!("{} on CPU {}", text::thread(event.task, 60), event.cpu)),
        ("cgroup", cgroup.map_or_else(|| event.task.cgroup.to_string(), str::to_owned)),
        ("seen by", program.to_owned()),
    ];
    lines.extend(fields.iter().flat_map(|(label, text)| detail::field(label, text, width)));
    let frames = stack::lines(trace, event.task.tgid, &event.stack);
    if !frames.is_empty() {
        lines.push(Line::default());
    }
    lines.extend(
        frames.iter().map(|frame| {
            Line::raw(format!("    {}", text::shorten(frame, width.saturating_sub(4))))
        }),
    );
    lines
}

/// What stands where the events would.
pub fn none(scene: Scene, width: usize) -> Vec<Line<'static>> {
    let filter = &scene.view.place().filter;
    let text = if filter.is_empty() {
        "No event yet: nothing has been pinned, unpinned, or written to while pinned.".to_owned()
    } else {
        format!("None of the newest events meets \"{}\". {}", filter.text(), empty::clears(scene))
    };
    empty::paragraph(&text, width)
}
