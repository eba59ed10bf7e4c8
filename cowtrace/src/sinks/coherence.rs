//! How what uses a process's pages learns that they change: by notifier, or not at all, which relies on the pin. And the
//! notes beneath an answer, that nobody has to act on.

use super::{count, text};
use crate::{
    event::Secondary,
    ledger::PinRecord,
    rules,
    secondary::Coherence,
    trace::{AddressSpace, Trace},
};

/// What keeps a pinned page coherent, in a word or two: the pin, for who took it; and a notifier, for who is told.
pub fn short(trace: &Trace, coherence: &Coherence) -> String {
    match names(trace, coherence).as_slice() {
        [] if coherence.complete => "pin alone".to_owned(),
        [] => "pin; rest not known".to_owned(),
        names => format!("pin; {} by notifier", names.join(", ")),
    }
}

/// The same in a sentence without its full stop; none where nothing is known.
pub fn sentence(trace: &Trace, coherence: &Coherence) -> Option<String> {
    match names(trace, coherence).as_slice() {
        [] if coherence.complete => Some(
            "no secondary MMU is told of changes here: what pinned the page relies on the pin alone"
                .to_owned(),
        ),
        [] => None,
        names => Some(format!(
            "{} is coherent by notifier here and follows changes; what pinned the page relies on the pin and is \
             not told",
            names.join(" and ")
        )),
    }
}

/// Of the pages of a pin.
pub fn of_pin(trace: &Trace, pin: &PinRecord) -> Coherence {
    let end = pin.address.saturating_add(pin.pages.saturating_mul(4096));
    trace.coherence(pin.mm, pin.address, end)
}

/// Operations by the names that users have for them.
pub fn names(trace: &Trace, coherence: &Coherence) -> Vec<String> {
    let mut names: Vec<_> = coherence.mmus.iter().map(|ops| trace.mmu_name(*ops)).collect();
    names.dedup();
    names
}

/// Notifiers as they were listed.
pub fn listed(trace: &Trace, list: &Secondary) -> String {
    let names: Vec<_> = list.ops.iter().map(|ops| trace.mmu_name(*ops)).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let others = if list.more { ", and more" } else { "" };
    let ranges = if list.intervals { ", and some of ranges" } else { "" };
    format!("of all addresses: {names}{others}{ranges}")
}

/// A line for each address space that has secondary MMUs beside its pins, and what was done that this kernel does not
/// need.
pub fn notes(trace: &Trace) -> Vec<String> {
    let spaces = trace.address_spaces();
    let lines = spaces.iter().filter(|space| !space.mmus.is_empty());
    lines.map(|space| line(trace, space)).chain(kept_from_children(trace)).collect()
}

/// That children were not given pinned pages, and whether that is needed.
fn kept_from_children(trace: &Trace) -> Option<String> {
    // A copy that was not told would look like one that was not made.
    let told = trace.lost() == 0 && trace.budget.is_none() && trace.part_from().is_none();
    (told && trace.counts.fork_kept > 0).then(|| {
        format!(
            "forks kept {} of anonymous memory from the children (MADV_DONTFORK). {}",
            count(trace.counts.fork_kept, "pinned page"),
            rules::KEPT_FROM_CHILDREN
        )
    })
}

fn line(trace: &Trace, space: &AddressSpace) -> String {
    let pages = if space.ended { space.pinned } else { space.held };
    let both = match (space.ended, space.held_and_told) {
        (true, _) | (_, 0) => String::new(),
        (_, told) if told == pages => ", all of them where a notifier is told".to_owned(),
        (_, told) => format!(", {told} of them where a notifier is told"),
    };
    format!(
        "{}{}: coherent by notifier: {}; relies on the pin: {}{both}; invalidated {} where pinned, {} elsewhere",
        text::task(&space.task),
        if space.ended { ", ended" } else { "" },
        mmus(trace, space),
        count(pages, "page"),
        count(space.invalidated_pinned, "time"),
        space.invalidated_elsewhere,
    )
}

/// Who is told, and of how much.
pub fn mmus(trace: &Trace, space: &AddressSpace) -> String {
    let of = |(ops, bytes): &(u64, u64)| match bytes {
        0 => format!("{} (all addresses)", trace.mmu_name(*ops)),
        bytes => format!("{} ({} KiB)", trace.mmu_name(*ops), bytes / 1024),
    };
    space.mmus.iter().map(of).collect::<Vec<_>>().join(", ")
}
