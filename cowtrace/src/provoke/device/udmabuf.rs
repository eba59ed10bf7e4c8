//! A DMA buffer made of a file's pages (udmabuf): they are pinned by where they are in the file, whoever maps it.

use anyhow::Context as _;

use super::{Device, arrival, pattern_page};
use crate::{
    provoke::{
        outcome::Data,
        pages::Pages,
        skipped::{skip_on, skipped},
    },
    sys::{self, DmaBuffer},
};

/// The buffer, once it has the pages.
#[derive(Debug)]
pub(super) struct Buffer(Option<DmaBuffer>);

impl Buffer {
    /// Before 6.12 it took plain references.
    pub(super) fn open() -> anyhow::Result<Self> {
        let pins = super::kernel_has("memfd_pin_folios")?;
        pins.then_some(Self(None)).ok_or_else(|| skipped("udmabuf does not pin on this kernel"))
    }
}

impl Device for Buffer {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        let file = pages.file()?;
        sys::seal_against_cuts(file).context("cannot seal the file")?;
        let absent = [libc::ENOENT, libc::ENODEV];
        let buffer = DmaBuffer::of(file, pages.mapping().bytes())
            .map_err(skip_on(&absent, "there is no udmabuf here"))
            .context("cannot make a DMA buffer")?;
        self.0 = Some(buffer);
        Ok(())
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        let buffer = self.0.as_ref().context("nothing is pinned yet")?;
        let one = |&offset: &usize| {
            let wanted = pattern_page(offset);
            wanted.iter().enumerate().for_each(|(at, &byte)| buffer.write_byte(offset + at, byte));
            arrival(pages, offset, &wanted)
        };
        Ok(pages.offsets().iter().map(one).collect())
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}
