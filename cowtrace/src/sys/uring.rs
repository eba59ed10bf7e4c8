//! An `io_uring` as small as can be: one registered buffer, one read at a time.
//!
//! Raw on purpose. A library would pin, map or fork in places of its own, and
//! the order of these calls is what the workloads are about.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::Ordering,
};

use super::{Mapping, Region, ring_enter, ring_register, ring_setup, ring_unregister, words};

const FEAT_SINGLE_MMAP: u32 = 1; // One mapping holds both rings, since 5.4.
const OFFSET_RINGS: i64 = 0;
const OFFSET_ENTRIES: i64 = 0x1000_0000;
const READ_FIXED: u32 = 4;
const ENTRY_WORDS: usize = 16;
const COMPLETION_BYTES: usize = 16;

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    submission: SubmissionOffsets,
    completion: CompletionOffsets,
}

/// `struct io_sqring_offsets`: bytes from the start of the ring mapping.
#[repr(C)]
#[derive(Debug, Default)]
struct SubmissionOffsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: [u32; 3],
}

/// `struct io_cqring_offsets`: bytes from the start of the ring mapping.
#[repr(C)]
#[derive(Debug, Default)]
struct CompletionOffsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    overflow: u32,
    entries_at: u32,
    flags: u32,
    reserved: [u32; 3],
}

const _: () = assert!(size_of::<Params>() == 120, "the kernel writes this many bytes");
const _: () = assert!(cfg!(target_endian = "little"), "entries are put together from words");

/// A ring; its pins go with [`Uring::unregister`], or at the latest when it is dropped.
#[derive(Debug)]
pub struct Uring {
    params: Params,
    rings: Region,
    entries: Region,
    fd: OwnedFd,
}

impl Uring {
    /// A ring for one request at a time.
    ///
    /// Fails with `ENOSYS` or `EPERM` where the kernel or its settings offer no `io_uring`.
    pub fn new() -> io::Result<Self> {
        let mut params = Params::default();
        let fd = ring_setup(1, &mut params)?;
        if params.features & FEAT_SINGLE_MMAP == 0 {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        let submission_end = at(params.submission.array) + at(params.sq_entries) * size_of::<u32>();
        let completion_end =
            at(params.completion.entries_at) + at(params.cq_entries) * COMPLETION_BYTES;
        let rings = Region::shared(fd.as_fd(), OFFSET_RINGS, submission_end.max(completion_end))?;
        let entry_bytes = at(params.sq_entries) * ENTRY_WORDS * size_of::<u32>();
        let entries = Region::shared(fd.as_fd(), OFFSET_ENTRIES, entry_bytes)?;
        Ok(Self { params, rings, entries, fd })
    }

    /// Pins all pages of `memory` as buffer 0, for as long as the ring lives.
    ///
    /// Fails with `ENOMEM` above the limit on locked memory, and with `EBUSY` the second time.
    pub fn register(&self, memory: &Mapping) -> io::Result<()> {
        self.register_part(memory, memory.bytes())
    }

    /// The same of the first `bytes` only. Pages are pinned whole.
    ///
    /// Panics when there are not so many.
    pub fn register_part(&self, memory: &Mapping, bytes: usize) -> io::Result<()> {
        ring_register(self.fd.as_fd(), memory, bytes)
    }

    /// Unpins buffer 0.
    pub fn unregister(&self) -> io::Result<()> {
        ring_unregister(self.fd.as_fd())
    }

    /// Has the kernel read `length` bytes of `file` at `file_offset` into buffer 0, at what was
    /// `address` when it was registered, and waits for it. Answers how many bytes it read.
    ///
    /// The bytes go to the pages that were pinned, whatever is mapped at `address` by now.
    pub fn read_fixed(
        &mut self,
        file: &File,
        file_offset: u64,
        address: usize,
        length: u32,
    ) -> io::Result<usize> {
        self.queue(&read_entry(file, file_offset, address, length));
        while let Err(error) = ring_enter(self.fd.as_fd(), 1, false) {
            retry_if_interrupted(error)?;
        }
        loop {
            if let Some(result) = self.take_completion() {
                return usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            }
            if let Err(error) = ring_enter(self.fd.as_fd(), 0, true) {
                retry_if_interrupted(error)?;
            }
        }
    }

    fn queue(&self, entry: &[u32; ENTRY_WORDS]) {
        let offsets = &self.params.submission;
        let tail = self.rings.word(at(offsets.tail));
        let position = tail.load(Ordering::Relaxed);
        let slot = position & self.rings.word(at(offsets.mask)).load(Ordering::Relaxed);
        let start = at(slot) * ENTRY_WORDS;
        for (place, value) in (start..).zip(entry) {
            self.entries.word(place * size_of::<u32>()).store(*value, Ordering::Relaxed);
        }
        let array_place = at(offsets.array) + at(slot) * size_of::<u32>();
        self.rings.word(array_place).store(slot, Ordering::Relaxed);
        tail.store(position.wrapping_add(1), Ordering::Release);
    }

    /// The result of a finished request, if there is one: bytes, or a negative errno.
    fn take_completion(&self) -> Option<i32> {
        let offsets = &self.params.completion;
        let head = self.rings.word(at(offsets.head));
        let position = head.load(Ordering::Relaxed);
        if position == self.rings.word(at(offsets.tail)).load(Ordering::Acquire) {
            return None;
        }
        let slot = position & self.rings.word(at(offsets.mask)).load(Ordering::Relaxed);
        // struct io_uring_cqe: u64 user_data, i32 res, u32 flags.
        let result_place = at(offsets.entries_at) + at(slot) * COMPLETION_BYTES + size_of::<u64>();
        let result = self.rings.word(result_place).load(Ordering::Relaxed).cast_signed();
        head.store(position.wrapping_add(1), Ordering::Release);
        Some(result)
    }
}

/// `struct io_uring_sqe` as words: opcode and flags, fd, file offset, address, length, and zeroes,
/// among them the buffer index.
fn read_entry(file: &File, file_offset: u64, address: usize, length: u32) -> [u32; ENTRY_WORDS] {
    let [offset_low, offset_high] = words(file_offset);
    let [address_low, address_high] = words(address as u64);
    let mut entry = [0; ENTRY_WORDS];
    entry[..7].copy_from_slice(&[
        READ_FIXED,
        file.as_raw_fd().cast_unsigned(),
        offset_low,
        offset_high,
        address_low,
        address_high,
        length,
    ]);
    entry
}

fn at(offset: u32) -> usize {
    offset as usize
}

fn retry_if_interrupted(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
