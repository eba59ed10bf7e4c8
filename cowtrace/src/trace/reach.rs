//! Which devices reach the pages of findings: as they were lost, and until when.
//!
//! Promise: what was lost of this makes it unknown, never "no longer mapped", and no verdict hangs on it. Surprise: it
//! goes on behind the end of the pin. A device that still finds a page which nobody pins any more is the worst of all.

use std::{collections::BTreeMap, rc::Rc};

use smallvec::SmallVec;

use super::{Change, Trace, keyframe};
use crate::{
    event::{Attached, DeviceMap, DeviceUnmap, Event, Pfn, Time, What},
    facts::key,
    finding::Finding,
    ledger::PinRecord,
    reach::{Reach, ReachState},
};

/// Devices and addresses that are kept for one finding.
const KEPT: usize = 8;

/// Findings of which it matters who reaches their old page, by that page.
pub type Watched = BTreeMap<Pfn, SmallVec<[usize; 1]>>;

impl Trace {
    /// Whether mappings for devices are watched at all.
    pub fn watches_devices(&self) -> bool {
        self.facts.text(key::DEVICE_MAPS).is_some()
    }

    /// Name of the device, or of the devices, that a mapping is for.
    pub fn device_of(&self, map: &DeviceMap) -> Rc<str> {
        self.reaches.name(map)
    }

    /// Who reaches the first page of a pin.
    pub fn reach_of(&self, pin: &PinRecord) -> Vec<Reach> {
        pin.pfn_at(0).map_or_else(Vec::new, |pfn| self.reaches.of(pfn))
    }

    /// Pages of a pin, from the first on, that a device finds at consecutive addresses.
    pub fn pages_reached(&self, pin: &PinRecord, from: &Reach) -> u64 {
        let is_next = |index: &u64| {
            let pfn = pin.pfn_at(*index);
            let found = pfn.map_or_else(Vec::new, |pfn| self.reaches.of(pfn));
            let at = from.iova.saturating_add(index << 12);
            found.iter().any(|reach| (reach.space, reach.iova) == (from.space, at))
        };
        (0..pin.pages.min(SHOWN)).take_while(is_next).count() as u64
    }

    /// That nothing is known of who reaches the page of a finding, though it was asked for.
    pub fn misses_reach_of(&self, finding: &Finding) -> bool {
        finding.reach.is_empty() && self.watches_devices() && self.lost_of_devices() > 0
    }

    /// A finding is opened: from here on it is told what becomes of its page.
    pub(super) fn watch(&mut self, finding: &mut Finding, index: usize) {
        if finding.old_pfn == 0 || !self.watches_devices() {
            return;
        }
        for reach in self.reaches.of(finding.old_pfn) {
            take(finding, reach);
        }
        self.watched.entry(finding.old_pfn).or_default().push(index);
    }

    /// A device reaches memory.
    pub(super) fn device_map(&mut self, event: &Event, map: &DeviceMap) -> Vec<Change> {
        self.reaches.map(map, event.time);
        let (first, end) = map.pfns();
        self.reached((first, end), map.space, event.time)
    }

    /// Pages are reached in a space since just now: tells it to findings about them.
    fn reached(&mut self, pfns: (Pfn, Pfn), space: u64, time: Time) -> Vec<Change> {
        let here = self.watched.range(pfns.0..pfns.1).flat_map(|(_, all)| all).copied();
        // A page whose pin has ended is soon another's.
        let open = here.filter(|index| self.open.pins_left.contains_key(index));
        let mut changes = Vec::new();
        for index in open.collect::<Vec<usize>>() {
            let finding = &mut self.findings[index];
            let own = self.reaches.of(finding.old_pfn).into_iter();
            let fresh = own.filter(|reach| reach.space == space && reach.since == time);
            if fresh.map(|reach| take(finding, reach)).filter(|is_new| *is_new).count() > 0 {
                changes.push(Change::Updated(index));
            }
        }
        changes
    }

    /// It ceases to.
    pub(super) fn device_unmap(&mut self, event: &Event, unmap: &DeviceUnmap) -> Vec<Change> {
        let ended = self.reaches.unmap(unmap);
        ended.iter().flat_map(|map| self.ended(map, event.time)).collect()
    }

    /// A device was attached to another domain: it does not reach what is in the one before.
    pub(super) fn attached(&mut self, event: &Event, attached: &Attached) -> Vec<Change> {
        let left = self.reaches.attach(attached, event.time);
        let mut changes = left.map_or_else(Vec::new, |left| self.left_by_all(left, event.time));
        changes.extend(self.reached((0, Pfn::MAX), attached.space, event.time));
        changes
    }

    /// Ends may have been lost.
    pub(super) fn doubt_reach(&mut self) -> Vec<Change> {
        self.reaches.doubt();
        self.settle((0, Pfn::MAX), ReachState::Unknown, |_, reach| is_live(reach))
    }

    /// Which devices are where, as a keyframe tells it.
    pub(super) fn attached_events(&self) -> impl Iterator<Item = Event> {
        self.reaches.attached().map(|attached| keyframe::of(0, What::Attached(attached)))
    }

    /// Mappings that live, likewise: told behind the findings, which then have them.
    pub(super) fn map_events(&self) -> impl Iterator<Item = Event> {
        let maps = self.reaches.maps().into_iter();
        maps.map(|(time, map)| keyframe::of(time, What::DeviceMap(map)))
    }

    /// Records are missing: whether a device still reaches what it did.
    pub(super) fn lose_sight_of_devices(&mut self) {
        let all = self.findings.iter_mut().flat_map(|finding| &mut finding.reach);
        all.filter(|reach| is_live(reach)).for_each(|reach| reach.state = ReachState::Unknown);
    }

    fn ended(&mut self, map: &DeviceMap, time: Time) -> Vec<Change> {
        let is_there = |pfn, reach: &Reach| {
            reach.space == map.space && Some(reach.iova) == map.iova_of(pfn) && !is_ended(reach)
        };
        self.settle(map.pfns(), ReachState::Ended(time), is_there)
    }

    /// No device is in a domain any more.
    fn left_by_all(&mut self, space: u64, time: Time) -> Vec<Change> {
        let is_there = |_, reach: &Reach| reach.space == space && !is_ended(reach);
        self.settle((0, Pfn::MAX), ReachState::Ended(time), is_there)
    }

    /// What has become of devices that reach pages of findings, of those that are meant; findings that this changes.
    fn settle(
        &mut self,
        (first, end): (Pfn, Pfn),
        state: ReachState,
        is_meant: impl Fn(Pfn, &Reach) -> bool,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (pfn, indices) in self.watched.range(first..end) {
            for index in indices {
                let own = self.findings[*index].reach.iter_mut();
                let meant = own.filter(|reach| is_meant(*pfn, reach));
                if meant.map(|reach| reach.state = state).count() > 0 {
                    changes.push(Change::Updated(*index));
                }
            }
        }
        changes
    }
}

/// What reached the page of a finding and does not any more, as a keyframe tells it.
pub(super) fn ended_events(finding: &Finding) -> Vec<Event> {
    let told = |reach: &Reach| {
        let ReachState::Ended(end) = reach.state else { return Vec::new() };
        let Reach { device, api, space, iova, since, .. } = reach.clone();
        let (physical, bytes) = (finding.old_pfn << 12, 4096);
        let map = DeviceMap { space, iova, physical, bytes, api, doubtful: false, device };
        let unmap = DeviceUnmap { space, iova, bytes, api };
        let [map, unmap] = [What::DeviceMap(map), What::DeviceUnmap(unmap)];
        vec![keyframe::of(since, map), keyframe::of(end, unmap)]
    };
    finding.reach.iter().flat_map(told).collect()
}

/// Pages that are looked at to say how many a device finds in a row.
const SHOWN: u64 = 4096;

fn is_live(reach: &Reach) -> bool {
    reach.state == ReachState::Live
}

fn is_ended(reach: &Reach) -> bool {
    matches!(reach.state, ReachState::Ended(_))
}

/// Adds to who reaches the page of a finding, in place of what of the same device has ended; whether that is new.
fn take(finding: &mut Finding, reach: Reach) -> bool {
    let same =
        |old: &Reach| (old.space, old.iova, old.since) == (reach.space, reach.iova, reach.since);
    if let Some(old) = finding.reach.iter_mut().find(|old| same(old)) {
        let changed = old.state != reach.state;
        old.state = reach.state;
        return changed;
    }
    let before = |old: &Reach| {
        let ended = matches!(old.state, ReachState::Ended(time) if time <= reach.since);
        ended && (old.space, old.api) == (reach.space, reach.api)
    };
    match finding.reach.iter().position(before) {
        Some(at) => finding.reach[at] = reach,
        None if finding.reach.len() < KEPT => finding.reach.push(reach),
        None => return false,
    }
    finding.reach.sort_by_key(|reach| (reach.since, reach.space, reach.iova));
    true
}
