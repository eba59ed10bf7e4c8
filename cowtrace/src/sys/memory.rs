//! What can be done to memory besides mapping and protecting it.
//!
//! Promise: all memory named here is a [`Mapping`]'s.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd as _},
        raw::c_int,
    },
    ptr,
};

use super::{Mapping, control, page_size, succeeded};

/// Moves the pages at `offsets` to a NUMA node. Answers each one's node, or its negative errno.
pub fn move_pages(pages: &Mapping, offsets: &[usize], node: u32) -> io::Result<Vec<i32>> {
    let nodes = vec![node.cast_signed(); offsets.len()];
    numa(pages, offsets, nodes.as_ptr())
}

/// The NUMA node of each of the pages at `offsets`, or a negative errno.
pub fn nodes_of(pages: &Mapping, offsets: &[usize]) -> io::Result<Vec<i32>> {
    numa(pages, offsets, ptr::null())
}

fn numa(pages: &Mapping, offsets: &[usize], nodes: *const c_int) -> io::Result<Vec<i32>> {
    const MOVE: c_int = 1 << 1;
    let addresses: Vec<usize> = offsets.iter().map(|offset| pages.address() + offset).collect();
    let mut status = vec![0; offsets.len()];
    let (count, ourselves) = (offsets.len() as u64, 0);
    let (addresses, answers) = (addresses.as_ptr(), status.as_mut_ptr());
    // SAFETY: all arrays have `count` entries (or `nodes` is null, which only asks); the kernel writes
    // to `status`. The contents of the pages stay.
    let answer = unsafe {
        libc::syscall(libc::SYS_move_pages, ourselves, count, addresses, nodes, answers, MOVE)
    };
    succeeded(answer.min(0) as c_int)?;
    Ok(status)
}

/// `PAGEMAP_SCAN`: write-protects all pages that were written, of a range that a userfaultfd watches.
///
/// Fails with `ENOTTY` before 6.7.
pub fn scan_and_write_protect(pagemap: &File, pages: &Mapping) -> io::Result<()> {
    const PAGEMAP_SCAN: u32 = 0xC060_6610;
    const BYTES: u64 = 96;
    const WP_MATCHING: u64 = 1;
    const PAGE_IS_WRITTEN: u64 = 1 << 1;
    let (start, end) = (pages.address() as u64, (pages.address() + pages.bytes()) as u64);
    let mut words = [BYTES, WP_MATCHING, start, end, 0, 0, 0, 0, 0, PAGE_IS_WRITTEN, 0, 0];
    control(pagemap.as_fd(), PAGEMAP_SCAN, &mut words)
}

/// Makes room for so many pages in a pipe.
pub fn pipe_holding(pipe: &impl AsFd, pages: usize) -> io::Result<()> {
    let bytes = c_int::try_from(pages * page_size()).unwrap_or(c_int::MAX);
    // SAFETY: takes numbers only.
    succeeded(unsafe { libc::fcntl(pipe.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, bytes) })
}

/// Has a pipe refer to the page at `offset`, without a copy. Answers how many bytes it took.
pub fn vmsplice(pipe: &impl AsFd, pages: &Mapping, offset: usize) -> io::Result<usize> {
    let address = pages.place(offset, page_size());
    let piece = libc::iovec { iov_base: address.cast(), iov_len: page_size() };
    let fd = pipe.as_fd().as_raw_fd();
    // SAFETY: one valid iovec of a Mapping, to which no reference exists, so that it may change while
    // the pipe has it.
    let taken = unsafe { libc::vmsplice(fd, &raw const piece, 1, 0) };
    usize::try_from(taken).map_err(|_| io::Error::last_os_error())
}

/// Punches a hole over the first `bytes` of a file: its pages are gone, its length stays.
pub fn discard_in_file(file: &File, bytes: usize) -> io::Result<()> {
    let (from, bytes) = (0, libc::off_t::try_from(bytes).map_err(io::Error::other)?);
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: takes numbers only; mappings of the file are Mappings, all access to which is volatile.
    let answer = unsafe { libc::fallocate(file.as_raw_fd(), mode, from, bytes) };
    succeeded(answer)
}
