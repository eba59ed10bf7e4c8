//! MMU notifiers: what secondary MMUs are told, and who registered for it.
//!
//! The kernel calls these only for an mm that has notifiers (KVM, on-demand paging, HMM, SVA). A
//! plain RDMA or io_uring process has none, so silence here says nothing about its pins.
//!
//! A start that fails has no end, and nothing was changed: only the OOM reaper asks in a way that may
//! fail (a notifier would have to sleep, -EAGAIN), and it then passes over the range.

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
/// Ranges that nest, or are told by other threads, are in other frames.
///
/// Every start settles what stands here for its frame, whoever had it before: a start that failed
/// leaves an entry, which must not become the beginning of somebody else's invalidation.
#[map]
static RANGES: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

/// Notifiers are about to be told of a change, and can make it wait.
///
/// `int __mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)`
#[fentry(function = "__mmu_notifier_invalidate_range_start")]
pub fn invalidate_start(ctx: FEntryContext) -> i32 {
    emit::hit(Program::InvalidateStart);
    let range = Typed(ctx.arg(0));
    if !scope::has_pins(range.follow(Field::RangeMm).address()) {
        let _ = RANGES.remove(range.address());
    } else if RANGES.insert(range.address(), emit::now(), 0).is_err() {
        emit::lose(Program::InvalidateStart);
    }
    0
}

/// The range has been changed; its notifiers are about to be told so.
///
/// `void __mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range[, bool only_end])`; the
/// flag went with 6.6.
#[fentry(function = "__mmu_notifier_invalidate_range_end")]
pub fn invalidate_end(ctx: FEntryContext) -> i32 {
    emit::hit(Program::InvalidateEnd);
    let range = Typed(ctx.arg(0));
    // SAFETY: the range is in this thread's own stack.
    let Some(began_ns) = unsafe { RANGES.get(range.address()) }.copied() else {
        return 0;
    };
    let _ = RANGES.remove(range.address());
    let Some(mut record) = Record::<Invalidate>::new(Program::InvalidateEnd, kind::INVALIDATE)
    else {
        return 0;
    };
    let (start, end) = (range.read(Field::RangeStart), range.read(Field::RangeEnd));
    record.body(Invalidate {
        mm: range.follow(Field::RangeMm).address(),
        start,
        end,
        began_ns,
        event: range.read(Field::RangeEvent),
        flags: range.read(Field::RangeFlags),
    });
    // Who changes a page that is not pinned is asked by nobody, and stacks cost ten times the rest.
    if scope::has_pins_in(range.number(Field::RangeMm), start, end) {
        record.stacks(&ctx);
    }
    record.submit();
    0
}

/// `int __mmu_notifier_register(struct mmu_notifier *subscription, struct mm_struct *mm)`
#[fexit(function = "__mmu_notifier_register")]
pub fn notifier_register(ctx: FExitContext) -> i32 {
    emit::hit(Program::NotifierRegister);
    // The first interval notifier of an mm registers no subscription, only the place for it.
    let subscription = Typed(ctx.arg(0));
    if ctx.arg::<i32>(2) == 0 && subscription.address() != 0 {
        let ops = subscription.follow(Field::NotifierOps).address();
        registered(
            &ctx,
            Program::NotifierRegister,
            Notifier { mm: ctx.arg(1), ops, start: 0, end: 0 },
        );
    }
    0
}

/// `int __mmu_interval_notifier_insert(struct mmu_interval_notifier *interval_sub, struct mm_struct *mm,
/// struct mmu_notifier_subscriptions *subscriptions, unsigned long start, unsigned long length,
/// const struct mmu_interval_notifier_ops *ops)`
#[fexit(function = "__mmu_interval_notifier_insert")]
pub fn notifier_insert(ctx: FExitContext) -> i32 {
    emit::hit(Program::NotifierInsert);
    if ctx.arg::<i32>(6) == 0 {
        let start: u64 = ctx.arg(3);
        let end = start.wrapping_add(ctx.arg(4));
        registered(
            &ctx,
            Program::NotifierInsert,
            Notifier { mm: ctx.arg(1), ops: ctx.arg(5), start, end },
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
