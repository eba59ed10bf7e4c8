//! A file of a recording being written: whole blocks, and nothing twice.

use std::{
    fs::File,
    io::{self, Write as _},
    mem,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use super::{
    FORMAT, HEADER, MAGIC,
    block::{self, Frame, Holds, MOST_BYTES},
    columns,
    index::{self, Entry},
};
use crate::{encode::Writer, facts::key, files, source::Batch};

/// A block has enough records with so many bytes: more compress little better.
const ENOUGH: usize = 1 << 20;

/// Bytes of the whole records at the front of a batch that a block takes. Where there are none, as a broken source may
/// have it, where it is cut does not matter.
fn fitting(batch: &[u8], most: usize) -> usize {
    let mut fit = 0;
    while let Some((len, _)) = columns::header(&batch[fit..]) {
        if fit + len > most {
            break;
        }
        fit += len;
    }
    if fit == 0 { batch.len().min(most) } else { fit }
}

/// A name for a recording that is made now: `NAME-20260102T030405Z.cow`.
pub fn dated(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}-{}.cow", now()))
}

/// The time of day in a file's name, UTC: `20260102T030405Z`.
pub fn now() -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    time.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// Magic and version.
pub fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(&FORMAT.to_le_bytes());
    header
}

/// The file.
#[derive(Debug)]
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// When it was begun.
    pub began: Instant,
    /// Whole blocks, and the header.
    pub bytes: u64,
    file: File,
    entries: Vec<Entry>,
    /// Records that make no block yet.
    pending: Batch,
    /// Bytes of records that a block takes.
    most: usize,
}

impl Part {
    /// Creates it, see [`files::create`].
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::begin(files::create(path)?, path)
    }

    /// In a file that is there and empty.
    pub fn begin(mut file: File, path: &Path) -> io::Result<Self> {
        file.write_all(&header())?;
        let (path, began, bytes) = (path.to_owned(), Instant::now(), HEADER as u64);
        let (entries, pending) = (Vec::new(), Batch::new());
        Ok(Self { path, began, bytes, file, entries, pending, most: MOST_BYTES })
    }

    /// The same with small blocks, so that a test sees several.
    #[cfg(test)]
    pub fn with_blocks_of(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Takes records in; they are in a block when there is enough for one.
    pub fn add(&mut self, batch: &[u8]) -> io::Result<()> {
        if self.pending.len() + batch.len() > self.most {
            self.flush()?;
        }
        self.pending.extend_from_slice(batch);
        // What stands in front, the host and the probes, is there from the start.
        let enough = self.entries.is_empty() || self.pending.len() >= ENOUGH;
        if enough { self.flush() } else { Ok(()) }
    }

    /// A keyframe: the state behind all that was added.
    pub fn keyframe(&mut self, batch: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.blocks(batch, Holds::Keyframe)
    }

    /// Writes a block of another recording as it is.
    pub fn copy(&mut self, frame: &Frame, block: &[u8]) -> io::Result<()> {
        let entry = Entry::new(self.bytes, frame);
        self.append(block)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Tells that what follows is in another file.
    pub fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        let until = self.until();
        let mut batch = Batch::new();
        Writer::new(&mut batch, until).fact(key::PART_UNTIL, &until.to_string());
        self.add(&batch)
    }

    /// Makes a block of what was added.
    pub fn flush(&mut self) -> io::Result<()> {
        let pending = mem::take(&mut self.pending);
        self.blocks(&pending, Holds::Records)
    }

    /// All that was added is on the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data()
    }

    /// The latest time that a block of it has.
    pub fn until(&self) -> u64 {
        self.entries.iter().map(|entry| entry.times.1).max().unwrap_or(0)
    }

    /// Writes the index, which ends it; its size in bytes.
    pub fn end(mut self) -> io::Result<u64> {
        self.flush()?;
        let index = index::block(&self.entries, self.bytes);
        self.append(&index)?;
        self.file.sync_data()?;
        Ok(self.bytes)
    }

    fn blocks(&mut self, batch: &[u8], holds: Holds) -> io::Result<()> {
        let mut rest = batch;
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(fitting(rest, self.most));
            rest = behind;
            let (block, frame) = block::of(batch, holds)?;
            self.copy(&frame, &block)?;
        }
        Ok(())
    }

    /// All of a block, or nothing of it.
    fn append(&mut self, block: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(block) {
            // What is left of it says "cut" to a reader, which is as good.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += block.len() as u64;
        Ok(())
    }
}
