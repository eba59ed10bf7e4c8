//! Write-protect faults, looked at when they have been answered.
//!
//! One look at the exit sees all that the entry saw: the fault's struct lives in the caller's frame,
//! and the PTE's page table cannot go while the caller holds the mmap or VMA lock. On 5.10
//! `do_wp_page` ends in a jump to `wp_page_copy`; its own return is still seen, after the copy.

use aya_ebpf::{
    EbpfContext,
    macros::{fexit, kprobe, kretprobe, map},
    maps::HashMap,
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use cowtrace_common::{
    program::Program,
    setting::{Field, Setting, Stage},
    wire::{Fault, Outcome, kind, page_bit},
};

use crate::{
    emit::{self, Record},
    holders,
    kernel::{self, PageState, Pointer, Pte, Typed, Untyped, VM_SHARED, setting},
    orphan,
    scope::{self, Mark},
    shed::is_shed,
    understudy::twice,
};

/// Faults under way, where only a kprobe pair can see them: thread to `struct vm_fault *`.
#[map]
static FAULTS: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

twice! { fexit FExitContext {
    /// `vm_fault_t do_wp_page(struct vm_fault *vmf)`
    "do_wp_page": wp_fault_exit WpFaultExit, wp_fault_again WpFaultAgain => typed_fault;
} }

#[inline(always)]
fn typed_fault(ctx: &FExitContext, program: Program) {
    answered(ctx, program, Typed(ctx.arg(0)));
}

/// The same where fexit does not attach: keeps the argument for the return.
#[kprobe]
pub fn wp_fault_enter(ctx: ProbeContext) -> u32 {
    let Some(vmf) = ctx.arg::<u64>(0) else {
        return 0;
    };
    let thread = thread();
    if FAULTS.insert(thread, vmf, NO_EXIST).is_err() {
        // No room, or the return of the thread's last fault was missed.
        emit::lose(Program::WpFaultEnter);
        let _ = FAULTS.insert(thread, vmf, 0);
    }
    0
}

/// The return to [`wp_fault_enter`].
#[kretprobe]
pub fn wp_fault_return(ctx: RetProbeContext) -> u32 {
    let thread = thread();
    // SAFETY: the entry is this thread's own.
    if let Some(vmf) = unsafe { FAULTS.get(thread) }.copied() {
        let _ = FAULTS.remove(thread);
        answered(&ctx, Program::WpFaultReturn, Untyped(vmf));
    }
    0
}

/// `vm_fault_t wp_page_copy(struct vm_fault *vmf)`
///
/// The second witness: it counts, and user space holds the count against the copies seen above.
#[fexit(function = "wp_page_copy")]
pub fn wp_copy_exit(ctx: FExitContext) -> i32 {
    let vmf = Typed(ctx.arg(0));
    if moved(Pte(vmf.read(Field::VmfOrigPte)), Pte::at(vmf.read(Field::VmfPte))) {
        emit::hit(Program::WpCopyExit);
    }
    0
}

/// Only what is not there is inserted.
pub const NO_EXIST: u64 = 1; // BPF_NOEXIST

fn thread() -> u64 {
    aya_ebpf::helpers::bpf_get_current_pid_tgid()
}

/// A write-protect fault and its answer.
pub struct Answer {
    /// Faulting address.
    pub address: u64,
    /// FAULT_FLAG_*.
    pub flags: u32,
    /// What was mapped when it came.
    pub before: Pte,
    /// What is mapped now.
    pub after: Pte,
}

#[inline(always)]
fn answered<P: Pointer>(ctx: &impl EbpfContext, program: Program, vmf: P) {
    let answer = Answer {
        address: vmf.read(Field::VmfAddress),
        flags: vmf.read(Field::VmfFlags),
        before: Pte(vmf.read(Field::VmfOrigPte)),
        after: vmf.entry(Field::VmfPte),
    };
    if moved(answer.before, answer.after)
        && !scope::is_near_pins(answer.address)
        && kernel::is_only_mapped(vmf.follow(Field::VmfPage))
    {
        // As nearly all copies are: nothing below would be told. The mapping is private, without being asked: a shared one
        // keeps such a page.
        return emit::hit_with(program, replaced(&answer));
    }
    let vma = vmf.follow(Field::VmfVma);
    let outcome = outcome(vma, &answer);
    emit::hit_with(program, outcome);
    if !matches!(outcome, Outcome::Copy | Outcome::Unshare | Outcome::Reuse) {
        return;
    }
    if outcome == Outcome::Reuse
        && (is_shed(Stage::Events) || kernel::is_only_mapped(vmf.follow(Field::VmfPage)))
    {
        return; // It would be benign.
    }
    let mut page = PageState::at(vmf, Field::VmfPage);
    page.bits |= page.kind(vmf.number(Field::VmfPage));
    if let Some(need) = need::<false>(program, &mut page, vma, answer.address, outcome) {
        report(ctx, program, vma, &answer, outcome, &page, need);
    }
}

/// A fault on a hugetlb page; its address may be any in the page.
#[inline(always)]
pub fn hugetlb<P: Pointer>(ctx: &impl EbpfContext, program: Program, vma: P, answer: &Answer) {
    let outcome = outcome(vma, answer);
    emit::outcome(program, outcome);
    if !answer.before.present()
        || !matches!(outcome, Outcome::Copy | Outcome::Unshare | Outcome::Reuse)
    {
        return;
    }
    let old = kernel::page_of(answer.before.pfn());
    let mut page = PageState::of(old);
    page.bits |= page_bit::HUGETLB | page.kind(old);
    if let Some(need) = need::<true>(program, &mut page, vma, answer.address, outcome) {
        report(ctx, program, vma, answer, outcome, &page, need);
    }
}

/// A fault on a page that a PMD maps: told only if the page is kept, since a split is told as such.
#[inline(always)]
pub fn huge_pmd<P: Pointer>(ctx: &impl EbpfContext, program: Program, vmf: P, after: Pte) {
    let answer = Answer {
        address: vmf.read(Field::VmfAddress),
        flags: vmf.read(Field::VmfFlags),
        before: Pte(vmf.read(Field::VmfOrigPte)),
        after,
    };
    let vma = vmf.follow(Field::VmfVma);
    if outcome(vma, &answer) != Outcome::Reuse {
        return;
    }
    emit::outcome(program, Outcome::Reuse);
    let old = kernel::page_of(answer.before.pfn());
    let mut page = PageState::of(old);
    page.bits |= page_bit::PMD | page.kind(old);
    let outcome = Outcome::Reuse;
    if let Some(need) = need::<false>(program, &mut page, vma, answer.address, outcome) {
        report(ctx, program, vma, &answer, Outcome::Reuse, &page, need);
    }
}

/// Why a fault is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Its page is maybe-pinned, or held by references that nothing explains.
    Held,
    /// It is in an address space with pins, and its page was replaced: the record of the pin tells.
    Replaced,
}

/// Whether a fault has to be told. A page that no pin can hold matters only where it was replaced under
/// one: then the record of that pin tells, since counts do not (the zero page from 6.5 on, see
/// c8070b787519). References to a file's page are the page cache's own, and its first private write is no loss.
#[inline(always)]
fn need<const HUGETLB: bool>(
    program: Program,
    page: &mut PageState,
    vma: impl Pointer,
    address: u64,
    outcome: Outcome,
) -> Option<Need> {
    let mut held = page.maybe_pinned();
    if outcome == Outcome::Copy && page.bits & page_bit::ANON != 0 {
        page.count_mappings::<HUGETLB>(program);
        held |= page.extra_references() > 0;
    }
    let has_pins = || scope::has_pins(vma.read(Field::VmaMm));
    if held {
        (has_pins() || scope::wanted()).then_some(Need::Held)
    } else if outcome != Outcome::Reuse && may_be_pinned::<HUGETLB>(address) && has_pins() {
        Some(Need::Replaced)
    } else {
        None
    }
}

/// Whether the record of a pin may name the page at an address. A huge page's fault tells any address in it.
#[inline(always)]
fn may_be_pinned<const HUGETLB: bool>(address: u64) -> bool {
    HUGETLB || scope::is_near_pins(address)
}

#[inline(always)]
fn report<P: Pointer>(
    ctx: &impl EbpfContext,
    program: Program,
    vma: P,
    answer: &Answer,
    outcome: Outcome,
    page: &PageState,
    need: Need,
) {
    let mm: u64 = vma.number(Field::VmaMm);
    if outcome == Outcome::Copy {
        // Short-term pins of large folios are told at once, references never.
        if need == Need::Held && (page.folio == 0 || !page.maybe_pinned()) {
            holders::tell(program, answer.before.pfn(), page.maybe_pinned());
        }
        if page.maybe_pinned() || Mark::Pinned.may_hold_at(mm, answer.address) {
            Mark::Lost.set_at(mm, answer.address);
        }
    }
    let Some(mut record) = Record::<Fault>::new(program, kind::FAULT) else {
        return;
    };
    record.body(Fault {
        mm,
        address: answer.address,
        vma_start: vma.read(Field::VmaStart),
        vma_end: vma.read(Field::VmaEnd),
        vma_flags: vma.read(Field::VmaFlags),
        old_pfn: answer.before.pfn(),
        new_pfn: if answer.after.present() { answer.after.pfn() } else { 0 },
        references: page.references,
        mappings: page.mappings,
        pins: page.pins,
        fault_flags: answer.flags,
        page_bits: page.bits,
        outcome: outcome as u32,
    });
    if need == Need::Held || page.bits & page_bit::KNOWN == 0 {
        record.stacks(ctx);
    }
    record.submit();
    if outcome == Outcome::Copy && page.maybe_pinned() {
        orphan::keep(program, answer.before.pfn());
    }
}

#[inline(always)]
fn outcome(vma: impl Pointer, answer: &Answer) -> Outcome {
    if vma.read::<u64>(Field::VmaFlags) & VM_SHARED != 0 {
        Outcome::Shared
    } else if moved(answer.before, answer.after) {
        replaced(answer)
    } else if !answer.after.present() {
        Outcome::Gone
    } else if answer.after.writable() {
        Outcome::Reuse
    } else {
        Outcome::Retry
    }
}

/// Why a page of a private mapping was replaced.
#[inline(always)]
fn replaced(answer: &Answer) -> Outcome {
    let unshare = u64::from(answer.flags) & setting(Setting::FaultUnshare) != 0;
    if unshare { Outcome::Unshare } else { Outcome::Copy }
}

/// Whether another page is mapped now.
#[inline(always)]
fn moved(before: Pte, after: Pte) -> bool {
    after.present() && !after.has_pfn_of(before)
}
