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
    wire::{Invalidate, Notifier, SECONDARIES, Secondary, kind, secondary_bit},
};

use crate::{
    emit::{self, Record},
    kernel::{self, Pointer, Typed, Untyped},
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

/// `void mmu_notifier_unregister(struct mmu_notifier *subscription, struct mm_struct *mm)`
#[fexit(function = "mmu_notifier_unregister")]
pub fn notifier_unregister(ctx: FExitContext) -> i32 {
    emit::hit(Program::NotifierUnregister);
    left(Program::NotifierUnregister, kernel::argument(&ctx, 1))
}

/// `void mmu_notifier_put(struct mmu_notifier *subscription)`: the last user's takes it off the list; it is freed
/// later (SRCU).
#[fexit(function = "mmu_notifier_put")]
pub fn notifier_put(ctx: FExitContext) -> i32 {
    emit::hit(Program::NotifierPut);
    let subscription = Untyped(kernel::argument(&ctx, 0));
    left(Program::NotifierPut, subscription.read(Field::NotifierMm))
}

/// Who is still registered for an address space.
#[inline(always)]
fn left(program: Program, mm: u64) -> i32 {
    if scope::has_pins(mm) {
        registered_by_now(program as u64, mm);
    }
    0
}

/// `void mmu_interval_notifier_remove(struct mmu_interval_notifier *interval_sub)`
#[fentry(function = "mmu_interval_notifier_remove")]
pub fn notifier_remove(ctx: FEntryContext) -> i32 {
    emit::hit(Program::NotifierRemove);
    let gone = Untyped(kernel::argument(&ctx, 0));
    let mm = gone.read(Field::IntervalMm);
    if !scope::is_watched(mm) {
        return 0;
    }
    let node = gone.part(Field::IntervalNode);
    let last: u64 = node.read(Field::NodeLast);
    let mut ops = [0; SECONDARIES];
    ops[0] = gone.read(Field::IntervalOps);
    if let Some(mut record) = Record::new(Program::NotifierRemove, kind::SECONDARY) {
        let (start, end) = (node.read(Field::NodeStart), last.wrapping_add(1));
        record.body(Secondary { mm, start, end, ops, listed: 1, bits: secondary_bit::GONE });
        record.submit();
    }
    0
}

/// Tells who is registered for an address space, which its lock does not keep from changing meanwhile: then it is
/// told again.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn registered_by_now(program: u64, mm: u64) -> u64 {
    let field = Untyped(mm).part(Field::MmNotifiers).address();
    if field == mm {
        return 0; // This kernel has no such member.
    }
    let all = Untyped(kernel::read_at(field));
    let mut body = Secondary { mm, ..Secondary::default() };
    if all.address() != 0 {
        list(all, &mut body);
    }
    if let Some(mut record) = Record::numbered(program as u32, kind::SECONDARY) {
        record.body(body);
        record.submit();
    }
    0
}

#[inline(always)]
fn list(all: Untyped, body: &mut Secondary) {
    let tree: u64 = all.number(Field::NotifiersTree);
    if tree != 0 {
        body.bits |= secondary_bit::INTERVALS;
    }
    let mut next: u64 = all.number(Field::NotifiersList);
    let mut n = 0;
    while n < SECONDARIES {
        if next == 0 {
            return;
        }
        let notifier = Untyped(next).whole(Field::NotifierNext);
        body.ops[n] = notifier.read(Field::NotifierOps);
        n += 1;
        body.listed = n as u32;
        next = kernel::read_at(next);
    }
    if next != 0 {
        body.bits |= secondary_bit::MORE;
    }
}
