//! Pages of very long pin calls.
//!
//! A program can list only so many pages before the verifier of 5.10 loses patience. What is beyond is
//! looked up here, in the page map of the process, just after the call: the pages are pinned, so they
//! stay where they are unless the very defect strikes in between.

use cowtrace_common::program::Program;

use super::Batch;
use crate::{
    encode::Writer,
    event::{Event, Pin, What, is_file},
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
    let address = pin.address.wrapping_add(pin.pages * PAGE);
    let (Ok(first), Ok(pages)) = (usize::try_from(address / PAGE), usize::try_from(pin.unlisted))
    else {
        return;
    };
    let Ok(pagemap) = opener.pagemap(event.task.tgid).map(Pagemap::opened) else {
        return;
    };
    let Ok(pfns) = pagemap.range(first, pages) else {
        return;
    };
    Writer::new(found, event.time).pin_rest(&event.task, pin, address, &pfns);
}
