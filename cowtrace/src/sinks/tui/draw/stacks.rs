//! Stacks: side by side where there is room, else one below the other.

use ratatui::text::Line;

use super::{Scene, text};
use crate::{
    event::{Stack, Task},
    finding::{Finding, How},
    sinks::{stack, tui::palette::STRONG},
    trace::Trace,
};

/// From here on two stand side by side.
const BESIDE: usize = 110;

/// A stack with its title.
struct Titled {
    title: String,
    frames: Vec<String>,
}

/// Its lines.
pub fn lines(scene: Scene, finding: &Finding, width: usize) -> Vec<Line<'static>> {
    let mut stacks = Vec::new();
    if let Some(pin) = &finding.pin {
        stacks.push(titled(scene.trace, "pinned by", pin.holder, &pin.stack));
    }
    if let Some(cause) = &finding.cause
        && cause.stack != Stack::default()
    {
        let what = match finding.how {
            How::Zapped => "discarded by",
            How::Inherited => "left by",
            How::Copied | How::WillBeCopied | How::Unseen => "write-protected by",
        };
        stacks.push(titled(scene.trace, what, cause.task, &cause.stack));
    }
    if finding.is_broken() {
        let what = if finding.how == How::Zapped { "mapped again by" } else { "written by" };
        stacks.push(titled(scene.trace, what, finding.writer, &finding.writer_stack));
    }
    let across = if width >= BESIDE { 2 } else { 1 };
    let row = |row: &[Titled]| match row {
        [left, right] => beside(left, right, width),
        row => row.iter().flat_map(|stack| below(stack, width)).collect(),
    };
    stacks.chunks(across).flat_map(row).collect()
}

fn titled(trace: &Trace, what: &str, task: Task, stack: &Stack) -> Titled {
    let mut frames = stack::lines(trace, task.tgid, stack);
    if frames.is_empty() {
        frames.push("no stack was recorded".to_owned());
    }
    Titled { title: format!("{what} {}", text::thread(task, 60)), frames }
}

fn below(stack: &Titled, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(format!("  {}", stack.title), STRONG)];
    let frame = |frame: &String| {
        Line::raw(format!("    {}", text::shorten(frame, width.saturating_sub(4))))
    };
    lines.extend(stack.frames.iter().map(frame));
    lines
}

fn beside(left: &Titled, right: &Titled, width: usize) -> Vec<Line<'static>> {
    let half = width / 2;
    let row = |indent: usize, left: &str, right: &str| {
        let cell = |text| text::shorten(text, half - indent - 1);
        format!("{0:indent$}{1:<2$}{0:indent$}{3}", "", cell(left), half - indent, cell(right))
    };
    let mut lines = vec![Line::styled(row(2, &left.title, &right.title), STRONG)];
    let at = |stack: &Titled, n: usize| stack.frames.get(n).cloned().unwrap_or_default();
    let count = left.frames.len().max(right.frames.len());
    lines.extend((0..count).map(|n| Line::raw(row(4, &at(left, n), &at(right, n)))));
    lines
}
