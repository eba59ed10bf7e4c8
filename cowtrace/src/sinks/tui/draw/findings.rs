//! The lists of findings: groups of those that are alike, and the members of one.

use super::{Scene, list::Column, text};
use crate::{
    event::Time,
    finding::{CauseKind, Finding, Verdict},
    sinks::{group::Group, tui::palette::symbol},
};

/// Columns of groups.
pub fn groups<'t>() -> Vec<Column<Group<'t>>> {
    vec![
        Column::new("times", 5, 7, |group, _, _| group.findings.len().to_string()),
        Column::styled(
            "verdict",
            18,
            19,
            |group, _, _| verdict(group.verdict),
            |group, scene| scene.palette.verdict(group.verdict),
        ),
        Column::new("last", 9, 10, |group, scene, _| text::since(scene.trace, group.times().1)),
        Column::new("first", 0, 10, |group, scene, _| text::since(scene.trace, group.times().0)),
        Column::new("when", 0, 16, |group, scene, width| spark(group, scene, width)),
        Column::new("pages", 0, 7, |group, _, _| group.pages().to_string()),
        Column::new("holder", 13, 16, |group, _, width| text::shorten(&group.kind.holder, width)),
        Column::new("cause", 13, 18, |group, _, width| text::shorten(group.kind.cause, width)),
        Column::new("pinned through", 15, 30, |group, _, width| {
            text::shorten(group.kind.site.as_deref().unwrap_or("not seen"), width)
        }),
    ]
}

/// Columns of findings.
pub fn members<'t>() -> Vec<Column<&'t Finding>> {
    vec![
        Column::new("#", 6, 7, |finding, _, _| finding.id.to_string()),
        Column::styled(
            "verdict",
            18,
            20,
            |finding, _, _| verdict(finding.verdict),
            |finding, scene| scene.palette.verdict(finding.verdict),
        ),
        Column::new("time", 9, 10, |finding, scene, _| text::since(scene.trace, finding.broken_at)),
        Column::new("holder", 13, 22, |finding, _, width| holder(finding, width)),
        Column::new("writer", 13, 24, |finding, _, width| text::thread(finding.writer, width)),
        Column::new("address", 14, 14, |finding, _, _| format!("{:#x}", finding.address)),
        Column::new("page", 0, 17, |finding, _, _| pages(finding)),
        Column::new("cause", 0, 20, |finding, _, width| text::shorten(&cause(finding), width)),
    ]
}

fn verdict(verdict: Verdict) -> String {
    format!("{} {verdict}", symbol(verdict))
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

/// How many there were when, from the beginning of the trace to now, in so many columns.
fn spark(group: &Group, scene: Scene, width: usize) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let since = |time: Time| scene.trace.since_start(time).max(0).cast_unsigned();
    let whole = u128::from(since(scene.trace.now)) + 1;
    let mut counts = vec![0; width.max(1)];
    for finding in &group.findings {
        let place = u128::from(since(finding.broken_at)) * counts.len() as u128 / whole;
        let last = counts.len() - 1;
        counts[usize::try_from(place).map_or(last, |place| place.min(last))] += 1;
    }
    let most: usize = counts.iter().copied().max().unwrap_or(0).max(1);
    // One is seen, however many there were at another time.
    counts.iter().map(|count| BARS[(count * 8).div_ceil(most)]).collect()
}
