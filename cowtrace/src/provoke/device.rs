//! The devices: each pins the pages in its own way, and writes to (or reads) what it pinned.
//!
//! Promise: between `pin` and `deliver` a device does nothing. What it then
//! writes goes to the pages of the pin, and never asks the page table again.

use anyhow::Context as _;

use super::{Args, DeviceKind, outcome::Data, pages::Pages};
use crate::sys::{self, Access};

mod disk;
mod pipe;
mod rdma;
mod remote;
mod ring;
mod udmabuf;
mod umem;
mod vfio;

/// What holds the pages.
pub(super) trait Device {
    /// Pins the pages, or takes a reference.
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()>;

    /// The process that called for the pin, which may be another; none without a pin.
    fn holder(&self) -> Option<u32> {
        Some(std::process::id())
    }

    /// Where the device finds what is pinned at `offset`, if it has addresses of its own.
    fn iova(&self, _offset: usize) -> Option<u64> {
        None
    }

    /// Writes to (or reads) the measured pages through the pin, then looks what arrived of each.
    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>>;

    /// Unpins.
    fn unpin(self: Box<Self>) -> anyhow::Result<()>;
}

/// How this kernel takes the pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    LongWrite,
    LongRead,
    ShortWrite,
    ShortRead,
    /// A reference that is no pin.
    Get,
    None,
}

impl Pin {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LongWrite => "long-write",
            Self::LongRead => "long-read",
            Self::ShortWrite => "short-write",
            Self::ShortRead => "short-read",
            Self::Get => "get",
            Self::None => "none",
        }
    }
}

impl DeviceKind {
    /// What has to be there before the pages are.
    pub(super) fn prepare(self, args: &Args) -> anyhow::Result<Box<dyn Device>> {
        Ok(match self {
            Self::IoUring | Self::IoUringRo => Box::new(ring::Ring::new()?),
            Self::AfXdp => Box::new(umem::Umem::new(args.xdp.as_deref())),
            Self::ProcessVmWrite => Box::new(remote::Remote::start(sys::Copying::ToIt)?),
            Self::ProcessVmRead => Box::new(remote::Remote::start(sys::Copying::FromIt)?),
            Self::ODirect => Box::new(disk::Disk::open(args.slow_disk.as_deref())?),
            Self::Vfio => {
                Box::new(vfio::Passthrough::open(args.vfio.as_deref(), Access::ReadWrite)?)
            }
            Self::VfioRo => Box::new(vfio::Passthrough::open(args.vfio.as_deref(), Access::Read)?),
            Self::Rdma => Box::new(rdma::Rdma::open(args.rdma.as_deref())?),
            Self::Udmabuf => Box::new(udmabuf::Buffer::open()?),
            Self::Vmsplice => Box::new(pipe::Pipe::new()?),
            Self::None => Box::new(Nobody),
        })
    }

    /// How this kernel takes its pin.
    pub(super) fn pin(self) -> anyhow::Result<Pin> {
        Ok(match self {
            Self::IoUring
            | Self::IoUringRo
            | Self::AfXdp
            | Self::Vfio
            | Self::Rdma
            | Self::Udmabuf => Pin::LongWrite,
            Self::VfioRo => Pin::LongRead,
            Self::ProcessVmWrite => Pin::ShortWrite,
            Self::ProcessVmRead => Pin::ShortRead,
            // Block devices extract pages since 6.5, which brought this function.
            Self::ODirect if kernel_has("folio_add_pin")? => Pin::ShortWrite,
            Self::ODirect | Self::Vmsplice => Pin::Get,
            Self::None => Pin::None,
        })
    }

    /// Whether the unpin marks the pages dirty.
    pub(super) const fn unpins_dirty(self) -> bool {
        matches!(self, Self::AfXdp | Self::Rdma | Self::ProcessVmWrite)
    }
}

fn kernel_has(function: &str) -> anyhow::Result<bool> {
    let symbols = std::fs::read_to_string("/proc/kallsyms").context("cannot read kallsyms")?;
    Ok(symbols.lines().any(|line| line.split(' ').nth(2) == Some(function)))
}

/// No device.
struct Nobody;

impl Device for Nobody {
    fn pin(&mut self, _: &Pages) -> anyhow::Result<()> {
        Ok(())
    }

    fn holder(&self) -> Option<u32> {
        None
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        Ok(vec![Data::None; pages.offsets().len()])
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The byte that a device writes at `offset`: it differs from page to page, and its high bit is
/// set, which no byte that the CPU stores has.
fn pattern(offset: usize) -> u8 {
    0x80 | (offset / sys::page_size() + offset % 127) as u8
}

/// A page of it.
fn pattern_page(offset: usize) -> Vec<u8> {
    (offset..offset + sys::page_size()).map(pattern).collect()
}

/// All that went through, from the start of the page on, must have arrived: half of it is as lost as none.
fn arrival(pages: &Pages, offset: usize, wanted: &[u8]) -> Data {
    if pages.content(offset).starts_with(wanted) { Data::Sync } else { Data::Lost }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provoke::{
        PageKind,
        pages::{STORED_AGAIN, STORED_FIRST},
    };

    #[test]
    fn nothing_that_the_cpu_stores_looks_like_the_device() {
        for offset in 0..3 * sys::page_size() {
            assert!(![0, STORED_FIRST, STORED_AGAIN].contains(&pattern(offset)));
        }
        assert_ne!(pattern(0), pattern(sys::page_size()));
    }

    #[test]
    fn data_arrived_only_if_every_byte_did() {
        let pages = Pages::map(PageKind::Base, 2, false).expect("mmap");
        let mapping = pages.mapping();
        for offset in 0..mapping.bytes() - 1 {
            mapping.write_byte(offset, pattern(offset));
        }
        let second = sys::page_size();
        assert_eq!(arrival(&pages, 0, &pattern_page(0)), Data::Sync);
        assert_eq!(arrival(&pages, second, &pattern_page(second)), Data::Lost);
    }
}
