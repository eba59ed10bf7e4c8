//! Write-protect faults that do not pass through `do_wp_page`: hugetlb pages, and huge pages mapped by a PMD.
//!
//! A PMD-mapped anonymous page is never copied whole: it is reused, or its mapping is split and `do_wp_page`
//! follows for the one page. Its program counts, and tells the split as a cause.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, kprobe, kretprobe, map},
    maps::HashMap,
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use cowtrace_common::{
    program::Program,
    setting::Field,
    wire::{Protect, kind, protect_by},
};

use super::fault::{self, Answer};
use crate::{
    emit::{self, Record},
    kernel::{Pointer, Pte, Typed, Untyped},
    scope,
};

/// A hugetlb fault under way, where its struct does not keep what was mapped before.
#[derive(Clone, Copy)]
pub struct Call {
    vma: u64,
    address: u64,
    entry_at: u64,
    before: u64,
}

/// By thread.
#[map]
static HUGETLB_FAULTS: HashMap<u64, Call> = HashMap::with_max_entries(16_384, 0);

/// `vm_fault_t hugetlb_wp(struct vm_fault *vmf)`, from 6.10
#[fexit(function = "hugetlb_wp")]
pub fn hugetlb_wp_exit(ctx: FExitContext) -> i32 {
    emit::hit(Program::HugetlbWpExit);
    let vmf = Typed(ctx.arg(0));
    let answer = Answer {
        address: vmf.read(Field::VmfAddress),
        flags: vmf.read(Field::VmfFlags),
        before: Pte(vmf.read(Field::VmfOrigPte)),
        after: Pte::at(vmf.read(Field::VmfPte)),
    };
    fault::hugetlb(&ctx, Program::HugetlbWpExit, vmf.follow(Field::VmfVma), &answer);
    0
}

/// `vm_fault_t hugetlb_cow(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long address,
/// pte_t *ptep, struct page *pagecache_page, spinlock_t *ptl)`, up to 5.18; as `hugetlb_wp` up to 6.9 with
/// `unsigned int flags` in the fifth place, and one argument too many for fentry before 6.6.
#[kprobe]
pub fn hugetlb_cow_enter(ctx: ProbeContext) -> u32 {
    let arg = |n| ctx.arg::<u64>(n).unwrap_or_default();
    let call = Call { vma: arg(1), address: arg(2), entry_at: arg(3), before: Pte::at(arg(3)).0 };
    let thread = bpf_get_current_pid_tgid();
    if HUGETLB_FAULTS.insert(thread, call, fault::NO_EXIST).is_err() {
        // No room, or the return of the thread's last fault was missed.
        emit::lose(Program::HugetlbCowEnter);
        let _ = HUGETLB_FAULTS.insert(thread, call, 0);
    }
    0
}

/// Its return.
#[kretprobe]
pub fn hugetlb_cow_return(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own.
    let Some(call) = unsafe { HUGETLB_FAULTS.get(thread) }.copied() else {
        return 0;
    };
    let _ = HUGETLB_FAULTS.remove(thread);
    emit::hit(Program::HugetlbCowReturn);
    let answer = Answer {
        address: call.address,
        flags: 0,
        before: Pte(call.before),
        after: Pte::at(call.entry_at),
    };
    fault::hugetlb(&ctx, Program::HugetlbCowReturn, Untyped(call.vma), &answer);
    0
}

/// `vm_fault_t do_huge_pmd_wp_page(struct vm_fault *vmf[, pmd_t orig_pmd])`; the second argument went with
/// 5.14, and with it what fexit cannot take.
#[fexit(function = "do_huge_pmd_wp_page")]
pub fn huge_wp_exit(ctx: FExitContext) -> i32 {
    emit::hit(Program::HugeWpExit);
    let vmf = Typed(ctx.arg(0));
    let entry = Pte::at(vmf.read(Field::VmfPmd));
    fault::huge_pmd(&ctx, Program::HugeWpExit, vmf, entry);
    0
}

/// `void __split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmd, unsigned long address, …)`
#[fentry(function = "__split_huge_pmd")]
pub fn split_huge(ctx: FEntryContext) -> i32 {
    emit::hit(Program::SplitHuge);
    let vma = Typed(ctx.arg(0));
    let mm: u64 = vma.number(Field::VmaMm);
    let start = ctx.arg::<u64>(2) & !((1 << 21) - 1);
    let end = start + (1 << 21);
    if scope::has_pins_in(mm, start, end)
        && let Some(mut record) = Record::new(Program::SplitHuge, kind::PROTECT)
    {
        record.body(Protect {
            mm,
            start,
            end,
            vma_flags: vma.read(Field::VmaFlags),
            change_flags: 0,
            by: protect_by::SPLIT,
        });
        record.stacks(&ctx);
        record.submit();
    }
    0
}
