//! Which pages a call has pinned or unpinned: page pointers to extents of PFNs, and references to folios.

use cowtrace_common::wire::{UNPIN_FORM_BITS, unpin_form};

use super::{Malformed, longs, u32_le, u64_le};
use crate::event::{Extent, Extents, Pfn, Pin, Unpin};

/// PIN and PIN_REST.
pub fn pin(body: &mut &[u8]) -> Result<Pin, Malformed> {
    let (mm, address, vmemmap) = (u64_le(body)?, u64_le(body)?, u64_le(body)?);
    let (call_pages, unlisted) = (u64_le(body)?, u64_le(body)?);
    let (gup_flags, count) = (u32_le(body)?, u32_le(body)?);
    let (shift, part) = (u32_le(body)?, u32_le(body)?);
    let mut extents = consecutive(pfns(body, count, vmemmap, shift)?);
    // `folio_add_pins` tells one folio and how many references.
    if let ([only], 0) = (&mut *extents, mm) {
        only.pages = only.pages.max(call_pages.min(u32::MAX.into()));
    }
    Ok(Pin { mm, address, pages: count.into(), call_pages, unlisted, gup_flags, part, extents })
}

/// UNPIN.
pub fn unpin(body: &mut &[u8]) -> Result<Unpin, Malformed> {
    let (vmemmap, pages, unlisted) = (u64_le(body)?, u64_le(body)?, u64_le(body)?);
    let (make_dirty, count) = (u32_le(body)? != 0, u32_le(body)?);
    let (shift, form) = (u32_le(body)?, u32_le(body)?);
    let mut pfns = pfns(body, count, vmemmap, shift)?.peekable();
    let folio = form >> UNPIN_FORM_BITS;
    // No machine has 2^32 pages in one call; a number that could overflow a sum is no count.
    let pages = pages.min(u32::MAX.into());
    let first = pfns.peek().copied();
    let extents = match form & ((1 << UNPIN_FORM_BITS) - 1) {
        unpin_form::ARRAY => in_folio(consecutive(pfns), folio, first),
        unpin_form::FOLIOS => consecutive(pfns),
        unpin_form::RANGE => {
            let run = |pfn| Extents::from([Extent::new(pfn, pages)]);
            in_folio(first.map(run).unwrap_or_default(), folio, first)
        }
        unpin_form::FOLIO => {
            let all = |pfn| Extent {
                pfn: folio_of(pfn, folio),
                pages,
                folio: folio.max(1),
                is_named: false,
            };
            first.map(|pfn| [all(pfn)].into()).unwrap_or_default()
        }
        form => {
            return Err(Malformed::Number { field: "form of unpin", value: form.into() });
        }
    };
    Ok(Unpin { pages, unlisted, make_dirty, extents })
}

/// Makes of the pages that lie in the first one's folio (of `folio` pages; 0: it has but one) references to
/// that folio: who drops some of them may mean all (io_uring keeps one of 512, from 6.1 on).
fn in_folio(extents: Extents, folio: u32, first: Option<Pfn>) -> Extents {
    let Some(first) = first.filter(|_| folio.is_power_of_two()) else {
        return extents;
    };
    let (start, end) = (folio_of(first, folio), folio_of(first, folio) + u64::from(folio));
    let references = |pages| Extent { pfn: first, pages, folio, is_named: true };
    if let [Extent { pfn, pages, .. }] = *extents
        && pfn + pages <= end
    {
        return [references(pages)].into();
    }
    let mut inside = 0;
    let mut parts = Extents::from([references(0)]);
    for extent in extents {
        let within = (extent.pfn.max(start), (extent.pfn + extent.pages).min(end));
        inside += within.1.saturating_sub(within.0);
        let before = (extent.pfn, (extent.pfn + extent.pages).min(start));
        let behind = (extent.pfn.max(end), extent.pfn + extent.pages);
        for (pfn, next) in [before, behind] {
            if pfn < next {
                parts.push(Extent::new(pfn, next - pfn));
            }
        }
    }
    parts[0].pages = inside;
    parts
}

/// First page of the folio of so many pages that a page lies in: folios are aligned to their size.
pub fn folio_of(pfn: Pfn, folio: u32) -> Pfn {
    if folio.is_power_of_two() { pfn & !(u64::from(folio) - 1) } else { pfn }
}

/// Page pointers as PFNs. A pointer that is none gives a PFN that no machine has, below 2^58 whatever it is,
/// so that sums with page counts cannot overflow.
fn pfns<'a>(
    body: &mut &'a [u8],
    count: u32,
    vmemmap: u64,
    shift: u32,
) -> Result<impl ExactSizeIterator<Item = Pfn> + use<'a>, Malformed> {
    if !(6..64).contains(&shift) {
        return Err(Malformed::Number { field: "page_struct_shift", value: shift.into() });
    }
    Ok(longs(body, count as usize)?.map(move |page| page.wrapping_sub(vmemmap) >> shift))
}

/// Runs of consecutive PFNs.
fn consecutive(pfns: impl Iterator<Item = Pfn>) -> Extents {
    let mut extents = Extents::new();
    for pfn in pfns {
        match extents.last_mut() {
            Some(last) if last.pfn + last.pages == pfn => last.pages += 1,
            _ => extents.push(Extent::new(pfn, 1)),
        }
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(pfn: Pfn, pages: u64, folio: u32) -> Extent {
        Extent { folio, ..Extent::new(pfn, pages) }
    }

    #[test]
    fn pages_in_the_first_ones_folio_are_references_to_it_and_others_are_themselves() {
        let pages = Extents::from_slice(&[extent(0x203, 6, 0), extent(0x300, 2, 0)]);
        let parts = in_folio(pages, 8, Some(0x203));
        assert_eq!(*parts, [extent(0x203, 5, 8), extent(0x208, 1, 0), extent(0x300, 2, 0)]);
    }

    #[test]
    fn a_folio_of_one_page_changes_nothing_and_an_impossible_one_is_none() {
        for folio in [0, 3, 511] {
            let pages = Extents::from([extent(0x203, 6, 0)]);
            assert_eq!(*in_folio(pages, folio, Some(0x203)), [extent(0x203, 6, 0)]);
        }
    }
}
