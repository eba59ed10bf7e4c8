//! A recording being written: by a thread of its own, so that a slow disk does not keep the ring from being
//! emptied.
//!
//! Promise: what is older than a second is on the disk, whatever becomes of process or machine. Whole blocks
//! are written and nothing is written twice; where the disk is full, the half block is taken back.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    mem,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    FORMAT, HEADER, MAGIC,
    block::{self, MOST_BYTES},
    index::{self, Entry},
};
use crate::{errors, source::Batch};

/// Records wait for company at most so long; the disk then has as long to take the block.
const PATIENCE: Duration = Duration::from_millis(500);
/// A block has enough records with so many bytes: more compress little better.
const ENOUGH: usize = 1 << 20;
/// Batches that wait for a slow disk. Beyond, the ring fills up, and what does not fit there is counted.
const WAITING: usize = 256;

/// A file for its owner only: recordings and what is made of them have names of processes and functions. An existing
/// one is not overwritten, a link not followed.
pub fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A recording being written. Dropped, it is ended like one that was finished; only errors go unsaid.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    batches: Option<SyncSender<Batch>>,
    thread: Option<JoinHandle<io::Result<u64>>>,
}

impl Recorder {
    /// Creates the file, see [`new_file`].
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let create = || {
            let mut file = new_file(path)?;
            file.write_all(&header())?;
            let (send, receive) = mpsc::sync_channel(WAITING);
            let thread = thread::Builder::new()
                .name("recorder".to_owned())
                .spawn(move || Blocks::new(file, PATIENCE).write(&receive))?;
            Ok((send, thread))
        };
        let (send, thread) = create().map_err(|error| errors::recording_create(path, &error))?;
        Ok(Self { path: path.to_owned(), batches: Some(send), thread: Some(thread) })
    }

    /// Appends a batch. An error if what came before could not be written: the recording has then ended.
    pub fn write(&mut self, batch: &[u8]) -> anyhow::Result<()> {
        let sent =
            self.batches.as_ref().is_some_and(|batches| batches.send(batch.to_vec()).is_ok());
        if sent { Ok(()) } else { self.end().map(drop) }
    }

    /// Ends the recording; its size in bytes.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<u64> {
        drop(self.batches.take());
        let ended = self.thread.take().map_or(Ok(0), |thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
        });
        ended.map_err(|error| errors::recording_write(&self.path, &error))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Magic and version.
pub(super) fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(&FORMAT.to_le_bytes());
    header
}

/// What the thread does, in this one, with as much patience.
#[cfg(test)]
pub(super) fn write_all(file: File, batches: &[&[u8]], patience: Duration) -> io::Result<u64> {
    let (send, receive) = mpsc::channel();
    for batch in batches {
        send.send(batch.to_vec()).expect("we have the other end");
    }
    drop(send);
    Blocks::new(file, patience).write(&receive)
}

/// The thread's side.
struct Blocks {
    file: File,
    patience: Duration,
    /// When all that came so far has to be on the disk; none if it is.
    due: Option<Instant>,
    /// Whole blocks, and the header.
    bytes: u64,
    entries: Vec<Entry>,
    /// Records that make no block yet.
    pending: Batch,
}

impl Blocks {
    fn new(file: File, patience: Duration) -> Self {
        let (bytes, due) = (HEADER as u64, None);
        Self { file, patience, due, bytes, entries: Vec::new(), pending: Batch::new() }
    }

    /// Writes what comes, until there is nobody to send any more.
    fn write(mut self, batches: &Receiver<Batch>) -> io::Result<u64> {
        loop {
            let next = match self.due {
                None => batches.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => batches.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(batch) => self.add(&batch)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            // Not at the time-out alone: where batches never stop coming, there is none.
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.flush()?;
                self.file.sync_data()?;
                self.due = None;
            }
        }
    }

    fn add(&mut self, batch: &[u8]) -> io::Result<()> {
        self.due = self.due.or_else(|| Instant::now().checked_add(self.patience));
        if self.pending.len() + batch.len() > MOST_BYTES {
            self.flush()?;
        }
        self.pending.extend_from_slice(batch);
        // What stands in front, the host and the probes, is there from the start.
        let enough = self.entries.is_empty() || self.pending.len() >= ENOUGH;
        if enough { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let pending = mem::take(&mut self.pending);
        for batch in parts(&pending) {
            let (block, frame) = block::of_records(batch)?;
            let entry = Entry::new(self.bytes, &frame);
            self.append(&block)?;
            self.entries.push(entry);
        }
        Ok(())
    }

    fn end(mut self) -> io::Result<u64> {
        self.flush()?;
        let index = index::block(&self.entries, self.bytes);
        self.append(&index)?;
        self.file.sync_data()?;
        Ok(self.bytes)
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

/// A batch in pieces that blocks may hold. A single batch is never so large, unless its source is broken: then
/// where it is cut does not matter.
fn parts(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    batch.chunks(MOST_BYTES)
}
