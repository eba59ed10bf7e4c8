//! Reads that go on after the call: `io_submit(2)`, one at a time.
//!
//! Promise: when [`Aio::read`] returns, the request is with the device and holds
//! its pages. (`io_uring` may pass it to a worker, which does so later.)

use std::{
    fs::File,
    io,
    os::{
        fd::AsRawFd as _,
        raw::{c_int, c_long, c_ulong},
    },
    ptr,
};

use super::{Mapping, page_size, succeeded};

/// `struct iocb`.
#[repr(C)]
#[derive(Debug, Default)]
struct Request {
    data: u64,
    key_and_flags: u64,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    count: u64,
    offset: u64,
    reserved: u64,
    more_flags: u64,
}

const _: () = assert!(size_of::<Request>() == 64, "the kernel reads this many bytes");

/// A context for one read at a time. Dropped, it waits for its read.
#[derive(Debug)]
pub struct Aio(c_ulong);

impl Aio {
    /// A new context.
    pub fn new() -> io::Result<Self> {
        let mut context = 0;
        // SAFETY: `context` is a valid place for one number.
        let answer = unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) };
        succeeded(answer as c_int).map(|()| Self(context))
    }

    /// Starts to read `file` from its start on into the pages at `offsets`, one after the other.
    pub fn read(&self, file: &File, pages: &Mapping, offsets: &[usize]) -> io::Result<()> {
        const READ_VECTORED: u16 = 7;
        let piece = |&offset: &usize| libc::iovec {
            iov_base: pages.place(offset, page_size()).cast(),
            iov_len: page_size(),
        };
        let pieces: Vec<_> = offsets.iter().map(piece).collect();
        let request = Request {
            opcode: READ_VECTORED,
            fd: file.as_raw_fd().cast_unsigned(),
            buffer: pieces.as_ptr().expose_provenance() as u64,
            count: pieces.len() as u64,
            ..Request::default()
        };
        let requests = [&raw const request];
        // SAFETY: one valid request with a valid vector, both copied by the kernel before it returns.
        // It writes to a Mapping, to which no reference exists, through references to the pages.
        let answer = unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1, requests.as_ptr()) };
        succeeded(answer.min(0) as c_int)
    }

    /// The result of the read if it is over: bytes.
    pub fn finished(&self) -> io::Result<Option<usize>> {
        self.events(0)
    }

    /// Waits until the read is over: bytes.
    pub fn wait(&self) -> io::Result<usize> {
        self.events(1)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn events(&self, least: c_long) -> io::Result<Option<usize>> {
        // struct io_event: data, object, result, second result.
        let mut event = [0_i64; 4];
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = if least == 0 { &raw const at_once } else { ptr::null() };
        let place = event.as_mut_ptr();
        // SAFETY: room for the one event asked for; a null timeout waits for ever.
        let answer =
            unsafe { libc::syscall(libc::SYS_io_getevents, self.0, least, 1_i64, place, timeout) };
        succeeded(answer.min(0) as c_int)?;
        match event[2] {
            _ if answer == 0 => Ok(None),
            result => usize::try_from(result)
                .map(Some)
                .map_err(|_| io::Error::from_raw_os_error(-result as i32)),
        }
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: takes a number only; waits for what is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}
