//! A finding as its steps: the example of a group.

use serde::Serialize;

use super::seconds;
use crate::{
    finding::Finding,
    sinks::{reach, stack, text},
    trace::Trace,
};

/// A finding as its steps.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Example {
    /// Its number in the trace.
    pub id: usize,
    /// Which pages.
    pub place: String,
    /// The page that the device has.
    pub device_has: String,
    /// What the process has.
    pub process_has: String,
    /// Which devices reach the old page, where that was watched.
    pub devices: Vec<String>,
    /// Who the pin belongs to, where that was looked up.
    pub owner: Option<String>,
    /// What happened, in the order of time.
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Step {
    /// Seconds since the beginning.
    pub at: f64,
    /// In words.
    pub what: String,
    /// A word for the picture.
    pub short: &'static str,
    /// From where, the innermost frame first.
    pub stack: Vec<String>,
    /// The number of an earlier example that has the same stack.
    pub same_stack_as: Option<usize>,
}

/// What happened to the pages of a finding.
pub(super) fn example(trace: &Trace, finding: &Finding) -> Example {
    let [first, then] = finding.how.steps();
    let held = if finding.pin.is_some() { "pinned" } else { "referenced" };
    let [holds, cause, lost] = text::steps(trace, finding);
    // What the page itself told was nobody's deed at that time; the outline has it.
    let told = finding.cause.as_ref().is_some_and(|cause| cause.kind.is_told_by_the_page());
    let known = [(holds, held), (cause.filter(|_| !told), first), (lost, then)];
    let mut steps: Vec<Step> = known
        .into_iter()
        .filter_map(|(step, short)| Some((step?, short)))
        .map(|(step, short)| Step {
            at: seconds(trace, step.time),
            what: step.what,
            short,
            stack: stack::lines(trace, step.task.tgid, step.stack),
            same_stack_as: None,
        })
        .collect();
    steps.extend(finding.unpinned.map(|end| {
        let dirty = if end.dirty { "dirty" } else { "clean" };
        Step {
            at: seconds(trace, end.time),
            what: format!("unpinned {dirty} by {}", text::task(&end.task)),
            short: "unpinned",
            stack: stack::lines(trace, end.task.tgid, &finding.unpin_stack),
            same_stack_as: None,
        }
    }));
    steps.sort_by(|a, b| a.at.total_cmp(&b.at));
    Example {
        id: finding.id,
        place: text::place(finding),
        device_has: format!("PFN {:#x}", finding.old_pfn),
        process_has: text::process_has(finding),
        devices: reach::lines(trace, finding),
        owner: finding.owner.as_ref().map(ToString::to_string),
        steps,
    }
}
