//! Mappings discarded or moved under a pin, and what is mapped there later.
//!
//! Process exit is silent: `exit_mmap` makes the address space forgotten before it zaps.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe},
    programs::{FEntryContext, FExitContext, ProbeContext},
};
use cowtrace_common::{
    program::Program,
    setting::{Field, Setting, Stage, zap_spares},
    wire::{self, kind, zap_first},
};

use crate::{
    emit::{self, Record},
    kernel::{self, Mapped, Pointer, Typed, Untyped, VM_SHARED, setting},
    orphan,
    scope::{self, Mark},
    shed::is_shed,
    understudy::twice,
};

/// VM_HUGETLB; the same bit in all versions.
const VM_HUGETLB: u64 = 0x40_0000;
/// VM_FAULT_RETRY: the fault is not over, and its VMA may be gone.
const RETRY: u32 = 0x400;

twice! { fentry FEntryContext {
    /// `void unmap_page_range(struct mmu_gather *tlb, struct vm_area_struct *vma, unsigned long addr,
    /// unsigned long end, struct zap_details *details)`; renamed `__zap_vma_range` in 7.x, where it also comes
    /// for hugetlb.
    "unmap_page_range": zap Zap, zap_again ZapAgain => unless_huge;
} }

#[inline(always)]
fn unless_huge(ctx: &FEntryContext, program: Program) {
    let details = kernel::argument(ctx, 4);
    let vma = Typed(ctx.arg(1));
    let flags: u64 = vma.read(Field::VmaFlags);
    if flags & VM_HUGETLB == 0 {
        zapped(ctx, program, vma, (ctx.arg(2), ctx.arg(3)), spares_cows(details));
    }
}

/// `void __unmap_hugepage_range(struct mmu_gather *tlb, struct vm_area_struct *vma, unsigned long start,
/// unsigned long end, …)`
#[fentry(function = "__unmap_hugepage_range")]
pub fn zap_huge(ctx: FEntryContext) -> i32 {
    zapped(&ctx, Program::ZapHuge, Typed(ctx.arg(1)), (ctx.arg(2), ctx.arg(3)), false);
    0
}

#[inline(always)]
fn spares_cows(details: u64) -> bool {
    if details == 0 {
        return false;
    }
    match setting(Setting::ZapSpares) {
        zap_spares::IF_POINTER => Untyped(details).read::<u64>(Field::ZapSpares) != 0,
        zap_spares::UNLESS_FLAG => Untyped(details).read::<u8>(Field::ZapSpares) == 0,
        _ => Untyped(details).read::<u8>(Field::ZapSpares) != 0,
    }
}

#[inline(always)]
fn zapped(
    ctx: &FEntryContext,
    program: Program,
    vma: Typed,
    (start, end): (u64, u64),
    spares_cows: bool,
) {
    emit::hit(program);
    let mm: u64 = vma.number(Field::VmaMm);
    let of_file = tell_file(program, vma, mm, (start, end));
    if !of_file && !scope::has_pins_in(mm, start, end) {
        return;
    }
    Mark::Zapped.set(mm, start, end);
    Mark::Lost.set(mm, start, end);
    if of_file && setting(Setting::Sheds) != 0 {
        // By its offset alone what comes back here would not be near a pin, and be shed.
        scope::set_all_near();
    }
    // The first page alone: a search through the range costs the verifier too much.
    let pfn = pfn_at(mm, start);
    let pinned = pfn != 0 && is_maybe_pinned(pfn) != 0;
    if let Some(mut record) = Record::new(program, kind::ZAP) {
        record.body(wire::Zap {
            mm,
            start,
            end,
            vma_start: vma.read(Field::VmaStart),
            vma_end: vma.read(Field::VmaEnd),
            vma_flags: vma.read(Field::VmaFlags),
            spares_cows: spares_cows.into(),
            first: match (pfn, pinned) {
                (0, _) => zap_first::UNKNOWN,
                (_, false) => zap_first::NOT_PINNED,
                (_, true) => zap_first::MAYBE_PINNED,
            },
            first_pfn: pfn,
        });
        record.telling_stacks(ctx);
        record.submit();
    }
    if pinned {
        orphan::keep(program, pfn);
    }
}

/// PFN of what an address space maps at an address; 0, which no process has, for nothing.
///
/// Like the next a function that the verifier looks at once: the ways through it do not multiply with what follows.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn pfn_at(mm: u64, address: u64) -> u64 {
    Mapped::at(mm, address).map_or(0, |mapped| mapped.pfn(address))
}

/// Whether a page may be pinned: not 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn is_maybe_pinned(pfn: u64) -> u64 {
    let page = kernel::page_of(pfn);
    kernel::is_maybe_pinned(Untyped(page), || page).into()
}

/// Tells where in a shared file a range is, if pages may be pinned there that were named by the file alone
/// (`memfd_pin_folios`); whether so.
#[inline(always)]
fn tell_file(program: Program, vma: Typed, mm: u64, (start, end): (u64, u64)) -> bool {
    if vma.read::<u64>(Field::VmaFlags) & VM_SHARED == 0 {
        return false;
    }
    let vm_file = vma.follow(Field::VmaFile);
    if vm_file.address() == 0 {
        return false;
    }
    let file = kernel::file_of(vm_file);
    let first = vma.read::<u64>(Field::VmaPgoff) << 12;
    let offset = first.wrapping_add(start.wrapping_sub(vma.read(Field::VmaStart)));
    if !scope::has_pins_in(file, offset, offset.wrapping_add(end.wrapping_sub(start))) {
        return false;
    }
    // Of one that is torn down nothing comes back, and nobody is moved off anything.
    if Untyped(mm).read::<u32>(Field::MmUsers) == 0 {
        return false;
    }
    if !scope::remember_unless_known(mm) {
        emit::lose(program);
    }
    if let Some(mut record) = Record::new(program, kind::FILE_RANGE) {
        record.body(wire::FileRange { file, offset, mm, start, end });
        record.submit();
    }
    true
}

/// `unsigned long move_page_tables(struct vm_area_struct *vma, unsigned long old_addr,
/// struct vm_area_struct *new_vma, unsigned long new_addr, unsigned long len, bool need_rmap_locks)`, up to
/// 6.7
#[fexit(function = "move_page_tables")]
pub fn move_exit(ctx: FExitContext) -> i32 {
    emit::hit(Program::MoveExit);
    let mm: u64 = Typed(ctx.arg(0)).number(Field::VmaMm);
    moved(Program::MoveExit, mm, ctx.arg(1), ctx.arg(3), ctx.arg(6));
    0
}

/// The same with a seventh argument, `bool for_stack`: 6.8 to 6.14
#[fexit(function = "move_page_tables")]
pub fn move_stack_exit(ctx: FExitContext) -> i32 {
    emit::hit(Program::MoveStackExit);
    let mm: u64 = Typed(ctx.arg(0)).number(Field::VmaMm);
    moved(Program::MoveStackExit, mm, ctx.arg(1), ctx.arg(3), ctx.arg(7));
    0
}

/// `unsigned long move_page_tables(struct pagetable_move_control *pmc)`, from 6.15
#[fexit(function = "move_page_tables")]
pub fn move_struct_exit(ctx: FExitContext) -> i32 {
    emit::hit(Program::MoveStructExit);
    let control = Typed(ctx.arg(0));
    let mm: u64 = control.follow(Field::MoveOld).number(Field::VmaMm);
    let from =
        control.read::<u64>(Field::MoveOldEnd).wrapping_sub(control.read::<u64>(Field::MoveLen));
    // Both addresses count up together.
    let distance = control
        .read::<u64>(Field::MoveNewAddress)
        .wrapping_sub(control.read::<u64>(Field::MoveOldAddress));
    moved(Program::MoveStructExit, mm, from, from.wrapping_add(distance), ctx.arg(1));
    0
}

/// `unsigned long move_vma(struct vm_area_struct *vma, unsigned long old_addr, unsigned long old_len,
/// unsigned long new_len, unsigned long new_addr, …)`
///
/// Where the compiler split `move_page_tables` (Debian's 5.10), this calls the part that nothing can be attached
/// to. It moves all or, out of memory, nothing.
#[kprobe]
pub fn move_vma_enter(ctx: ProbeContext) -> u32 {
    emit::hit(Program::MoveVmaEnter);
    let arg = |n| ctx.arg::<u64>(n).unwrap_or_default();
    let mm: u64 = Untyped(arg(0)).read(Field::VmaMm);
    moved(Program::MoveVmaEnter, mm, arg(1), arg(4), arg(2));
    0
}

/// `len` bytes were moved, which may be fewer than were asked for: the caller then moves them back.
#[inline(always)]
fn moved(program: Program, mm: u64, from: u64, to: u64, len: u64) {
    if len == 0 || !scope::has_pins_in(mm, from, from.wrapping_add(len)) {
        return;
    }
    scope::set_pinned(mm, to, to.wrapping_add(len));
    if let Some(mut record) = Record::new(program, kind::MOVE) {
        record.body(wire::Move { mm, from, to, len });
        record.submit();
    }
}

twice! { fexit FExitContext {
    /// `vm_fault_t handle_mm_fault(struct vm_area_struct *vma, unsigned long address, unsigned int flags,
    /// struct pt_regs *regs)`
    ///
    /// The one place through which all page faults come: it is asked for one byte before anything else.
    "handle_mm_fault": refault Refault, refault_again RefaultAgain => faulted;
    /// `vm_fault_t do_anonymous_page(struct vm_fault *vmf)`
    ///
    /// With the four below, each place that fills an empty entry of a page table, and none that a COW break
    /// passes. A driver's own huge_fault is not among them: what it maps is what the device has.
    "do_anonymous_page":
        refault_anonymous RefaultAnonymous, refault_anonymous_again RefaultAnonymousAgain => filled;
    /// `vm_fault_t do_fault(struct vm_fault *vmf)`
    "do_fault": refault_file RefaultFile, refault_file_again RefaultFileAgain => filled;
    /// `vm_fault_t do_swap_page(struct vm_fault *vmf)`
    "do_swap_page": refault_swap RefaultSwap, refault_swap_again RefaultSwapAgain => filled;
    /// `vm_fault_t do_huge_pmd_anonymous_page(struct vm_fault *vmf)`
    "do_huge_pmd_anonymous_page": refault_huge RefaultHuge, refault_huge_again RefaultHugeAgain => filled;
    /// `vm_fault_t hugetlb_fault(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long address,
    /// unsigned int flags)`
    "hugetlb_fault":
        refault_hugetlb RefaultHugetlb, refault_hugetlb_again RefaultHugetlbAgain => filled_huge;
} }

#[inline(always)]
fn faulted(ctx: &FExitContext, program: Program) {
    if Mark::Zapped.is_used() && ctx.arg::<u32>(4) & RETRY == 0 {
        mapped(ctx, program, Typed(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
    }
}

#[inline(always)]
fn filled(ctx: &FExitContext, program: Program) {
    if Mark::Zapped.is_used() && ctx.arg::<u32>(1) & RETRY == 0 {
        let vmf = Typed(ctx.arg(0));
        let vma = vmf.follow(Field::VmfVma);
        mapped(ctx, program, vma, vmf.read(Field::VmfAddress), vmf.read(Field::VmfFlags));
    }
}

#[inline(always)]
fn filled_huge(ctx: &FExitContext, program: Program) {
    if Mark::Zapped.is_used() && ctx.arg::<u32>(4) & RETRY == 0 {
        mapped(ctx, program, Typed(ctx.arg(1)), ctx.arg(2), ctx.arg(3));
    }
}

/// Tells what is mapped at an address now, if a mapping there was zapped under a pin.
#[inline(always)]
fn mapped(ctx: &FExitContext, program: Program, vma: Typed, address: u64, fault_flags: u32) {
    let mm: u64 = vma.number(Field::VmaMm);
    if !Mark::Zapped.may_hold_at(mm, address) {
        return;
    }
    emit::hit(program);
    let Some(mapped) = Mapped::at(mm, address) else {
        return;
    };
    // A huge page's fault tells any address in it.
    let small = mapped.shift <= setting(Setting::PageShift);
    if small && is_shed(Stage::Events) && !scope::is_near_pins(address) {
        return;
    }
    if let Some(mut record) = Record::new(program, kind::REFAULT) {
        record.body(wire::Refault {
            mm,
            address,
            pfn: mapped.pfn(address),
            fault_flags,
            writable: mapped.entry.writable().into(),
        });
        record.stacks(ctx);
        record.submit();
    }
}
