//! Stacks: up to four, side by side where there is room, else one below the other.

use ratatui::text::Line;

use super::{Scene, text};
use crate::{
    event::{Stack, Task},
    finding::{Finding, How},
    sinks::{stack, tui::palette::STRONG},
    trace::Trace,
};

/// Columns that a stack takes at least where several stand side by side.
const ACROSS: usize = 55;

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
    if let Some(end) = finding.unpinned
        && finding.unpin_stack != Stack::default()
    {
        let what = if end.dirty { "unpinned dirty by" } else { "unpinned clean by" };
        stacks.push(titled(scene.trace, what, end.task, &finding.unpin_stack));
    }
    let across = (width / ACROSS).clamp(1, stacks.len().max(1));
    let row = |row: &[Titled]| match row {
        [one] => below(one, width),
        row => beside(row, width),
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

fn beside(stacks: &[Titled], width: usize) -> Vec<Line<'static>> {
    let each = width / stacks.len();
    let row = |indent: usize, texts: Vec<&str>| -> String {
        let cell = |text| {
            let cut = text::shorten(text, each - indent - 1);
            format!("{0:indent$}{cut:<1$}", "", each - indent)
        };
        texts.into_iter().map(cell).collect()
    };
    let titles = row(2, stacks.iter().map(|stack| stack.title.as_str()).collect());
    let frames = |n: usize| {
        let frames = stacks.iter().map(|stack| stack.frames.get(n).map_or("", String::as_str));
        Line::raw(row(4, frames.collect()).trim_end().to_owned())
    };
    let most = stacks.iter().map(|stack| stack.frames.len()).max().unwrap_or(0);
    let mut lines = vec![Line::styled(titles.trim_end().to_owned(), STRONG)];
    lines.extend((0..most).map(frames));
    lines
}
