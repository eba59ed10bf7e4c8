//! Which device reaches which page, and where it finds it: mappings for devices against their ends.
//!
//! A pure fold over events, as the ledger of pins is. Mappings are kept as they were made, not page by page. Surprise:
//! without an IOMMU a device finds a page at the page's own address, and what is mapped twice stands there twice.

use std::{collections::BTreeMap, rc::Rc};

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::event::{Api, Attached, DeviceMap, DeviceUnmap, Pfn, Time};

/// A mapping, how often it was made, and when first.
#[derive(Clone, Debug)]
struct Mapping {
    map: DeviceMap,
    since: Time,
    times: u32,
}

/// A page as a device finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Which device, or which devices of an IOMMU domain; empty where that was settled before the trace began.
    pub device: Rc<str>,
    /// By what it was mapped.
    pub api: Api,
    /// Whose addresses.
    pub space: u64,
    /// Where the device finds the page.
    pub iova: u64,
    /// When it was mapped.
    pub since: Time,
    /// What has become of it.
    pub state: ReachState,
}

/// Whether a device reaches a page still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReachState {
    /// It does.
    Live,
    /// It ceased to.
    Ended(Time),
    /// It did; that it ceased to may be among what was lost.
    Unknown,
}

impl ReachState {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended(_) => "ended",
            Self::Unknown => "unknown",
        }
    }
}

/// log2 of the pages in one place of the index by page.
const CHUNK: u32 = 9;

/// The mappings that live.
#[derive(Clone, Debug, Default)]
pub struct Reaches {
    /// By space, then by the device's address.
    spaces: HashMap<u64, BTreeMap<u64, Mapping>>,
    /// Space and address of those with pages in a chunk of memory.
    by_chunk: HashMap<Pfn, SmallVec<[(u64, u64); 1]>>,
    /// Devices by number, with the domain that they are in.
    attached: BTreeMap<u64, (u64, Rc<str>)>,
    /// Domains with mappings that no device is in any more: what is mapped there nobody reaches.
    left: HashSet<u64>,
}

impl Reaches {
    /// A device reaches memory.
    pub fn map(&mut self, map: &DeviceMap, time: Time) {
        let (space, iova) = (map.space, map.iova);
        let same =
            |old: &&mut Mapping| (old.map.physical, old.map.bytes) == (map.physical, map.bytes);
        let known = self.spaces.entry(space).or_default().get_mut(&iova);
        if let Some(old) = known.filter(|old| map.api == Api::Dma && same(old)) {
            old.times = old.times.saturating_add(1);
            return;
        }
        // What stands there yet has ended, and that was lost.
        self.take_out(&DeviceUnmap { space, iova, bytes: map.bytes, api: map.api }, true);
        self.put(Mapping { map: map.clone(), since: time, times: 1 });
    }

    /// It ceases to; what it reached there.
    pub fn unmap(&mut self, unmap: &DeviceUnmap) -> Vec<DeviceMap> {
        self.take_out(unmap, false)
    }

    /// A device was attached to a domain, where it reaches what is mapped; the domain that is left without any.
    pub fn attach(&mut self, attached: &Attached, time: Time) -> Option<u64> {
        if self.left.remove(&attached.space) {
            let here = self.spaces.get_mut(&attached.space).into_iter();
            here.flat_map(BTreeMap::values_mut).for_each(|mapping| mapping.since = time);
        }
        let now = (attached.space, Rc::clone(&attached.name));
        let (before, _) = self.attached.insert(attached.device, now)?;
        if self.attached.values().any(|(space, _)| *space == before) {
            return None;
        }
        if self.spaces.contains_key(&before) {
            self.left.insert(before);
        }
        Some(before)
    }

    /// Ends may have been lost: none of what lives is sure to.
    pub fn doubt(&mut self) {
        let all = self.spaces.values_mut().flat_map(BTreeMap::values_mut);
        all.for_each(|mapping| mapping.map.doubtful = true);
    }

    /// Who reaches a page, the first to first.
    pub fn of(&self, pfn: Pfn) -> Vec<Reach> {
        let keys = self.by_chunk.get(&(pfn >> CHUNK)).into_iter().flatten();
        let mappings = keys.filter_map(|(space, iova)| self.spaces.get(space)?.get(iova));
        let mut all: Vec<_> = mappings.filter_map(|mapping| self.reach(mapping, pfn)).collect();
        all.sort_by_key(|reach| (reach.since, reach.space, reach.iova));
        all
    }

    /// All mappings that a device reaches, as a keyframe tells them, with the time that they were made at.
    pub fn maps(&self) -> Vec<(Time, DeviceMap)> {
        let all = self.spaces.iter().filter(|(space, _)| !self.left.contains(*space));
        let all = all.flat_map(|(_, mappings)| mappings.values());
        let each =
            |mapping: &Mapping| vec![(mapping.since, mapping.map.clone()); mapping.times as usize];
        let mut all: Vec<_> = all.flat_map(each).collect();
        all.sort_by_key(|(time, map)| (*time, map.space, map.iova));
        all
    }

    /// Which device is in which domain.
    pub fn attached(&self) -> impl Iterator<Item = Attached> {
        let all = self.attached.iter();
        all.map(|(device, (space, name))| Attached {
            device: *device,
            space: *space,
            name: Rc::clone(name),
        })
    }

    fn reach(&self, mapping: &Mapping, pfn: Pfn) -> Option<Reach> {
        let map = &mapping.map;
        if self.left.contains(&map.space) {
            return None;
        }
        let state = if map.doubtful { ReachState::Unknown } else { ReachState::Live };
        let iova = map.iova_of(pfn)?;
        let (device, since) = (self.name(map), mapping.since);
        Some(Reach { device, api: map.api, space: map.space, iova, since, state })
    }

    /// Name of who reaches what is mapped.
    pub fn name(&self, map: &DeviceMap) -> Rc<str> {
        if map.api == Api::Dma || !map.device.is_empty() {
            return Rc::clone(&map.device);
        }
        let here = self.attached.values().filter(|(space, _)| *space == map.space);
        let mut names: Vec<&str> = here.map(|(_, name)| &**name).collect();
        names.sort_unstable();
        names.join(", ").into()
    }

    /// Takes out what an unmap ends. The DMA API ends what it mapped, and once for each time; the IOMMU API ends any
    /// range.
    fn take_out(&mut self, unmap: &DeviceUnmap, all: bool) -> Vec<DeviceMap> {
        let Some(space) = self.spaces.get_mut(&unmap.space) else {
            return Vec::new();
        };
        if unmap.api == Api::Dma {
            let times = space.get_mut(&unmap.iova).map(|mapping| &mut mapping.times);
            if let Some(times) = times.filter(|times| **times > 1 && !all) {
                *times -= 1;
                return Vec::new();
            }
            return self.remove(unmap.space, unmap.iova).map(|old| old.map).into_iter().collect();
        }
        let end = unmap.iova.saturating_add(unmap.bytes);
        let before = space.range(..unmap.iova).next_back();
        let cut = before.filter(|(_, mapping)| mapping.map.end() > unmap.iova);
        let keys: Vec<u64> =
            cut.into_iter().chain(space.range(unmap.iova..end)).map(|(iova, _)| *iova).collect();
        let taken: Vec<Mapping> =
            keys.into_iter().filter_map(|iova| self.remove(unmap.space, iova)).collect();
        taken.into_iter().filter_map(|mapping| self.keep_rest(&mapping, unmap.iova, end)).collect()
    }

    /// Puts back what of a mapping lies outside a range; what lies inside.
    fn keep_rest(&mut self, mapping: &Mapping, start: u64, end: u64) -> Option<DeviceMap> {
        let part = |from: u64, to: u64| {
            let (from, to) = (from.max(mapping.map.iova), to.min(mapping.map.end()));
            let bytes = to.checked_sub(from).filter(|bytes| *bytes > 0)?;
            let physical = mapping.map.physical + (from - mapping.map.iova);
            Some(DeviceMap { iova: from, physical, bytes, ..mapping.map.clone() })
        };
        let rests = [part(0, start), part(end, u64::MAX)];
        for map in rests.into_iter().flatten() {
            self.put(Mapping { map, ..mapping.clone() });
        }
        part(start, end)
    }

    fn put(&mut self, mapping: Mapping) {
        let key = (mapping.map.space, mapping.map.iova);
        for chunk in chunks(&mapping.map) {
            self.by_chunk.entry(chunk).or_default().push(key);
        }
        self.spaces.entry(key.0).or_default().insert(key.1, mapping);
    }

    fn remove(&mut self, space: u64, iova: u64) -> Option<Mapping> {
        let mappings = self.spaces.get_mut(&space)?;
        let mapping = mappings.remove(&iova)?;
        if mappings.is_empty() {
            self.spaces.remove(&space);
            self.left.remove(&space);
        }
        for chunk in chunks(&mapping.map) {
            if let Some(keys) = self.by_chunk.get_mut(&chunk) {
                keys.retain(|key| *key != (space, iova));
                if keys.is_empty() {
                    self.by_chunk.remove(&chunk);
                }
            }
        }
        Some(mapping)
    }
}

/// Chunks of memory in which a mapping has pages.
fn chunks(map: &DeviceMap) -> impl Iterator<Item = Pfn> + use<> {
    let (first, end) = map.pfns();
    first >> CHUNK..=end.max(first + 1).saturating_sub(1) >> CHUNK
}

#[cfg(test)]
mod tests;
