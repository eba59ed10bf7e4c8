//! A recording being written: by a thread of its own, so that a slow disk does not keep the ring from being
//! emptied.
//!
//! Promise: what is older than a second is on the disk, whatever becomes of process or machine, as long as the threads
//! get a CPU: in guests starved of one, up to four seconds were missing. Whole blocks
//! are written and nothing is written twice; where the disk is full, the half block is taken back.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    columns,
    parts::Parts,
    plan::{Limit, Plan},
    seal::{Sealing, Told},
};
use crate::{errors, source::Batch};

/// Records wait for company at most so long; the disk then has as long to take the block.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pieces of batches that wait for a slow disk. Beyond, the ring fills up, and what does not fit there is counted.
const WAITING: usize = 64;
/// How often is looked whether a sealed file is there.
const SEALING_EACH: Duration = Duration::from_millis(100);
/// Most bytes of a piece: so what waits takes 16 MiB, whatever the ring's size.
const PIECE: usize = 256 << 10;
/// Bytes of records from one keyframe to the next: as many are read in less than a second.
const KEYFRAME_EACH: u64 = 64 << 20;

/// What the thread is told.
enum Message {
    Records(Batch),
    Keyframe(Batch),
    /// Something was found: a name for it, and how bad it is.
    Found(String, usize),
}

/// A recording being written. Dropped, it is ended like one that was finished; only errors go unsaid.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    messages: Option<SyncSender<Message>>,
    /// Set by the thread when it wants a keyframe.
    due: Arc<AtomicBool>,
    sealed: Receiver<Told>,
    thread: Option<JoinHandle<io::Result<u64>>>,
}

impl Recorder {
    /// Creates the first file, see [`crate::files::create`].
    pub fn create(path: &Path, plan: Plan) -> anyhow::Result<Self> {
        let create = || {
            let (tell, sealed) = mpsc::channel();
            let parts = Parts::create(path, plan, tell)?;
            let (messages, receive) = mpsc::sync_channel(WAITING);
            let due = Arc::new(AtomicBool::new(false));
            let writing = Writing::new(parts, plan, PATIENCE, Arc::clone(&due));
            let thread = thread::Builder::new()
                .name("recorder".to_owned())
                .spawn(move || writing.run(&receive))?;
            Ok((messages, due, sealed, thread))
        };
        let (messages, due, sealed, thread) =
            create().map_err(|error| errors::recording_create(path, &error))?;
        let (messages, thread) = (Some(messages), Some(thread));
        Ok(Self { path: path.to_owned(), messages, due, sealed, thread })
    }

    /// The file that was asked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a batch. An error if what came before could not be written: the recording has then ended.
    pub fn write(&mut self, batch: &[u8]) -> anyhow::Result<()> {
        let mut rest = batch;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(piece(rest));
            self.send(Message::Records(piece.to_vec()))?;
            rest = behind;
        }
        Ok(())
    }

    /// Whether a keyframe of what was written so far is wanted.
    pub fn wants_keyframe(&self) -> bool {
        self.due.load(Ordering::Relaxed)
    }

    /// Appends a keyframe; the next part may begin with it.
    pub fn keyframe(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.due.store(false, Ordering::Relaxed);
        self.send(Message::Keyframe(batch))
    }

    /// Something was found that is worth a file of its own: a name for it, and how bad it is.
    pub fn found(&mut self, name: String, rank: usize) -> anyhow::Result<()> {
        self.send(Message::Found(name, rank))
    }

    /// The files sealed since this was asked last, and why others were not.
    pub fn sealed(&self) -> impl Iterator<Item = Told> {
        self.sealed.try_iter()
    }

    /// Ends the recording; its size in bytes, all parts together, those removed included.
    pub fn finish(&mut self) -> anyhow::Result<u64> {
        drop(self.messages.take());
        let ended = self.thread.take().map_or(Ok(0), |thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
        });
        ended.map_err(|error| errors::recording_write(&self.path, &error))
    }

    fn send(&mut self, message: Message) -> anyhow::Result<()> {
        let sent = self.messages.as_ref().is_some_and(|messages| messages.send(message).is_ok());
        if sent { Ok(()) } else { self.finish().map(drop) }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// What the thread does, in this one, with as much patience.
#[cfg(test)]
pub(super) fn write_all(parts: Parts, batches: &[&[u8]], patience: Duration) -> io::Result<u64> {
    let (send, receive) = mpsc::channel();
    for batch in batches {
        send.send(Message::Records(batch.to_vec())).expect("we have the other end");
    }
    drop(send);
    Writing::new(parts, Plan::default(), patience, Arc::default()).run(&receive)
}

/// Bytes of the first whole records that make a piece; all, where that is no more, or the first is longer or is none.
fn piece(batch: &[u8]) -> usize {
    if batch.len() <= PIECE {
        return batch.len();
    }
    let mut end = 0;
    while let Some((len, _)) = columns::header(&batch[end..]).filter(|(len, _)| end + len <= PIECE)
    {
        end += len;
    }
    if end == 0 { batch.len() } else { end }
}

/// The thread's side.
struct Writing {
    parts: Parts,
    plan: Plan,
    patience: Duration,
    /// When all that came so far has to be on the disk; none if it is.
    flush_at: Option<Instant>,
    /// When what was found is to be sealed.
    seal_at: Option<Instant>,
    /// Bytes of records since the last keyframe.
    since_keyframe: u64,
    /// A keyframe was asked for and has not come: what stands in front of it is no reason to ask again.
    asked: bool,
    due: Arc<AtomicBool>,
}

impl Writing {
    fn new(parts: Parts, plan: Plan, patience: Duration, due: Arc<AtomicBool>) -> Self {
        let (flush_at, seal_at, since_keyframe, asked) = (None, None, 0, false);
        Self { parts, plan, patience, flush_at, seal_at, since_keyframe, asked, due }
    }

    /// Writes what comes, until there is nobody to send any more.
    fn run(mut self, messages: &Receiver<Message>) -> io::Result<u64> {
        loop {
            // One file at a time is sealed.
            let seal_at = match self.parts.sealing() {
                Some(_) => Instant::now().checked_add(SEALING_EACH),
                None => self.seal_at,
            };
            let wake = self.flush_at.into_iter().chain(seal_at).min();
            let next = match wake {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(Message::Records(batch)) => self.records(&batch)?,
                Ok(Message::Keyframe(batch)) => self.keyframe(&batch)?,
                Ok(Message::Found(name, rank)) => self.found(name, rank),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            // Not at the time-out alone: where batches never stop coming, there is none.
            let now = Instant::now();
            if self.flush_at.is_some_and(|at| at <= now) {
                self.parts.sync()?;
                self.flush_at = None;
            }
            self.seal_if_due(now)?;
        }
    }

    fn seal_if_due(&mut self, now: Instant) -> io::Result<()> {
        if self.parts.sealing().is_some_and(Sealing::is_over) {
            self.parts.finish_sealing();
            self.parts.remove(self.keep());
        }
        if self.parts.sealing().is_none() && self.seal_at.is_some_and(|at| at <= now) {
            self.seal_at = None;
            self.parts.seal()?;
        }
        Ok(())
    }

    /// How much of what was ended is kept; all while something is about to be sealed.
    fn keep(&self) -> Option<Limit> {
        self.plan.keep.filter(|_| self.seal_at.is_none())
    }

    fn records(&mut self, batch: &[u8]) -> io::Result<()> {
        self.flush_at = self.flush_at.or_else(|| Instant::now().checked_add(self.patience));
        self.parts.records(batch)?;
        self.since_keyframe += batch.len() as u64;
        let enough = self.since_keyframe >= KEYFRAME_EACH || self.parts.has_enough(self.plan.part);
        if enough && !self.asked {
            self.asked = true;
            self.due.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn keyframe(&mut self, batch: &[u8]) -> io::Result<()> {
        (self.since_keyframe, self.asked) = (0, false);
        if self.parts.has_enough(self.plan.part) && self.parts.is_later(batch) {
            self.flush_at = None;
            return self.parts.next(batch, self.keep());
        }
        self.parts.keyframe(batch)
    }

    fn found(&mut self, name: String, rank: usize) {
        let Some(after) = self.plan.seal_after.filter(|_| self.parts.can_seal()) else { return };
        self.seal_at = self.seal_at.or_else(|| Instant::now().checked_add(after));
        self.parts.found(name, rank);
    }

    fn end(mut self) -> io::Result<u64> {
        if self.seal_at.is_some() {
            self.parts.seal()?;
        }
        self.parts.end()
    }
}

#[cfg(test)]
mod tests;
