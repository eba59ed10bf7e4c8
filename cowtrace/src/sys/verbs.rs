//! Memory regions of an RDMA device, registered as libibverbs does it: commands written to `/dev/infiniband/uverbsN`
//! (include/uapi/rdma/ib_user_verbs.h), as words.
//!
//! Promise: one context, one protection domain, and what is registered in it; all goes when it is dropped.
//!
//! Surprise: hardware wants data for its own driver in most commands, and refuses ours with `EINVAL`. The software
//! devices (rxe, siw) want none.

mod loopback;
mod ring;

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

pub use loopback::Loopback;

use super::{Mapping, new_descriptor, words};

const GET_CONTEXT: u32 = 0;
const ALLOC_PD: u32 = 3;
const REG_MR: u32 = 9;
const DEREG_MR: u32 = 13;

/// Bits of access rights, of regions and of queue pairs.
const LOCAL_WRITE: u32 = 1;
const REMOTE_WRITE: u32 = 2;

const DEVICES: &str = "/sys/class/infiniband_verbs";

/// The names of the RDMA devices that user space can use, sorted.
pub fn rdma_devices() -> Vec<String> {
    let entries = fs::read_dir(DEVICES).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| name_of(&entry.path()).ok()).collect();
    names.sort();
    names
}

/// The device behind an entry of [`DEVICES`].
fn name_of(entry: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(entry.join("ibdev"))?.trim().to_owned())
}

/// A device, opened for user space, with a protection domain.
#[derive(Debug)]
pub struct Verbs {
    device: File,
    domain: u32,
    _events: OwnedFd,
}

/// Registered memory: its pages are pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    handle: u32,
    /// By which others name it when they write to it.
    remote_key: u32,
}

impl Verbs {
    /// Opens a device by its name (`rxe0`).
    ///
    /// Fails with `ENOENT` where there is none of that name, with `EINVAL` where its driver wants data of its own.
    pub fn open(name: &str) -> io::Result<Self> {
        let entries = fs::read_dir(DEVICES)?.flatten();
        let is_it = |path: &Path| name_of(path).is_ok_and(|device| device == name);
        let entry = entries.map(|entry| entry.path()).find(|path| is_it(path));
        let entry = entry.ok_or(io::ErrorKind::NotFound)?;
        let node = Path::new("/dev/infiniband").join(entry.file_name().unwrap_or_default());
        let device = File::options().read(true).write(true).open(node)?;
        let [events, _vectors] = ask(&device, GET_CONTEXT, &[])?;
        let events = new_descriptor(events.into())?;
        let [domain] = ask(&device, ALLOC_PD, &[])?;
        Ok(Self { device, domain, _events: events })
    }

    /// Pins all of `memory`, for the device and for others to write to, under the address that it has here.
    pub fn register(&self, memory: &Mapping) -> io::Result<MemoryRegion> {
        let (address, bytes) = (words(memory.address() as u64), words(memory.bytes() as u64));
        let rights = [self.domain, LOCAL_WRITE | REMOTE_WRITE];
        let body = [address, bytes, address, rights].concat();
        let [handle, _local_key, remote_key] = ask(&self.device, REG_MR, &body)?;
        Ok(MemoryRegion { handle, remote_key })
    }

    /// Unpins.
    pub fn deregister(&self, region: MemoryRegion) -> io::Result<()> {
        tell(&self.device, DEREG_MR, &[region.handle])
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// A command with an answer of so many words.
fn ask<const WORDS: usize>(device: &File, command: u32, body: &[u32]) -> io::Result<[u32; WORDS]> {
    let mut answer = [0; WORDS];
    let place = words((&raw mut answer).expose_provenance() as u64);
    // SAFETY: the body of each command here names no memory but Mappings, to which no reference exists; the
    // kernel fills `answer` up to the length that it is told, before the call returns.
    unsafe { write_command(device, command, WORDS, &[&place, body].concat()) }?;
    Ok(answer)
}

/// A command that has no answer.
fn tell(device: &File, command: u32, body: &[u32]) -> io::Result<()> {
    // SAFETY: these commands name no memory.
    unsafe { write_command(device, command, 0, body) }
}

/// `struct ib_uverbs_cmd_hdr`, lengths in words, and the rest.
///
/// # Safety
///
/// Addresses in `body` are of memory that the kernel may read and write as `command` says.
unsafe fn write_command(
    device: &File,
    command: u32,
    answer: usize,
    body: &[u32],
) -> io::Result<()> {
    const HEADER: usize = 2;
    let lengths = (HEADER + body.len()) as u32 | (answer as u32) << 16;
    let all = [&[command, lengths], body].concat();
    // SAFETY: `all` is only read, and as long as is said; the rest is demanded of the caller.
    let written =
        unsafe { libc::write(device.as_raw_fd(), all.as_ptr().cast(), size_of_val(&all[..])) };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
