//! Recordings: the batches as they came, in blocks that stand each for itself.
//!
//! Format in docs/recording-format.md. A recording that was cut or damaged is good up to there: what
//! is behind is not guessed at, and the trace is told that something is missing.
//!
//! Several files may be one recording, if they are of one run: its parts, one behind the other.

mod ahead;
pub mod block;
mod columns;
mod extract;
pub mod index;
mod input;
mod part;
mod parts;
mod plan;
mod recorder;
mod runs;
mod seal;
mod varint;

use std::{fmt, io, path::Path};

pub use self::{
    ahead::Ahead,
    extract::extract,
    part::dated,
    plan::{Limit, Plan},
    recorder::Recorder,
    runs::{Run, runs},
    seal::Sealed,
};
use self::{
    index::Entry,
    input::{Input, Stop},
};
use super::Batch;
use crate::{encode::Writer, event::Time, facts::key};

/// First bytes of every recording.
const MAGIC: &[u8; 8] = b"COWTRACE";
/// Magic, then the version of the format.
const HEADER: usize = MAGIC.len() + 4;
/// The version that is written.
const FORMAT: u32 = 2;
/// Blocks of version 1: length and checksum, then records as they are.
const OLD_FRAME: usize = 8;

/// A recording being read, or bytes made by a test.
pub struct Recording {
    /// Its files, in the order of time; at least one.
    parts: Vec<Part>,
    /// Which of them is read.
    part: usize,
    done: bool,
    /// A keyframe is of use here: nothing was read yet of what it tells.
    fresh: bool,
    /// What is read first.
    front: Option<Batch>,
    /// Where it is to end though there is more.
    until: Option<Time>,
    /// The latest time that was read since that was set.
    latest: Time,
}

/// A file of several.
struct Part {
    input: Input,
    /// Whether it goes on where those before it end; else something is missing between.
    follows: bool,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording {{ at: {} of {} }}", self.position().at(), self.bytes())
    }
}

/// Where in a recording its reader is, between two batches.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    part: usize,
    /// Bytes of the parts before.
    before: u64,
    at: u64,
    done: bool,
    fresh: bool,
}

impl Position {
    /// Bytes that were read.
    pub fn at(self) -> u64 {
        self.before + self.at
    }
}

impl Recording {
    /// Opens a file. An error if it is no recording, or one of a later version.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self::of(vec![Part { input: Input::open(path)?, follows: true }]))
    }

    /// The same from bytes; `path` is for messages.
    pub fn parse(bytes: Vec<u8>, path: &Path) -> anyhow::Result<Self> {
        Ok(Self::of(vec![Part { input: Input::parse(bytes, path)?, follows: true }]))
    }

    fn of(parts: Vec<Part>) -> Self {
        let (part, done, fresh) = (0, false, true);
        Self { parts, part, done, fresh, front: None, until: None, latest: 0 }
    }

    /// The next batch; behind the last whole one of a file a batch that tells of the damage, if there is any.
    pub fn batch(&mut self) -> Option<Batch> {
        if let Some(front) = self.front.take() {
            return Some(self.up_to_the_end(front));
        }
        while !self.done {
            match self.parts[self.part].input.batch(self.fresh) {
                Ok((batch, is_keyframe)) => {
                    // A long keyframe takes several blocks.
                    self.fresh &= is_keyframe;
                    return Some(self.up_to_the_end(batch));
                }
                Err(stop) => {
                    let told = self.next_part(stop);
                    if !told.is_empty() {
                        return Some(told);
                    }
                }
            }
        }
        None
    }

    /// Goes on in the next file, if there is one: with its keyframe, where what is before was not all read. What there
    /// is to tell of that.
    fn next_part(&mut self, stop: Stop) -> Batch {
        let mut batch = Batch::new();
        let mut writer = Writer::new(&mut batch, 0);
        let damage = self.damage(stop);
        if let Some(damage) = &damage {
            writer.fact(key::DAMAGE, damage);
        }
        let Some(next) = self.parts.get(self.part + 1) else {
            self.done = true;
            return batch;
        };
        // The end of a part is not that of the whole, even if nothing is behind it.
        writer.fact(key::PART_UNTIL, "0");
        self.fresh = damage.is_some() || !next.follows;
        // Should this fail, the next read fails as well, and says so.
        let _ = self.enter(self.part + 1).go_to_front();
        batch
    }

    /// The damage that a file stops with, in words.
    fn damage(&self, stop: Stop) -> Option<String> {
        let Stop::Damage(damage) = stop else { return None };
        let Input { at, len, .. } = self.parts[self.part].input;
        let behind = len.saturating_sub(at);
        Some(format!(
            "{damage} at byte {at}: the last {behind} bytes of the recording are left out"
        ))
    }

    fn enter(&mut self, part: usize) -> &mut Input {
        if part != self.part {
            self.parts[self.part].input.close();
            self.part = part;
        }
        &mut self.parts[part].input
    }

    /// The earliest and the latest time of its records; `None` for version 1, and where there are none.
    pub fn times(&mut self) -> Option<(Time, Time)> {
        let entries: Vec<Entry> =
            self.parts.iter_mut().flat_map(|part| part.input.entries()).collect();
        let times = || entries.iter().filter(|entry| !entry.is_keyframe).map(|entry| entry.times);
        Some((times().map(|times| times.0).min()?, times().map(|times| times.1).max()?))
    }

    /// Goes on from the last keyframe that was taken up to a time, or from the beginning. What is read there is all
    /// that a new trace has to know.
    pub fn seek(&mut self, time: Time) -> io::Result<()> {
        let mut best: Option<(Time, usize, u64)> = None;
        for (part, Part { input, .. }) in self.parts.iter_mut().enumerate() {
            // Of two files that have it the first: what is behind it is read there.
            let later = |(taken, _): &(Time, u64)| best.is_none_or(|best| *taken > best.0);
            let found = last_keyframe(&input.entries(), time).filter(later);
            best = found.map(|(taken, at)| (taken, part, at)).or(best);
        }
        match best {
            Some((_, part, at)) => self.enter(part).go_to(at)?,
            None => self.enter(0).go_to_front()?,
        }
        (self.done, self.fresh) = (false, true);
        Ok(())
    }

    /// Makes it begin with these records, and what is behind where it is follow. Where `until` is given it ends in front
    /// of the kernel's first record that is later, as a part does that another one follows.
    pub fn limit(&mut self, front: Option<Batch>, until: Option<Time>) {
        self.front = front.filter(|front| !front.is_empty());
        (self.until, self.latest) = (until, until.unwrap_or(0));
    }

    /// A batch without what is later than the end that was set.
    fn up_to_the_end(&mut self, mut batch: Batch) -> Batch {
        let Some(until) = self.until else { return batch };
        let mut end = 0;
        while let Some((len, time)) = columns::header(&batch[end..]) {
            // The source's own may stand in front of what came before them.
            if time > until && columns::is_of_the_kernel(&batch[end..]) {
                self.done = true;
                batch.truncate(end);
                let latest = self.latest;
                Writer::new(&mut batch, latest).fact(key::PART_UNTIL, &latest.to_string());
                break;
            }
            self.latest = self.latest.max(time);
            end += len;
        }
        batch
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        let before = self.parts[..self.part].iter().map(|part| part.input.len).sum();
        let at = self.parts[self.part].input.at;
        Position { part: self.part, before, at, done: self.done, fresh: self.fresh }
    }

    /// Goes on from where it was.
    pub fn resume(&mut self, position: Position) {
        // Should this fail, the next read fails as well, and says so.
        let _ = self.enter(position.part).go_to(position.at);
        (self.done, self.fresh) = (position.done, position.fresh);
    }

    /// Bytes of its files, as far as they were written when they were opened.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.input.len).sum()
    }
}

/// When the last keyframe up to a time was taken, and where it begins.
fn last_keyframe(entries: &[Entry], time: Time) -> Option<(Time, u64)> {
    // A long keyframe takes several blocks, of which the first is gone to.
    let same = |a: &Entry, b: &Entry| a.is_keyframe && b.is_keyframe;
    let taken = |run: &[Entry]| run.iter().map(|entry| entry.times.1).max();
    let keyframes = entries.chunk_by(same).filter(|run| run[0].is_keyframe);
    let mut found = keyframes.filter_map(|run| Some((taken(run)?, run[0].offset)));
    found.rfind(|(taken, _)| *taken <= time)
}

#[cfg(test)]
mod tests;
