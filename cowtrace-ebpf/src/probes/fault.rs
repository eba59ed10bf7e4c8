//! Write-protect faults, looked at when they have been answered.
//!
//! One look at the exit sees all that the entry saw: the fault's struct lives in the caller's frame,
//! and the PTE's page table cannot go while the caller holds the mmap or VMA lock. On 5.10
//! `do_wp_page` ends in a jump to `wp_page_copy`; its own return is still seen, after the copy.

use aya_ebpf::{
    EbpfContext,
    macros::{fexit, kprobe, kretprobe, map},
    maps::{HashMap, PerCpuArray},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use cowtrace_common::{
    program::Program,
    setting::{Field, Setting},
    wire::{Fault, Outcome, kind, page_bit},
};

use crate::{
    emit::{self, Record},
    kernel::{self, PageState, Pointer, Pte, Typed, Untyped, setting},
    scope,
};

/// VM_SHARED; the same bit in all versions.
const VM_SHARED: u64 = 8;

/// Faults under way, where only a kprobe pair can see them: thread to `struct vm_fault *`.
#[map]
static FAULTS: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

/// The thread whose fault [`wp_fault_exit`] saw last on this CPU, until [`wp_fault_again`] knows.
#[map]
static SEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `vm_fault_t do_wp_page(struct vm_fault *vmf)`
#[fexit(function = "do_wp_page")]
pub fn wp_fault_exit(ctx: FExitContext) -> i32 {
    if let Some(seen) = SEEN.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe { *seen = thread() };
    }
    answered(&ctx, Program::WpFaultExit, Typed(ctx.arg(0)));
    0
}

/// The understudy. From 5.12 on a program can be preempted, and until it goes on the kernel skips it for all
/// other tasks on that CPU: on a preemptible kernel whole bursts of faults went unseen. This one runs
/// behind [`wp_fault_exit`] for each fault and looks at those that were skipped. It is so short otherwise
/// that both are hardly ever skipped at once; if it is preempted at the wrong moment it tells a fault
/// twice, which the user side knows.
#[fexit(function = "do_wp_page")]
pub fn wp_fault_again(ctx: FExitContext) -> i32 {
    if let Some(seen) = SEEN.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe {
            if *seen == thread() {
                *seen = 0;
                return 0;
            }
        }
    }
    answered(&ctx, Program::WpFaultAgain, Typed(ctx.arg(0)));
    0
}

/// The same where fexit does not attach: keeps the argument for the return.
#[kprobe]
pub fn wp_fault_enter(ctx: ProbeContext) -> u32 {
    let Some(vmf) = ctx.arg::<u64>(0) else {
        return 0;
    };
    if FAULTS.insert(thread(), vmf, 0).is_err() {
        emit::lose(Program::WpFaultEnter);
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

fn thread() -> u64 {
    aya_ebpf::helpers::bpf_get_current_pid_tgid()
}

#[inline(always)]
fn answered<P: Pointer>(ctx: &impl EbpfContext, program: Program, vmf: P) {
    emit::hit(program);
    let vma = vmf.follow(Field::VmfVma);
    let before = Pte(vmf.read(Field::VmfOrigPte));
    let after = Pte::at(vmf.read(Field::VmfPte));
    let flags: u32 = vmf.read(Field::VmfFlags);
    let outcome = outcome(vma.read(Field::VmaFlags), u64::from(flags), before, after);
    emit::outcome(outcome);
    if !matches!(outcome, Outcome::Copy | Outcome::Unshare | Outcome::Reuse) {
        return;
    }
    let mm: u64 = vma.read(Field::VmaMm);
    let page = PageState::at(vmf, Field::VmfPage);
    let maybe_pinned = page.bits & page_bit::MAYBE_PINNED != 0;
    let has_pins = scope::has_pins(mm);
    // A page that no pin can hold matters only where it was replaced under one: then the record of
    // that pin tells, since counts do not (the zero page from 6.5 on, see c8070b787519).
    if !maybe_pinned && !(has_pins && outcome != Outcome::Reuse) {
        return;
    }
    if !has_pins && !scope::wanted() {
        return;
    }
    let Some(mut record) = Record::<Fault>::new(program, kind::FAULT) else {
        return;
    };
    record.body(Fault {
        mm,
        address: vmf.read(Field::VmfAddress),
        vma_start: vma.read(Field::VmaStart),
        vma_end: vma.read(Field::VmaEnd),
        vma_flags: vma.read(Field::VmaFlags),
        old_pfn: before.pfn(),
        new_pfn: if after.present() { after.pfn() } else { 0 },
        references: page.references,
        mappings: page.mappings,
        pins: page.pins,
        fault_flags: flags,
        page_bits: page.bits | kernel::page_kind(vmf, Field::VmfPage),
        outcome: outcome as u32,
    });
    if maybe_pinned || page.bits & page_bit::KNOWN == 0 {
        record.stacks(ctx);
    }
    record.submit();
}

#[inline(always)]
fn outcome(vma_flags: u64, fault_flags: u64, before: Pte, after: Pte) -> Outcome {
    let unshare = fault_flags & setting(Setting::FaultUnshare) != 0;
    if vma_flags & VM_SHARED != 0 {
        Outcome::Shared
    } else if moved(before, after) {
        if unshare { Outcome::Unshare } else { Outcome::Copy }
    } else if !after.present() {
        Outcome::Gone
    } else if after.writable() {
        Outcome::Reuse
    } else {
        Outcome::Retry
    }
}

#[inline(always)]
fn moved(before: Pte, after: Pte) -> bool {
    after.present() && after.pfn() != before.pfn()
}
