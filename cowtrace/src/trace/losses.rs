//! What was not seen: the counts behind "inconclusive" and "clean".

use std::time::Duration;

use cowtrace_common::{program::Program, setting::Stage};

use super::{Change, Trace};
use crate::{
    budget::{self, Kept},
    event::{Tally, Time},
    facts::key,
    ledger::PinRecord,
    rules::Missed,
};

/// No I/O takes longer: by then the kernel has given up a device itself.
const ONE_IO_NS: Time = 600_000_000_000;

/// Whether no verdict hangs on what a program sees: it adds a name or a proof. Rows that no run needs.
fn is_evidence_only(program: Program) -> bool {
    let goes = [Program::NotifierUnregister, Program::NotifierPut, Program::NotifierRemove];
    goes.contains(&program)
        || matches!(
            program,
            Program::ReferenceExit | Program::IoFixedExit | Program::IoRegisteredExit
        )
        || program.sees_devices()
}

/// Whether it sees MMU notifiers come or go.
fn tells_of_notifiers(program: Program) -> bool {
    matches!(
        program,
        Program::NotifierRegister
            | Program::NotifierInsert
            | Program::NotifierUnregister
            | Program::NotifierPut
            | Program::NotifierRemove
    )
}

impl Trace {
    /// Records that were not seen, for whatever reason.
    pub fn lost(&self) -> u64 {
        let untold = self.counts.malformed.saturating_add(self.ledger.unlisted());
        let losses = self.losses().filter(|(program, _)| !is_evidence_only(*program));
        losses.map(|(_, tally)| tally.lost()).fold(untold, u64::saturating_add)
    }

    /// The same of those that may have told the end of a pin: the ledger may hold what it should not.
    pub(super) fn lost_ends(&self) -> u64 {
        let untold = self.counts.malformed.saturating_add(self.ledger.unlisted());
        let ends = self.losses().filter(|(program, _)| program.ends_or_moves_pins());
        ends.map(|(_, tally)| tally.lost()).fold(untold, u64::saturating_add)
    }

    /// Whether the end of a pin may be among what was lost: that was after it was pinned.
    pub(super) fn may_have_ended(&self, pin: &PinRecord) -> bool {
        let lost = self.facts.number(key::ENDS_LOST);
        lost.is_some_and(|lost| pin.time <= lost.cast_unsigned())
    }

    /// The end of a pin may have been lost by now.
    pub(super) fn ends_were_lost(&mut self) {
        let now = self.now.to_string();
        if self.facts.text(key::HELD_SINCE).is_none() {
            self.facts.set(key::HELD_SINCE.to_owned(), now.clone());
        }
        self.facts.set(key::ENDS_LOST.to_owned(), now);
    }

    /// Ends of pins were lost: takes pins off the books that must have ended since. An agent would hold them for ever.
    pub(super) fn give_up_pins(&mut self) -> Vec<Change> {
        let number = |key| self.facts.number(key).map(i64::cast_unsigned);
        let (Some(since), Some(last)) = (number(key::HELD_SINCE), number(key::ENDS_LOST)) else {
            return Vec::new();
        };
        if self.now.saturating_sub(since) <= ONE_IO_NS {
            return Vec::new();
        }
        let facts = &self.facts;
        let over = self.ledger.give_up(since, |flags| facts.is_longterm(flags));
        // What was lost later is waited for as long.
        self.facts.clear(key::HELD_SINCE);
        if last > since {
            self.facts.set(key::HELD_SINCE.to_owned(), last.to_string());
        }
        over.into_iter()
            .flat_map(|call| {
                self.forget_held(call);
                self.ended_unseen(call)
            })
            .collect()
    }

    /// Records of what devices reach that were not seen: it is then not known, and nothing else is in doubt.
    pub fn lost_of_devices(&self) -> u64 {
        self.lost_by(Program::sees_devices)
    }

    /// Plain references that were not seen: a page that they held may have been replaced, and nobody suspects it.
    pub fn lost_references(&self) -> u64 {
        self.lost_by(|program| program == Program::ReferenceExit)
    }

    /// The same of those that may have told that a device ceased to reach something.
    pub(super) fn lost_ends_of_reach(&self) -> u64 {
        self.lost_by(Program::ends_reach)
    }

    fn lost_by(&self, is_meant: fn(Program) -> bool) -> u64 {
        let losses = self.losses().filter(|(program, _)| is_meant(*program));
        losses.map(|(_, tally)| tally.lost()).fold(0, u64::saturating_add)
    }

    /// Whether an MMU notifier may have come or gone unseen.
    pub(super) fn may_have_missed_notifiers(&self) -> bool {
        let mut of_notifiers = self.losses().filter(|(program, _)| tells_of_notifiers(*program));
        of_notifiers.any(|(_, tally)| tally.lost() > 0)
    }

    /// What can be why a pin is not in the ledger.
    pub(super) fn may_have_missed(&self) -> Missed {
        let shed = |kept: &Kept| kept.stage(Stage::Holders).times > 0;
        match self.lost() {
            0 if self.budget.as_deref().is_some_and(shed) => Missed::Shed,
            0 => Missed::Nothing,
            _ => Missed::Lost,
        }
    }

    /// What each program counted, with as many skipped runs as went unseen: where a program has an understudy,
    /// that one's runs are of what the kernel made the program itself skip.
    pub fn losses(&self) -> impl Iterator<Item = (Program, Tally)> {
        self.tallies.iter().map(move |(program, tally)| {
            let recursion = match program.understudy() {
                Some(other) => {
                    let other = self.tallies.get(&other).copied().unwrap_or_default();
                    tally.recursion.saturating_sub(other.hits).min(other.recursion)
                }
                None if program.stands_in_for().is_some() => 0,
                None => tally.recursion,
            };
            (*program, Tally { recursion, ..*tally })
        })
    }

    /// Why "nothing found" cannot be said of a trace that has ended: the [blind spots](Self::blind_spots),
    /// and that it has not been ended by cowtrace.
    pub fn unseen(&self) -> Vec<String> {
        let mut unseen = self.blind_spots();
        if self.facts.text(key::ENDED).is_none() && !self.goes_on() {
            unseen.push("the end: the recording stops before cowtrace did".to_owned());
        }
        unseen
    }

    /// Whether it is a part of a recording that ends where the next one begins.
    pub fn goes_on(&self) -> bool {
        let until = self.facts.number(key::PART_UNTIL);
        until.is_some_and(|until| self.now <= until.cast_unsigned())
    }

    /// When it begins, if it is a part of a recording that does not begin at the beginning.
    pub fn part_from(&self) -> Option<Time> {
        self.facts.number(key::PART_FROM).map(i64::cast_unsigned)
    }

    /// Parts of the recording that are missing and go on beyond a time, a sentence each.
    pub fn missing_since(&self, time: Time) -> impl Iterator<Item = String> {
        let seconds = |time| {
            let millis = self.since_start(time) / 1_000_000;
            format!("{:+}.{:03}", millis / 1000, (millis % 1000).abs())
        };
        let gaps = self.gaps.iter().filter(move |(_, to)| *to > time);
        gaps.map(move |(from, to)| {
            let (from, to) = (seconds(*from), seconds(*to));
            format!("all from {from} to {to} s: a part of the recording is missing")
        })
    }

    /// What was shed that could have been a verdict, a sentence each.
    fn shed_verdicts(&self) -> impl Iterator<Item = String> {
        let shed = self.budget.iter().flat_map(|kept| kept.shed_ever());
        let hiding = shed.filter(|(stage, _)| budget::hides_verdicts(*stage));
        hiding.map(|(stage, shed)| {
            let seconds = Duration::from_nanos(shed.nanos).as_secs_f64();
            let (name, unseen) = (budget::name(stage), budget::unseen(stage));
            format!("{name} were shed for {seconds:.1} s to keep the budget: {unseen}")
        })
    }

    /// What was missed up to now, a sentence each.
    pub fn blind_spots(&self) -> Vec<String> {
        let mut spots = Vec::new();
        for (program, tally) in self.losses() {
            if tally.lost() > 0 && !is_evidence_only(program) {
                spots.push(format!(
                    "{} lost {} of {}: {} did not fit the ring, {} did not fit a map, {} were skipped by the kernel",
                    program.name(), tally.lost(), tally.hits.max(tally.lost()), tally.ring_full,
                    tally.map_full, tally.recursion,
                ));
            }
        }
        if self.counts.malformed > 0 {
            spots.push(format!("{} records could not be decoded", self.counts.malformed));
        }
        if self.counts.unknown > 0 {
            spots.push(format!(
                "{} records are of kinds that this cowtrace does not know: a newer one wrote them",
                self.counts.unknown
            ));
        }
        if self.ledger.unlisted() > 0 {
            spots.push(format!("{} pinned pages could not be listed", self.ledger.unlisted()));
        }
        if self.facts.text(key::AUDIT).is_some() {
            spots.push(
                "not all pinned pages were held against the page map: there are too many, or it may not be read"
                    .to_owned(),
            );
        }
        if let Some(damage) = self.facts.text(key::DAMAGE) {
            spots.push(damage.to_owned());
        }
        spots.extend(self.missing_since(0));
        spots.extend(self.shed_verdicts());
        for probe in self.probes.values() {
            if probe.attached.is_empty() && !probe.unseen.is_empty() {
                spots.push(format!("\"{}\" is not watched: {}", probe.sees, probe.unseen));
            }
        }
        spots
    }
}
