//! Understudies: a second program at the same place, for what the kernel made the first one skip.
//!
//! From 5.12 on a program can be preempted, and until it goes on the kernel skips it for all other tasks on
//! that CPU: on a preemptible kernel whole bursts went unseen. An understudy runs behind the program for each
//! call and looks at those that were skipped. It is so short otherwise that both are hardly ever skipped at
//! once; if it is preempted at the wrong moment it tells a call twice, which the user side knows. (Of short-term pins,
//! which are not told, it then counts one too many.)
//!
//! On a kernel that preempts no task inside itself, only a program that interrupts run can meet itself, and the
//! user side attaches no other understudy.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::PerCpuArray};
use cowtrace_common::{program::Program, setting::Setting};

use crate::kernel::setting;

/// By program, whom it saw last on this CPU, plus one, until its understudy knows: the idle task's number is 0.
#[map]
static SEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(Program::ALL.len() as u32, 0);

/// A program has begun; without an understudy, nobody asks. `call` tells this call from others of the thread.
#[inline(always)]
pub fn seen(program: Program, call: impl FnOnce() -> u64) {
    if setting(Setting::Preemptible) == 0 && !program.is_run_by_interrupts() {
        return;
    }
    if let Some(seen) = SEEN.get_ptr_mut(program as u32) {
        // SAFETY: this CPU's own slot.
        unsafe { *seen = number(call()) };
    }
}

/// Whether a program has seen what its understudy is called for.
#[inline(always)]
pub fn was_seen(program: Program, call: impl FnOnce() -> u64) -> bool {
    let Some(seen) = SEEN.get_ptr_mut(program as u32) else {
        return false;
    };
    // SAFETY: this CPU's own slot.
    unsafe {
        let same = *seen == number(call());
        if same {
            *seen = 0;
        }
        same
    }
}

#[inline(always)]
fn number(call: u64) -> u64 {
    (bpf_get_current_pid_tgid() ^ call).wrapping_add(1)
}

/// Where no interrupt calls, the thread alone tells a call from others.
#[inline(always)]
pub fn by_thread<C>(_: &C) -> u64 {
    0
}

/// A program at a place, its understudy, and what both do: a function of the context and of the program that it
/// is called for. `by`: what tells a call from that of an interrupt, which has the thread's number.
macro_rules! twice {
    ($kind:ident $context:ty { $($rest:tt)* }) => {
        $crate::understudy::twice! { $kind $context, by $crate::understudy::by_thread { $($rest)* } }
    };
    ($kind:ident $context:ty, by $call:path { $(
        $(#[doc = $doc:literal])*
        $function:literal: $name:ident $program:ident, $again:ident $other:ident => $does:ident;
    )* }) => {$(
        $(#[doc = $doc])*
        #[$kind(function = $function)]
        pub fn $name(ctx: $context) -> i32 {
            $crate::understudy::seen(Program::$program, || $call(&ctx));
            $does(&ctx, Program::$program);
            0
        }

        /// Its understudy.
        #[$kind(function = $function)]
        pub fn $again(ctx: $context) -> i32 {
            if !$crate::understudy::was_seen(Program::$program, || $call(&ctx)) {
                $does(&ctx, Program::$other);
            }
            0
        }
    )*};
}
pub(crate) use twice;
