//! Unpins one by one: the first of a thread is a record, those that follow within a millisecond are two words each
//! (see `cowtrace_common::next`).
//!
//! They go into the one ring, so nothing overtakes an unpin.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::map,
    maps::PerCpuArray,
};
use cowtrace_common::{
    next::{NextUnpin, WITHIN_NS},
    program::Program,
};

use crate::{emit, kernel};

/// An unpin that was told by a record.
#[repr(C)]
struct Last {
    /// Whose; the number of the idle task is 0.
    thread: u64,
    /// When; 0: none was.
    time_ns: u64,
}

/// The last one by program: what runs on a CPU while the program does is its understudy.
#[map]
static LAST: PerCpuArray<Last> = PerCpuArray::with_max_entries(Program::ALL.len() as u32, 0);

#[inline(always)]
fn last(program: Program) -> Option<&'static mut Last> {
    if !program.tells_next() {
        return None;
    }
    // SAFETY: this program's own place on this CPU, whose fields any number fits.
    LAST.get_ptr_mut(program as u32).map(|last| unsafe { &mut *last })
}

/// Tells that a page was unpinned, if this thread's record is there and as good as new; whether it was.
#[inline(always)]
pub fn tell(program: Program, page: u64) -> bool {
    let Some(last) = last(program) else {
        return false;
    };
    let now = emit::now();
    if last.thread != bpf_get_current_pid_tgid() || now.wrapping_sub(last.time_ns) > WITHIN_NS {
        return false;
    }
    // SAFETY: takes nothing, returns a number.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let words = NextUnpin::new(now, program, cpu, kernel::pfn_of(page)).to_words();
    // SAFETY: words are bytes, and there are as many.
    let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(&words)) };
    emit::put(program as u32, bytes);
    true
}

/// An unpin of the current thread is in the ring, as a record: those that follow for a moment need none.
#[inline(always)]
pub fn told(program: Program) {
    if let Some(last) = last(program) {
        last.thread = bpf_get_current_pid_tgid();
        last.time_ns = emit::now();
    }
}
