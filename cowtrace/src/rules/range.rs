//! What happens to ranges: which pins a zap takes the mapping from, and which a write protection arms.

use std::collections::HashSet;

use crate::{
    event::{Protect, Protector, VM_HUGETLB, VM_SHARED, Zap},
    facts::Facts,
    finding::ZapKind,
    ledger::{Ledger, PinId, Place},
};

/// The pinned places that a zap leaves without their mapping, for good: a shared mapping that is only unmapped
/// finds its pages again in the file.
pub fn invalidates(zap: &Zap, kind: ZapKind, ledger: &Ledger, facts: &Facts) -> Vec<Place> {
    if kind == ZapKind::Oom || (zap.shared() && !kind.is_of_file()) {
        return Vec::new();
    }
    let mut places = pinned(ledger, zap.mm, (zap.start, zap.end));
    // The kernel's own count of the first page knows better than the books: an unpin of that call was not seen.
    let here = |place: &&Place| zap.is_pinned(place.start, place.pfn()) == Some(false);
    let ended: HashSet<PinId> = places.iter().filter(here).map(|place| place.pin.call).collect();
    places.retain(|place| {
        let flags = place.pin.gup_flags;
        // A short-term read-only pin reads what was there when the I/O was submitted.
        let reads_once = !facts.is_write(flags) && !facts.is_longterm(flags);
        // What a private mapping was written to through is no page of the file any more.
        let spared = zap.spares_cows && !zap.shared() && facts.pins_own_page(flags);
        !reads_once && !spared && !ended.contains(&place.pin.call)
    });
    places
}

/// The pinned places that a write protection exposes to a copy at the next write, by this kernel's own rule.
///
/// Told of mprotect and userfaultfd only: clear_refs and NUMA balancing leave pinned pages alone in all
/// kernels with the fixes of 2021 and 2022 (9348b73c2e1b, 80d47f5de5e3), which nothing visible tells.
pub fn arms(protect: &Protect, ledger: &Ledger, facts: &Facts) -> Vec<Place> {
    let by_call = matches!(protect.by, Some(Protector::Mprotect | Protector::UserfaultfdWp));
    // hugetlb goes by mappings alone, and exclusive pages are kept.
    // So does a huge page that stays mapped as one.
    let whole = protect.mapped_shift > 12
        && protect.start.trailing_zeros() >= protect.mapped_shift
        && protect.end.saturating_sub(protect.start) >> protect.mapped_shift.min(63) > 0;
    let kept = whole || facts.anon_exclusive() || protect.vma_flags & (VM_SHARED | VM_HUGETLB) != 0;
    if !by_call || kept {
        return Vec::new();
    }
    let mut places = pinned(ledger, protect.mm, (protect.start, protect.end));
    places.retain(|place| {
        facts.is_write(place.pin.gup_flags) || facts.is_longterm(place.pin.gup_flags)
    });
    places
}

/// Places in a range whose first page is still pinned.
fn pinned(ledger: &Ledger, mm: u64, (start, end): (u64, u64)) -> Vec<Place> {
    let mut places = ledger.places(mm, start, end);
    places.retain(|place| place.pfn().is_some_and(|pfn| ledger.holds(place.pin.id, pfn)));
    places
}
