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
    /// Body: [`Zap`](super::Zap).
    pub const ZAP: u16 = 9;
    /// Body: [`Move`](super::Move).
    pub const MOVE: u16 = 10;
    /// Body: [`Refault`](super::Refault).
    pub const REFAULT: u16 = 11;
    /// Body: [`Content`](super::Content).
    pub const CONTENT: u16 = 12;
    /// Body: [`ForkCopy`](super::ForkCopy).
    pub const FORK_COPY: u16 = 13;
    /// Body: [`Holder`](super::Holder).
    pub const HOLDER: u16 = 14;
    /// Body: [`Io`](super::Io).
    pub const IO: u16 = 15;
    /// Body: [`FileRange`](super::FileRange).
    pub const FILE_RANGE: u16 = 16;
    /// Body: [`DmaMap`](super::DmaMap).
    pub const DMA_MAP: u16 = 17;
    /// Body: [`DmaUnmap`](super::DmaUnmap).
    pub const DMA_UNMAP: u16 = 18;
    /// Body: [`DmaDevice`](super::DmaDevice).
    pub const DMA_DEVICE: u16 = 19;
    /// Body: [`Secondary`](super::Secondary).
    pub const SECONDARY: u16 = 20;
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
    /// Body: [`ShortTerm`](super::ShortTerm).
    pub const SHORT_TERM: u16 = 134;
    /// Body: `u64` mm, `u64` address, then two `u64` each, PFN (0: not mapped) and pages, for consecutive
    /// addresses: what the page map of a process showed where pages are pinned.
    pub const AUDIT: u16 = 135;
    /// Body: none. What follows, up to [`KEYFRAME_END`], is of before: the state that later records build on.
    pub const KEYFRAME: u16 = 136;
    /// A pin that is held. Body: `u64` id, call, mm, address, pages of the call, address of the first extent, `u32`
    /// FOLL_*, `u32` 1 if its address space is gone, `u32` counts of extents, dropped and places, `u32` zero; then
    /// extents (`u64` PFN, pages, 1 if held), dropped (`u64` first PFN of the folio, references dropped) and places
    /// (`u64` mm, address, pages, index of the first page), then the stacks.
    pub const HELD: u16 = 137;
    /// What the finding that the last record brought about has come to. Body: `u32` verdict, from the least on, and
    /// `u32` proof, 0 for none.
    pub const GRADE: u16 = 138;
    /// What a program told of a thread lately. Body: three `u64`.
    pub const TOLD: u16 = 139;
    /// Body: `u64` records that did not decode, that were of unknown kinds, and pages that nobody could list.
    pub const KEYFRAME_END: u16 = 140;
    /// Body: `u64` cgroup v2 id, then UTF-8: its path from the root of the hierarchy.
    pub const CGROUP: u16 = 144;
    /// Body: `u64` runs and `u64` nanoseconds of all of them, as the kernel counts them; `program` in the header
    /// says whose.
    pub const COST: u16 = 145;
    /// Body: `u64` mm, first address and first address behind of a VMA, then UTF-8: what is mapped there; empty for
    /// anonymous memory.
    pub const VMA_NAME: u16 = 146;
    /// Body: eight `u64`: the budget in millionths of a CPU, nanoseconds that programs took
    /// in the last window, that the user side took, and of the window; nanoseconds for which all was shed and the
    /// budget not kept, what that cost, what all windows cost, and how long they were. Then for each [`Stage`](crate::setting::Stage) in order four `u64`:
    /// how often it was shed, nanoseconds of it in all, from when it was last, and until when (0: it is).
    pub const BUDGET: u16 = 147;
    /// Who a long-term pin belongs to, of the thread in the header. Body: `u64` time of the pin, `u32` sort of owner, `u32`
    /// how many fit (0: it was not looked up in time; all ones: none does), then UTF-8: its name.
    pub const OWNER: u16 = 148;
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

/// Room for a count of each [`Outcome`]: a power of two, so that a mask keeps within it.
pub const OUTCOME_SLOTS: usize = 8;

const _: () = assert!(Outcome::ALL.len() <= OUTCOME_SLOTS && OUTCOME_SLOTS.is_power_of_two());

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
    /// A page of hugetlbfs.
    pub const HUGETLB: u32 = 32;
    /// It was mapped by a PMD.
    pub const PMD: u32 = 64;
    /// It is in the swap cache, which holds a reference.
    pub const SWAPCACHE: u32 = 128;
    /// It is on an LRU list. One that is not may wait in a CPU's batch, which holds a reference.
    pub const ON_LRU: u32 = 256;
    /// From here on: log2 of the pages in its folio.
    pub const ORDER_SHIFT: u32 = 24;
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
    /// Mappings of the old page after the fault, counted from 0; of a large folio those of all its
    /// pages, where a page was replaced.
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
    /// See [`unpin_form`]; above its 8 bits the pages in the folio of the first page, 0 if it has but one.
    pub form: u32,
}

/// Bits of [`Unpin::form`] that hold the form itself.
pub const UNPIN_FORM_BITS: u32 = 8;

/// How an [`Unpin`] names its pages.
pub mod unpin_form {
    /// Each by its pointer.
    pub const ARRAY: u32 = 0;
    /// `pages` of them, consecutive from the one pointer on.
    pub const RANGE: u32 = 1;
    /// `pages` references, somewhere in the folio that begins at the one pointer.
    pub const FOLIO: u32 = 2;
    /// One reference on each folio that begins at a pointer.
    pub const FOLIOS: u32 = 3;
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

/// Operations listed in a [`Secondary`].
pub const SECONDARIES: usize = 6;

/// Which MMU notifiers an address space with pins has now, or that an interval notifier has gone.
///
/// Told at the first pin, when notifiers from before the trace may be there, and whenever one has gone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Secondary {
    /// Address space.
    pub mm: u64,
    /// With [`secondary_bit::GONE`] the range of the interval notifier; else 0.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// Operations of the notifiers of the whole address space, newest first; with [`secondary_bit::GONE`] the
    /// first is that of the one that has gone.
    pub ops: [u64; SECONDARIES],
    /// How many of `ops` hold one.
    pub listed: u32,
    /// See [`secondary_bit`].
    pub bits: u32,
}

/// Bits of [`Secondary::bits`].
pub mod secondary_bit {
    /// There are more than are listed.
    pub const MORE: u32 = 1;
    /// There are interval notifiers, which are not listed.
    pub const INTERVALS: u32 = 2;
    /// Not a list: the interval notifier of this range and these operations has gone.
    pub const GONE: u32 = 4;
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
    /// See [`protect_by`]; above its 8 bits how many bits of an address the entry leaves open that maps
    /// `start`: 12 for a base page, 21 for a huge one, 0 for none.
    pub by: u32,
}

/// Bits of [`Protect::by`] that hold who it is by.
pub const PROTECT_BY_BITS: u32 = 8;

/// What write-protects or unmaps, in [`Protect::by`].
pub mod protect_by {
    /// `change_protection`: mprotect, userfaultfd write protection or NUMA balancing, by its flags.
    pub const CHANGE_PROTECTION: u32 = 0;
    /// A write of 4 to /proc/PID/clear_refs.
    pub const CLEAR_REFS: u32 = 1;
    /// The PAGEMAP_SCAN ioctl, with PM_SCAN_WP_MATCHING.
    pub const PAGEMAP_SCAN: u32 = 2;
    /// Reclaim: the page is unmapped by way of its reverse mapping, and perhaps swapped out.
    pub const RECLAIM: u32 = 3;
    /// A huge page's mapping is split into those of its pages.
    pub const SPLIT: u32 = 4;
}

/// Mappings in a range of an address space with pins are about to be discarded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Zap {
    /// Address space.
    pub mm: u64,
    /// Range.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// The VMA.
    pub vma_start: u64,
    /// See `vma_start`.
    pub vma_end: u64,
    /// VM_* flags.
    pub vma_flags: u64,
    /// 1 if only pages of the file go, and what the process has written to stays.
    pub spares_cows: u32,
    /// Of the page at `start`, see [`zap_first`].
    pub first: u32,
    /// PFN of that page; 0 if none is known.
    pub first_pfn: u64,
}

/// What was at the start of a zapped range, in [`Zap::first`].
pub mod zap_first {
    /// Nothing is mapped, or it was not looked at.
    pub const UNKNOWN: u32 = 0;
    /// A page that the kernel's own test does not call maybe-pinned.
    pub const NOT_PINNED: u32 = 1;
    /// One that it does.
    pub const MAYBE_PINNED: u32 = 2;
}

/// What is about to be zapped are pages of a file in which some are pinned: stands in front of that [`Zap`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FileRange {
    /// The file, as [`Pin::mm`] names it.
    pub file: u64,
    /// Where in it the range begins, in bytes.
    pub offset: u64,
    /// Address space in which it is mapped.
    pub mm: u64,
    /// Its addresses there.
    pub start: u64,
    /// See `start`.
    pub end: u64,
}

/// Mappings were moved to another address (mremap).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Move {
    /// Address space.
    pub mm: u64,
    /// From where.
    pub from: u64,
    /// To where.
    pub to: u64,
    /// Bytes moved: the call may give up half-way.
    pub len: u64,
}

/// A fault was answered in a range that had been zapped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Refault {
    /// Address space.
    pub mm: u64,
    /// Faulting address.
    pub address: u64,
    /// PFN mapped there now; 0 if none.
    pub pfn: u64,
    /// FAULT_FLAG_*.
    pub fault_flags: u32,
    /// 1 if the page may be written to now.
    pub writable: u32,
}

/// What a page held, as a hash over its bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Content {
    /// The page.
    pub pfn: u64,
    /// See `cowtrace-ebpf/src/orphan.rs`: 64 bits, for comparing with another of the same page only.
    pub hash: u64,
    /// See [`content_at`].
    pub at: u32,
    /// Zero.
    pub reserved: u32,
}

/// When a page's content was looked at, in [`Content::at`].
pub mod content_at {
    /// When the process was moved off it.
    pub const BREAK: u32 = 0;
    /// When it was about to be unpinned.
    pub const UNPIN: u32 = 1;
}

/// A fork copied a range of an address space with pins: the kernel copies pinned pages for the child.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ForkCopy {
    /// The parent's address space.
    pub parent_mm: u64,
    /// The child's.
    pub child_mm: u64,
    /// Range of the VMA.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// VM_* flags.
    pub vma_flags: u64,
    /// CLOCK_BOOTTIME when it began; it ended at the record's time.
    pub began_ns: u64,
}

/// Who holds a page that a process has just been moved off: told before the fault, stamped with the time and
/// the task that took it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Holder {
    /// Address space whose page it was.
    pub mm: u64,
    /// Its address there.
    pub address: u64,
    /// The page.
    pub pfn: u64,
    /// FOLL_* as the caller gave them.
    pub gup_flags: u32,
    /// See [`holder_by`].
    pub by: u32,
}

/// How a page is held, in [`Holder::by`].
pub mod holder_by {
    /// By a short-term pin, whose call was not told.
    pub const SHORT_TERM_PIN: u32 = 0;
    /// By a plain reference, unless that was dropped unseen.
    pub const REFERENCE: u32 = 1;
}

/// I/O into or out of a registered buffer was submitted, where a process was moved off its pages before.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Io {
    /// Address space of the submitter.
    pub mm: u64,
    /// First address.
    pub address: u64,
    /// Bytes.
    pub len: u64,
    /// 1 if the device writes to memory.
    pub to_memory: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bytes of a device's name that are kept, its NUL included.
pub const DEVICE_NAME: usize = 32;

/// Pinned memory was made reachable for a device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DmaMap {
    /// Whose addresses: that of an IOMMU domain, or of a device that the DMA API maps for.
    pub space: u64,
    /// Where the device finds it.
    pub iova: u64,
    /// Where it is.
    pub physical: u64,
    /// Bytes, both there and here without a gap.
    pub bytes: u64,
    /// See [`dma_by`].
    pub by: u32,
    /// 1 if it may have ended unseen; only in keyframes.
    pub doubtful: u32,
    /// Name of the device; empty for an IOMMU domain, which may have several.
    pub device: [u8; DEVICE_NAME],
}

/// A device ceases to reach memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DmaUnmap {
    /// As in [`DmaMap`].
    pub space: u64,
    /// From where on.
    pub iova: u64,
    /// Bytes; all there are where the domain itself goes.
    pub bytes: u64,
    /// See [`dma_by`].
    pub by: u32,
    /// Zero.
    pub reserved: u32,
}

/// A device was attached to an IOMMU domain, and so left the one that it was in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DmaDevice {
    /// Which: address of its `struct device`.
    pub device: u64,
    /// The domain.
    pub space: u64,
    /// Its name.
    pub name: [u8; DEVICE_NAME],
}

/// By what interface of the kernel memory is mapped for a device, in [`DmaMap::by`].
pub mod dma_by {
    /// The IOMMU API: what vfio and iommufd map.
    pub const IOMMU: u32 = 0;
    /// The DMA API: what drivers map.
    pub const DMA: u32 = 1;
}

/// Pages of short-term pins that were counted and not told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ShortTerm {
    /// Pinned.
    pub pinned: u64,
    /// Unpinned.
    pub unpinned: u64,
    /// Told after all, as [`Holder`].
    pub told: u64,
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

/// What one program counts on one CPU, as the map has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Runs, and what is lost of them.
    pub tally: Tally,
    /// Write-protect faults by [`Outcome`], told or not.
    pub answers: [u64; OUTCOME_SLOTS],
}

// The forms' bytes are their fields: no padding anywhere.
const _: () = {
    assert!(size_of::<Header>() == 4 + 2 * 2 + 8 * 2 + 4 * 3 + 2 * 2 + 16);
    assert!(size_of::<Fault>() == 7 * 8 + 6 * 4);
    assert!(size_of::<Pin>() == 5 * 8 + 4 * 4);
    assert!(size_of::<Unpin>() == 3 * 8 + 4 * 4);
    assert!(size_of::<Invalidate>() == 4 * 8 + 2 * 4);
    assert!(size_of::<Notifier>() == 4 * 8);
    assert!(size_of::<Secondary>() == (3 + SECONDARIES) * 8 + 2 * 4);
    assert!(size_of::<Fork>() == 2 * 8 + 2 * 4);
    assert!(size_of::<MmExit>() == 8);
    assert!(size_of::<Protect>() == 4 * 8 + 2 * 4);
    assert!(size_of::<Zap>() == 7 * 8 + 2 * 4);
    assert!(size_of::<FileRange>() == 5 * 8);
    assert!(size_of::<Move>() == 4 * 8);
    assert!(size_of::<Refault>() == 3 * 8 + 2 * 4);
    assert!(size_of::<Content>() == 2 * 8 + 2 * 4);
    assert!(size_of::<ForkCopy>() == 6 * 8);
    assert!(size_of::<Holder>() == 3 * 8 + 2 * 4);
    assert!(size_of::<DmaMap>() == 4 * 8 + 2 * 4 + DEVICE_NAME);
    assert!(size_of::<DmaUnmap>() == 3 * 8 + 2 * 4);
    assert!(size_of::<DmaDevice>() == 2 * 8 + DEVICE_NAME);
    assert!(size_of::<Io>() == 3 * 8 + 2 * 4);
    assert!(size_of::<ShortTerm>() == 3 * 8);
    assert!(size_of::<Tally>() == 4 * 8);
    assert!(align_of::<Header>() == 8 && size_of::<Header>().is_multiple_of(8));
};
