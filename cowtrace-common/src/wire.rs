//! The bytes that travel from the probes to the decoder, and into a recording.
//!
//! A record is a [`Header`], a body whose form the header's `kind` tells, then what the body counts
//! (page pointers), then the stack frames that the header counts: kernel frames first, `u64` each. All
//! integers are little endian. Every form here is `repr(C)` without padding, so its bytes are
//! exactly its fields in order; docs/recording-format.md tells them to a stranger.
//!
//! The user side reads these with a cursor, never by casting: a kind that it does not know is
//! skipped by `len` and counted.

/// Version of the forms below. A change that an older reader would misread raises it.
pub const VERSION: u32 = 1;

/// Most kernel frames in a record.
pub const KERNEL_FRAMES: usize = 32;
/// Most user frames in a record.
pub const USER_FRAMES: usize = 32;
/// Most page pointers in a record: more pages become further records.
pub const POINTERS: usize = 256;
/// Most records that one call is told in; with [`POINTERS`], 16 MiB of small pages. What is beyond is
/// counted in `unlisted`.
pub const PARTS: usize = 16;

/// Numbers that [`Header::kind`] takes. Below [`kind::SOURCE`] the kernel side writes them, from
/// there on the user side's source does.
pub mod kind {
    /// Body: [`Fault`](super::Fault).
    pub const FAULT: u16 = 1;
    /// Body: [`Pin`](super::Pin), then page pointers.
    pub const PIN: u16 = 2;
    /// Body: [`Unpin`](super::Unpin), then page pointers.
    pub const UNPIN: u16 = 3;
    /// Body: [`Invalidate`](super::Invalidate).
    pub const INVALIDATE: u16 = 4;
    /// Body: [`Notifier`](super::Notifier).
    pub const NOTIFIER: u16 = 5;
    /// Body: [`Fork`](super::Fork).
    pub const FORK: u16 = 6;
    /// Body: [`MmExit`](super::MmExit).
    pub const MM_EXIT: u16 = 7;
    /// Body: [`Protect`](super::Protect).
    pub const PROTECT: u16 = 8;
    /// The first kind of the source's own.
    pub const SOURCE: u16 = 128;
    /// Body: a key, a NUL, a value; UTF-8. A fact about host, kernel or run.
    pub const FACT: u16 = 128;
    /// Body: `u8` row number in the probe table, then UTF-8: what it sees, a NUL, how it is attached (empty:
    /// not at all), a NUL, what is lost without it.
    pub const PROBE: u16 = 129;
    /// Body: `u64` address, `u32` tgid (0: kernel), then UTF-8: what stands there.
    pub const SYMBOL: u16 = 130;
    /// Body: [`Tally`](super::Tally); `program` in the header says whose.
    pub const TALLY: u16 = 131;
    /// Body: `u64` for each [`Outcome`](super::Outcome) in order: faults answered so, streamed or not.
    pub const OUTCOMES: u16 = 132;
    /// Body: [`Pin`](super::Pin), then page pointers: pages that a call pinned beyond its own records, as the
    /// source found them in the process's page map just after.
    pub const PIN_REST: u16 = 133;
}

/// Start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// Bytes of the whole record.
    pub len: u32,
    /// Form of the body, see [`kind`].
    pub kind: u16,
    /// The [`Program`](crate::program::Program) that wrote it.
    pub program: u16,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub time_ns: u64,
    /// Cgroup v2 id of the current task.
    pub cgroup: u64,
    /// Process (thread group) and thread of the current task.
    pub tgid: u32,
    /// See `tgid`.
    pub tid: u32,
    /// CPU it happened on.
    pub cpu: u32,
    /// Kernel frames at the end of the record.
    pub kernel_frames: u16,
    /// User frames behind them.
    pub user_frames: u16,
    /// Name of the current task, any bytes.
    pub comm: [u8; 16],
}

/// How `do_wp_page` answered a write-protect fault, by the PTE before and after.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Another page is mapped now: a COW break.
    Copy,
    /// The same page, writable.
    Reuse,
    /// A copy for a read-only pin (FAULT_FLAG_UNSHARE, 5.19 and later).
    Unshare,
    /// A shared mapping: never a COW.
    Shared,
    /// The same page, still not writable: lost race, userfaultfd, unshare without need.
    Retry,
    /// No page is mapped: raced with a zap.
    Gone,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Copy, Self::Reuse, Self::Unshare, Self::Shared, Self::Retry, Self::Gone];
}

/// Bits of [`Fault::page_bits`].
pub mod page_bit {
    /// The fault had a `struct page` for the old page; without it the counts are 0.
    pub const KNOWN: u32 = 1;
    /// The old page belongs to a folio of more than one page.
    pub const LARGE: u32 = 2;
    /// The kernel's own test calls it maybe-pinned.
    pub const MAYBE_PINNED: u32 = 4;
    /// An anonymous page (else page cache).
    pub const ANON: u32 = 8;
    /// A KSM page.
    pub const KSM: u32 = 16;
}

/// A write-protect fault, after its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Fault {
    /// Address space that faulted.
    pub mm: u64,
    /// Faulting address, page-aligned where the kernel aligns it.
    pub address: u64,
    /// The VMA.
    pub vma_start: u64,
    /// See `vma_start`.
    pub vma_end: u64,
    /// VM_* flags.
    pub vma_flags: u64,
    /// PFN mapped before.
    pub old_pfn: u64,
    /// PFN mapped after; 0 if none.
    pub new_pfn: u64,
    /// `_refcount` of the old folio after the fault.
    pub references: i32,
    /// `_mapcount` of the old page after the fault, counted from 0.
    pub mappings: i32,
    /// Pin count of the old folio: exact for a large one, references / 1024 else.
    pub pins: i32,
    /// FAULT_FLAG_*.
    pub fault_flags: u32,
    /// See [`page_bit`].
    pub page_bits: u32,
    /// An [`Outcome`].
    pub outcome: u32,
}

/// Pages pinned by one call.
///
/// `pointers` addresses of `struct page` follow, one for each page told here, in the order of the
/// pages' addresses. The programs copy them as the kernel keeps them, in one go; a PFN is
/// `(pointer - vmemmap) >> page_struct_shift`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pin {
    /// Address space whose pages they are: need not be the caller's.
    pub mm: u64,
    /// Address of the first page told in this record.
    pub address: u64,
    /// Where `struct page` 0 stands.
    pub vmemmap: u64,
    /// Pages pinned by the whole call.
    pub call_pages: u64,
    /// Pages pinned by the call beyond all its records.
    pub unlisted: u64,
    /// FOLL_* as the caller gave them.
    pub gup_flags: u32,
    /// Page pointers that follow.
    pub pointers: u32,
    /// log2 of `sizeof(struct page)`.
    pub page_struct_shift: u32,
    /// Which record of the call this is, from 0: it begins `part * POINTERS` pages behind the call's
    /// address. Only the first has stacks.
    pub part: u32,
}

/// Pages unpinned by one call. `pointers` addresses of `struct page` follow, as for [`Pin`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpin {
    /// Where `struct page` 0 stands.
    pub vmemmap: u64,
    /// For [`unpin_form::RANGE`] and [`unpin_form::FOLIO`]: pages from the one pointer on.
    pub pages: u64,
    /// Pages unpinned by the call beyond all its records.
    pub unlisted: u64,
    /// 1 if the caller said the pages were written to.
    pub make_dirty: u32,
    /// Page pointers that follow.
    pub pointers: u32,
    /// log2 of `sizeof(struct page)`.
    pub page_struct_shift: u32,
    /// See [`unpin_form`].
    pub form: u32,
}

/// How an [`Unpin`] names its pages.
pub mod unpin_form {
    /// Each by its pointer.
    pub const ARRAY: u32 = 0;
    /// `pages` of them, consecutive from the one pointer on.
    pub const RANGE: u32 = 1;
    /// `pages` references, somewhere in the folio that begins at the one pointer.
    pub const FOLIO: u32 = 2;
}

/// An MMU-notifier invalidation, told when it ends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Invalidate {
    /// Address space.
    pub mm: u64,
    /// Range told to the notifiers.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// CLOCK_BOOTTIME at its start; 0 if the start was not seen.
    pub began_ns: u64,
    /// `enum mmu_notifier_event`.
    pub event: u32,
    /// MMU_NOTIFIER_RANGE_*.
    pub flags: u32,
}

/// An MMU notifier was registered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notifier {
    /// Address space.
    pub mm: u64,
    /// Address of its operations: names the secondary MMU.
    pub ops: u64,
    /// Range of an interval notifier; 0 to 0 for the whole address space.
    pub start: u64,
    /// See `start`.
    pub end: u64,
}

/// A process whose address space has (or had) pins was forked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Fork {
    /// The parent's address space.
    pub parent_mm: u64,
    /// The child's: a snapshot.
    pub child_mm: u64,
    /// The child.
    pub child_tgid: u32,
    /// Zero.
    pub reserved: u32,
}

/// A range of an address space with pins is about to be write-protected, or made writable again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Protect {
    /// Address space.
    pub mm: u64,
    /// Range.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// VM_* flags that the range has now: for mprotect the new ones.
    pub vma_flags: u64,
    /// For [`protect_by::CHANGE_PROTECTION`]: MM_CP_* flags.
    pub change_flags: u32,
    /// See [`protect_by`].
    pub by: u32,
}

/// What write-protects, in [`Protect::by`].
pub mod protect_by {
    /// `change_protection`: mprotect, userfaultfd write protection or NUMA balancing, by its flags.
    pub const CHANGE_PROTECTION: u32 = 0;
    /// A write of 4 to /proc/PID/clear_refs.
    pub const CLEAR_REFS: u32 = 1;
}

/// An address space that was reported before is gone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MmExit {
    /// Address space.
    pub mm: u64,
}

/// What one program has counted since it was attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub hits: u64,
    /// Records that did not fit the ring.
    pub ring_full: u64,
    /// Calls whose state did not fit a map, or whose return was missed.
    pub map_full: u64,
    /// Runs that the kernel skipped since the program was already running on that CPU.
    pub recursion: u64,
}

// The forms' bytes are their fields: no padding anywhere.
const _: () = {
    assert!(size_of::<Header>() == 4 + 2 * 2 + 8 * 2 + 4 * 3 + 2 * 2 + 16);
    assert!(size_of::<Fault>() == 7 * 8 + 6 * 4);
    assert!(size_of::<Pin>() == 5 * 8 + 4 * 4);
    assert!(size_of::<Unpin>() == 3 * 8 + 4 * 4);
    assert!(size_of::<Invalidate>() == 4 * 8 + 2 * 4);
    assert!(size_of::<Notifier>() == 4 * 8);
    assert!(size_of::<Fork>() == 2 * 8 + 2 * 4);
    assert!(size_of::<MmExit>() == 8);
    assert!(size_of::<Protect>() == 4 * 8 + 2 * 4);
    assert!(size_of::<Tally>() == 4 * 8);
    assert!(align_of::<Header>() == 8 && size_of::<Header>().is_multiple_of(8));
};
