//! The ledger as a keyframe tells it, and made of that again.

use std::{collections::BTreeMap, rc::Rc};

use hashbrown::HashMap;

use super::{Ledger, Live, PinId, PinRecord, places::Place};
use crate::event::{Before, Event, Extent, Held, HeldAt, Pfn, What};

/// Consecutive pages: the first, and how many.
type Runs = Vec<(Pfn, u64)>;

impl Ledger {
    /// The pins that are held, oldest first, each with an event that tells of it.
    pub fn held(&self) -> Vec<(Event, Held)> {
        let mut holds: BTreeMap<PinId, (&Rc<PinRecord>, Runs)> = BTreeMap::new();
        for (pfn, segment) in &self.segments {
            for pin in &segment.holders {
                let (_, runs) = holds.entry(pin.id).or_insert_with(|| (pin, Vec::new()));
                runs.push((*pfn, segment.pages));
            }
        }
        let places = self.places.by_pin();
        let last: HashMap<PinId, PinId> =
            holds.values().map(|(pin, _)| (pin.call, pin.id)).collect();
        holds
            .into_values()
            .map(|(pin, runs)| {
                let at = |(mm, place): &(u64, &Place)| place.at(*mm);
                let places = places.get(&pin.id).map_or(&[][..], Vec::as_slice);
                // What a call dropped in folios is told once, when all that it holds has been.
                let is_last = last.get(&pin.call) == Some(&pin.id);
                self.held_by(pin, &runs, places.iter().map(at).collect(), is_last)
            })
            .collect()
    }

    fn held_by(
        &self,
        pin: &Rc<PinRecord>,
        runs: &[(Pfn, u64)],
        places: Box<[HeldAt]>,
        is_last: bool,
    ) -> (Event, Held) {
        let extents = pin.extents.iter().flat_map(|extent| parts(extent, runs)).collect();
        let of_call = self.dropped.iter().filter(|((call, _), _)| is_last && *call == pin.call);
        let mut dropped: Vec<_> =
            of_call.map(|((_, folio), references)| (*folio, *references)).collect();
        dropped.sort_unstable();
        let held = Held {
            id: pin.id,
            call: pin.call,
            mm: pin.mm,
            address: pin.address,
            pages: pin.pages,
            listed_from: pin.listed_from,
            gup_flags: pin.gup_flags,
            gone: self.gone.contains(&pin.id),
            extents,
            dropped: dropped.into(),
            places,
        };
        let event = Event {
            time: pin.time,
            task: pin.holder,
            cpu: 0,
            program: None,
            stack: pin.stack.clone(),
            what: What::Before(Before::Held(held.clone())),
        };
        (event, held)
    }

    /// Books a pin as it is held. Nothing was pinned just now.
    pub fn hold(&mut self, event: &Event, held: &Held) {
        let record = Rc::new(PinRecord {
            id: held.id,
            call: held.call,
            holder: event.task,
            stack: event.stack.clone(),
            time: event.time,
            mm: held.mm,
            address: held.address,
            pages: held.pages,
            gup_flags: held.gup_flags,
            listed_from: held.listed_from,
            extents: held.extents.iter().map(|(extent, _)| *extent).collect(),
        });
        self.next = self.next.max(held.id.saturating_add(1));
        let mut pages = 0;
        for (extent, _) in held.extents.iter().filter(|(_, held)| *held) {
            self.add(extent.pfn, extent.pages, &record);
            pages += extent.pages;
        }
        let live = self.live.entry(held.call).or_insert_with(|| Live::new(&record));
        live.pages = live.pages.saturating_add(pages);
        for (folio, references) in &held.dropped {
            self.dropped.insert((held.call, *folio), *references);
            live.pages = live.pages.saturating_sub(*references);
            live.folios.push(*folio);
        }
        live.records.push(Rc::clone(&record));
        let listed = record.listed();
        self.tells(&record, listed);
        if held.gone {
            self.gone.insert(held.id);
        }
        self.places.restore(&record, &held.places);
    }

    /// What was held is not known any more; what was counted is.
    pub fn forget(&mut self) {
        *self = Self {
            next: self.next,
            zero_pfn: self.zero_pfn,
            pinned: self.pinned,
            unpinned: self.unpinned,
            unmatched: self.unmatched,
            unlisted: self.unlisted,
            given_up: self.given_up,
            ..Self::default()
        };
    }

    /// Pages were pinned or unpinned before that nobody could list.
    pub fn unlisted_before(&mut self, pages: u64) {
        self.unlisted = pages;
    }
}

/// An extent cut where it begins or ceases to be held; `runs` are in the order of PFNs and do not overlap.
fn parts(extent: &Extent, runs: &[(Pfn, u64)]) -> Vec<(Extent, bool)> {
    let end = extent.pfn + extent.pages;
    let (mut parts, mut next) = (Vec::new(), extent.pfn);
    let mut part = |from: Pfn, to: Pfn, held| {
        if from < to {
            parts.push((Extent::new(from, to - from), held));
        }
    };
    for (pfn, pages) in runs {
        let (from, to) = ((*pfn).max(next), (pfn + pages).min(end));
        if from < to {
            part(next, from, false);
            part(from, to, true);
            next = to;
        }
    }
    part(next, end, false);
    parts
}
