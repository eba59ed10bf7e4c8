//! Birth and death of address spaces.

use aya_ebpf::{
    macros::{btf_tracepoint, fentry},
    programs::{BtfTracePointContext, FEntryContext},
};
use cowtrace_common::{
    program::Program,
    setting::Field,
    wire::{self, kind},
};

use crate::{
    emit::{self, Record},
    kernel::{Pointer, Typed},
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
    if parent_mm == child_mm || !scope::has_pins(parent_mm) {
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

/// `void exit_mmap(struct mm_struct *mm)`
#[fentry(function = "exit_mmap")]
pub fn mm_exit(ctx: FEntryContext) -> i32 {
    emit::hit(Program::MmExit);
    let mm = Typed(ctx.arg(0)).address();
    if scope::forget(mm)
        && let Some(mut record) = Record::new(Program::MmExit, kind::MM_EXIT)
    {
        record.body(wire::MmExit { mm });
        record.submit();
    }
    0
}
