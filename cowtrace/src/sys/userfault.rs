//! `userfaultfd(2)`: page faults that wait for us, and write protection without mprotect.
//!
//! Surprise: it belongs to the address space that made it. Whoever holds the
//! descriptor, in another process too, answers for that one.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
        raw::c_int,
    },
};

use super::{Mapping, control, new_descriptor};

const API: u32 = 0xC018_AA3F;
const REGISTER: u32 = 0xC020_AA00;
const UNREGISTER: u32 = 0x8010_AA01;
const COPY: u32 = 0xC028_AA03;
const WRITE_PROTECT: u32 = 0xC018_AA06;
const API_VERSION: u64 = 0xAA;
const MESSAGE_BYTES: usize = 32;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Faults at addresses without a page wait.
    Missing,
    /// Faults at what was write-protected wait.
    WriteProtected,
}

/// A userfaultfd. Dropped, it lets all faults go on.
#[derive(Debug)]
pub struct Userfault(File);

impl Userfault {
    /// One for this address space, faults of the kernel's own included.
    ///
    /// Fails with `EPERM` without the right to that.
    pub fn new() -> io::Result<Self> {
        Self::with_features(0)
    }

    /// One whose write protection ends by itself at a store (6.7 and later; else `EINVAL`).
    pub fn without_waiting() -> io::Result<Self> {
        const WP_UNPOPULATED: u64 = 1 << 13;
        const WP_ASYNC: u64 = 1 << 15;
        Self::with_features(WP_UNPOPULATED | WP_ASYNC)
    }

    fn with_features(features: u64) -> io::Result<Self> {
        let flags: c_int = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: takes numbers only.
        let fd = new_descriptor(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })?;
        control(fd.as_fd(), API, &mut [API_VERSION, features, 0])?;
        Ok(fd.into())
    }

    /// Watches all of `pages`.
    ///
    /// Fails with `EINVAL` where this kernel does not watch such pages for that.
    pub fn register(&self, pages: &Mapping, watch: Watch) -> io::Result<()> {
        let mode = match watch {
            Watch::Missing => 1,
            Watch::WriteProtected => 2,
        };
        control(self.0.as_fd(), REGISTER, &mut [start(pages), length(pages), mode, 0])
    }

    /// Watches `pages` no more.
    pub fn unregister(&self, pages: &Mapping) -> io::Result<()> {
        control(self.0.as_fd(), UNREGISTER, &mut [start(pages), length(pages)])
    }

    /// Write-protects registered pages, or ends that.
    pub fn write_protect(&self, pages: &Mapping, on: bool) -> io::Result<()> {
        control(self.0.as_fd(), WRITE_PROTECT, &mut [start(pages), length(pages), on.into()])
    }

    /// Takes the message of a fault that waits; `WouldBlock` if there is none.
    pub fn take_message(&mut self) -> io::Result<()> {
        self.0.read_exact(&mut [0; MESSAGE_BYTES])
    }

    /// Fills pages that are missing at `address` of the watched address space: whole pages, each once.
    pub fn fill(&self, address: usize, bytes: &[u8]) -> io::Result<()> {
        // The kernel only reads `bytes`; what it writes to are pages that nobody has seen yet.
        let source = bytes.as_ptr().expose_provenance() as u64;
        let words = [address as u64, source, bytes.len() as u64, 0, 0];
        control(self.0.as_fd(), COPY, &mut { words })
    }

    /// Its number, for [`super::descriptor_of`].
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Userfault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Userfault {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

fn start(pages: &Mapping) -> u64 {
    pages.address() as u64
}

fn length(pages: &Mapping) -> u64 {
    pages.bytes() as u64
}
