//! Which pages are held by whom: runs of pages with the same holders, cut where pins and unpins begin and end.

use std::{collections::btree_map::Entry, rc::Rc};

use smallvec::SmallVec;

use super::{Ledger, PinId, PinRecord, Release, Releases};
use crate::{
    decode::folio_of,
    event::{Extent, Pfn},
};

/// Consecutive pages with the same holders, at least one.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) pages: u64,
    /// In the order they pinned.
    pub(super) holders: SmallVec<[Rc<PinRecord>; 1]>,
}

impl Ledger {
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

    pub(super) fn add(&mut self, pfn: Pfn, pages: u64, record: &Rc<PinRecord>) {
        if pages == 0 {
            return; // A keyframe may say so that we did not write.
        }
        let end = pfn + pages;
        // As nearly all are: nobody pins any of them yet.
        let before = self.segments.range(..end).next_back();
        if before.is_none_or(|(start, segment)| start + segment.pages <= pfn) {
            self.segments.insert(pfn, Segment { pages, holders: [Rc::clone(record)].into() });
            return;
        }
        self.cut(pfn);
        self.cut(end);
        let mut gaps: SmallVec<[_; 4]> = SmallVec::new();
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
            self.segments.insert(start, Segment { pages, holders: [Rc::clone(record)].into() });
        }
    }

    /// Drops one reference on each page of a range.
    pub(super) fn drop_pages(&mut self, pfn: Pfn, pages: u64, released: &mut Releases) {
        // As nearly all are, where pages lie scattered: a segment, which one call holds.
        if let Entry::Occupied(found) = self.segments.entry(pfn)
            && found.get().pages == pages
            && let [holder] = found.get().holders.as_slice()
        {
            let call = holder.call;
            found.remove();
            released.push(Release { call, pfn, pages });
            return self.settle(call, pages);
        }
        let end = pfn + pages;
        self.cut(pfn);
        self.cut(end);
        let (mut matched, before) = (0, released.len());
        let mut empty: SmallVec<[_; 4]> = SmallVec::new();
        for (&start, segment) in self.segments.range_mut(pfn..end) {
            matched += segment.pages;
            // The kernel does not say whose reference it drops. Short-term pins end soonest, so the
            // youngest is the best guess; the count is right whichever it was.
            if let Some(holder) = segment.holders.pop() {
                released.push(Release { call: holder.call, pfn: start, pages: segment.pages });
            }
            if segment.holders.is_empty() {
                empty.push(start);
            }
        }
        for start in empty {
            self.segments.remove(&start);
        }
        self.unmatched += pages - matched;
        for release in &released[before..] {
            self.settle(release.call, release.pages);
        }
    }

    /// Drops references to a folio. A call holds all its pages there until as many references were dropped:
    /// which of them a device still uses, only its driver knows.
    pub(super) fn drop_in_folio(&mut self, extent: &Extent, released: &mut Releases) {
        if extent.folio == 1 && self.zero_pfn == Some(extent.pfn) {
            return;
        }
        let start = folio_of(extent.pfn, extent.folio);
        let end = start + u64::from(extent.folio);
        self.cut(start);
        self.cut(end);
        let mut left = extent.pages;
        while left > 0 {
            let Some((call, held)) = self.holder_in(start, end, extent) else { break };
            let dropped = self.dropped.entry((call, start)).or_default();
            let taken = left.min(held.saturating_sub(*dropped)).max(1);
            *dropped += taken;
            if *dropped >= held {
                self.dropped.remove(&(call, start));
                self.release_in(start, end, call, released);
                if let Some(live) = self.live.get_mut(&call) {
                    live.folios.retain(|folio| *folio != start);
                }
            } else if let Some(live) = self.live.get_mut(&call)
                && !live.folios.contains(&start)
            {
                live.folios.push(start);
            }
            self.settle(call, taken);
            left -= taken;
        }
        self.unmatched += left;
    }

    /// Whose references to a folio are dropped, and how many of its pages that call holds: the youngest that holds the
    /// page that is named, or else any.
    fn holder_in(&self, start: Pfn, end: Pfn, extent: &Extent) -> Option<(PinId, u64)> {
        let named = if extent.is_named { self.holders(extent.pfn) } else { &[] };
        let segments = || self.segments.range(start..end).map(|(_, segment)| segment);
        let calls = |pins: &[Rc<PinRecord>]| pins.iter().map(|pin| pin.call).max();
        let any = || segments().filter_map(|segment| calls(&segment.holders)).max();
        let call = calls(named).or_else(any)?;
        let holds = |segment: &&Segment| segment.holders.iter().any(|pin| pin.call == call);
        Some((call, segments().filter(holds).map(|segment| segment.pages).sum()))
    }

    /// Takes a call off all pages of a range.
    pub(super) fn release_in(&mut self, pfn: Pfn, end: Pfn, call: PinId, released: &mut Releases) {
        for (&pfn, segment) in self.segments.range_mut(pfn..end) {
            if let Some(at) = segment.holders.iter().position(|pin| pin.call == call) {
                segment.holders.remove(at);
                released.push(Release { call, pfn, pages: segment.pages });
            }
        }
        let bare = self.segments.range(pfn..end).filter(|(_, segment)| segment.holders.is_empty());
        let empty: Vec<_> = bare.map(|(pfn, _)| *pfn).collect();
        for pfn in empty {
            self.segments.remove(&pfn);
        }
    }

    /// Takes a call off all pages of one of its records.
    pub(super) fn release_all(&mut self, record: &PinRecord, call: PinId) {
        for extent in &record.extents {
            self.release_in(extent.pfn, extent.pfn + extent.pages, call, &mut Releases::new());
        }
    }
}
