//! Where records are missing between two parts of a recording: the keyframe behind them tells what is then.
//!
//! Promise: what was found stays found, and what was counted stays counted; what was held is held only if the keyframe
//! says so. A finding that it tells once more is no second one. That something is missing is never forgotten.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use super::{Counts, Durations, Sort, Trace, keyframe::Restoring};
use crate::{
    event::{Mm, Time, Untold},
    facts::key,
    finding::{CauseKind, Finding, How},
    rules::Benign,
};

/// What was known before a keyframe, which would count it once more.
#[derive(Clone, Debug, Default)]
pub struct Known {
    counts: Counts,
    benign: BTreeMap<Benign, u64>,
    invalidated: BTreeMap<Sort, Durations>,
    /// Whether anything was.
    any: bool,
    /// Findings whose pins lived.
    open: HashMap<Mark, usize>,
}

/// By what a finding is known again: how, where and when the page was lost.
type Mark = (How, Mm, u64, Time);

impl Trace {
    /// A keyframe begins. Who has read something before has missed what is between.
    pub(super) fn begin_again(&mut self, time: Time) {
        let any = self.now > 0;
        if any {
            self.gaps.push((self.now, time));
        }
        let marks =
            self.open_indices().into_iter().map(|index| (mark(&self.findings[index]), index));
        let before = Known {
            open: marks.collect(),
            counts: mem::take(&mut self.counts),
            benign: mem::take(&mut self.benign),
            invalidated: mem::take(&mut self.invalidated),
            any,
        };
        self.ledger.forget();
        self.lose_sight_of_devices();
        *self = Self {
            restoring: Some(Restoring { last: None, before }),
            facts: mem::take(&mut self.facts),
            probes: mem::take(&mut self.probes),
            tallies: mem::take(&mut self.tallies),
            costs: mem::take(&mut self.costs),
            budget: mem::take(&mut self.budget),
            outcomes: self.outcomes,
            ledger: mem::take(&mut self.ledger),
            findings: mem::take(&mut self.findings),
            listed: mem::take(&mut self.listed),
            stacks: mem::take(&mut self.stacks),
            audited: self.audited,
            short_term: self.short_term,
            now: self.now,
            gaps: mem::take(&mut self.gaps),
            symbols: mem::take(&mut self.symbols),
            zap_frames: mem::take(&mut self.zap_frames),
            cgroups: mem::take(&mut self.cgroups),
            vma_names: mem::take(&mut self.vma_names),
            room: self.room,
            suspects: mem::take(&mut self.suspects),
            ..Self::default()
        };
    }

    /// The keyframe has ended.
    pub(super) fn go_on(&mut self, time: Time, untold: &Untold) {
        let Some(Restoring { before, .. }) = self.restoring.take() else { return };
        // What of the keyframe itself did not decode is missing, too.
        let damaged = self.counts;
        self.counts = Counts {
            malformed: before.counts.malformed.max(untold.malformed) + damaged.malformed,
            unknown: before.counts.unknown.max(untold.unknown) + damaged.unknown,
            ..before.counts
        };
        self.benign = before.benign;
        self.invalidated = before.invalidated;
        self.ledger.unlisted_before(untold.unlisted);
        // A keyframe that does not tell when was written before keyframes did.
        if self.lost_ends() > 0 && self.facts.text(key::ENDS_LOST).is_none() {
            self.ends_were_lost();
        }
        if !before.any {
            self.facts.set(key::PART_FROM.to_owned(), time.to_string());
        }
    }

    /// The finding that a keyframe tells once more.
    pub(super) fn known(&self, finding: &Finding) -> Option<usize> {
        self.restoring.as_ref()?.before.open.get(&mark(finding)).copied()
    }
}

fn mark(finding: &Finding) -> Mark {
    let zapped = finding.cause.as_ref().filter(|cause| matches!(cause.kind, CauseKind::Zap(_)));
    // What is mapped again is lost at another time than it was discarded.
    let since = zapped.map_or(finding.broken_at, |cause| cause.time);
    (finding.how, finding.mm, finding.address, since)
}
