//! A pipe that refers to the pages (vmsplice): whoever reads it sees what is in the
//! pages by then, as long as they are still the process's.

use std::io::{self, PipeReader, PipeWriter, Read as _};

use anyhow::{Context as _, ensure};

use super::Device;
use crate::{
    provoke::{
        outcome::Data,
        pages::{Pages, STORED_AGAIN},
    },
    sys,
};

/// Both ends of the pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    from: PipeReader,
    to: PipeWriter,
}

impl Pipe {
    pub(super) fn new() -> anyhow::Result<Self> {
        let (from, to) = io::pipe().context("cannot make a pipe")?;
        Ok(Self { from, to })
    }
}

impl Device for Pipe {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        sys::pipe_holding(&self.to, pages.offsets().len()).context("no pipe is that long")?;
        for &offset in pages.offsets() {
            let taken =
                sys::vmsplice(&self.to, pages.mapping(), offset).context("vmsplice fails")?;
            ensure!(taken == sys::page_size(), "the pipe took {taken} bytes");
        }
        Ok(())
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        let mut page = vec![0; sys::page_size()];
        let mut next = || {
            self.from.read_exact(&mut page).context("cannot read the pipe")?;
            Ok(if page[0] == STORED_AGAIN { Data::Sync } else { Data::Lost })
        };
        pages.offsets().iter().map(|_| next()).collect()
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}
