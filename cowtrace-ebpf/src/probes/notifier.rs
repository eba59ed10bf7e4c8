//! MMU notifiers: what secondary MMUs are told, and who registered for it.
//!
//! The kernel calls these only for an mm that has notifiers (KVM, on-demand paging, HMM, SVA). A
//! plain RDMA or io_uring process has none, so silence here says nothing about its pins.

use aya_ebpf::{
    macros::{fentry, fexit, map},
    maps::HashMap,
    programs::{FEntryContext, FExitContext},
};
use cowtrace_common::{
    program::Program,
    setting::Field,
    wire::{Invalidate, Notifier, kind},
};

use crate::{
    emit::{self, Record},
    kernel::{Pointer, Typed},
    scope,
};

/// Invalidations under way: address of the range, which lives in the caller's frame, to start time.
#[map]
static RANGES: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

/// `int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)`
#[fentry(function = "__mmu_notifier_invalidate_range_start")]
pub fn invalidate_start(ctx: FEntryContext) -> i32 {
    emit::hit(Program::InvalidateStart);
    let range = Typed(ctx.arg(0));
    if scope::has_pins(range.follow(Field::RangeMm).address())
        && RANGES.insert(range.address(), emit::now(), 0).is_err()
    {
        emit::lose(Program::InvalidateStart);
    }
    0
}

/// `void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range[, bool only_end])`
#[fentry(function = "__mmu_notifier_invalidate_range_end")]
pub fn invalidate_end(ctx: FEntryContext) -> i32 {
    emit::hit(Program::InvalidateEnd);
    let range = Typed(ctx.arg(0));
    // SAFETY: the range is in this thread's own stack.
    let Some(began_ns) = unsafe { RANGES.get(range.address()) }.copied() else { return 0 };
    let _ = RANGES.remove(range.address());
    let Some(mut record) = Record::<Invalidate>::new(Program::InvalidateEnd, kind::INVALIDATE)
    else {
        return 0;
    };
    record.body(Invalidate {
        mm: range.follow(Field::RangeMm).address(),
        start: range.read(Field::RangeStart),
        end: range.read(Field::RangeEnd),
        began_ns,
        event: range.read(Field::RangeEvent),
        flags: range.read(Field::RangeFlags),
    });
    record.stacks(&ctx);
    record.submit();
    0
}

/// `int __mmu_notifier_register(struct mmu_notifier *subscription, struct mm_struct *mm)`
#[fexit(function = "__mmu_notifier_register")]
pub fn notifier_register(ctx: FExitContext) -> i32 {
    emit::hit(Program::NotifierRegister);
    if ctx.arg::<i32>(2) == 0 {
        let ops = Typed(ctx.arg(0)).follow(Field::NotifierOps).address();
        registered(
            &ctx,
            Program::NotifierRegister,
            Notifier { mm: ctx.arg(1), ops, start: 0, end: 0 },
        );
    }
    0
}

/// `int mmu_interval_notifier_insert(struct mmu_interval_notifier *interval_sub, struct mm_struct *mm,
/// unsigned long start, unsigned long length, const struct mmu_interval_notifier_ops *ops)`
#[fexit(function = "mmu_interval_notifier_insert")]
pub fn notifier_insert(ctx: FExitContext) -> i32 {
    emit::hit(Program::NotifierInsert);
    if ctx.arg::<i32>(5) == 0 {
        let start: u64 = ctx.arg(2);
        let end = start.wrapping_add(ctx.arg(3));
        registered(
            &ctx,
            Program::NotifierInsert,
            Notifier { mm: ctx.arg(1), ops: ctx.arg(4), start, end },
        );
    }
    0
}

#[inline(always)]
fn registered(ctx: &FExitContext, program: Program, notifier: Notifier) {
    if !scope::wanted() {
        return;
    }
    if let Some(mut record) = Record::new(program, kind::NOTIFIER) {
        record.body(notifier);
        record.stacks(ctx);
        record.submit();
    }
}
