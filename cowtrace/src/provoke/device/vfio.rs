//! A PCI device behind an IOMMU, driven through vfio. If it is QEMU's `edu`,
//! its own DMA engine copies to and from the pages; any other only pins.
//!
//! Surprise: `edu` copies less than a page at a time, and a tenth of a second
//! after it was told to. So half of each page is measured.

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{Device, arrival, pattern_page};
use crate::{
    provoke::{
        outcome::Data,
        pages::Pages,
        skipped::{skip_on, skipped},
    },
    sys::{self, Access, Mapping, Part, Vfio},
};

/// Where the device finds the pages, and a buffer of ours; `edu` knows 28 bits.
const PAGES_AT: u64 = 0x0100_0000;
const BUFFER_AT: u64 = 0x0F00_0000;
/// How much `edu` copies in one go.
const COPIED: usize = 2048;
/// It takes 0.1 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// The device, and what it may do to the pages.
#[derive(Debug)]
pub(super) struct Passthrough {
    vfio: Vfio,
    access: Access,
    buffer: Mapping,
    copies: bool,
}

impl Passthrough {
    /// Takes the device that was named, or else `$LAB_EDU`.
    pub(super) fn open(named: Option<&str>, access: Access) -> anyhow::Result<Self> {
        let address = named.map(str::to_owned).or_else(|| env::var("LAB_EDU").ok());
        let address = address.ok_or_else(|| skipped("no device: name one with --vfio ADDRESS"))?;
        let why = "vfio does not have this device";
        let vfio = Vfio::open(&address)
            .map_err(skip_on(&[libc::ENOENT, libc::EPERM], why))
            .with_context(|| format!("cannot drive {address} through vfio"))?;
        let buffer = Mapping::new(1).context("cannot map a buffer")?;
        let copies = is_edu(&vfio)?;
        Ok(Self { vfio, access, buffer, copies })
    }

    /// Has `edu` copy between its own memory and the pages or the buffer.
    fn copy(&self, iova: u64, direction: Direction) -> anyhow::Result<()> {
        const SOURCE: u64 = 0x80;
        const DESTINATION: u64 = 0x88;
        const COUNT: u64 = 0x90;
        const COMMAND: u64 = 0x98;
        const OWN_MEMORY: u64 = 0x4_0000;
        const START: u32 = 1;
        let (source, destination) = match direction {
            Direction::FromMemory => (iova, OWN_MEMORY),
            Direction::ToMemory => (OWN_MEMORY, iova),
        };
        let words = [(SOURCE, source), (DESTINATION, destination), (COUNT, COPIED as u64)];
        for (register, value) in words {
            self.vfio.write(Part::Registers, register, &u32::try_from(value)?.to_le_bytes())?;
        }
        let start = START | direction as u32;
        self.vfio.write(Part::Registers, COMMAND, &start.to_le_bytes())?;
        let begun = Instant::now();
        let mut command = start.to_le_bytes();
        while u32::from_le_bytes(command) & START != 0 {
            ensure!(begun.elapsed() < PATIENCE, "the device does not finish its copy");
            self.vfio.read(Part::Registers, COMMAND, &mut command)?;
        }
        Ok(())
    }

    /// The device writes to the pages, and the process looks.
    fn write(&self, pages: &Pages, offset: usize) -> anyhow::Result<Data> {
        let wanted = &pattern_page(offset)[..COPIED];
        wanted.iter().enumerate().for_each(|(at, &byte)| self.buffer.write_byte(at, byte));
        self.copy(BUFFER_AT, Direction::FromMemory)?;
        self.copy(PAGES_AT + offset as u64, Direction::ToMemory)?;
        Ok(arrival(pages, offset, wanted))
    }

    /// The device reads the pages: it should see what the process sees.
    fn read(&self, pages: &Pages, offset: usize) -> anyhow::Result<Data> {
        self.copy(PAGES_AT + offset as u64, Direction::FromMemory)?;
        self.copy(BUFFER_AT, Direction::ToMemory)?;
        let read: Vec<_> = (0..COPIED).map(|at| self.buffer.read_byte(at)).collect();
        Ok(arrival(pages, offset, &read))
    }
}

/// As `edu`'s command register has it.
#[derive(Clone, Copy)]
enum Direction {
    FromMemory = 0,
    ToMemory = 2,
}

impl Device for Passthrough {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        let _ = sys::raise_memlock_limit(pages.mapping().bytes() as u64);
        ensure!(pages.mapping().bytes() as u64 <= BUFFER_AT - PAGES_AT, "too many pages for edu");
        if self.copies {
            self.vfio.map(&self.buffer, BUFFER_AT, Access::ReadWrite)?;
        }
        self.vfio
            .map(pages.mapping(), PAGES_AT, self.access)
            .with_context(|| format!("cannot map {} bytes for DMA", pages.mapping().bytes()))
    }

    fn iova(&self, offset: usize) -> Option<u64> {
        Some(PAGES_AT + offset as u64)
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        let one = |&offset: &usize| match self.access {
            _ if !self.copies => Ok(Data::None),
            Access::ReadWrite => self.write(pages, offset),
            Access::Read => self.read(pages, offset),
        };
        pages.offsets().iter().map(one).collect()
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Whether the device is QEMU's `edu`; then it is woken up to do DMA.
fn is_edu(vfio: &Vfio) -> anyhow::Result<bool> {
    const EDU: [u8; 4] = [0x34, 0x12, 0xE8, 0x11];
    const COMMAND: u64 = 4;
    const MEMORY_AND_BUS_MASTER: u16 = 0b110;
    let mut identity = [0; 4];
    vfio.read(Part::Configuration, 0, &mut identity)
        .context("cannot read the device's identity")?;
    if identity != EDU {
        return Ok(false);
    }
    let mut command = [0; 2];
    vfio.read(Part::Configuration, COMMAND, &mut command)?;
    let command = u16::from_le_bytes(command) | MEMORY_AND_BUS_MASTER;
    vfio.write(Part::Configuration, COMMAND, &command.to_le_bytes())?;
    Ok(true)
}
