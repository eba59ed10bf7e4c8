//! Unpins. Never filtered by task: an exiting io_uring or an AF_XDP socket unpins from a kworker, and
//! a finished bio from an interrupt.
//!
//! Two nestings would count an unpin twice: `unpin_user_pages_dirty_lock` calls `unpin_user_pages` with
//! the same array when there is nothing to make dirty, and up to 5.12 it calls `unpin_user_page` for each
//! page unless that was inlined. Not guarded against: up to 5.12 `unpin_user_pages` itself calling
//! `unpin_user_page` (Debian's 5.10 inlines it).

use aya_ebpf::{
    EbpfContext,
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, map},
    maps::HashMap,
    programs::{FEntryContext, FExitContext},
};
use cowtrace_common::{
    program::Program,
    setting::Setting,
    wire::{PARTS, POINTERS, Unpin, kind, unpin_form},
};

use super::gup;
use crate::{
    emit::{self, Record},
    kernel::{self, setting},
};

/// Threads inside `unpin_user_pages_dirty_lock`, and the array of pages that they work on.
#[map]
static UNPINNING: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

/// `void unpin_user_page(struct page *page)`
#[fentry(function = "unpin_user_page")]
pub fn unpin_page(ctx: FEntryContext) -> i32 {
    emit::hit(Program::UnpinPage);
    if setting(Setting::NestedUnpins) != 0 && unpinning().is_some() {
        return 0;
    }
    one(Program::UnpinPage, slot(&ctx, 0), 1, 0, unpin_form::RANGE)
}

/// `void unpin_user_pages(struct page **pages, unsigned long npages)`
#[fentry(function = "unpin_user_pages")]
pub fn unpin_pages(ctx: FEntryContext) -> i32 {
    emit::hit(Program::UnpinPages);
    let pages = slot(&ctx, 0);
    if unpinning() != Some(pages) {
        array(Program::UnpinPages, pages, ctx.arg(1), 0);
    }
    0
}

/// `void unpin_user_pages_dirty_lock(struct page **pages, unsigned long npages, bool make_dirty)`
#[fentry(function = "unpin_user_pages_dirty_lock")]
pub fn unpin_dirty_enter(ctx: FEntryContext) -> i32 {
    emit::hit(Program::UnpinDirtyEnter);
    let pages = slot(&ctx, 0);
    if UNPINNING.insert(bpf_get_current_pid_tgid(), pages, 0).is_err() {
        emit::lose(Program::UnpinDirtyEnter);
    }
    array(Program::UnpinDirtyEnter, pages, ctx.arg(1), ctx.arg::<u64>(2) as u32 & 1);
    0
}

/// Its end: whatever it nested is over.
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
    one(Program::UnpinRange, slot(&ctx, 0), ctx.arg(1), make_dirty, unpin_form::RANGE)
}

/// `void unpin_user_folio(struct folio *folio, unsigned long npages)`
#[fentry(function = "unpin_user_folio")]
pub fn unpin_folio_pages(ctx: FEntryContext) -> i32 {
    emit::hit(Program::UnpinFolio);
    let folio = slot(&ctx, 0);
    // A folio of one page leaves no doubt about the page.
    let form = if kernel::is_large(folio) { unpin_form::FOLIO } else { unpin_form::RANGE };
    one(Program::UnpinFolio, folio, ctx.arg(1), 0, form)
}

#[inline(always)]
fn unpinning() -> Option<u64> {
    // SAFETY: the entry is this thread's own.
    unsafe { UNPINNING.get(bpf_get_current_pid_tgid()) }.copied()
}

/// Argument `n`, read like any other memory: the verifier takes no plain load of a pointer to a pointer,
/// and no arithmetic on a pointer that it has a type for.
#[inline(always)]
fn slot(ctx: &FEntryContext, n: u64) -> u64 {
    kernel::read_at(ctx.as_ptr() as u64 + 8 * n)
}

/// Unpins that one `struct page` or folio, and a count, tell.
#[inline(always)]
fn one(program: Program, page: u64, pages: u64, make_dirty: u32, form: u32) -> i32 {
    if gup::inside_longterm_pin() {
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
        form,
    });
    record.pointer(page);
    record.submit();
    0
}

/// Unpins of an array of pages.
#[inline(always)]
fn array(program: Program, pages: u64, count: u64, make_dirty: u32) {
    if gup::inside_longterm_pin() {
        return;
    }
    let vmemmap = kernel::vmemmap();
    let mut part = 0;
    while part < PARTS {
        let first = (part * POINTERS) as u64;
        if first >= count {
            break;
        }
        let rest = count.wrapping_sub(first);
        let here = rest.min(POINTERS as u64);
        let Some(mut record) = Record::<Unpin>::new(program, kind::UNPIN) else {
            return;
        };
        let pointers = record.pointers(pages + 8 * first, here);
        let later = if part == PARTS - 1 { 0 } else { rest - here };
        record.body(Unpin {
            vmemmap,
            pages: here,
            unlisted: rest - later - u64::from(pointers),
            make_dirty,
            pointers,
            page_struct_shift: setting(Setting::PageStructShift) as u32,
            form: unpin_form::ARRAY,
        });
        record.submit();
        part += 1;
    }
}
