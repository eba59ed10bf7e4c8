//! Recordings: the batches as they came, in blocks that stand each for itself.
//!
//! Format in docs/recording-format.md. A recording that was cut or damaged is good up to there: what
//! is behind is not guessed at, and the trace is told that something is missing.

pub mod block;
mod columns;
pub mod index;
mod recorder;
mod varint;

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek, SeekFrom},
    path::Path,
};

use self::block::{FRAME, Frame, Holds};
pub use self::recorder::{Recorder, new_file};
use super::Batch;
use crate::encode::Writer;
use crate::{errors, facts::key};

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
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording {{ version: {}, at: {} of {} }}", self.version, self.at, self.len)
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
            version @ 1..=FORMAT => {
                Ok(Self { input, version, at: HEADER as u64, len, done: false })
            }
            newer => Err(errors::newer_recording(path, newer, FORMAT)),
        }
    }

    /// The next batch; behind the last whole one a batch that tells of the damage, if there is any.
    pub fn batch(&mut self) -> Option<Batch> {
        if self.done {
            return None;
        }
        let next = if self.version == 1 { self.old_block() } else { self.block() };
        let damage = match next {
            Ok(batch) => return Some(batch),
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

    /// Version 2.
    fn block(&mut self) -> Result<Batch, Stop> {
        let mut bytes = [0; FRAME];
        self.input.read_exact(&mut bytes)?;
        let frame = Frame::parse(&bytes);
        let stored = self.stored(frame.stored)?;
        if !frame.is_whole(&bytes, &stored) {
            return Err(wrong_checksum());
        }
        let batch = match frame.holds() {
            Some(Holds::Records) => block::records(&frame, &stored)
                .map_err(|_| Stop::Damage("a block does not decode".to_owned()))?,
            Some(Holds::Index) if self.at + (FRAME + stored.len()) as u64 == self.len => {
                return Err(Stop::End);
            }
            Some(Holds::Index) => {
                return Err(Stop::Damage("something follows the index".to_owned()));
            }
            None => return Err(Stop::Damage("a block is of an unknown sort".to_owned())),
        };
        self.at += (FRAME + stored.len()) as u64;
        Ok(batch)
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

fn wrong_checksum() -> Stop {
    Stop::Damage("a block's checksum is wrong".to_owned())
}

#[cfg(test)]
mod tests;
