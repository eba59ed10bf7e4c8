//! Pages of a file in memory as a DMA buffer (udmabuf), seen through the buffer's own mapping.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use super::{Region, new_descriptor};

/// `struct udmabuf_create`.
#[repr(C)]
struct Create {
    file: u32,
    flags: u32,
    offset: u64,
    bytes: u64,
}

/// The buffer: pins the pages, and goes with them when it is dropped.
#[derive(Debug)]
pub struct DmaBuffer(Region);

impl DmaBuffer {
    /// All of `file`, a [`memory_file`](super::memory_file) that cannot be cut.
    ///
    /// Fails with `ENOENT` where there is no udmabuf.
    pub fn of(file: &File, bytes: usize) -> io::Result<Self> {
        const CREATE: libc::Ioctl = 0x4018_7542;
        let driver = File::options().read(true).write(true).open("/dev/udmabuf")?;
        let (fd, flags) = (file.as_raw_fd().cast_unsigned(), 0);
        let create = Create { file: fd, flags, offset: 0, bytes: bytes as u64 };
        // SAFETY: the structure of this request, only read.
        let fd = unsafe { libc::ioctl(driver.as_raw_fd(), CREATE, &raw const create) };
        let buffer = new_descriptor(fd.into())?;
        Region::shared(buffer.as_fd(), 0, bytes).map(Self)
    }

    /// Stores one byte, where a device would.
    pub fn write_byte(&self, offset: usize, value: u8) {
        self.0.store(offset, value);
    }
}
