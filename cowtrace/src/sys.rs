//! The system calls that Rust's standard library does not offer, each behind a
//! small safe function.
//!
//! Invariant: this file and its children `sys/*.rs` are the only ones of the
//! `cowtrace` crate that say `unsafe`. What is unsafe and private here (raw
//! ring memory) is used by the children and by nobody else.
//!
//! Surprise: memory in a [`Mapping`] is never lent out as a reference. The
//! kernel writes to it behind the compiler's back (that is what the workloads
//! are about), so every access is volatile and by value.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        raw::{c_int, c_long},
    },
    ptr::{self, NonNull},
    sync::atomic::AtomicU32,
};

use tokio::io::{Interest, unix::AsyncFd};

mod aio;
mod mapping;
mod memory;
mod process;
mod udmabuf;
mod uring;
mod userfault;
mod verbs;
mod vfio;
mod xdp;

pub use aio::Aio;
pub use mapping::{Advice, Backing, HUGE_PAGE, Mapping, Protection};
pub use memory::{
    discard_in_file, move_pages, nodes_of, pipe_holding, scan_and_write_protect, vmsplice,
};
pub use process::{
    Child, Copying, copy_with_process, descriptor_of, die_with_parent, end_process, fork_child,
    is_hangup_ignored, stand_alone, terminate, vfork_child, wait_readable,
};
pub use udmabuf::DmaBuffer;
pub use uring::Uring;
pub use userfault::{Userfault, Watch};
pub use verbs::{Loopback, MemoryRegion, Verbs, rdma_devices};
pub use vfio::{Access, Part, Vfio};
pub use xdp::{Frames, XdpSender};

/// Nanoseconds since boot, suspend included: the clock that the probes stamp with.
pub fn boottime_ns() -> u64 {
    clock_ns(libc::CLOCK_BOOTTIME)
}

/// Nanoseconds since the Unix epoch.
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// Nanoseconds that the calling thread has spent on a CPU.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Nanoseconds of CPU time that this process took, all its threads together.
pub fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for one timespec; an unknown clock leaves it alone.
    let answer = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(answer, 0, "Linux has had all these clocks since 2.6.39");
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Has the allocator serve all threads from one heap: a process that runs for weeks otherwise keeps for each thread what
/// its largest burst took. Its thresholds stay as they are, which follow what is asked for: with fixed ones large pieces
/// came from the kernel anew each time, and a recording on a slow machine was up to three seconds late.
pub fn keep_one_heap() {
    // SAFETY: takes numbers; called before there are other threads, as the manual asks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Gives memory that is free inside the process back to the kernel: the allocator keeps it otherwise.
pub fn give_back_free_memory() {
    // SAFETY: takes a number, and touches no memory that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// The effective user id; 0 is root.
pub fn effective_uid() -> u32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::geteuid() }
}

/// The kernel's id of the calling thread (`tid`; the main thread's equals the pid).
pub fn thread_id() -> u32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::gettid() }.cast_unsigned()
}

/// Bytes in a base page.
pub fn page_size() -> usize {
    // SAFETY: only reads a constant of the process; every Linux knows this name.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

/// Whether the kernel counts maps against the limit on locked memory: it did before 5.11, when it began to charge cgroups.
pub fn memory_of_maps_is_locked() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_before_5_11(&release))
}

fn is_before_5_11(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) < (Some(5), Some(11))
}

/// Registers `source`, which owns its descriptor, with the running tokio runtime for readability. Panics outside of one.
pub fn async_fd<T: AsRawFd + AsFd>(source: T) -> io::Result<AsyncFd<T>> {
    async_fd_for(source, Interest::READABLE)
}

/// The same for whatever is of interest.
///
/// Panics outside of a tokio runtime, as tokio does.
pub fn async_fd_for<T: AsRawFd + AsFd>(source: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: AsFd says that the descriptor is open as long as `source`, and the AsyncFd owns `source`; the
    // implementors used here (aya's ring and logger, an owned descriptor) never replace it.
    unsafe { AsyncFd::register_with_interest(source, interest) }
        .map_err(|refused| refused.into_parts().1)
}

/// Lifts the limit on locked memory, which registered buffers of an unprivileged ring count against.
///
/// Fails with `EPERM` when `bytes` is above the hard limit and the process may not raise that.
pub fn raise_memlock_limit(bytes: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one rlimit.
    succeeded(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) })?;
    if limit.rlim_cur >= bytes {
        return Ok(());
    }
    limit.rlim_cur = bytes;
    limit.rlim_max = limit.rlim_max.max(bytes);
    // SAFETY: `limit` is a valid rlimit and only read.
    succeeded(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })
}

/// An empty file that lives in memory only and goes with its last descriptor.
pub fn memory_file() -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string that the kernel only reads.
    let fd = unsafe { libc::memfd_create(c"cowtrace".as_ptr(), flags) };
    new_descriptor(fd.into()).map(File::from)
}

/// Keeps a [`memory_file`] from ever being cut.
pub fn seal_against_cuts(file: &File) -> io::Result<()> {
    // SAFETY: takes numbers only.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) };
    succeeded(answer)
}

/// A KVM virtual machine without a CPU. As long as it is open, KVM is a notifier of this process's
/// address space: the kernel tells it of every change to the page table.
///
/// Fails with `ENOENT` or `ENODEV` where no KVM module is loaded.
pub fn virtual_machine() -> io::Result<OwnedFd> {
    const KVM_CREATE_VM: libc::Ioctl = 0xAE01;
    const DEFAULT_TYPE: c_int = 0;
    let kvm = File::options().read(true).write(true).open("/dev/kvm")?;
    // SAFETY: the argument is a number, so the kernel touches no memory of ours.
    new_descriptor(unsafe { libc::ioctl(kvm.as_raw_fd(), KVM_CREATE_VM, DEFAULT_TYPE) }.into())
}

/// An AF_XDP socket with all of `memory` as its umem, in frames of a page: pinned for writing until the
/// kernel has taken the closed socket apart, which it does later, in a worker.
///
/// Fails with `ENOBUFS` where the memlock limit is too low, with `EAFNOSUPPORT` without AF_XDP.
pub fn xdp_umem(memory: &Mapping) -> io::Result<OwnedFd> {
    const XDP_UMEM_REG: c_int = 4;
    // struct xdp_umem_reg, first form: address, length, then chunk size and headroom.
    let umem = [memory.address() as u64, memory.bytes() as u64, page_size() as u64];
    // SAFETY: takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    let socket = new_descriptor(socket.into())?;
    let (option, bytes) = ((&raw const umem).cast(), size_of_val(&umem) as libc::socklen_t);
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel only reads `option`, which is `bytes` long. It does not write to `memory`: that
    // would take a ring to receive by, which the socket never gets.
    let answer = unsafe { libc::setsockopt(fd, libc::SOL_XDP, XDP_UMEM_REG, option, bytes) };
    if answer == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// A piece of this process's address space; unmapped on drop.
#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: memory that this owns alone, which any thread of the process can reach and unmap. It is not
// Sync: two threads would race.
unsafe impl Send for Region {}

impl Region {
    /// Private anonymous memory, not yet backed by pages.
    fn anonymous(bytes: usize, protection: c_int) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the kernel picks an unused place, so no existing memory changes.
        Self::owning(unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) }, bytes)
    }

    /// Memory shared with the kernel through `fd`, from `offset` on.
    fn shared(fd: BorrowedFd<'_>, offset: i64, bytes: usize) -> io::Result<Self> {
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, fd.as_raw_fd());
        // SAFETY: the kernel picks an unused place, so no existing memory changes.
        Self::owning(
            unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, offset) },
            bytes,
        )
    }

    fn owning(base: *mut libc::c_void, bytes: usize) -> io::Result<Self> {
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            base: NonNull::new(base.cast()).expect("the kernel never picks address 0"),
            bytes,
        })
    }

    /// Address of the first byte.
    fn address(&self) -> usize {
        self.base.as_ptr().addr()
    }

    /// `size` bytes at `offset`, aligned for it; panics when they are not all inside.
    fn place(&self, offset: usize, size: usize) -> *mut u8 {
        let inside = offset.checked_add(size).is_some_and(|end| end <= self.bytes);
        assert!(inside, "{size} bytes at {offset} are outside of {} mapped bytes", self.bytes);
        let place = self.base.as_ptr().wrapping_add(offset);
        assert!(
            place.addr().is_multiple_of(size.clamp(1, 8)),
            "{offset} is not aligned for {size} bytes"
        );
        place
    }

    /// Stores one byte. A write-protected page answers with SIGSEGV.
    fn store(&self, offset: usize, value: u8) {
        let place = self.place(offset, 1);
        // SAFETY: `place` is inside the mapping, to which no reference exists.
        unsafe { place.write_volatile(value) }
    }

    /// Loads one byte as it is now, whoever wrote it.
    fn load(&self, offset: usize) -> u8 {
        let place = self.place(offset, 1);
        // SAFETY: `place` is inside the mapping, to which no reference exists; any byte is a u8.
        unsafe { place.read_volatile() }
    }

    /// A word that the kernel reads and writes too.
    fn word(&self, offset: usize) -> &AtomicU32 {
        let place = self.place(offset, size_of::<u32>());
        // SAFETY: inside, aligned, mapped as long as `self`, and the kernel's own accesses are
        // single loads and stores of this word.
        unsafe { AtomicU32::from_ptr(place.cast()) }
    }

    fn protect(&self, offset: usize, bytes: usize, protection: c_int) -> io::Result<()> {
        let place = self.place(offset, bytes).cast();
        // SAFETY: inside a mapping that is ours and to which no reference exists.
        succeeded(unsafe { libc::mprotect(place, bytes, protection) })
    }

    fn advise(&self, offset: usize, bytes: usize, advice: c_int) -> io::Result<()> {
        let place = self.place(offset, bytes).cast();
        // SAFETY: inside a mapping that is ours; what the advice does to its bytes is no
        // concern of the compiler, since all access is volatile.
        succeeded(unsafe { libc::madvise(place, bytes, advice) })
    }

    /// Puts fresh memory over a part of this region: what `flags` say, of `file` if they do not say
    /// anonymous.
    fn replace(
        &self,
        offset: usize,
        bytes: usize,
        flags: c_int,
        file: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let place = self.place(offset, bytes).cast();
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_FIXED);
        let fd = file.map_or(-1, |file| file.as_raw_fd());
        // SAFETY: MAP_FIXED replaces only memory that is ours and to which no reference exists.
        match unsafe { libc::mmap(place, bytes, protection, flags, fd, 0) } {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Unmaps a part of this region, which leaves a hole.
    fn unmap_part(&self, offset: usize, bytes: usize) -> io::Result<()> {
        let place = self.place(offset, bytes).cast();
        // SAFETY: the memory is ours and no reference to it exists. The caller, a Mapping, fills the hole at once.
        succeeded(unsafe { libc::munmap(place, bytes) })
    }

    /// Moves pages of this region over a part of another (`mremap`); they leave a hole here.
    fn relocate(&self, offset: usize, bytes: usize, to: &Region, at: usize) -> io::Result<()> {
        let (from, to) = (self.place(offset, bytes).cast(), to.place(at, bytes));
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: both places are ours and no reference to either exists. The hole is inside `self`,
        // which is used no more by the caller, a Mapping that from here on has the other region.
        match unsafe { libc::mremap(from, bytes, bytes, flags, to) } {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by us, unmapped once, and no reference to it outlives `self`.
        let answer = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(answer, 0, "munmap of a whole mapping cannot fail");
    }
}

/// `io_uring_setup(2)`: a new ring, and in `params` where its parts are.
fn ring_setup(entries: u32, params: &mut uring::Params) -> io::Result<OwnedFd> {
    // SAFETY: `params` has the layout of struct io_uring_params, and the kernel fills only that.
    new_descriptor(unsafe {
        libc::syscall(libc::SYS_io_uring_setup, entries, ptr::from_mut(params))
    })
}

/// `io_uring_enter(2)`: submits `submit` entries and, if `wait`, waits for one completion.
///
/// The entries in the ring must name only memory that no reference covers: ours are of [`Mapping`]s.
fn ring_enter(ring: BorrowedFd<'_>, submit: u32, wait: bool) -> io::Result<()> {
    const GETEVENTS: u32 = 1;
    let (min_complete, flags) = if wait { (1_u32, GETEVENTS) } else { (0, 0) };
    let no_signal_set = ptr::null::<libc::sigset_t>();
    // SAFETY: a null signal set is allowed; the entries are READ_FIXED into registered Mappings.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            ring.as_raw_fd(),
            submit,
            min_complete,
            flags,
            no_signal_set,
            0_usize,
        )
    };
    succeeded(answer.min(0) as c_int)
}

/// `io_uring_register(2)`, `IORING_REGISTER_BUFFERS`: pins all of `memory` as buffer 0.
fn ring_register(ring: BorrowedFd<'_>, memory: &Mapping, bytes: usize) -> io::Result<()> {
    const REGISTER_BUFFERS: u32 = 0;
    assert!(bytes <= memory.bytes(), "{bytes} bytes of {}", memory.bytes());
    let buffer = libc::iovec {
        iov_base: ptr::with_exposed_provenance_mut(memory.address()),
        iov_len: bytes,
    };
    // SAFETY: one valid iovec, only read. What it names is a Mapping, to which no reference
    // exists, and the pin keeps its pages allocated even after an unmap.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            REGISTER_BUFFERS,
            &raw const buffer,
            1_u32,
        )
    };
    succeeded(answer.min(0) as c_int)
}

/// `io_uring_register(2)`, `IORING_UNREGISTER_BUFFERS`: unpins what was registered.
fn ring_unregister(ring: BorrowedFd<'_>) -> io::Result<()> {
    const UNREGISTER_BUFFERS: u32 = 1;
    let nothing = ptr::null::<libc::iovec>();
    // SAFETY: this operation takes no argument.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            UNREGISTER_BUFFERS,
            nothing,
            0_u32,
        )
    };
    succeeded(answer.min(0) as c_int)
}

/// `ioctl(2)` with a structure of 64-bit words, which the kernel reads and may write.
///
/// Structures that name memory must name only [`Mapping`]s, or memory that the kernel only reads.
fn control<const WORDS: usize>(
    fd: BorrowedFd<'_>,
    request: u32,
    words: &mut [u64; WORDS],
) -> io::Result<()> {
    // The size is part of the request's number.
    assert_eq!(request as usize >> 16 & 0x3fff, size_of_val(words), "not this request's structure");
    // SAFETY: `words` is as long as the request says, and what it names is as demanded above.
    succeeded(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), words.as_mut_ptr()) })
}

/// The two words of a number in the order they have in memory.
fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn succeeded(answer: c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn new_descriptor(answer: c_long) -> io::Result<OwnedFd> {
    match c_int::try_from(answer) {
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        let before = ["5.10.0-46-cloud-amd64", "5.9", "4.19.1"].map(is_before_5_11);
        let since = ["5.11", "5.15.0-rc1", "6.1.0-1", "7.3"].map(is_before_5_11);
        assert_eq!((before, since), ([true; 3], [false; 4]));
    }
}
