//! Birth and death of address spaces.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, fentry, fexit, map},
    maps::HashMap,
    programs::{BtfTracePointContext, FEntryContext, FExitContext},
};
use cowtrace_common::{
    program::Program,
    setting::Field,
    wire::{self, kind},
};

use crate::{
    emit::{self, Record},
    kernel::{self, Pointer, Typed},
    scope::{self, Role},
};

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(ctx: BtfTracePointContext) -> i32 {
    emit::hit(Program::Fork);
    let (parent, child) = (Typed(ctx.arg(0)), Typed(ctx.arg(1)));
    let child_tgid: u32 = child.read(Field::TaskTgid);
    if !scope::inherit(parent.read(Field::TaskTgid), child_tgid) {
        emit::lose(Program::Fork);
    }
    let parent_mm = parent.follow(Field::TaskMm).address();
    let child_mm = child.follow(Field::TaskMm).address();
    // Threads and vfork share the address space: nothing is copied.
    if parent_mm == child_mm || !scope::is_watched(parent_mm) {
        return 0;
    }
    if !scope::remember(child_mm, Role::Child) {
        emit::lose(Program::Fork);
    }
    if let Some(mut record) = Record::new(Program::Fork, kind::FORK) {
        record.body(wire::Fork { parent_mm, child_mm, child_tgid, reserved: 0 });
        record.submit();
    }
    0
}

/// When a fork began to copy a VMA of an address space with pins, by thread.
#[map]
static COPYING: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

/// `int copy_page_range(struct vm_area_struct *dst_vma, struct vm_area_struct *src_vma)`, from 5.10; not called
/// for what the child does not get (MADV_DONTFORK) or cannot be told apart (shared memory).
#[fentry(function = "copy_page_range")]
pub fn fork_copy_enter(ctx: FEntryContext) -> i32 {
    let vma = Typed(ctx.arg(1));
    let mm: u64 = vma.number(Field::VmaMm);
    if scope::has_pins_in(mm, vma.read(Field::VmaStart), vma.read(Field::VmaEnd)) {
        emit::hit(Program::ForkCopyEnter);
        if COPYING.insert(bpf_get_current_pid_tgid(), emit::now(), 0).is_err() {
            emit::lose(Program::ForkCopyEnter);
        }
    }
    0
}

/// Its return.
#[fexit(function = "copy_page_range")]
pub fn fork_copy_exit(ctx: FExitContext) -> i32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own.
    let Some(began_ns) = unsafe { COPYING.get(thread) }.copied() else {
        return 0;
    };
    let _ = COPYING.remove(thread);
    emit::hit(Program::ForkCopyExit);
    let (child, parent) = (Typed(ctx.arg(0)), Typed(ctx.arg(1)));
    if let Some(mut record) = Record::new(Program::ForkCopyExit, kind::FORK_COPY) {
        record.body(wire::ForkCopy {
            parent_mm: parent.number(Field::VmaMm),
            child_mm: child.number(Field::VmaMm),
            start: parent.read(Field::VmaStart),
            end: parent.read(Field::VmaEnd),
            vma_flags: parent.read(Field::VmaFlags),
            began_ns,
        });
        record.stacks(&ctx);
        record.submit();
    }
    0
}

/// `void exit_mmap(struct mm_struct *mm)`
#[fentry(function = "exit_mmap")]
pub fn mm_exit(ctx: FEntryContext) -> i32 {
    emit::hit(Program::MmExit);
    let mm = kernel::argument(&ctx, 0);
    if scope::forget(mm)
        && let Some(mut record) = Record::new(Program::MmExit, kind::MM_EXIT)
    {
        record.body(wire::MmExit { mm });
        record.submit();
    }
    0
}
