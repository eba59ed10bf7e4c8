//! The life of the pinned page as a picture: pinned, write-protected, copied, unpinned.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{Scene, text};
use crate::{
    event::{Task, Time},
    finding::{Finding, How, Unpinned},
    sinks::tui::palette::{QUIET, STRONG},
    trace::Trace,
};

/// A thing that happened, or that must have happened unseen.
struct Step {
    mark: char,
    style: Style,
    what: &'static str,
    seen: Option<(Time, Task)>,
    /// What stands in place of time and task.
    otherwise: &'static str,
}

/// From here on the steps stand side by side.
const ACROSS: usize = 76;

/// Its lines.
pub fn lines(scene: Scene, finding: &Finding, width: usize) -> Vec<Line<'static>> {
    let steps =
        [pinned(finding), protected(finding), copied(scene, finding), ended(scene, finding)];
    if width < ACROSS {
        return steps.iter().map(|step| down(step, scene.trace)).collect();
    }
    across(&steps, scene.trace, ((width - 2) / steps.len()).min(34))
}

fn pinned(finding: &Finding) -> Step {
    let seen = finding.pin.as_ref().map(|pin| (pin.time, pin.holder));
    step('●', "pinned", seen, "not seen")
}

fn protected(finding: &Finding) -> Step {
    // What the page itself told was nobody's deed at that time.
    let cause = finding.cause.as_ref().filter(|cause| !cause.kind.is_told_by_the_page());
    let seen = cause.map(|cause| (cause.time, cause.task));
    step('○', finding.how.steps()[0], seen, "not seen")
}

fn copied(scene: Scene, finding: &Finding) -> Step {
    let broken = if finding.is_broken() { Some(finding) } else { came_of(scene.trace, finding) };
    let seen = broken.map(|broken| (broken.broken_at, broken.writer));
    // Until it is attached, and where records are lost, a copy may go unseen.
    let sees_all = scene.trace.since_start(finding.broken_at) >= 0 && scene.trace.lost() == 0;
    let not_seen = match (finding.how, finding.has_ended()) {
        (How::Unseen, _) => "not seen",
        (_, true) if sees_all => "never", // Nothing that comes later concerns this pin.
        (_, true) => "not seen",
        (_, false) => "not yet",
    };
    Step {
        style: scene.palette.verdict(finding.verdict),
        ..step('◆', finding.how.steps()[1], seen, not_seen)
    }
}

/// The finding that a prediction came true by: of the same pin, the first copy of a page that it was about.
fn came_of<'a>(trace: &'a Trace, armed: &Finding) -> Option<&'a Finding> {
    let pin = armed.pin.as_ref()?.call;
    let later = trace.findings.get(armed.id..)?;
    later.iter().find(|later| {
        later.is_broken()
            && later.pin.as_ref().is_some_and(|other| other.call == pin)
            && later.address < armed.end()
            && armed.address < later.end()
    })
}

fn ended(scene: Scene, finding: &Finding) -> Step {
    let seen = finding.unpinned.map(|end| (end.time, end.task));
    match (finding.unpinned, &finding.pin) {
        (Some(Unpinned { dirty: true, .. }), _) => {
            Step { style: scene.palette.alarm(), ..step('■', "unpinned dirty", seen, "") }
        }
        (Some(_), _) => step('□', "unpinned clean", seen, ""),
        (None, Some(_)) if finding.end_unseen => step('?', "unpinned", seen, "not seen"),
        (None, Some(_)) => Step { mark: '…', ..step('…', "still pinned", seen, "") },
        (None, None) => step('?', "unpinned", seen, "not seen"),
    }
}

fn step(
    mark: char,
    what: &'static str,
    seen: Option<(Time, Task)>,
    otherwise: &'static str,
) -> Step {
    let mark = if seen.is_some() { mark } else { '?' };
    Step { mark, style: STRONG, what, seen, otherwise }
}

/// `● pinned ── 120ms ── ○ write-protected`, and below each step when and who.
fn across(steps: &[Step], trace: &Trace, cell: usize) -> Vec<Line<'static>> {
    let mut picture = vec![Span::raw("  ")];
    let (mut times, mut tasks) = (String::from("  "), String::from("  "));
    for (n, step) in steps.iter().enumerate() {
        let what = if cell < 22 { step.what.trim_start_matches("write-") } else { step.what };
        let label = format!("{} {what} ", step.mark);
        let gap = cell.saturating_sub(label.chars().count());
        picture.push(Span::styled(label, step.style));
        if let Some(next) = steps.get(n + 1) {
            picture.push(Span::styled(line_between(step, next, gap), QUIET));
        }
        let (time, task) = when_and_who(step, trace, cell - 3);
        let below = |text: &str| format!("  {text:<0$}", cell - 2);
        times += &below(&time);
        tasks += &below(&task);
    }
    vec![Line::from(picture), Line::raw(times), Line::raw(tasks)]
}

/// The line to the next step, with the time that it took where both are known and there is room.
fn line_between(step: &Step, next: &Step, gap: usize) -> String {
    let took = match (step.seen, next.seen) {
        (Some((from, _)), Some((to, _))) => format!(" {} ", text::between(from, to)),
        _ => String::new(),
    };
    let free = gap.saturating_sub(1); // A space in front of the next step.
    let length = took.chars().count();
    if length == 0 || length + 2 > free {
        return "─".repeat(free) + " ";
    }
    let left = (free - length) / 2;
    format!("{}{took}{} ", "─".repeat(left), "─".repeat(free - length - left))
}

fn when_and_who(step: &Step, trace: &Trace, width: usize) -> (String, String) {
    match step.seen {
        Some((time, task)) => (text::since(trace, time), text::thread(task, width)),
        None => (text::shorten(step.otherwise, width), String::new()),
    }
}

/// On a narrow terminal: a line for each step.
fn down(step: &Step, trace: &Trace) -> Line<'static> {
    let (time, task) = when_and_who(step, trace, 24);
    Line::from(vec![
        Span::styled(format!("  {} {:<16}", step.mark, step.what), step.style),
        Span::raw(format!("{time:>10}  {task}")),
    ])
}

#[cfg(test)]
mod tests {
    use crate::sinks::tui::{scenario::Run, view::Feed};

    #[test]
    fn what_has_not_been_copied_yet_never_is_once_the_pin_has_ended() {
        let mut run = Run::new(Feed::Live);
        run.pin();
        run.protect();
        run.press("enter");
        let before = run.screen(100, 40);
        assert!(before.contains("not yet") && !before.contains("never"), "{before}");
        run.unpin();
        let after = run.screen(100, 40);
        assert!(after.contains("never") && !after.contains("not yet"), "{after}");
    }

    #[test]
    fn what_may_have_gone_unseen_is_not_called_never() {
        let mut run = Run::new(Feed::Live);
        run.pin();
        run.protect();
        run.unpin();
        run.lose(1);
        run.press("enter");
        let screen = run.screen(100, 40);
        assert!(screen.contains("not seen") && !screen.contains("never"), "{screen}");
    }

    #[test]
    fn a_prediction_that_came_true_shows_when_and_by_whom() {
        let mut run = Run::new(Feed::Live);
        run.pin();
        run.protect();
        run.fault(2);
        run.unpin();
        run.press("down enter");
        let screen = run.screen(100, 40);
        assert!(screen.contains("armed (prediction)"), "{screen}");
        assert!(screen.contains("provoke[1234/1236]"), "the thread that wrote: {screen}");
        assert!(!screen.contains("never"), "{screen}");
    }
}
