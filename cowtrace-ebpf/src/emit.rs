//! The way of a record into the ring: collect, stamp, submit, and count what did not fit.
//!
//! A record is built in a per-CPU buffer, then copied into the ring at its real length: frames and
//! extents vary, and `bpf_ringbuf_reserve` takes constant sizes only. Each program has a buffer of
//! its own: from 5.12 on a program can be preempted by another one on the same CPU, but not by
//! itself (the kernel skips the second run and counts it).

use core::{arch::asm, marker::PhantomData, mem::offset_of};

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_USER_STACK,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_smp_processor_id,
        bpf_get_stack, bpf_ktime_get_boot_ns,
    },
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use cowtrace_common::{
    program::Program,
    setting::Stage,
    wire::{Counts, Header, KERNEL_FRAMES, OUTCOME_SLOTS, Outcome, POINTERS, Tally, USER_FRAMES},
};

use crate::{
    kernel::{self, Typed},
    shed::is_shed,
};

/// Records on their way to the user side. The loader sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// What each program counted.
#[map]
static COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(Program::ALL.len() as u32, 0);

#[map]
static BUFFERS: PerCpuArray<Buffer> = PerCpuArray::with_max_entries(Program::ALL.len() as u32, 0);

const BODY: usize = 80;
const KERNEL_BYTES: usize = KERNEL_FRAMES * 8;
const USER_BYTES: usize = USER_FRAMES * 8;
const TAIL: usize = POINTERS * 8 + KERNEL_BYTES + USER_BYTES;

/// Room for the longest record.
#[repr(C)]
struct Buffer {
    header: Header,
    /// Body, page pointers and frames, each right behind the one before.
    rest: [u8; BODY + TAIL],
}

/// Words of [`scratch`].
pub const SCRATCH: usize = POINTERS;

/// Room for a program to read to, until it begins a record.
#[inline(always)]
pub fn scratch(program: u32) -> Option<&'static mut [u64; SCRATCH]> {
    let buffer = BUFFERS.get_ptr_mut(program)?;
    // SAFETY: `rest` begins at a multiple of 8, is long enough, and is this program's on this CPU.
    Some(unsafe { &mut *(&raw mut (*buffer).rest).cast::<[u64; SCRATCH]>() })
}

/// What the verifier knows to be a pointer, as a number: what was stored in a map comes back as one. Takes the
/// program's scratch.
#[inline(always)]
pub fn number(program: Program, pointer: Typed) -> u64 {
    let Some(scratch) = scratch(program as u32) else {
        return 0;
    };
    let place = scratch.as_mut_ptr();
    // SAFETY: a word of the scratch. Volatile, or LLVM would pass the pointer on.
    unsafe {
        place.cast::<*const u8>().write_volatile(pointer.0);
        place.read_volatile()
    }
}

/// Kernel frames that were taken at one place to be told at another.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Frames {
    count: u64,
    frames: [u64; KERNEL_FRAMES],
}

const _: () = assert!(size_of::<Frames>() <= SCRATCH * 8);

/// The kernel's stack as it is now, in a program's scratch.
#[inline(always)]
pub fn frames(ctx: &impl EbpfContext, program: Program) -> Option<&'static Frames> {
    let to: *mut Frames = core::ptr::from_mut(scratch(program as u32)?).cast();
    // SAFETY: scratch has room for them, as was asserted; what is not taken is 0.
    unsafe {
        let frames = (&raw mut (*to).frames).cast();
        let taken = bpf_get_stack(ctx.as_ptr(), frames, KERNEL_BYTES as u32, 0);
        if taken <= 0 {
            return None;
        }
        (*to).count = taken as u64 / 8;
        Some(&*to)
    }
}

/// CLOCK_BOOTTIME, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing, returns a number.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Counts a run of a program.
#[inline(always)]
pub fn hit(program: Program) {
    count(program as u32, |tally| &mut tally.hits);
}

/// Counts a call that is lost since a map had no room, or since its return was missed.
#[inline(always)]
pub fn lose(program: Program) {
    count(program as u32, |tally| &mut tally.map_full);
}

/// Counts an answer to a write-protect fault.
#[inline(always)]
pub fn outcome(program: Program, outcome: Outcome) {
    if let Some(counts) = counts(program as u32) {
        answered(counts, outcome);
    }
}

/// Counts a run and the answer that it saw: one lookup instead of two, for each fault of each process.
#[inline(always)]
pub fn hit_with(program: Program, outcome: Outcome) {
    if let Some(counts) = counts(program as u32) {
        counts.tally.hits += 1;
        answered(counts, outcome);
    }
}

#[inline(always)]
fn answered(counts: &mut Counts, outcome: Outcome) {
    let slot = bounded::<{ OUTCOME_SLOTS as u64 - 1 }>(outcome as u64) as usize;
    // SAFETY: below OUTCOME_SLOTS.
    unsafe { *counts.answers.get_unchecked_mut(slot) += 1 };
}

#[inline(always)]
fn count(program: u32, of: impl FnOnce(&mut Tally) -> &mut u64) {
    if let Some(counts) = counts(program) {
        *of(&mut counts.tally) += 1;
    }
}

/// This CPU's counts of a program.
#[inline(always)]
fn counts(program: u32) -> Option<&'static mut Counts> {
    let counts = COUNTS.get_ptr_mut(program)?;
    // SAFETY: this CPU's own slot.
    Some(unsafe { &mut *counts })
}

/// A task's name, of its words.
#[inline(always)]
fn bytes([first, rest]: [u64; 2]) -> [u8; 16] {
    (u128::from(first) | u128::from(rest) << 64).to_ne_bytes()
}

/// A record with the body `B` being built.
pub struct Record<B> {
    buffer: *mut Buffer,
    /// The program's number.
    program: u32,
    /// Bytes of `rest` in use.
    used: usize,
    body: PhantomData<B>,
}

impl<B> Record<B> {
    /// Starts a record and stamps its header. `None` cannot be: each program has its buffer.
    #[inline(always)]
    pub fn new(program: Program, kind: u16) -> Option<Self> {
        Self::numbered(program as u32, kind)
    }

    /// The same of a program known by its number.
    #[inline(always)]
    pub fn numbered(program: u32, kind: u16) -> Option<Self> {
        const { assert!(size_of::<B>() <= BODY && size_of::<B>() % 8 == 0) };
        let buffer = BUFFERS.get_ptr_mut(program)?;
        let task = bpf_get_current_pid_tgid();
        let header = Header {
            len: 0,
            kind,
            program: program as u16,
            time_ns: now(),
            // SAFETY: takes nothing, returns a number.
            cgroup: unsafe { bpf_get_current_cgroup_id() },
            tgid: (task >> 32) as u32,
            tid: task as u32,
            // SAFETY: takes nothing, returns a number.
            cpu: unsafe { bpf_get_smp_processor_id() } as u32,
            kernel_frames: 0,
            user_frames: 0,
            comm: bytes(kernel::comm()),
        };
        // SAFETY: the buffer is this program's on this CPU, and nobody else's while we run.
        unsafe { (*buffer).header = header };
        Some(Self { buffer, program, used: size_of::<B>(), body: PhantomData })
    }

    /// The record that a program has built last, to be built once more with another tail; and its body as it was.
    #[inline(always)]
    pub fn once_more(program: u32) -> Option<(Self, B)> {
        let buffer = BUFFERS.get_ptr_mut(program)?;
        // SAFETY: as in `new`, and in `body`: any bytes are a body.
        let body = unsafe {
            (*buffer).header.kernel_frames = 0;
            (*buffer).header.user_frames = 0;
            (&raw const (*buffer).rest).cast::<B>().read()
        };
        Some((Self { buffer, program, used: size_of::<B>(), body: PhantomData }, body))
    }

    /// Makes it an earlier deed of another task.
    #[inline(always)]
    pub fn by(&mut self, time_ns: u64, cgroup: u64, tgid: u32, tid: u32, comm: [u64; 2]) {
        let header = self.header();
        header.time_ns = time_ns;
        header.cgroup = cgroup;
        header.tgid = tgid;
        header.tid = tid;
        header.comm = bytes(comm);
    }

    /// Writes the body.
    #[inline(always)]
    pub fn body(&mut self, body: B) {
        // SAFETY: `rest` begins at a multiple of 8 and holds BODY bytes and more.
        unsafe { (&raw mut (*self.buffer).rest).cast::<B>().write(body) };
    }

    /// Copies `count` (at most POINTERS) page pointers from `pages` behind the body; how many.
    #[inline(always)]
    pub fn pointers(&mut self, pages: u64, count: u64) -> u32 {
        let bytes = bounded::<0xfff>(count * 8) as usize;
        if bytes > POINTERS * 8 {
            return 0;
        }
        // SAFETY: `rest` has room for POINTERS of them behind the body.
        let to = unsafe {
            let at = (&raw mut (*self.buffer).rest).cast::<u8>().add(size_of::<B>());
            core::slice::from_raw_parts_mut(at, bytes)
        };
        if !kernel::copy(pages, to) {
            return 0;
        }
        self.used = size_of::<B>() + bytes;
        (bytes / 8) as u32
    }

    /// Takes one page pointer behind the body.
    #[inline(always)]
    pub fn pointer(&mut self, page: u64) {
        // SAFETY: as in `pointers`.
        unsafe {
            (&raw mut (*self.buffer).rest).byte_add(size_of::<B>()).cast::<u64>().write(page)
        };
        self.used = size_of::<B>() + 8;
    }

    /// So many pointers were [put](push) behind the body.
    #[inline(always)]
    pub fn has(&mut self, pointers: u32) {
        self.used = size_of::<B>() + 8 * pointers as usize;
    }

    #[inline(always)]
    fn header(&mut self) -> &mut Header {
        // SAFETY: as in `new`.
        unsafe { &mut (*self.buffer).header }
    }

    /// Appends the stacks of the current task, kernel frames first, unless they are left out.
    #[inline(always)]
    pub fn stacks(&mut self, ctx: &impl EbpfContext) {
        if !is_shed(Stage::Causes) {
            self.kernel_stack(ctx);
            self.user_stack(ctx);
        }
    }

    /// The same with kernel frames that were taken before, if there are any.
    #[inline(always)]
    pub fn stacks_since(&mut self, ctx: &impl EbpfContext, before: Option<&Frames>) {
        match before {
            None => self.stacks(ctx),
            Some(before) if !is_shed(Stage::Causes) => {
                self.frames(before);
                self.user_stack(ctx);
            }
            Some(_) => {}
        }
    }

    #[inline(always)]
    fn frames(&mut self, before: &Frames) {
        let at = bounded::<0xfff>(self.used as u64) as usize;
        if at > BODY + TAIL - KERNEL_BYTES {
            return;
        }
        // SAFETY: `at` leaves KERNEL_BYTES bytes of `rest`.
        let to = unsafe {
            let to = (&raw mut (*self.buffer).rest).cast::<u8>().add(at);
            core::slice::from_raw_parts_mut(to, KERNEL_BYTES)
        };
        let count = bounded::<0x3f>(before.count);
        if kernel::copy(before.frames.as_ptr() as u64, to) && count <= KERNEL_FRAMES as u64 {
            self.used = at + 8 * count as usize;
            self.header().kernel_frames = count as u16;
        }
    }

    /// The same where a verdict asks which kernel functions were on the way: those are never left out.
    #[inline(always)]
    pub fn telling_stacks(&mut self, ctx: &impl EbpfContext) {
        self.kernel_stack(ctx);
        if !is_shed(Stage::Causes) {
            self.user_stack(ctx);
        }
    }

    #[inline(always)]
    fn kernel_stack(&mut self, ctx: &impl EbpfContext) {
        let frames = self.stack::<KERNEL_BYTES>(ctx, 0);
        self.header().kernel_frames = frames;
    }

    #[inline(always)]
    fn user_stack(&mut self, ctx: &impl EbpfContext) {
        let frames = self.stack::<USER_BYTES>(ctx, u64::from(BPF_F_USER_STACK));
        self.header().user_frames = frames;
    }

    #[inline(always)]
    fn stack<const BYTES: usize>(&mut self, ctx: &impl EbpfContext, flags: u64) -> u16 {
        let at = bounded::<0xfff>(self.used as u64) as usize;
        if at > BODY + TAIL - BYTES {
            return 0;
        }
        // SAFETY: `at` leaves BYTES bytes of `rest`.
        let taken = unsafe {
            let to = (&raw mut (*self.buffer).rest).cast::<u8>().add(at);
            bpf_get_stack(ctx.as_ptr(), to.cast(), BYTES as u32, flags)
        };
        if taken <= 0 {
            return 0;
        }
        self.used = at + bounded::<0x1ff>(taken as u64) as usize;
        (taken / 8) as u16
    }

    /// Copies the record into the ring, or counts it as lost; whether it is there.
    #[inline(always)]
    pub fn submit(self) -> bool {
        let len = bounded::<0xfff>((offset_of!(Buffer, rest) + self.used) as u64) as usize;
        if len > size_of::<Buffer>() {
            return false;
        }
        // SAFETY: header and `rest` lie side by side and hold `len` bytes, as was just asked.
        let bytes = unsafe {
            (*self.buffer).header.len = len as u32;
            core::slice::from_raw_parts(self.buffer.cast::<u8>(), len)
        };
        put(self.program, bytes)
    }
}

/// Puts bytes into the ring, or counts them as lost; whether they are there.
#[inline(always)]
pub fn put(program: u32, bytes: &[u8]) -> bool {
    let put = EVENTS.output::<[u8]>(bytes, 0).is_ok();
    if !put {
        count(program, |tally| &mut tally.ring_full);
    }
    put
}

/// Puts a page pointer behind the body, of type `B`, and `before` others of the record that a program builds.
#[inline(always)]
pub fn push<B>(program: u32, before: u64, page: u64) {
    let at = bounded::<0x7ff>(before * 8) as usize;
    if at >= POINTERS * 8 {
        return;
    }
    if let Some(buffer) = BUFFERS.get_ptr_mut(program) {
        // SAFETY: `rest` has room for POINTERS of them behind the body, at a multiple of 8.
        unsafe {
            let pointers = (&raw mut (*buffer).rest).cast::<u8>().add(size_of::<B>());
            pointers.add(at).cast::<u64>().write_unaligned(page);
        }
    }
}

/// `value & MASK`, where LLVM cannot see that the mask changes nothing: the verifier needs the
/// instruction for its bounds, which 5.10 also forgets when a register is spilled.
#[inline(always)]
pub fn bounded<const MASK: u64>(mut value: u64) -> u64 {
    // SAFETY: one AND.
    unsafe { asm!("{0} &= {1}", inout(reg) value, const MASK) };
    value
}

/// The highest `BITS` bits of a hash: what lies side by side, or has its lowest bits alike, is spread over all of them.
#[inline(always)]
pub const fn spread<const BITS: u32>(value: u64) -> u32 {
    (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BITS)) as u32
}
