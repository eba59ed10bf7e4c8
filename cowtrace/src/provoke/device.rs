//! The part of the device: it pinned the pages and writes to what it pinned.
//!
//! An `io_uring` read into a registered buffer takes the same road as DMA: the
//! kernel writes to the pages of the pin and never asks the page table again.

use std::{fs::File, io, io::Write as _, os::fd::OwnedFd};

use anyhow::{Context as _, ensure};

use super::outcome::Data;
use crate::sys::{self, Mapping, Uring};

/// What holds the pin.
#[derive(Debug)]
pub(super) enum Device {
    /// A ring, and the bytes that it will write through the pin. Unpins clean.
    Ring {
        /// With the pages as its one registered buffer.
        ring: Uring,
        /// In a file.
        source: File,
    },
    /// An AF_XDP socket with the pages as its umem. Writes nothing, and unpins dirty all the same.
    Umem(OwnedFd),
}

impl Device {
    /// Pins all of `pages` as the umem of a socket.
    pub(super) fn umem(pages: &Mapping) -> anyhow::Result<Self> {
        let _ = sys::raise_memlock_limit(pages.bytes() as u64);
        sys::xdp_umem(pages).map(Self::Umem).context("cannot register a umem with AF_XDP")
    }

    /// Pins all of `pages` as one registered buffer.
    pub(super) fn ring(pages: &Mapping) -> anyhow::Result<Self> {
        let source = source(pages.bytes()).context("cannot make the file to read from")?;
        let ring = Uring::new().context("cannot make an io_uring")?;
        // Best effort: root needs no limit, and on refusal the registration says what is missing.
        let _ = sys::raise_memlock_limit(pages.bytes() as u64);
        ring.register(pages)
            .with_context(|| format!("cannot register {} bytes with io_uring", pages.bytes()))?;
        Ok(Self::Ring { ring, source })
    }

    /// Writes to every page through the pin, then looks through the page table what arrived.
    pub(super) fn deliver(&mut self, pages: &Mapping) -> anyhow::Result<Vec<Data>> {
        let Self::Ring { ring, source } = self else {
            return Ok(vec![Data::None; pages.pages()]);
        };
        let page_starts = (0..pages.bytes()).step_by(sys::page_size());
        for start in page_starts.clone() {
            write_page(ring, source, pages.address() + start, start)
                .context("cannot read into the registered buffer")?;
        }
        Ok(page_starts.map(|start| arrival(pages, start)).collect())
    }

    /// Unpins the pages and closes the ring; the umem is unpinned by the kernel some time later.
    pub(super) fn unpin(self) -> anyhow::Result<()> {
        match self {
            Self::Ring { ring, .. } => ring.unregister().context("cannot unregister the buffer"),
            Self::Umem(socket) => {
                drop(socket);
                Ok(())
            }
        }
    }
}

fn write_page(ring: &mut Uring, source: &File, address: usize, start: usize) -> anyhow::Result<()> {
    let length = u32::try_from(sys::page_size())?;
    let done = ring.read_fixed(source, start as u64, address, length)?;
    ensure!(done == sys::page_size(), "short read: {done} bytes");
    Ok(())
}

/// A file in memory with the pattern.
fn source(bytes: usize) -> io::Result<File> {
    let mut file = sys::memory_file()?;
    let pattern: Vec<u8> = (0..bytes).map(pattern).collect();
    file.write_all(&pattern)?;
    Ok(file)
}

/// The byte that the device writes at `offset`: it differs from page to page, and its high bit is
/// set, which no byte that the CPU stores has.
fn pattern(offset: usize) -> u8 {
    0x80 | (offset / sys::page_size() + offset % 127) as u8
}

/// All of the page must have arrived: half a page is as lost as none.
fn arrival(pages: &Mapping, start: usize) -> Data {
    let arrived =
        (start..start + sys::page_size()).all(|offset| pages.read_byte(offset) == pattern(offset));
    if arrived { Data::Sync } else { Data::Lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_the_cpu_stores_looks_like_the_device() {
        for offset in 0..3 * sys::page_size() {
            assert!(
                ![0, super::super::STORED_FIRST, super::super::STORED_AGAIN]
                    .contains(&pattern(offset))
            );
        }
        assert_ne!(pattern(0), pattern(sys::page_size()));
    }

    #[test]
    fn data_arrived_only_if_every_byte_did() {
        let pages = Mapping::new(2).expect("mmap");
        for offset in 0..pages.bytes() - 1 {
            pages.write_byte(offset, pattern(offset));
        }
        assert_eq!(arrival(&pages, 0), Data::Sync);
        assert_eq!(arrival(&pages, sys::page_size()), Data::Lost);
    }
}
