//! What the user has selected.

use std::collections::BTreeSet;

use super::{Holder, Numbered, Pinned};
use crate::{finding::Finding, sinks::group::Group};

/// What the user has selected.
#[derive(Clone, Debug)]
pub enum Selected<'t> {
    /// There is nothing.
    Nothing,
    /// Findings that are alike.
    Group(Group<'t>),
    /// A finding.
    Finding(&'t Finding),
    /// Pins that are alike.
    Holder(Holder<'t>),
    /// A pin.
    Pin(Pinned<'t>),
    /// An event.
    Event(&'t Numbered),
}

impl Selected<'_> {
    /// The processes that it is about.
    pub fn processes(&self) -> BTreeSet<u32> {
        let of = |finding: &Finding| {
            let holder = finding.pin.as_ref().map(|pin| pin.holder.tgid);
            let cause = finding.cause.as_ref().map(|cause| cause.task.tgid);
            [Some(finding.writer.tgid), holder, cause].into_iter().flatten()
        };
        match self {
            Self::Nothing => BTreeSet::new(),
            Self::Group(group) => group.findings.iter().flat_map(|finding| of(finding)).collect(),
            Self::Finding(finding) => of(finding).collect(),
            Self::Holder(holder) => {
                holder.pins.iter().map(|pinned| pinned.pin.holder.tgid).collect()
            }
            Self::Pin(pinned) => BTreeSet::from([pinned.pin.holder.tgid]),
            Self::Event(numbered) => BTreeSet::from([numbered.event.task.tgid]),
        }
    }
}
