//! An O_DIRECT read in flight, on a disk that is slow on purpose.
//!
//! Promise: the read is under way from before the event until after the store,
//! or the case is skipped. It only reads.

use std::{
    env,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{Device, arrival};
use crate::{
    provoke::{
        outcome::Data,
        pages::{Pages, STORED_AGAIN},
        skipped::skipped,
    },
    sys::{self, Aio, Mapping},
};

/// A read that takes this long was held back, and the next one will be too.
const SLOW: Duration = Duration::from_millis(200);
/// As many are let through at once after a while of quiet; one more is not.
const BURST: usize = 4;

/// The disk, and the one read.
#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    read: Aio,
    /// What a read reads, page after page.
    expected: Vec<u8>,
}

impl Disk {
    /// Opens the disk that was named, or else `$LAB_SLOW_DISK`.
    pub(super) fn open(named: Option<&Path>) -> anyhow::Result<Self> {
        let path = named.map(PathBuf::from).or_else(|| Some(env::var_os("LAB_SLOW_DISK")?.into()));
        let path = path.ok_or_else(|| skipped("no slow disk: name one with --slow-disk PATH"))?;
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file, read: Aio::new().context("cannot use io_submit")?, expected: Vec::new() })
    }

    /// Reads until the disk holds reads back; then the next one stays in flight.
    fn exhaust(&mut self, pages: usize) -> anyhow::Result<()> {
        let scratch = Mapping::new(pages).context("cannot map a buffer")?;
        let offsets: Vec<_> = (0..scratch.bytes()).step_by(sys::page_size()).collect();
        for _ in 0..BURST {
            let start = Instant::now();
            self.read.read(&self.file, &scratch, &offsets).context("cannot read the disk")?;
            let done = self.read.wait().context("cannot read the disk")?;
            ensure!(done == scratch.bytes(), "short read: {done} bytes");
            if start.elapsed() >= SLOW {
                self.expected = (0..scratch.bytes()).map(|at| scratch.read_byte(at)).collect();
                return Ok(());
            }
        }
        Err(skipped("the disk is not slow, so no read would stay in flight"))
    }
}

impl Device for Disk {
    fn pin(&mut self, pages: &Pages) -> anyhow::Result<()> {
        self.exhaust(pages.offsets().len())?;
        let clear = self.expected.iter().step_by(sys::page_size()).all(|&at| at != STORED_AGAIN);
        ensure!(clear, "the disk has the byte that the CPU stores");
        self.read.read(&self.file, pages.mapping(), pages.offsets()).context("cannot read the disk")
    }

    fn deliver(&mut self, pages: &Pages) -> anyhow::Result<Vec<Data>> {
        if self.read.finished()?.is_some() {
            return Err(skipped("the read was over before the store: the disk is not slow enough"));
        }
        let done = self.read.wait().context("the read fails")?;
        ensure!(done == self.expected.len(), "short read: {done} bytes");
        let expected = self.expected.chunks(sys::page_size());
        let page = |(&offset, expected)| arrival(pages, offset, expected);
        Ok(pages.offsets().iter().zip(expected).map(page).collect())
    }

    fn unpin(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}
