//! What a keyframe tells: the state that later records build on, where a part of a recording does not begin at the
//! beginning.

use super::{Extent, Mm, Pfn};
use crate::{
    finding::{Proof, Verdict},
    ledger::PinId,
};

/// A record that only keyframes have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// A keyframe begins.
    Begin,
    /// A pin is held. The event's task, time and stack are the pin's.
    Held(Held),
    /// What the finding that was opened last has come to.
    Grade(Verdict, Option<Proof>),
    /// What the program of the event told of its thread lately.
    Told([u64; 3]),
    /// A keyframe ends.
    End(Untold),
}

/// A pin that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: PinId,
    /// Number of the first record of its call.
    pub call: PinId,
    /// Address space.
    pub mm: Mm,
    /// Address that the call began at.
    pub address: u64,
    /// Pages of the call.
    pub pages: u64,
    /// Address of the first of `extents`.
    pub listed_from: u64,
    /// FOLL_*.
    pub gup_flags: u32,
    /// Its address space is gone.
    pub gone: bool,
    /// The pages of its record, and whether it still holds them.
    pub extents: Box<[(Extent, bool)]>,
    /// References dropped of what it holds in a folio, by the folio's first page.
    pub dropped: Box<[(Pfn, u64)]>,
    /// Where its pages are mapped.
    pub places: Box<[HeldAt]>,
}

/// Where pages of a pin are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldAt {
    /// In which address space.
    pub mm: Mm,
    /// First address.
    pub start: u64,
    /// Pages.
    pub pages: u64,
    /// Which of the pin's pages is the first.
    pub index: u64,
}

/// What went unseen before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Records that did not decode.
    pub malformed: u64,
    /// Records of kinds that were not known.
    pub unknown: u64,
    /// Pages that nobody could list.
    pub unlisted: u64,
}
