//! Pins, as what a call returned: partial answers are common, and a long-term pin may unpin and pin
//! again inside before it answers.

use aya_ebpf::{
    EbpfContext,
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, kprobe, kretprobe, map},
    maps::{Array, HashMap},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use aya_log_ebpf::warn;
use cowtrace_common::{
    program::Program,
    setting::Setting,
    wire::{PARTS, POINTERS, Pin, kind},
};

use crate::{
    emit::{self, Frames, Record},
    holders,
    kernel::{self, Typed, argument},
    probes::notifier,
    scope::{self, Role},
    understudy::twice,
};

/// The arguments of a pin call.
#[derive(Clone, Copy)]
pub struct Call {
    mm: u64,
    address: u64,
    /// FOLL_*; as wide as the rest, so that the map's value has no padding.
    flags: u64,
    /// `struct page **`, filled in when the call returns.
    pages: u64,
}

impl Call {
    #[inline(always)]
    fn new(mm: u64, address: u64, flags: u32, pages: u64) -> Self {
        Self { mm, address, flags: u64::from(flags), pages }
    }

    #[inline(always)]
    fn is_long(&self) -> bool {
        self.flags & kernel::setting(Setting::FollLongterm) != 0
    }
}

/// The same in all versions.
const FOLL_WRITE: u32 = 1;

/// Pin calls under way, where only a kprobe pair can see them.
#[map]
static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(16_384, 0);

/// From where these came that pin for long: at a call's return the kernel's stack ends with the trampoline.
#[map]
static CALLERS: HashMap<u64, Frames> = HashMap::with_max_entries(1024, 0);

/// Threads inside a long-term pin's slow path, each in the place that its number gives it: every unpin asks.
#[map]
static LONGTERM: Array<u64> = Array::with_max_entries(LONGTERM_PLACES, 0);

/// A power of two.
const LONGTERM_PLACES: u32 = 1 << 14;

/// The fexit programs of functions whose arguments stand at these places.
macro_rules! pin_exits {
    ($($(#[doc = $doc:literal])* $name:ident, $function:literal, $program:ident,
       start $start:literal, flags $flags:literal, pages $pages:literal, returns $ty:ty = $ret:literal;)*) => {$(
        $(#[doc = $doc])*
        #[fexit(function = $function)]
        pub fn $name(ctx: FExitContext) -> i32 {
            let call = Call::new(
                kernel::current_mm(Program::$program),
                ctx.arg($start),
                ctx.arg($flags),
                argument(&ctx, $pages),
            );
            pinned(&ctx, Program::$program, &call, i64::from(ctx.arg::<$ty>($ret)));
            0
        }
    )*};
}

pin_exits! {
    /// `long pin_user_pages(…, struct page **pages, struct vm_area_struct **vmas)`, up to 6.4
    pin_vmas_exit, "pin_user_pages", PinVmasExit,
        start 0, flags 2, pages 3, returns i64 = 5;
    /// `long pin_user_pages_unlocked(unsigned long start, unsigned long nr_pages, struct page **pages, unsigned int gup_flags)`
    pin_unlocked_exit, "pin_user_pages_unlocked", PinUnlockedExit,
        start 0, flags 3, pages 2, returns i64 = 4;
    /// `long pin_user_pages_locked(unsigned long start, unsigned long nr_pages, unsigned int gup_flags, struct page **pages, int *locked)`, up to 5.17
    pin_locked_exit, "pin_user_pages_locked", PinLockedExit,
        start 0, flags 2, pages 3, returns i64 = 5;
    /// `int pin_user_pages_fast_only(unsigned long start, int nr_pages, unsigned int gup_flags, struct page **pages)`, up to 6.2
    pin_fast_only_exit, "pin_user_pages_fast_only", PinFastOnlyExit,
        start 0, flags 2, pages 3, returns i32 = 4;
}

twice! { fexit FExitContext {
    /// `int pin_user_pages_fast(unsigned long start, int nr_pages, unsigned int gup_flags, struct page **pages)`
    "pin_user_pages_fast": pin_fast_exit PinFastExit, pin_fast_again PinFastAgain => pinned_fast;
    /// `long pin_user_pages(unsigned long start, unsigned long nr_pages, unsigned int gup_flags, struct page **pages)`
    "pin_user_pages": pin_exit PinExit, pin_again PinAgain => pinned_slow;
} }

#[inline(always)]
fn pinned_fast(ctx: &FExitContext, program: Program) {
    pinned(ctx, program, &call_of_current(ctx, program), i64::from(ctx.arg::<i32>(4)));
}

#[inline(always)]
fn pinned_slow(ctx: &FExitContext, program: Program) {
    pinned(ctx, program, &call_of_current(ctx, program), ctx.arg(4));
}

/// The arguments (start, nr, flags, pages).
#[inline(always)]
fn call_of_current(ctx: &FExitContext, program: Program) -> Call {
    Call::new(kernel::current_mm(program), ctx.arg(0), ctx.arg(2), argument(ctx, 3))
}

/// `long pin_user_pages_remote(struct mm_struct *mm, unsigned long start, unsigned long nr_pages,
/// unsigned int gup_flags, struct page **pages, int *locked)`, from 6.5
#[fexit(function = "pin_user_pages_remote")]
pub fn pin_remote_exit(ctx: FExitContext) -> i32 {
    let call = Call::new(argument(&ctx, 0), ctx.arg(1), ctx.arg(3), argument(&ctx, 4));
    pinned(&ctx, Program::PinRemoteExit, &call, ctx.arg(6));
    0
}

/// Entry of any pin function with the arguments (start, nr, flags, pages).
#[kprobe]
pub fn pin_enter(ctx: ProbeContext) -> u32 {
    let call = Call::new(
        kernel::current_mm(Program::PinEnter),
        reg(&ctx, 0),
        reg(&ctx, 2) as u32,
        reg(&ctx, 3),
    );
    entered(&ctx, Program::PinEnter, &call)
}

/// Entry of `pin_user_pages_unlocked`: (start, nr, pages, flags).
#[kprobe]
pub fn pin_unlocked_enter(ctx: ProbeContext) -> u32 {
    let call = Call::new(
        kernel::current_mm(Program::PinUnlockedEnter),
        reg(&ctx, 0),
        reg(&ctx, 3) as u32,
        reg(&ctx, 2),
    );
    entered(&ctx, Program::PinUnlockedEnter, &call)
}

/// Entry of `pin_user_pages_remote`, from 5.9: (mm, start, nr, flags, pages, …). Up to 6.4 it has seven
/// arguments, and x86 takes no fexit on more than six before 6.6.
#[kprobe]
pub fn pin_remote_enter(ctx: ProbeContext) -> u32 {
    let call = Call::new(reg(&ctx, 0), reg(&ctx, 1), reg(&ctx, 3) as u32, reg(&ctx, 4));
    entered(&ctx, Program::PinRemoteEnter, &call)
}

/// Return to any of the entries above.
#[kretprobe]
pub fn pin_return(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own.
    if let Some(call) = unsafe { CALLS.get(thread) }.copied() {
        let _ = CALLS.remove(thread);
        // On x86-64 an int comes back in the low half; the high half is not defined.
        let returned: u64 = ctx.ret();
        // One that a missed return has left is of another call.
        // SAFETY: as above.
        let caller = if call.is_long() { unsafe { CALLERS.get(thread) } } else { None };
        pinned_from(&ctx, Program::PinReturn, &call, i64::from(returned as i32), caller);
        if caller.is_some() {
            let _ = CALLERS.remove(thread);
        }
    }
    0
}

/// `int get_user_pages_fast(unsigned long start, int nr_pages, unsigned int gup_flags, struct page **pages)`:
/// plain references, as vmsplice and O_DIRECT before 6.5 take them. They are not told, only remembered.
#[fexit(function = "get_user_pages_fast")]
pub fn reference_exit(ctx: FExitContext) -> i32 {
    let pages = ctx.arg::<i32>(4);
    if pages > 0 && scope::wanted() {
        emit::hit(Program::ReferenceExit);
        let (mm, array) = (kernel::current_mm(Program::ReferenceExit), argument(&ctx, 3));
        holders::referenced(mm, ctx.arg(0), ctx.arg(2), array, pages as u64);
    }
    0
}

/// `long memfd_pin_folios(struct file *memfd, loff_t start, loff_t end, struct folio **folios,
/// unsigned int max_folios, pgoff_t *offset)`, from 6.11: one pin on each folio, by where it is in the file.
#[fexit(function = "memfd_pin_folios")]
pub fn pin_folios_exit(ctx: FExitContext) -> i32 {
    emit::hit(Program::PinFoliosExit);
    let folios: i64 = ctx.arg(6);
    if folios <= 0 || !scope::wanted() {
        return 0;
    }
    let (start, last) = (ctx.arg::<u64>(1) >> 12, ctx.arg::<u64>(2) >> 12);
    // Large folios are told without a place: a record lists their first pages only.
    let small = last.wrapping_sub(start) + 1 == folios as u64;
    let file = if small { kernel::file_of(Typed(ctx.arg(0))) } else { 0 };
    if small {
        if !scope::remember(file, Role::Pinned) {
            emit::lose(Program::PinFoliosExit);
        }
        scope::set_pinned(file, start << 12, (last + 1) << 12);
    }
    // By driver ioctl only: always for long, and for writing.
    let flags = FOLL_WRITE | kernel::setting(Setting::FollLongterm) as u32;
    let call = Call::new(file, start << 12, flags, argument(&ctx, 3));
    listed(&ctx, Program::PinFoliosExit, &call, folios as u64, None);
    0
}

/// `void folio_add_pin(struct folio *folio)`, from 6.5: one more pin on what is pinned already.
#[fentry(function = "folio_add_pin")]
pub fn add_pin(ctx: FEntryContext) -> i32 {
    emit::hit(Program::FolioAddPin);
    more(Program::FolioAddPin, kernel::read_at(ctx.as_ptr() as u64), 1)
}

/// `int folio_add_pins(struct folio *folio, unsigned int pins)`, from 6.13
#[fexit(function = "folio_add_pins")]
pub fn add_pins(ctx: FExitContext) -> i32 {
    emit::hit(Program::FolioAddPins);
    if ctx.arg::<i32>(2) != 0 {
        return 0;
    }
    more(Program::FolioAddPins, argument(&ctx, 0), ctx.arg::<u32>(1).into())
}

/// Pins on a folio that a call adds to those it has: of no address, `pages` references.
#[inline(always)]
fn more(program: Program, folio: u64, pages: u64) -> i32 {
    if let Some(mut record) = Record::<Pin>::new(program, kind::PIN) {
        record.pointer(folio);
        record.body(Pin {
            mm: 0,
            address: 0,
            vmemmap: kernel::vmemmap(),
            call_pages: pages,
            unlisted: 0,
            gup_flags: 0,
            pointers: 1,
            page_struct_shift: kernel::setting(Setting::PageStructShift) as u32,
            part: 0,
        });
        record.submit();
    }
    0
}

twice! { fentry FEntryContext {
    /// `__gup_longterm_locked` begins. What it unpins inside was never told as a pin.
    "__gup_longterm_locked": longterm_enter LongtermEnter, longterm_enter_again LongtermEnterAgain => longterm_begins;
} }

twice! { fexit FExitContext {
    /// `__gup_longterm_locked` ends. Unseen, no later unpin of the thread would count.
    "__gup_longterm_locked": longterm_exit LongtermExit, longterm_exit_again LongtermExitAgain => longterm_ends;
} }

#[inline(always)]
fn longterm_begins(_: &FEntryContext, program: Program) {
    emit::hit(program);
    let thread = bpf_get_current_pid_tgid();
    let Some(inside) = longterm_place(thread) else {
        return;
    };
    // Another thread whose number ends alike, or this one after a return that went unseen.
    if *inside != 0 && *inside != thread {
        emit::lose(program);
    }
    *inside = thread;
}

#[inline(always)]
fn longterm_ends(_: &FExitContext, program: Program) {
    emit::hit(program);
    let thread = bpf_get_current_pid_tgid();
    if let Some(inside) = longterm_place(thread).filter(|inside| **inside == thread) {
        *inside = 0;
    }
}

#[inline(always)]
fn longterm_place(thread: u64) -> Option<&'static mut u64> {
    let place = LONGTERM.get_ptr_mut(thread as u32 & (LONGTERM_PLACES - 1))?;
    // SAFETY: a number of the map.
    Some(unsafe { &mut *place })
}

/// Whether a long-term pin unpins, which was never told as a pin: not an interrupt that its thread is hit by, which ends
/// the I/O of others.
#[inline(always)]
pub fn unpins_its_own() -> bool {
    let thread = bpf_get_current_pid_tgid();
    // The idle task's number is 0, as that of nobody.
    thread != 0
        && longterm_place(thread).is_some_and(|inside| *inside == thread)
        && !kernel::is_in_interrupt()
}

#[inline(always)]
fn reg(ctx: &ProbeContext, n: usize) -> u64 {
    ctx.arg(n).unwrap_or_default()
}

#[inline(always)]
fn entered(ctx: &ProbeContext, program: Program, call: &Call) -> u32 {
    if !scope::wanted() {
        return 0;
    }
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: only the entry's existence is looked at.
    if unsafe { CALLS.get(thread) }.is_some() {
        warn!(ctx, "the return of an earlier pin call of thread {} was missed", thread as u32);
        emit::lose(program);
    }
    if CALLS.insert(thread, call, 0).is_err() {
        warn!(ctx, "too many pin calls at once: one by thread {} is not seen", thread as u32);
        emit::lose(program);
    }
    if call.is_long()
        && let Some(frames) = emit::frames(ctx, program)
    {
        // Where there is no room, the pin is told without.
        let _ = CALLERS.insert(thread, frames, 0);
    }
    0
}

#[inline(always)]
fn pinned(ctx: &impl EbpfContext, program: Program, call: &Call, returned: i64) {
    pinned_from(ctx, program, call, returned, None);
}

/// `caller`: from where, if that was seen before.
#[inline(always)]
fn pinned_from(
    ctx: &impl EbpfContext,
    program: Program,
    call: &Call,
    returned: i64,
    caller: Option<&Frames>,
) {
    emit::hit(program);
    if returned <= 0 || !scope::wanted() {
        return;
    }
    let pages = returned as u64;
    if holders::remember(program, call.mm, call.address, call.flags, call.pages, pages) {
        return;
    }
    if !scope::has_pins(call.mm) {
        notifier::registered_by_now(program as u64, call.mm);
        if !scope::remember(call.mm, Role::Pinned) {
            emit::lose(program);
        }
    }
    let start = call.address & !0xfff;
    scope::set_pinned(call.mm, start, start.wrapping_add(pages << 12));
    listed(ctx, program, call, pages, caller);
}

/// Tells a call's pages, as many as fit its records.
#[inline(always)]
fn listed(
    ctx: &impl EbpfContext,
    program: Program,
    call: &Call,
    pages: u64,
    caller: Option<&Frames>,
) {
    let Some(mut record) = Record::<Pin>::new(program, kind::PIN) else {
        return;
    };
    let start = call.address & !0xfff;
    let body = Pin {
        mm: call.mm,
        address: start,
        vmemmap: kernel::vmemmap(),
        call_pages: pages,
        unlisted: 0,
        gup_flags: call.flags as u32,
        pointers: 0,
        page_struct_shift: kernel::setting(Setting::PageStructShift) as u32,
        part: 0,
    };
    put(&mut record, body, call.pages);
    record.stacks_since(ctx, caller);
    record.submit();
    let mut part = 1;
    while part < PARTS as u64 {
        if part * POINTERS as u64 >= pages {
            break;
        }
        pin_part(program as u64, part, start, call.pages);
        part += 1;
    }
}

/// Tells part `part` of a call that began at `start` and wrote an array of pages; the part before is told.
///
/// The verifier looks at a function with a name once in a program, whatever calls it how often (from 5.6 on). In
/// the loop it looked at this sixteen times, which was nine tenths of its work for a program that pins.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn pin_part(program: u64, part: u64, start: u64, pages: u64) -> u64 {
    if let Some((mut record, body)) = Record::<Pin>::once_more(program as u32) {
        let address = start + ((part * POINTERS as u64) << 12);
        put(&mut record, Pin { address, part: part as u32, ..body }, pages);
        record.submit();
    }
    0
}

/// Fills in which of a call's pages are those of this part.
#[inline(always)]
fn put(record: &mut Record<Pin>, body: Pin, pages: u64) {
    let first = u64::from(body.part) * POINTERS as u64;
    let rest = body.call_pages.wrapping_sub(first);
    let here = rest.min(POINTERS as u64);
    let pointers = record.pointers(pages + 8 * first, here);
    let later = if body.part == PARTS as u32 - 1 { 0 } else { rest - here };
    record.body(Pin { unlisted: rest - later - u64::from(pointers), pointers, ..body });
}
