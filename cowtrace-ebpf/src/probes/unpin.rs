//! Unpins. Never filtered by task: an exiting io_uring or an AF_XDP socket unpins from a kworker, and
//! a finished bio from an interrupt.
//!
//! Two nestings would count an unpin twice: `unpin_user_pages_dirty_lock` calls `unpin_user_pages` with
//! the same array when there is nothing to make dirty, and up to 5.12 it calls `unpin_user_page` for each
//! page unless that was inlined. Not guarded against: up to 5.12 `unpin_user_pages` itself calling
//! `unpin_user_page` (Debian's 5.10 inlines it).

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, map},
    maps::HashMap,
    programs::{FEntryContext, FExitContext},
};
use cowtrace_common::{
    program::Program,
    setting::Setting,
    wire::{PARTS, POINTERS, UNPIN_FORM_BITS, Unpin, kind, unpin_form},
};

use super::gup;
use crate::{
    emit::{self, Record},
    holders::{self, FEW},
    kernel::{self, Typed, argument, is_in_interrupt, setting},
    next, orphan,
    scope::Mark,
    understudy::twice,
};

/// Threads inside `unpin_user_pages_dirty_lock`, and the array of pages that they work on.
#[map]
static UNPINNING: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

twice! { fentry FEntryContext, by what {
    /// `void unpin_user_page(struct page *page)`
    "unpin_user_page": unpin_page UnpinPage, unpin_page_again UnpinPageAgain => of_page;
    /// `void unpin_user_pages(struct page **pages, unsigned long npages)`
    "unpin_user_pages": unpin_pages UnpinPages, unpin_pages_again UnpinPagesAgain => of_pages;
    /// `void unpin_user_pages_dirty_lock(struct page **pages, unsigned long npages, bool make_dirty)`
    "unpin_user_pages_dirty_lock":
        unpin_dirty_enter UnpinDirtyEnter, unpin_dirty_again UnpinDirtyAgain => of_pages_dirty;
    /// `void unpin_user_folio(struct folio *folio, unsigned long npages)`
    "unpin_user_folio": unpin_folio_pages UnpinFolio, unpin_folio_again UnpinFolioAgain => of_folio;
} }

/// The page, folio or array that is unpinned: an interrupt that ends I/O meanwhile unpins another one, unless both are of
/// one huge page.
#[inline(always)]
fn what(ctx: &FEntryContext) -> u64 {
    argument(ctx, 0)
}

#[inline(always)]
fn of_page(ctx: &FEntryContext, program: Program) {
    emit::hit(program);
    if setting(Setting::NestedUnpins) == 0 || unpinning().is_none() || is_in_interrupt() {
        one(ctx, program, 1, 0, unpin_form::RANGE);
    }
}

#[inline(always)]
fn of_pages(ctx: &FEntryContext, program: Program) {
    emit::hit(program);
    let pages = argument(ctx, 0);
    if unpinning() != Some(pages) {
        array(ctx, program, pages, ctx.arg(1), 0, unpin_form::ARRAY);
    }
}

#[inline(always)]
fn of_pages_dirty(ctx: &FEntryContext, program: Program) {
    emit::hit(program);
    let pages = argument(ctx, 0);
    if UNPINNING.insert(bpf_get_current_pid_tgid(), pages, 0).is_err() {
        emit::lose(program);
    }
    let make_dirty = ctx.arg::<u64>(2) as u32 & 1;
    array(ctx, program, pages, ctx.arg(1), make_dirty, unpin_form::ARRAY);
}

#[inline(always)]
fn of_folio(ctx: &FEntryContext, program: Program) {
    emit::hit(program);
    one(ctx, program, ctx.arg(1), 0, unpin_form::FOLIO);
}

/// The end of `unpin_user_pages_dirty_lock`: whatever it nested is over.
#[fexit(function = "unpin_user_pages_dirty_lock")]
pub fn unpin_dirty_exit(_: FExitContext) -> i32 {
    let _ = UNPINNING.remove(bpf_get_current_pid_tgid());
    0
}

/// `void unpin_user_page_range_dirty_lock(struct page *page, unsigned long npages, bool make_dirty)`
#[fentry(function = "unpin_user_page_range_dirty_lock")]
pub fn unpin_range(ctx: FEntryContext) -> i32 {
    emit::hit(Program::UnpinRange);
    let make_dirty = ctx.arg::<u64>(2) as u32 & 1;
    one(&ctx, Program::UnpinRange, ctx.arg(1), make_dirty, unpin_form::RANGE)
}

/// `void unpin_folio(struct folio *folio)`, from 6.11
#[fentry(function = "unpin_folio")]
pub fn unpin_one_folio(ctx: FEntryContext) -> i32 {
    emit::hit(Program::UnpinOneFolio);
    one(&ctx, Program::UnpinOneFolio, 1, 0, unpin_form::FOLIO)
}

/// `void unpin_folios(struct folio **folios, unsigned long nfolios)`, from 6.11
#[fentry(function = "unpin_folios")]
pub fn unpin_many_folios(ctx: FEntryContext) -> i32 {
    emit::hit(Program::UnpinFolios);
    array(&ctx, Program::UnpinFolios, argument(&ctx, 0), ctx.arg(1), 0, unpin_form::FOLIOS);
    0
}

#[inline(always)]
fn unpinning() -> Option<u64> {
    // SAFETY: the entry is this thread's own.
    unsafe { UNPINNING.get(bpf_get_current_pid_tgid()) }.copied()
}

/// Looks at a page again if a process was moved off it or off one in its folio.
#[inline(always)]
fn look_again(ctx: &FEntryContext, program: Program, page: u64, folio: u64, pages: u32) {
    // No page is left in the map of orphans before an address was marked so.
    if Mark::Lost.is_used()
        && let Some(pfn) = orphan::in_folio_of(page, folio, pages)
    {
        orphan::compare(ctx, program, pfn);
    }
}

/// Unpins that one `struct page` or folio, the first argument, and a count tell.
#[inline(always)]
fn one(ctx: &FEntryContext, program: Program, pages: u64, make_dirty: u32, form: u32) -> i32 {
    if gup::unpins_its_own() {
        return 0;
    }
    let page = argument(ctx, 0);
    if pages == 1 && holders::release(page) {
        return 0;
    }
    let (folio, in_folio) = kernel::folio_of_typed(program, Typed(ctx.arg(0)), page);
    look_again(ctx, program, page, folio, in_folio);
    let is_small = pages == 1 && in_folio == 0 && make_dirty == 0;
    if is_small && next::tell(program, page) {
        return 0;
    }
    let Some(mut record) = Record::<Unpin>::new(program, kind::UNPIN) else {
        return 0;
    };
    record.body(Unpin {
        vmemmap: kernel::vmemmap(),
        pages,
        unlisted: 0,
        make_dirty,
        pointers: 1,
        page_struct_shift: setting(Setting::PageStructShift) as u32,
        form: form | in_folio << UNPIN_FORM_BITS,
    });
    record.pointer(page);
    if record.submit() {
        next::told(program);
    }
    0
}

/// Unpins of an array of pages.
#[inline(always)]
fn array(
    ctx: &FEntryContext,
    program: Program,
    pages: u64,
    count: u64,
    make_dirty: u32,
    form: u32,
) {
    if gup::unpins_its_own() {
        return;
    }
    // Where several pages of one large folio are unpinned and others of it are not, it is the folio that
    // counts: io_uring drops all but one reference so (6.1 and later).
    let first = kernel::read_at(pages);
    let (folio, in_folio) = kernel::folio_of(first);
    look_again(ctx, program, first, folio, in_folio);
    let form = form | in_folio << UNPIN_FORM_BITS;
    if count <= FEW {
        return few(program, pages, count, make_dirty, form);
    }
    let Some(mut record) = Record::<Unpin>::new(program, kind::UNPIN) else {
        return;
    };
    let body = Unpin {
        vmemmap: kernel::vmemmap(),
        pages: 0,
        unlisted: 0,
        make_dirty,
        pointers: 0,
        page_struct_shift: setting(Setting::PageStructShift) as u32,
        form,
    };
    put(&mut record, body, 0, pages, count);
    record.submit();
    let mut part = 1;
    while part < PARTS as u64 {
        if part * POINTERS as u64 >= count {
            break;
        }
        unpin_part(program as u64, part, pages, count);
        part += 1;
    }
}

/// Tells part `part` of an array of `count` pages; the part before is told. A function by itself for the
/// verifier's sake, as [`gup::pin_part`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn unpin_part(program: u64, part: u64, pages: u64, count: u64) -> u64 {
    if let Some((mut record, mut body)) = Record::<Unpin>::once_more(program as u32) {
        // Its first page may lie in another folio than that of the part before.
        let first = kernel::read_at(pages + 8 * part * POINTERS as u64);
        let (_, in_folio) = kernel::folio_of(first);
        body.form = body.form & ((1 << UNPIN_FORM_BITS) - 1) | in_folio << UNPIN_FORM_BITS;
        put(&mut record, body, part, pages, count);
        record.submit();
    }
    0
}

/// Fills in which of `count` pages are those of this part.
#[inline(always)]
fn put(record: &mut Record<Unpin>, body: Unpin, part: u64, pages: u64, count: u64) {
    let first = part * POINTERS as u64;
    let rest = count.wrapping_sub(first);
    let here = rest.min(POINTERS as u64);
    let pointers = record.pointers(pages + 8 * first, here);
    let later = if part == PARTS as u64 - 1 { 0 } else { rest - here };
    let unlisted = rest - later - u64::from(pointers);
    record.body(Unpin { pages: here, unlisted, pointers, ..body });
}

/// Unpins of a few pages: those whose pins were told.
#[inline(always)]
fn few(program: Program, pages: u64, count: u64, make_dirty: u32, form: u32) {
    let Some(mut record) = Record::<Unpin>::new(program, kind::UNPIN) else {
        return;
    };
    let (mut n, mut pointers) = (0, 0);
    while n < FEW {
        if n >= count {
            break;
        }
        pointers = push_if_told(program as u64, pages + 8 * n, pointers);
        n += 1;
    }
    let pointers = pointers as u32;
    if pointers == 0 {
        return;
    }
    record.has(pointers);
    record.body(Unpin {
        vmemmap: kernel::vmemmap(),
        pages: pointers.into(),
        unlisted: 0,
        make_dirty,
        pointers,
        page_struct_shift: setting(Setting::PageStructShift) as u32,
        form,
    });
    record.submit();
}

/// Puts the page that a pointer at `slot` is to behind `pointers` others, if its pin was told; how many there are
/// then. A function by itself: in the loop the ways through it would multiply.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn push_if_told(program: u64, slot: u64, pointers: u64) -> u64 {
    let page = kernel::read_at(slot);
    if holders::release(page) {
        return pointers;
    }
    emit::push::<Unpin>(program as u32, pointers, page);
    pointers + 1
}
