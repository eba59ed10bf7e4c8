//! What a page holds that a process was moved off while it was pinned: looked at then, and again when it is
//! unpinned. If it has changed in between, somebody wrote to it who still had it.

use aya_ebpf::{EbpfContext, macros::map, maps::Array};
use cowtrace_common::{
    program::Program,
    wire::{Content, content_at, kind},
};

use crate::{
    emit::{self, Record},
    kernel,
};

/// log2 of the places in the map.
const PLACE_BITS: u32 = 14;

/// PFNs of pages that a process was moved off. Each folio has one place, by a hash of its first PFN: each unpin asks, and
/// a hash map would take ten times as long to answer. Who comes later to a place takes it; the content of the first is
/// then not compared.
#[map]
static ORPHANS: Array<u64> = Array::with_max_entries(1 << PLACE_BITS, 0);

#[inline(always)]
fn place(first: u64) -> Option<*mut u64> {
    ORPHANS.get_ptr_mut(emit::spread::<PLACE_BITS>(first))
}

/// Looks at a page that its process has just been, or is about to be, moved off.
#[inline(always)]
pub fn keep(program: Program, pfn: u64) {
    let (folio, pages) = kernel::folio_of(kernel::page_of(pfn));
    let first = if pages == 0 { pfn } else { kernel::pfn_of(folio) };
    if let Some(place) = place(first) {
        // SAFETY: a number of the map. Volatile, since other CPUs write there too.
        unsafe { place.write_volatile(pfn) };
        if let Some(record) = record(program, pfn, content_at::BREAK) {
            record.submit();
        }
    }
}

/// The page that is known to have been left in the folio of `page`, which is about to be unpinned.
#[inline(always)]
pub fn in_folio_of(page: u64, folio: u64, pages: u32) -> Option<u64> {
    let first = kernel::pfn_of(if pages == 0 { page } else { folio });
    // SAFETY: as in `keep`.
    let pfn = unsafe { place(first)?.read_volatile() };
    (pfn.wrapping_sub(first) < u64::from(pages.max(1))).then_some(pfn)
}

/// Looks again at a page that was left, and at who unpins it.
#[inline(always)]
pub fn compare(ctx: &impl EbpfContext, program: Program, pfn: u64) {
    if let Some(mut record) = record(program, pfn, content_at::UNPIN) {
        record.stacks(ctx);
        record.submit();
    }
}

#[inline(always)]
fn record(program: Program, pfn: u64, at: u32) -> Option<Record<Content>> {
    let hash = page_hash(program as u64, pfn);
    if hash == 0 {
        return None;
    }
    let mut record = Record::new(program, kind::CONTENT)?;
    record.body(Content { pfn, hash, at, reserved: 0 });
    Some(record)
}

/// Words that are taken in one step: few steps spare the verifier of 5.10, which compares each with all
/// before it.
const STEP: usize = 32;

/// A hash in which any change of one word shows: each step is a bijection of the state. 0 if the page cannot be read.
///
/// A function by itself: the verifier looks at it once, not on each of the ways that lead here.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn page_hash(program: u64, pfn: u64) -> u64 {
    let Some(words) = emit::scratch(program as u32) else {
        return 0;
    };
    let mut from = kernel::page_address(pfn);
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut half = 0;
    while half < 4096 / size_of_val(words) {
        // SAFETY: words are bytes.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), size_of_val(words))
        };
        if !kernel::copy(from, bytes) {
            return 0;
        }
        for step in words.chunks_exact(STEP) {
            for word in step {
                hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        from += size_of_val(words) as u64;
        half += 1;
    }
    hash
}
