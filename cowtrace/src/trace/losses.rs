//! What was not seen: the counts behind "inconclusive" and "clean".

use cowtrace_common::program::Program;

use super::Trace;
use crate::{event::Tally, facts::key};

impl Trace {
    /// Records that were not seen, for whatever reason.
    pub fn lost(&self) -> u64 {
        let untold = self.counts.malformed.saturating_add(self.ledger.unlisted());
        self.losses().map(|(_, tally)| tally.lost()).fold(untold, u64::saturating_add)
    }

    /// What each program counted, with as many skipped runs as may have gone unseen: where a program has an
    /// understudy, what the kernel made it skip is lost only if that one was skipped too.
    pub fn losses(&self) -> impl Iterator<Item = (Program, Tally)> {
        let is_understudy =
            |program: Program| Program::ALL.iter().any(|other| other.understudy() == Some(program));
        self.tallies.iter().map(move |(program, tally)| {
            let recursion = match program.understudy() {
                Some(other) => {
                    let skipped = self.tallies.get(&other).map_or(0, |tally| tally.recursion);
                    tally.recursion.min(skipped)
                }
                None if is_understudy(*program) => 0,
                None => tally.recursion,
            };
            (*program, Tally { recursion, ..*tally })
        })
    }

    /// Why "nothing found" cannot be said of a trace that has ended: the [blind spots](Self::blind_spots),
    /// and that it has not been ended by cowtrace.
    pub fn unseen(&self) -> Vec<String> {
        let mut unseen = self.blind_spots();
        if self.facts.text(key::ENDED).is_none() {
            unseen.push("the end: the recording stops before cowtrace did".to_owned());
        }
        unseen
    }

    /// What was missed up to now, a sentence each.
    pub fn blind_spots(&self) -> Vec<String> {
        let mut spots = Vec::new();
        for (program, tally) in self.losses() {
            if tally.lost() > 0 {
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
                "not all pinned pages were held against the page map: there are too many"
                    .to_owned(),
            );
        }
        if let Some(damage) = self.facts.text(key::DAMAGE) {
            spots.push(damage.to_owned());
        }
        for probe in self.probes.values() {
            if probe.attached.is_empty() && !probe.unseen.is_empty() {
                spots.push(format!("\"{}\" is not watched: {}", probe.sees, probe.unseen));
            }
        }
        spots
    }
}
