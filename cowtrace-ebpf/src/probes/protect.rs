//! What write-protects pages of an address space with pins: the causes of later breaks.
//!
//! `change_protection` serves mprotect, userfaultfd write protection and NUMA balancing, and its flags tell
//! which; soft-dirty tracking walks the page tables itself. Fork has a probe of its own. KSM and
//! migration refuse pages with references that they cannot explain and need none.

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use cowtrace_common::{
    program::Program,
    setting::Field,
    wire::{PROTECT_BY_BITS, Protect, kind, protect_by},
};

use crate::{
    emit::{self, Record},
    kernel::{self, Mapped, Pointer, Typed, Untyped},
    scope::{self, Mark},
};

/// CLEAR_REFS_SOFT_DIRTY: the one of the numbers written to clear_refs that write-protects.
const SOFT_DIRTY: u32 = 4;
/// PM_SCAN_WP_MATCHING.
const WP_MATCHING: u64 = 1;

/// Up to 5.18: `unsigned long change_protection(struct vm_area_struct *vma, unsigned long start,
/// unsigned long end, pgprot_t newprot, unsigned long cp_flags)`. 5.10 takes no fentry on a function with
/// a struct argument.
#[kprobe]
pub fn protect_enter(ctx: ProbeContext) -> u32 {
    let arg = |n| ctx.arg::<u64>(n).unwrap_or_default();
    changed(&ctx, Program::ProtectEnter, Untyped(arg(0)), (arg(1), arg(2)), arg(4));
    0
}

/// 5.19 to 6.2: `long change_protection(struct mmu_gather *tlb, struct vm_area_struct *vma,
/// unsigned long start, unsigned long end, pgprot_t newprot, unsigned long cp_flags)`
#[fentry(function = "change_protection")]
pub fn protect_prot(ctx: FEntryContext) -> i32 {
    let range = (ctx.arg(2), ctx.arg(3));
    changed(&ctx, Program::ProtectProt, Typed(ctx.arg(1)), range, ctx.arg(5));
    0
}

/// From 6.3: `long change_protection(struct mmu_gather *tlb, struct vm_area_struct *vma,
/// unsigned long start, unsigned long end, unsigned long cp_flags)`
#[fentry(function = "change_protection")]
pub fn protect(ctx: FEntryContext) -> i32 {
    let range = (ctx.arg(2), ctx.arg(3));
    changed(&ctx, Program::Protect, Typed(ctx.arg(1)), range, ctx.arg(4));
    0
}

/// `int clear_refs_test_walk(unsigned long start, unsigned long end, struct mm_walk *walk)`, called for
/// each VMA of the process whose clear_refs is written to.
#[fentry(function = "clear_refs_test_walk")]
pub fn clear_refs(ctx: FEntryContext) -> i32 {
    emit::hit(Program::ClearRefs);
    let walk = Typed(ctx.arg(2));
    let mm = walk.follow(Field::WalkMm).address();
    // `struct clear_refs_private` begins with the number that was written, in all versions.
    if !scope::is_watched(mm)
        || kernel::read_at::<u32>(walk.number(Field::WalkPrivate)) != SOFT_DIRTY
    {
        return 0;
    }
    let flags: u64 = walk.follow(Field::WalkVma).read(Field::VmaFlags);
    let range = (ctx.arg(0), ctx.arg(1));
    tell(&ctx, Program::ClearRefs, mm, range, flags, (protect_by::CLEAR_REFS, 0));
    0
}

/// `int pagemap_scan_test_walk(unsigned long start, unsigned long end, struct mm_walk *walk)`, from 6.7,
/// called for each VMA that the PAGEMAP_SCAN ioctl comes to.
#[fentry(function = "pagemap_scan_test_walk")]
pub fn pagemap_scan(ctx: FEntryContext) -> i32 {
    emit::hit(Program::PagemapScan);
    let walk = Typed(ctx.arg(2));
    let mm = walk.follow(Field::WalkMm).address();
    // `struct pagemap_scan_private` begins with the ioctl's `struct pm_scan_arg`: size, flags.
    let flags_at = walk.number(Field::WalkPrivate) + 8;
    if !scope::is_watched(mm) || kernel::read_at::<u64>(flags_at) & WP_MATCHING == 0 {
        return 0;
    }
    let flags: u64 = walk.follow(Field::WalkVma).read(Field::VmaFlags);
    let range = (ctx.arg(0), ctx.arg(1));
    tell(&ctx, Program::PagemapScan, mm, range, flags, (protect_by::PAGEMAP_SCAN, 0));
    0
}

/// `bool try_to_unmap_one(struct page *page, struct vm_area_struct *vma, unsigned long address, void *arg)`;
/// a folio in place of the page from 5.18 on. The kernel means to leave pinned pages alone; up to 5.18 it
/// looked before it held the lock that would keep others from pinning.
#[fentry(function = "try_to_unmap_one")]
pub fn reclaim_unmap(ctx: FEntryContext) -> i32 {
    emit::hit(Program::ReclaimUnmap);
    let vma = Typed(ctx.arg(1));
    let mm: u64 = vma.number(Field::VmaMm);
    if !scope::has_pins(mm) {
        return 0;
    }
    let page: u64 = kernel::read_at(ctx.as_ptr() as u64);
    if kernel::PageState::of(page).maybe_pinned() {
        let (_, pages) = kernel::folio_of(page);
        let start: u64 = ctx.arg(2);
        let range = (start, start + (u64::from(pages.max(1)) << 12));
        // A private file page goes, pinned or not; a store then gets an anonymous one, with no write-protect fault.
        Mark::Zapped.set(mm, range.0, range.1);
        let by = (protect_by::RECLAIM, 0);
        tell(&ctx, Program::ReclaimUnmap, mm, range, vma.read(Field::VmaFlags), by);
    }
    0
}

#[inline(always)]
fn changed<P: Pointer>(
    ctx: &impl EbpfContext,
    program: Program,
    vma: P,
    range: (u64, u64),
    change_flags: u64,
) {
    emit::hit(program);
    let mm: u64 = vma.number(Field::VmaMm);
    if scope::is_watched(mm) {
        let by = (protect_by::CHANGE_PROTECTION, change_flags as u32);
        tell(ctx, program, mm, range, vma.read(Field::VmaFlags), by);
    }
}

#[inline(always)]
fn tell(
    ctx: &impl EbpfContext,
    program: Program,
    mm: u64,
    (start, end): (u64, u64),
    vma_flags: u64,
    (by, change_flags): (u32, u32),
) {
    if let Some(mut record) = Record::new(program, kind::PROTECT) {
        // How the first page is mapped tells whether a huge mapping is kept as it is.
        let shift = Mapped::at(mm, start).map_or(0, |mapped| mapped.shift as u32);
        let by = by | shift << PROTECT_BY_BITS;
        record.body(Protect { mm, start, end, vma_flags, change_flags, by });
        record.stacks(ctx);
        record.submit();
    }
}
