//! An `io_uring` with the pages as its one registered buffer.
//!
//! A read into it takes the same road as DMA. It is unpinned clean.

use std::{fs::File, os::unix::fs::FileExt as _};

use anyhow::{Context as _, ensure};

use super::{Device, arrival, pattern_page};
use crate::{
    provoke::{outcome::Data, pages::Pages, skipped::skip_on},
    sys::{self, Uring},
};

/// The ring, and the bytes that it will write through the pin.
#[derive(Debug)]
pub(super) struct Ring {
    uring: Uring,
    source: File,
    /// Address of the buffer when it was registered: what the kernel knows it by.
    registered: usize,
    /// Its length.
    bytes: usize,
    /// Who registered it.
    holder: u32,
}

impl Ring {
    pub(super) fn new() -> anyhow::Result<Self> {
        let why = "there is no io_uring here";
        let uring = Uring::new()
            .map_err(skip_on(&[libc::ENOSYS, libc::EPERM], why))
            .context("cannot make an io_uring")?;
        let source = sys::memory_file().context("cannot make the file to read from")?;
        Ok(Self { uring, source, registered: 0, bytes: 0, holder: 0 })
    }

    /// What of the page at `offset` is in the buffer.
    fn bytes_at(&self, offset: usize) -> usize {
        sys::page_size().min(self.bytes - offset)
    }

    fn write_page(&mut self, offset: usize, bytes: usize) -> anyhow::Result<()> {
        let address = self.registered + offset;
        let length = u32::try_from(bytes)?;
        let done = self.uring.read_fixed(&self.source, offset as u64, address, length)?;
        ensure!(done == bytes, "short read: {done} bytes");
        Ok(())
    }
}

impl Device for Ring {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        for &offset in pages.offsets() {
            self.source.write_all_at(&pattern_page(offset), offset as u64)?;
        }
        self.bytes = pages.buffer_bytes();
        let (mapping, why) = (pages.mapping(), "io_uring registers no such pages on this kernel");
        // Best effort: root needs no limit, and on refusal the registration says what is missing.
        let _ = sys::raise_memlock_limit(mapping.bytes() as u64);
        self.uring
            .register_part(mapping, self.bytes)
            .map_err(skip_on(&[libc::EOPNOTSUPP], why))
            .with_context(|| format!("cannot register {} bytes with io_uring", mapping.bytes()))?;
        (self.registered, self.holder) = (mapping.address(), std::process::id());
        Ok(())
    }

    fn holder(&self) -> Option<u32> {
        Some(self.holder)
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        for &offset in pages.offsets() {
            let bytes = self.bytes_at(offset);
            self.write_page(offset, bytes).context("cannot read into the registered buffer")?;
        }
        let arrived = |&offset: &usize| {
            arrival(pages, offset, &pattern_page(offset)[..self.bytes_at(offset)])
        };
        Ok(pages.offsets().iter().map(arrived).collect())
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        self.uring.unregister().context("cannot unregister the buffer")
    }
}
