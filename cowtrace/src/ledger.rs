//! Who holds which page: the running balance of pins against unpins.
//!
//! A pure fold over events. It reads no clock and no `/proc`, so a recording replays to the same
//! ledger it was live.
//!
//! Pages are kept as extents: a pin of 64 GiB in huge pages is one entry, not sixteen million.
//!
//! Invariant: a balance never goes below zero. An unpin we saw no pin for means the pin predates us
//! (or was filtered out), and is counted as unmatched, not subtracted.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use crate::event::{Event, Extent, Fault, Mm, Pfn, Pin, Stack, Task, Time, Unpin};

/// Number of a pin record, in the order seen.
pub type PinId = u64;

/// A call that pinned pages, or a part of a long one.
#[derive(Debug, PartialEq, Eq)]
pub struct PinRecord {
    /// Its number.
    pub id: PinId,
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
    extents: Box<[Extent]>,
}

impl PinRecord {
    /// Addresses at which this call pinned `pfn`. More than one if it is mapped more than once.
    pub fn addresses(&self, pfn: Pfn) -> impl Iterator<Item = u64> {
        let mut address = self.listed_from;
        self.extents.iter().filter_map(move |extent| {
            let start = address;
            address = address.wrapping_add(extent.pages << 12);
            let within = pfn.checked_sub(extent.pfn)?;
            (within < extent.pages).then(|| start.wrapping_add(within << 12))
        })
    }
}

/// A page was released by one of its holders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The pin it was.
    pub pin: PinId,
    /// First page.
    pub pfn: Pfn,
    /// How many.
    pub pages: u64,
}

/// Consecutive pages with the same holders, at least one.
#[derive(Clone, Debug)]
struct Segment {
    pages: u64,
    /// In the order they pinned.
    holders: Vec<Rc<PinRecord>>,
}

/// The balance.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By first PFN; they do not overlap.
    segments: BTreeMap<Pfn, Segment>,
    /// Page references live for each pin that has any left.
    live: HashMap<PinId, u64>,
    next: PinId,
    /// By thread, the first record of its last call that takes several: only that one has the stacks.
    long_calls: HashMap<u32, Rc<PinRecord>>,
    /// PFN that stands for no page: from 6.5 on it is returned, but neither pinned nor unpinned
    /// (c8070b787519).
    zero_pfn: Option<Pfn>,
    pinned: u64,
    unpinned: u64,
    unmatched: u64,
    unlisted: u64,
}

impl Ledger {
    /// Pages whose pins and unpins are nothing.
    pub fn ignore(&mut self, zero_pfn: Pfn) {
        self.zero_pfn = Some(zero_pfn);
    }

    /// Page references held now.
    pub fn live_pages(&self) -> u64 {
        self.live.values().sum()
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
        if pin.part == 0 && pin.call_pages > pin.pages {
            self.long_calls.insert(event.task.tid, Rc::clone(&record));
        }
        let mut booked = 0;
        for extent in &pin.extents {
            for (pfn, pages) in self.real(extent) {
                self.add(pfn, pages, &record);
                booked += pages;
            }
        }
        self.pinned += booked;
        if booked > 0 {
            self.live.insert(id, booked);
        }
    }

    /// The first record of the call that this one goes on.
    fn first_of_call(&self, event: &Event, pin: &Pin) -> Option<&PinRecord> {
        let first = self.long_calls.get(&event.task.tid).filter(|_| pin.part > 0)?;
        (first.mm == pin.mm && first.address == pin.call_address()).then_some(first)
    }

    /// Books pages of a call that its own records could not list.
    pub fn pin_rest(&mut self, event: &Event, pin: &Pin) {
        self.unlisted = self.unlisted.saturating_sub(pin.pages);
        self.pin(event, pin);
    }

    /// Books an unpin; what it released.
    pub fn unpin(&mut self, unpin: &Unpin) -> Vec<Release> {
        self.unlisted = self.unlisted.saturating_add(unpin.unlisted);
        let mut released = Vec::new();
        for extent in &unpin.extents {
            if extent.folio_wise {
                self.drop_in_folio(extent, &mut released);
            } else {
                for (pfn, pages) in self.real(extent) {
                    self.drop_pages(pfn, pages, &mut released);
                }
            }
        }
        for release in &released {
            self.settle(release);
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

    fn settle(&mut self, release: &Release) {
        self.unpinned += release.pages;
        if let Some(left) = self.live.get_mut(&release.pin) {
            *left = left.saturating_sub(release.pages);
            if *left == 0 {
                self.live.remove(&release.pin);
            }
        }
    }

    /// Makes `pfn` the start of a segment if it lies inside one.
    fn cut(&mut self, pfn: Pfn) {
        let Some((&start, segment)) = self.segments.range_mut(..pfn).next_back() else {
            return;
        };
        let within = pfn - start;
        if within < segment.pages {
            let rest = Segment { pages: segment.pages - within, holders: segment.holders.clone() };
            segment.pages = within;
            self.segments.insert(pfn, rest);
        }
    }

    fn add(&mut self, pfn: Pfn, pages: u64, record: &Rc<PinRecord>) {
        let end = pfn + pages;
        self.cut(pfn);
        self.cut(end);
        let mut gaps = Vec::new();
        let mut next = pfn;
        for (&start, segment) in self.segments.range_mut(pfn..end) {
            if next < start {
                gaps.push((next, start - next));
            }
            next = start + segment.pages;
            segment.holders.push(Rc::clone(record));
        }
        if next < end {
            gaps.push((next, end - next));
        }
        for (start, pages) in gaps {
            self.segments.insert(start, Segment { pages, holders: vec![Rc::clone(record)] });
        }
    }

    /// Drops one reference on each page of a range.
    fn drop_pages(&mut self, pfn: Pfn, pages: u64, released: &mut Vec<Release>) {
        let end = pfn + pages;
        self.cut(pfn);
        self.cut(end);
        let mut matched = 0;
        let mut empty = Vec::new();
        for (&start, segment) in self.segments.range_mut(pfn..end) {
            matched += segment.pages;
            // The kernel does not say whose reference it drops. Short-term pins end soonest, so the
            // youngest is the best guess; the count is right whichever it was.
            if let Some(holder) = segment.holders.pop() {
                released.push(Release { pin: holder.id, pfn: start, pages: segment.pages });
            }
            if segment.holders.is_empty() {
                empty.push(start);
            }
        }
        for start in empty {
            self.segments.remove(&start);
        }
        self.unmatched += pages - matched;
    }

    /// Drops references that a call told by folio, not by page: on the first pages from `pfn` on that
    /// hold any, up to where the folio must end.
    fn drop_in_folio(&mut self, extent: &Extent, released: &mut Vec<Release>) {
        // A folio's size is a power of two and it is aligned to it, so it cannot reach further.
        let reach = if extent.pfn == 0 { 1 } else { 1 << extent.pfn.trailing_zeros().min(18) };
        let mut left = extent.pages;
        while left > 0 {
            let next = self.segments.range(extent.pfn..extent.pfn + reach).next();
            let Some((&start, segment)) = next else { break };
            let pages = segment.pages.min(left);
            self.drop_pages(start, pages, released);
            left -= pages;
        }
        self.unmatched += left;
    }

    /// Pins of the faulting address space on the page that it lost. An anonymous page has one place in
    /// an address space, so a pin at another address means it was moved there (mremap); a file page may be
    /// mapped twice, and only the place that was pinned counts.
    pub fn pins_broken_by(&self, fault: &Fault) -> Vec<Rc<PinRecord>> {
        self.holders(fault.old_pfn)
            .iter()
            .filter(|pin| pin.mm == fault.mm)
            .filter(|pin| {
                fault.anon() || pin.addresses(fault.old_pfn).any(|at| at == fault.address)
            })
            .map(Rc::clone)
            .collect()
    }
}

#[cfg(test)]
mod tests;
