//! Where bytes come from: the running kernel, or a recording. Everything impure is here.
//!
//! Behind a source nothing reads a clock, a file, the environment or the kernel: what a sink will
//! want to know (names of addresses, facts about the host, ticks, losses) travels in the same stream
//! as records of the source's own, in front of the records that need it.

pub mod audit;
pub mod cgroups;
pub mod live;
mod owners;
pub mod recording;
mod rest;
pub mod symbols;
mod vmas;

use std::io;

use crate::pagemap::Question;

/// Whole records, one behind the other.
pub type Batch = Vec<u8>;

/// A stream of records.
pub enum Source {
    /// The running kernel.
    Live(Box<live::Live>),
    /// A recording, or bytes made by a test.
    Recording(recording::Recording),
}

impl Source {
    /// The next batch; `None` at the end. A live source ends after [`Source::stop`].
    pub async fn batch(&mut self) -> io::Result<Option<Batch>> {
        match self {
            Self::Live(live) => live.batch().await,
            Self::Recording(recording) => Ok(recording.batch()),
        }
    }

    /// What is there now, without waiting: all records of what has happened before the call.
    pub fn drain(&mut self) -> Batch {
        match self {
            Self::Live(live) => live.drain(),
            Self::Recording(recording) => recording.batch().unwrap_or_default(),
        }
    }

    /// Looks up where pages are mapped now; nothing for a recording, which has what was looked up then.
    pub fn audit(&self, questions: &[Question]) -> Batch {
        match self {
            Self::Live(live) => live.audit(questions),
            Self::Recording(_) => Batch::new(),
        }
    }

    /// Takes all probes off the kernel. What is still in the ring comes as the last batches.
    pub fn stop(&mut self) {
        if let Self::Live(live) = self {
            live.stop();
        }
    }
}
