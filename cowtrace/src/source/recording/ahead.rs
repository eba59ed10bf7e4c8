//! Reading ahead, in a thread of its own: while what was read is judged, what comes next is decompressed and put together.
//!
//! It reads to the end and cannot be led elsewhere: who wants to seek reads by themselves.

use std::{
    io, panic,
    sync::mpsc::{Receiver, sync_channel},
    thread::{self, JoinHandle},
};

use super::{Batch, Recording};

/// Batches that wait, each at most one block: a bound on memory.
const WAITING: usize = 2;

/// The batches of a recording, in their order.
#[derive(Debug)]
pub struct Ahead {
    batches: Receiver<Batch>,
    reader: Option<JoinHandle<()>>,
}

impl Recording {
    /// Reads all that is left. An error if the system gives no thread for it.
    pub fn ahead(mut self) -> io::Result<Ahead> {
        let (to, batches) = sync_channel(WAITING);
        let reader = thread::Builder::new().name("read ahead".to_owned()).spawn(move || {
            // Nobody takes it: whoever asked has gone.
            while self.batch().is_some_and(|batch| to.send(batch).is_ok()) {}
        })?;
        Ok(Ahead { batches, reader: Some(reader) })
    }
}

impl Iterator for Ahead {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let batch = self.batches.recv().ok();
        // A reader that broke off is not one that came to the end.
        if batch.is_none()
            && let Some(Err(why)) = self.reader.take().map(JoinHandle::join)
        {
            panic::resume_unwind(why);
        }
        batch
    }
}
