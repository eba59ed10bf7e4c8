//! Recordings: the batches as they came, in blocks that stand each for itself.
//!
//! Format in docs/recording-format.md. A recording that was cut or damaged is good up to there: what
//! is behind is not guessed at, and the trace is told that something is missing.

pub mod block;
mod columns;
mod extract;
pub mod index;
mod part;
mod parts;
mod plan;
mod recorder;
mod varint;

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek, SeekFrom},
    path::Path,
};

use self::{
    block::{FRAME, Frame, Holds},
    index::Entry,
};
pub use self::{
    extract::extract,
    part::{dated, new_file},
    parts::MOST_SEALED,
    plan::{Limit, Plan},
    recorder::Recorder,
};
use super::Batch;
use crate::{encode::Writer, errors, event::Time, facts::key};

/// First bytes of every recording.
const MAGIC: &[u8; 8] = b"COWTRACE";
/// Magic, then the version of the format.
const HEADER: usize = MAGIC.len() + 4;
/// The version that is written.
const FORMAT: u32 = 2;
/// Blocks of version 1: length and checksum, then records as they are.
const OLD_FRAME: usize = 8;

/// Where a recording is read from.
trait Input: Read + Seek + Send {}
impl<T: Read + Seek + Send> Input for T {}

/// A recording being read, or bytes made by a test.
pub struct Recording {
    input: Box<dyn Input>,
    version: u32,
    at: u64,
    len: u64,
    done: bool,
    /// Nothing was read yet from where reading began: a keyframe there is of use.
    fresh: bool,
    /// What is read first.
    front: Option<Batch>,
    /// Where it is to end though there is more.
    until: Option<Time>,
    /// The latest time that was read since that was set.
    latest: Time,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording {{ version: {}, at: {} of {} }}", self.version, self.at, self.len)
    }
}

/// Where in a recording its reader is, between two batches.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    at: u64,
    done: bool,
    fresh: bool,
}

impl Position {
    /// Bytes that were read.
    pub fn at(self) -> u64 {
        self.at
    }
}

/// Why no further block can be had.
enum Stop {
    /// It ended as it should.
    End,
    /// In words.
    Damage(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damage("it was cut".to_owned()),
            _ => Self::Damage(format!("it cannot be read ({error})")),
        }
    }
}

impl Recording {
    /// Opens a file. An error if it is no recording, or one of a later version.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).map_err(|error| errors::recording_read(path, &error))?;
        Self::read(Box::new(BufReader::new(file)), path)
    }

    /// The same from bytes; `path` is for messages.
    pub fn parse(bytes: Vec<u8>, path: &Path) -> anyhow::Result<Self> {
        Self::read(Box::new(Cursor::new(bytes)), path)
    }

    fn read(mut input: Box<dyn Input>, path: &Path) -> anyhow::Result<Self> {
        let mut measure = || {
            let len = input.seek(SeekFrom::End(0))?;
            input.rewind()?;
            let mut header = Vec::new();
            input.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
            Ok((len, header))
        };
        let (len, header) = measure().map_err(|error| errors::recording_read(path, &error))?;
        let version = header.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk());
        match u32::from_le_bytes(*version.ok_or_else(|| errors::not_a_recording(path))?) {
            0 => Err(errors::not_a_recording(path)),
            version @ 1..=FORMAT => Ok(Self {
                input,
                version,
                at: HEADER as u64,
                len,
                done: false,
                fresh: true,
                front: None,
                until: None,
                latest: 0,
            }),
            newer => Err(errors::newer_recording(path, newer, FORMAT)),
        }
    }

    /// The next batch; behind the last whole one a batch that tells of the damage, if there is any.
    pub fn batch(&mut self) -> Option<Batch> {
        if let Some(front) = self.front.take() {
            return Some(self.up_to_the_end(front));
        }
        if self.done {
            return None;
        }
        let next = if self.version == 1 { self.old_block() } else { self.block() };
        let damage = match next {
            Ok(batch) => return Some(self.up_to_the_end(batch)),
            Err(Stop::End) => None,
            Err(Stop::Damage(damage)) => Some(damage),
        };
        self.done = true;
        let behind = self.len.saturating_sub(self.at);
        let at = self.at;
        let mut batch = Batch::new();
        let text = format!(
            "{} at byte {at}: the last {behind} bytes of the recording are left out",
            damage?
        );
        Writer::new(&mut batch, 0).fact(key::DAMAGE, &text);
        Some(batch)
    }

    /// The earliest and the latest time of its records; `None` for version 1, and where there are none.
    pub fn times(&mut self) -> Option<(Time, Time)> {
        let entries = self.entries();
        let times = || entries.iter().filter(|entry| !entry.is_keyframe).map(|entry| entry.times);
        Some((times().map(|times| times.0).min()?, times().map(|times| times.1).max()?))
    }

    /// Goes on from the last keyframe that was taken up to a time, or from the beginning. What is read there is all
    /// that a new trace has to know.
    pub fn seek(&mut self, time: Time) -> io::Result<()> {
        let entries = self.entries();
        // A long keyframe takes several blocks, of which the first is gone to.
        let same = |a: &Entry, b: &Entry| a.is_keyframe && b.is_keyframe;
        let until = |run: &&[Entry]| run.iter().map(|entry| entry.times.1).max() <= Some(time);
        let mut keyframes = entries.chunk_by(same).filter(|run| run[0].is_keyframe).filter(until);
        let at = keyframes.next_back().map_or(HEADER as u64, |run| run[0].offset);
        self.go_to(at)?;
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
        Position { at: self.at, done: self.done, fresh: self.fresh }
    }

    /// Goes on from where it was.
    pub fn resume(&mut self, position: Position) {
        // Should this fail, the next read fails as well, and says so.
        let _ = self.go_to(position.at);
        (self.done, self.fresh) = (position.done, position.fresh);
    }

    /// Its size in bytes, as far as it was written when it was opened.
    pub fn bytes(&self) -> u64 {
        self.len
    }

    fn go_to(&mut self, at: u64) -> io::Result<()> {
        self.at = self.input.seek(SeekFrom::Start(at))?;
        Ok(())
    }

    /// Where which block is: as the index has it, or, where a recording was cut, as the blocks stand. Reading goes on
    /// where it was.
    fn entries(&mut self) -> Vec<Entry> {
        if self.version == 1 {
            return Vec::new();
        }
        let at = self.at;
        let entries = self.index().or_else(|| self.walk().ok()).unwrap_or_default();
        // Should this fail, the next read fails as well.
        let _ = self.go_to(at);
        entries
    }

    fn index(&mut self) -> Option<Vec<Entry>> {
        let mut tail = [0; index::TAIL];
        self.go_to(self.len.checked_sub(index::TAIL as u64)?).ok()?;
        self.input.read_exact(&mut tail).ok()?;
        self.go_to(index::start(&tail)?).ok()?;
        let mut bytes = [0; FRAME];
        self.input.read_exact(&mut bytes).ok()?;
        let frame = Frame::parse(&bytes);
        let stored = self.stored(frame.stored).ok()?;
        let whole = frame.holds() == Some(Holds::Index) && frame.is_whole(&bytes, &stored);
        whole.then(|| index::entries(&stored))
    }

    fn walk(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.go_to(HEADER as u64)?;
        let mut bytes = [0; FRAME];
        while self.input.read_exact(&mut bytes).is_ok() {
            let frame = Frame::parse(&bytes);
            let next = self.at + FRAME as u64 + u64::from(frame.stored);
            let holds = frame.holds().filter(|holds| *holds != Holds::Index);
            if next > self.len || holds.is_none() {
                break;
            }
            entries.push(Entry::new(self.at, &frame));
            self.go_to(next)?;
        }
        Ok(entries)
    }

    /// Version 2.
    fn block(&mut self) -> Result<Batch, Stop> {
        loop {
            let (frame, stored) = self.whole_block()?;
            let end = self.at + (FRAME + stored.len()) as u64;
            let batch = match frame.holds() {
                Some(Holds::Records) => Some(records(&frame, &stored)?),
                Some(Holds::Keyframe) if self.fresh => Some(records(&frame, &stored)?),
                // Who has read all before knows what it tells.
                Some(Holds::Keyframe) => None,
                Some(Holds::Index) if end == self.len => return Err(Stop::End),
                Some(Holds::Index) => {
                    return Err(Stop::Damage("something follows the index".to_owned()));
                }
                None => return Err(Stop::Damage("a block is of an unknown sort".to_owned())),
            };
            self.at = end;
            if let Some(batch) = batch {
                // A long keyframe takes several blocks.
                self.fresh &= frame.holds() == Some(Holds::Keyframe);
                return Ok(batch);
            }
        }
    }

    fn whole_block(&mut self) -> Result<(Frame, Vec<u8>), Stop> {
        let mut bytes = [0; FRAME];
        self.input.read_exact(&mut bytes)?;
        let frame = Frame::parse(&bytes);
        let stored = self.stored(frame.stored)?;
        if frame.is_whole(&bytes, &stored) { Ok((frame, stored)) } else { Err(wrong_checksum()) }
    }

    /// Version 1, which just ends.
    fn old_block(&mut self) -> Result<Batch, Stop> {
        if self.at == self.len {
            return Err(Stop::End);
        }
        let (mut len, mut checksum) = ([0; 4], [0; 4]);
        self.input.read_exact(&mut len)?;
        self.input.read_exact(&mut checksum)?;
        let batch = self.stored(u32::from_le_bytes(len))?;
        if crc32fast::hash(&batch) != u32::from_le_bytes(checksum) {
            return Err(wrong_checksum());
        }
        self.at += (OLD_FRAME + batch.len()) as u64;
        Ok(batch)
    }

    /// So many bytes; not more than there are, whatever the number says.
    fn stored(&mut self, len: u32) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(len.into()).read_to_end(&mut bytes)?;
        if bytes.len() == len as usize {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

fn records(frame: &Frame, stored: &[u8]) -> Result<Batch, Stop> {
    block::records(frame, stored).map_err(|_| Stop::Damage("a block does not decode".to_owned()))
}

fn wrong_checksum() -> Stop {
    Stop::Damage("a block's checksum is wrong".to_owned())
}

#[cfg(test)]
mod tests;
