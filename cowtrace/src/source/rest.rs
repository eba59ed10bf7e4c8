//! Pages of very long pin calls.
//!
//! A program can list only so many pages before the verifier of 5.10 loses patience. What is beyond is
//! looked up here, in the page map of the process, just after the call: the pages are pinned, so they
//! stay where they are unless the very defect strikes in between. A process may have given all back by then, and have
//! other pages there: so the page map must show most of the last ones that were listed, too.

use cowtrace_common::program::Program;

use super::Batch;
use crate::{
    encode::Writer,
    event::{Event, Pfn, Pin, What, is_file},
    pagemap::Pagemap,
    privileges::opener::Opener,
};

/// Page size on the one architecture that is traced.
const PAGE: u64 = 4096;

/// Writes the pages that an event leaves unlisted. What cannot be found stays counted as unlisted, which no verdict
/// overlooks.
pub fn tell(event: &Event, opener: &Opener, found: &mut Batch) {
    // A remote pin is of another process's pages than the caller's; which one's, the record does not
    // say. None of the kernel's own callers makes remote calls of such a length.
    let remote = matches!(event.program, Some(Program::PinRemoteExit | Program::PinReturn));
    // Nor are pages of a file at the caller's addresses.
    if let What::Pin(pin) = &event.what
        && pin.unlisted > 0
        && !remote
        && !is_file(pin.mm)
    {
        look_up(event, pin, opener, found);
    }
}

fn look_up(event: &Event, pin: &Pin, opener: &Opener, found: &mut Batch) {
    let pages = pin.pages.saturating_add(pin.unlisted);
    let (Ok(first), Ok(pages)) = (usize::try_from(pin.address / PAGE), usize::try_from(pages))
    else {
        return;
    };
    let Ok(pagemap) = opener.pagemap(event.task.tgid).map(Pagemap::opened) else {
        return;
    };
    let Ok(pfns) = pagemap.range(first, pages) else {
        return;
    };
    if let Some(rest) = behind(pin, &pfns) {
        let address = pin.address.wrapping_add(pin.pages * PAGE);
        Writer::new(found, event.time).pin_rest(&event.task, pin, address, rest);
    }
}

/// Of frames that are mapped from a pin's address on, those behind the ones that it lists; `None` if others than those
/// are mapped there. A few may differ: one is what this program is there to find.
fn behind<'a>(pin: &Pin, mapped: &'a [Pfn]) -> Option<&'a [Pfn]> {
    let (first, rest) = mapped.split_at_checked(usize::try_from(pin.pages).ok()?)?;
    let listed = pin.extents.iter().flat_map(|extent| extent.pfn..extent.pfn + extent.pages);
    let same = listed.zip(first).filter(|(listed, mapped)| listed == *mapped).count();
    (2 * same > first.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Extent, Extents};

    #[test]
    fn pages_are_looked_up_only_behind_those_that_are_still_there() {
        let extents = Extents::from_slice(&[Extent::new(7, 2), Extent::new(30, 1)]);
        let pin = Pin {
            mm: 2,
            address: 0x1000,
            pages: 3,
            call_pages: 5,
            unlisted: 2,
            gup_flags: 0,
            part: 0,
            extents,
        };
        assert_eq!(behind(&pin, &[7, 8, 30, 50, 51]), Some(&[50, 51][..]));
        assert_eq!(behind(&pin, &[7, 9, 30, 50]), Some(&[50][..]), "one was copied since");
        assert_eq!(behind(&pin, &[7, 9, 31, 50, 51]), None, "others are mapped there");
        assert_eq!(behind(&pin, &[7, 8]), None);
        let nothing = Pin { pages: 0, extents: Extents::new(), ..pin };
        assert_eq!(behind(&nothing, &[50]), None, "nothing to go by");
    }
}
