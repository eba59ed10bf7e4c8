//! Who holds which page: the running balance of pins against unpins.
//!
//! A pure fold over events. It reads no clock and no `/proc`, so a recording replays to the same
//! ledger it was live.
//!
//! Pages are kept as extents: a pin of 64 GiB in huge pages is one entry, not sixteen million.
//!
//! Invariant: a balance never goes below zero. An unpin we saw no pin for means the pin predates us
//! (or was filtered out), and is counted as unmatched, not subtracted.

mod keyframe;
mod places;
mod segments;

use std::{collections::BTreeMap, ops::Range, rc::Rc};

use hashbrown::{HashMap, HashSet, hash_map::Entry};
use smallvec::SmallVec;

pub use self::places::Place;
use self::{places::Places, segments::Segment};
use crate::event::{
    Event, Extent, Extents, Fault, FileRange, Mm, Pfn, Pin, Stack, Task, Time, Unpin, is_file,
};

/// Number of a pin record, in the order seen.
pub type PinId = u64;

/// A call that pinned pages, or a part of a long one.
#[derive(Debug, PartialEq, Eq)]
pub struct PinRecord {
    /// Its number.
    pub id: PinId,
    /// Number of the first record of its call.
    pub call: PinId,
    /// Who pinned.
    pub holder: Task,
    /// From where.
    pub stack: Stack,
    /// When.
    pub time: Time,
    /// Whose pages.
    pub mm: Mm,
    /// Address that the call began at.
    pub address: u64,
    /// How many pages it pinned.
    pub pages: u64,
    /// FOLL_* as the caller gave them.
    pub gup_flags: u32,
    /// Address of the first page of `extents`: a long call is told in several records.
    listed_from: u64,
    /// The pages of this record, in the order of their addresses.
    extents: Extents,
}

impl PinRecord {
    /// Where the call began, in words: an address, or an offset in a file.
    pub fn place(&self) -> String {
        let address = self.address;
        if is_file(self.mm) {
            format!("offset {address:#x} of a file")
        } else {
            format!("{address:#x}")
        }
    }

    /// The page that it pinned as its `index`th, from 0, of those told in this record.
    pub fn pfn_at(&self, index: u64) -> Option<Pfn> {
        let mut first = 0;
        self.extents.iter().find_map(|extent| {
            let within = index - first;
            first += extent.pages;
            (index < first).then(|| extent.pfn + within)
        })
    }

    /// What is left to tell of it when it has ended: all but its pages, where these take room.
    pub fn ended(self: &Rc<Self>) -> Rc<Self> {
        if !self.extents.spilled() {
            return Rc::clone(self);
        }
        Rc::new(Self { extents: Extents::new(), stack: self.stack.clone(), ..**self })
    }

    /// Pages told in this record.
    fn listed(&self) -> u64 {
        self.extents.iter().map(|extent| extent.pages).sum()
    }
}

/// A page was released by one of its holders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The call that had pinned it: number of its first record.
    pub call: PinId,
    /// First page.
    pub pfn: Pfn,
    /// How many.
    pub pages: u64,
}

/// A call that holds something.
#[derive(Clone, Debug)]
struct Live {
    /// Its first record that did.
    first: Rc<PinRecord>,
    /// Page references that it holds.
    pages: u64,
    /// Its records.
    records: SmallVec<[Rc<PinRecord>; 1]>,
    /// First pages of folios in which it dropped some of its references: what it holds there, only its end tells.
    folios: SmallVec<[Pfn; 1]>,
}

impl Live {
    fn new(first: &Rc<PinRecord>) -> Self {
        Self {
            first: Rc::clone(first),
            pages: 0,
            records: SmallVec::new(),
            folios: SmallVec::new(),
        }
    }
}

/// A call that is told in several records.
#[derive(Clone, Debug)]
struct LongCall {
    first: Rc<PinRecord>,
    /// Pages told so far.
    told: u64,
}

/// What an unpin released.
pub type Releases = SmallVec<[Release; 1]>;

/// The balance.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By first PFN; they do not overlap.
    segments: BTreeMap<Pfn, Segment>,
    /// The calls that hold anything.
    live: HashMap<PinId, Live>,
    next: PinId,
    /// By thread, the call that it tells in several records, as long as some are to come: only the first has the stacks.
    long_calls: HashMap<u32, LongCall>,
    /// Where pinned pages are mapped.
    places: Places,
    /// Pins of address spaces that are gone: their addresses may soon be another's.
    gone: HashSet<PinId>,
    /// References dropped of what a call holds in a folio, by its first page, until all are.
    dropped: HashMap<(PinId, Pfn), u64>,
    /// PFN that stands for no page: from 6.5 on it is returned, but neither pinned nor unpinned
    /// (c8070b787519).
    zero_pfn: Option<Pfn>,
    pinned: u64,
    unpinned: u64,
    unmatched: u64,
    unlisted: u64,
    given_up: u64,
}

impl Ledger {
    /// Pages whose pins and unpins are nothing.
    pub fn ignore(&mut self, zero_pfn: Pfn) {
        self.zero_pfn = Some(zero_pfn);
    }

    /// Page references held now.
    pub fn live_pages(&self) -> u64 {
        self.live.values().map(|live| live.pages).sum()
    }

    /// Pin calls that hold something.
    pub fn live_pins(&self) -> usize {
        self.live.len()
    }

    /// Page references pinned so far.
    pub fn pinned(&self) -> u64 {
        self.pinned
    }

    /// Page references unpinned so far whose pin was seen.
    pub fn unpinned(&self) -> u64 {
        self.unpinned
    }

    /// Page references unpinned so far whose pin was not seen.
    pub fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// Page references [given up](Self::give_up).
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Pages that a call pinned or unpinned and nobody could list.
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// The pins that hold a page, oldest first.
    pub fn holders(&self, pfn: Pfn) -> &[Rc<PinRecord>] {
        match self.segments.range(..=pfn).next_back() {
            Some((start, segment)) if pfn - start < segment.pages => &segment.holders,
            _ => &[],
        }
    }

    /// A call that holds something, with the page references that it holds.
    pub fn call(&self, call: PinId) -> Option<(&Rc<PinRecord>, u64)> {
        self.live.get(&call).map(|live| (&live.first, live.pages))
    }

    /// How many pin records there were: the number of the next one.
    pub fn records(&self) -> PinId {
        self.next
    }

    /// All calls that hold something, with the page references that they hold.
    pub fn calls(&self) -> impl Iterator<Item = (&Rc<PinRecord>, u64)> {
        self.live.values().map(|live| (&live.first, live.pages))
    }

    /// All live pins with the page references they hold, oldest first.
    pub fn pins(&self) -> Vec<(Rc<PinRecord>, u64)> {
        let mut pins: BTreeMap<PinId, (Rc<PinRecord>, u64)> = BTreeMap::new();
        for segment in self.segments.values() {
            for holder in &segment.holders {
                pins.entry(holder.id).or_insert_with(|| (Rc::clone(holder), 0)).1 += segment.pages;
            }
        }
        pins.into_values().collect()
    }

    /// Books a pin.
    pub fn pin(&mut self, event: &Event, pin: &Pin) {
        self.unlisted = self.unlisted.saturating_add(pin.unlisted);
        let id = self.next;
        self.next += 1;
        let first = self.first_of_call(event, pin);
        let record = Rc::new(PinRecord {
            id,
            call: first.map_or(id, |first| first.id),
            holder: event.task,
            stack: first.map_or_else(|| event.stack.clone(), |first| first.stack.clone()),
            time: event.time,
            mm: pin.mm,
            address: pin.call_address(),
            pages: pin.call_pages,
            gup_flags: pin.gup_flags,
            listed_from: pin.address,
            extents: pin.extents.clone(),
        });
        self.tells(&record, pin.pages);
        let mut booked = 0;
        for extent in &pin.extents {
            for (pfn, pages) in self.real(extent) {
                self.add(pfn, pages, &record);
                booked += pages;
            }
        }
        self.pinned += booked;
        if booked > 0 {
            let live = self.live.entry(record.call).or_insert_with(|| Live::new(&record));
            live.pages += booked;
            live.records.push(Rc::clone(&record));
            self.places.add(record);
        }
    }

    /// Mappings were moved (mremap), and what is pinned there with them.
    pub fn moved(&mut self, mm: Mm, from: u64, to: u64, len: u64) {
        self.places.moved(mm, (from, from.saturating_add(len)), to);
    }

    /// Pages of a file, of which some are pinned, are mapped in an address space.
    pub fn mapped(&mut self, range: &FileRange) {
        self.places.mapped(range);
    }

    /// An address space is gone; its pins live on. Those that were mapped in it.
    pub fn mm_exit(&mut self, mm: Mm) -> Vec<Rc<PinRecord>> {
        let pins = self.places.forget(mm);
        // A file's pages are others' too.
        self.gone.extend(pins.iter().filter(|pin| pin.mm == mm).map(|pin| pin.id));
        pins
    }

    /// Where pinned pages are mapped in a range, by address; parts of it that are pinned no more included.
    pub fn places(&self, mm: Mm, start: u64, end: u64) -> Vec<Place> {
        self.places.overlapping(mm, start, end)
    }

    /// Every place where pinned pages are mapped, by address space and address.
    pub fn all_places(&self) -> impl Iterator<Item = (Mm, &Place)> {
        self.places.all()
    }

    /// Whether a pin still holds a page.
    pub fn holds(&self, pin: PinId, pfn: Pfn) -> bool {
        self.holders(pfn).iter().any(|holder| holder.id == pin)
    }

    /// Whether a call holds any of some pages.
    pub fn holds_any(&self, call: PinId, pages: Range<Pfn>) -> bool {
        let touching = self.segments.range(..pages.end).rev();
        touching
            .take_while(|(start, segment)| **start + segment.pages > pages.start)
            .any(|(_, segment)| segment.holders.iter().any(|pin| pin.call == call))
    }

    /// Whether a call still holds any page.
    pub fn is_live(&self, call: PinId) -> bool {
        self.live.contains_key(&call)
    }

    /// The first record of the call that this one goes on.
    fn first_of_call(&self, event: &Event, pin: &Pin) -> Option<&PinRecord> {
        let first = &self.long_calls.get(&event.task.tid).filter(|_| pin.part > 0)?.first;
        (first.mm == pin.mm && first.address == pin.call_address()).then_some(first)
    }

    /// A record tells so many pages of its call: perhaps the first, perhaps the last.
    fn tells(&mut self, record: &Rc<PinRecord>, pages: u64) {
        let thread = record.holder.tid;
        let is_whole = record.id == record.call && pages >= record.pages;
        if is_whole || record.mm == 0 {
            return;
        }
        if record.id == record.call {
            let call = LongCall { first: Rc::clone(record), told: 0 };
            self.long_calls.insert(thread, call);
        }
        if let Entry::Occupied(mut call) = self.long_calls.entry(thread)
            && call.get().first.call == record.call
        {
            let told = &mut call.get_mut().told;
            *told = told.saturating_add(pages);
            if *told >= record.pages {
                call.remove();
            }
        }
    }

    /// Books pages of a call that its own records could not list.
    pub fn pin_rest(&mut self, event: &Event, pin: &Pin) {
        self.unlisted = self.unlisted.saturating_sub(pin.pages);
        self.pin(event, pin);
    }

    /// Books an unpin; what it released.
    pub fn unpin(&mut self, unpin: &Unpin) -> Releases {
        self.unlisted = self.unlisted.saturating_add(unpin.unlisted);
        let mut released = Releases::new();
        for extent in &unpin.extents {
            // One reference to a folio of one page is to that page.
            if extent.folio == 0 || (extent.folio, extent.pages) == (1, 1) {
                for (pfn, pages) in self.real(extent) {
                    self.drop_pages(pfn, pages, &mut released);
                }
            } else {
                self.drop_in_folio(extent, &mut released);
            }
        }
        released
    }

    /// The parts of an extent left and right of the zero page.
    fn real(&self, extent: &Extent) -> impl Iterator<Item = (Pfn, u64)> + use<> {
        let (start, end) = (extent.pfn, extent.pfn + extent.pages);
        let zero = self.zero_pfn.filter(|zero| (start..end).contains(zero));
        let parts = match zero {
            Some(zero) => [(start, zero), (zero + 1, end)],
            None => [(start, end), (end, end)],
        };
        parts.into_iter().filter(|(from, to)| from < to).map(|(from, to)| (from, to - from))
    }

    /// Takes references of a call off the books.
    fn settle(&mut self, call: PinId, pages: u64) {
        self.unpinned += pages;
        let Some(live) = self.live.get_mut(&call) else { return };
        live.pages = live.pages.saturating_sub(pages);
        if live.pages == 0 {
            let is_listed = !live.folios.is_empty();
            self.end(call, is_listed);
        }
    }

    /// A call holds nothing any more; perhaps pages are still listed of it.
    fn end(&mut self, call: PinId, is_listed: bool) {
        let Some(live) = self.live.remove(&call) else { return };
        for record in &live.records {
            self.places.remove(record.id);
            self.gone.remove(&record.id);
            if is_listed {
                self.release_all(record, call);
            }
        }
        for folio in live.folios {
            self.dropped.remove(&(call, folio));
        }
    }

    /// Takes calls off the books that pinned before `since`, as their unpins were lost: those for one I/O only, and
    /// those of address spaces that are gone. Not what is pinned of a file, which others map, nor what was added to the
    /// pins of a folio, of which nobody knows for how long. Which calls these are.
    pub fn give_up(&mut self, since: Time, is_longterm: impl Fn(u32) -> bool) -> Vec<PinId> {
        let is_over = |live: &Live| {
            let first = &live.first;
            let of_memory = first.mm != 0 && !is_file(first.mm);
            let is_gone = || live.records.iter().all(|record| self.gone.contains(&record.id));
            first.time < since && of_memory && (!is_longterm(first.gup_flags) || is_gone())
        };
        let over = self.live.iter().filter(|(_, live)| is_over(live));
        let mut over: Vec<(PinId, u64)> = over.map(|(call, live)| (*call, live.pages)).collect();
        over.sort_unstable();
        for (call, pages) in &over {
            self.given_up = self.given_up.saturating_add(*pages);
            self.end(*call, true);
        }
        over.into_iter().map(|(call, _)| call).collect()
    }

    /// Pins of the faulting address space on what it lost. An anonymous page has one place in an address
    /// space, so it is enough that the pin is on it; a file page may be mapped twice, and only the place that
    /// was pinned counts.
    pub fn pins_broken_by(&self, fault: &Fault) -> Vec<Rc<PinRecord>> {
        if fault.pages() > 1 {
            return self.pins_broken_at(fault);
        }
        self.holders(fault.old_pfn)
            .iter()
            .filter(|pin| pin.mm == fault.mm && !self.gone.contains(&pin.id))
            .filter(|pin| fault.anon() || self.is_at(pin.id, fault))
            .map(Rc::clone)
            .collect()
    }

    /// Whether a pin has the page that was lost at the address where it was lost.
    fn is_at(&self, pin: PinId, fault: &Fault) -> bool {
        let places = self.places(fault.mm, fault.address, fault.address + 1);
        places.iter().any(|place| place.pin.id == pin && place.pfn() == Some(fault.old_pfn))
    }

    /// The same for a huge page that was replaced as a whole.
    fn pins_broken_at(&self, fault: &Fault) -> Vec<Rc<PinRecord>> {
        let old = fault.old_pfn..fault.old_pfn.saturating_add(fault.pages());
        let end = fault.start().saturating_add(fault.pages() << 12);
        let mut places = self.places(fault.mm, fault.start(), end);
        places.retain(|place| {
            place.pfn().is_some_and(|pfn| old.contains(&pfn) && self.holds(place.pin.id, pfn))
        });
        places.into_iter().map(|place| place.pin).collect()
    }
}

#[cfg(test)]
mod tests;
