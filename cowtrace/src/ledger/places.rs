//! Where pinned pages are mapped: by address space and address, moved along by mremap.
//!
//! A place is what one pin record holds at consecutive addresses. Most pins have one; a part of one that
//! mremap took elsewhere is a place of its own.

use std::{collections::BTreeMap, rc::Rc};

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{PinId, PinRecord};
use crate::event::{FileRange, HeldAt, Mm, Pfn};

const PAGE: u64 = 4096;

/// Consecutive addresses of one pin's pages.
#[derive(Clone, Debug)]
pub struct Place {
    /// First address.
    pub start: u64,
    /// Pages.
    pub pages: u64,
    /// The pin.
    pub pin: Rc<PinRecord>,
    /// Which of the pin's pages the first one is.
    index: u64,
}

impl Place {
    /// First address behind.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.pages.saturating_mul(PAGE))
    }

    /// The page that was pinned at its first address.
    pub fn pfn(&self) -> Option<Pfn> {
        self.pin.pfn_at(self.index)
    }

    /// The pages that were pinned, by address.
    pub fn pfns(&self) -> impl Iterator<Item = (u64, Pfn)> {
        let page = |n| Some((self.start.wrapping_add(n * PAGE), self.pin.pfn_at(self.index + n)?));
        (0..self.pages).filter_map(page)
    }

    /// What is left of it without some ranges, by address.
    pub fn without(&self, ranges: &[(u64, u64)]) -> Vec<Self> {
        let mut ranges = ranges.to_vec();
        ranges.sort_unstable();
        let mut from = self.start;
        let mut parts = Vec::new();
        for (start, end) in ranges {
            parts.extend(self.within(from, start));
            from = from.max(end);
        }
        parts.extend(self.within(from, u64::MAX));
        parts
    }

    /// As a keyframe tells it.
    pub fn at(&self, mm: Mm) -> HeldAt {
        HeldAt { mm, start: self.start, pages: self.pages, index: self.index }
    }

    /// The part of it in a range.
    fn within(&self, start: u64, end: u64) -> Option<Self> {
        let from = self.start.max(start) & !(PAGE - 1);
        let pages = self.end().min(end).checked_sub(from)?.div_ceil(PAGE);
        let skipped = from.saturating_sub(self.start) / PAGE;
        let part =
            Self { start: from, pages, pin: Rc::clone(&self.pin), index: self.index + skipped };
        (pages > 0).then_some(part)
    }
}

/// All places.
#[derive(Clone, Debug, Default)]
pub struct Places {
    by_mm: HashMap<Mm, BTreeMap<(u64, PinId), Place>>,
    by_pin: HashMap<PinId, SmallVec<[(Mm, u64); 1]>>,
    /// No place is longer: bounds the search for those that begin before a range.
    longest: u64,
}

impl Places {
    /// A pin's pages, where the call had them. One without addresses has no place.
    pub fn add(&mut self, pin: Rc<PinRecord>) {
        if pin.mm != 0 {
            let place = Place { start: pin.listed_from, pages: pin.listed(), pin, index: 0 };
            self.put(place.pin.mm, place);
        }
    }

    fn put(&mut self, mm: Mm, place: Place) {
        self.longest = self.longest.max(place.end() - place.start);
        self.by_pin.entry(place.pin.id).or_default().push((mm, place.start));
        self.by_mm.entry(mm).or_default().insert((place.start, place.pin.id), place);
    }

    /// A pin has ended.
    pub fn remove(&mut self, pin: PinId) {
        for (mm, start) in self.by_pin.remove(&pin).unwrap_or_default() {
            if let Some(places) = self.by_mm.get_mut(&mm) {
                places.remove(&(start, pin));
                if places.is_empty() {
                    self.by_mm.remove(&mm);
                }
            }
        }
    }

    /// An address space is gone; the pins that had places in it.
    pub fn forget(&mut self, mm: Mm) -> Vec<Rc<PinRecord>> {
        let places = self.by_mm.remove(&mm).unwrap_or_default();
        let mut pins: Vec<_> = places.into_values().map(|place| place.pin).collect();
        pins.sort_by_key(|pin| pin.id);
        pins.dedup_by_key(|pin| pin.id);
        for pin in &pins {
            if let Some(left) = self.by_pin.get_mut(&pin.id) {
                left.retain(|(of, _)| *of != mm);
            }
        }
        pins
    }

    /// The parts of places that lie in a range, by address.
    pub fn overlapping(&self, mm: Mm, start: u64, end: u64) -> Vec<Place> {
        let Some(places) = self.by_mm.get(&mm).filter(|_| start < end) else {
            return Vec::new();
        };
        let from = start.saturating_sub(self.longest);
        let near = places.range((from, 0)..(end, 0)).map(|(_, place)| place);
        near.filter_map(|place| place.within(start, end)).collect()
    }

    /// Moves what lies in a range to another address.
    pub fn moved(&mut self, mm: Mm, (from, end): (u64, u64), to: u64) {
        let parts = self.overlapping(mm, from, end);
        for part in &parts {
            self.cut_out(mm, part);
        }
        for part in parts {
            let start = to.wrapping_add(part.start.wrapping_sub(from));
            self.put(mm, Place { start, ..part });
        }
    }

    /// What is pinned of a file has a place in an address space too, where that part of the file is mapped.
    pub fn mapped(&mut self, range: &FileRange) {
        let bytes = range.end.saturating_sub(range.start);
        for part in self.overlapping(range.file, range.offset, range.offset.saturating_add(bytes)) {
            let start = range.start.wrapping_add(part.start.wrapping_sub(range.offset));
            let part = Place { start, ..part };
            // It is told for each zap: what has its place already keeps it.
            let known = self.overlapping(range.mm, part.start, part.end());
            let known = known.iter().filter(|place| place.pin.id == part.pin.id);
            let known: Vec<_> = known.map(|place| (place.start, place.end())).collect();
            for place in part.without(&known) {
                self.put(range.mm, place);
            }
        }
    }

    /// Takes a part out of the place that it was part of; what is left and right of it stays.
    fn cut_out(&mut self, mm: Mm, part: &Place) {
        let Some(places) = self.by_mm.get_mut(&mm) else { return };
        let before = places.range(..=(part.start, part.pin.id)).rev();
        let whole =
            before.map(|(_, place)| place).find(|place| place.pin.id == part.pin.id).cloned();
        let Some(whole) = whole else { return };
        places.remove(&(whole.start, whole.pin.id));
        if let Some(starts) = self.by_pin.get_mut(&part.pin.id) {
            starts.retain(|at| *at != (mm, whole.start));
        }
        let sides = [whole.within(whole.start, part.start), whole.within(part.end(), whole.end())];
        for side in sides.into_iter().flatten() {
            self.put(mm, side);
        }
    }

    /// Puts a pin's pages where a keyframe tells that they are.
    pub fn restore(&mut self, pin: &Rc<PinRecord>, places: &[HeldAt]) {
        for at in places {
            let place =
                Place { start: at.start, pages: at.pages, pin: Rc::clone(pin), index: at.index };
            self.put(at.mm, place);
        }
    }

    /// The places of each pin that has any.
    pub fn by_pin(&self) -> HashMap<PinId, Vec<(Mm, &Place)>> {
        let mut places: HashMap<PinId, Vec<_>> = HashMap::new();
        for (mm, place) in self.all() {
            places.entry(place.pin.id).or_default().push((mm, place));
        }
        places
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (Mm, &Place)> {
        let mut mms: Vec<_> = self.by_mm.iter().collect();
        mms.sort_by_key(|(mm, _)| **mm);
        mms.into_iter().flat_map(|(mm, places)| places.values().map(|place| (*mm, place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Extent, Stack, Task};

    fn pin(id: PinId, address: u64, pages: u64) -> Rc<PinRecord> {
        Rc::new(PinRecord {
            id,
            call: id,
            holder: Task::default(),
            stack: Stack::default(),
            time: 0,
            mm: 1,
            address,
            pages,
            gup_flags: 0,
            listed_from: address,
            extents: [Extent::new(0x100 * (id + 1), pages)].into(),
        })
    }

    fn shown(places: &[Place]) -> Vec<(u64, u64, Option<Pfn>)> {
        places.iter().map(|place| (place.start, place.pages, place.pfn())).collect()
    }

    #[test]
    fn a_range_finds_the_parts_of_places_that_lie_in_it() {
        let mut places = Places::default();
        places.add(pin(0, 0x1000, 4));
        places.add(pin(1, 0x8000, 1));
        let found = places.overlapping(1, 0x3000, 0x9000);
        assert_eq!(shown(&found), [(0x3000, 2, Some(0x102)), (0x8000, 1, Some(0x200))]);
        assert!(places.overlapping(2, 0, u64::MAX).is_empty(), "another address space");
        assert!(places.overlapping(1, 0x5000, 0x8000).is_empty());
    }

    #[test]
    fn what_is_left_of_a_place_are_the_parts_between_the_ranges_that_went() {
        let mut places = Places::default();
        places.add(pin(0, 0x1000, 8));
        let whole = &places.overlapping(1, 0, u64::MAX)[0];
        let left = whole.without(&[(0x5000, 0x6000), (0, 0x2000), (0x20000, 0x30000)]);
        assert_eq!(shown(&left), [(0x2000, 3, Some(0x101)), (0x6000, 3, Some(0x105))]);
        assert!(whole.without(&[(0, u64::MAX)]).is_empty());
        assert_eq!(shown(&whole.without(&[])), [(0x1000, 8, Some(0x100))]);
    }

    #[test]
    fn what_mremap_moves_is_found_at_its_new_address_only() {
        let mut places = Places::default();
        places.add(pin(0, 0x1000, 4));
        places.moved(1, (0x2000, 0x4000), 0x9000);
        let found = places.overlapping(1, 0, u64::MAX);
        let wanted = [(0x1000, 1, Some(0x100)), (0x4000, 1, Some(0x103)), (0x9000, 2, Some(0x101))];
        assert_eq!(shown(&found), wanted);
    }

    #[test]
    fn a_pin_that_ends_leaves_no_place_wherever_it_was_moved() {
        let mut places = Places::default();
        places.add(pin(0, 0x1000, 4));
        places.moved(1, (0x2000, 0x3000), 0x9000);
        places.remove(0);
        assert!(places.overlapping(1, 0, u64::MAX).is_empty());
        assert!(places.by_mm.is_empty() && places.by_pin.is_empty());
    }

    #[test]
    fn what_is_pinned_of_a_file_is_found_where_the_file_is_mapped() {
        let (mut places, file) = (Places::default(), 1);
        places.add(pin(0, 0x3000, 4));
        let (offset, start, mm) = (0x2000, 0x7000_0000, 2);
        places.mapped(&FileRange { file, offset, mm, start, end: start + 0x3000 });
        let found = places.overlapping(mm, 0, u64::MAX);
        assert_eq!(shown(&found), [(start + 0x1000, 2, Some(0x100))]);
        assert_eq!(places.overlapping(file, 0, u64::MAX).len(), 1, "it still is in the file");
        places.remove(0);
        assert!(places.by_mm.is_empty() && places.by_pin.is_empty());
    }

    #[test]
    fn a_smaller_part_of_a_file_that_is_told_later_takes_no_place_away() {
        let (mut places, file, mm) = (Places::default(), 1, 2);
        places.add(pin(0, 0, 10));
        for (start, pages) in [(0x7000_0000, 8), (0x7000_0000, 1), (0x7000_4000, 6)] {
            let offset = start - 0x7000_0000;
            places.mapped(&FileRange { file, offset, mm, start, end: start + pages * PAGE });
        }
        let found: u64 = places.overlapping(mm, 0, u64::MAX).iter().map(|place| place.pages).sum();
        assert_eq!(found, 10);
        assert_eq!(places.by_pin[&0].len(), 3, "two in the process, and the file");
    }

    #[test]
    fn an_address_space_that_is_gone_takes_its_places_along() {
        let mut places = Places::default();
        places.add(pin(0, 0x1000, 4));
        let pins: Vec<_> = places.forget(1).iter().map(|pin| pin.id).collect();
        assert_eq!(pins, [0]);
        assert!(places.overlapping(1, 0, u64::MAX).is_empty());
    }
}
