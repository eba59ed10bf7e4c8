//! A file of a recording being read: block by block, or by its index.
//!
//! A cut or damaged file is good up to there. It is closed while another one is read, since a run may have left more of
//! them than a process may have open.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    FORMAT, HEADER, MAGIC, OLD_FRAME,
    block::{self, FRAME, Frame, Holds},
    index::{self, Entry},
};
use crate::{errors, source::Batch};

/// Where bytes are read from.
trait Bytes: Read + Seek + Send {}
impl<T: Read + Seek + Send> Bytes for T {}

/// Why no further block can be had.
pub enum Stop {
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

/// The file.
pub struct Input {
    /// None of bytes in memory.
    path: Option<PathBuf>,
    /// None while it is closed.
    bytes: Option<Box<dyn Bytes>>,
    version: u32,
    /// Where the next block begins.
    pub at: u64,
    /// Its size, as far as it was written when it was opened.
    pub len: u64,
    /// Blocks that were read from another file, by where they begin.
    told: HashSet<u64>,
}

impl Input {
    /// Opens a file. An error if it is no recording, or one of a later version.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).map_err(|error| errors::recording_read(path, &error))?;
        let input = Self::read(Box::new(BufReader::new(file)), path)?;
        Ok(Self { path: Some(path.to_owned()), ..input })
    }

    /// The same from bytes; `path` is for messages.
    pub fn parse(bytes: Vec<u8>, path: &Path) -> anyhow::Result<Self> {
        Self::read(Box::new(Cursor::new(bytes)), path)
    }

    fn read(mut bytes: Box<dyn Bytes>, path: &Path) -> anyhow::Result<Self> {
        let mut measure = || {
            let len = bytes.seek(SeekFrom::End(0))?;
            bytes.rewind()?;
            let mut header = Vec::new();
            bytes.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
            Ok((len, header))
        };
        let (len, header) = measure().map_err(|error| errors::recording_read(path, &error))?;
        let version = header.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk());
        let version = u32::from_le_bytes(*version.ok_or_else(|| errors::not_a_recording(path))?);
        let (at, told) = (HEADER as u64, HashSet::new());
        match version {
            0 => Err(errors::not_a_recording(path)),
            1..=FORMAT => Ok(Self { path: None, bytes: Some(bytes), version, at, len, told }),
            newer => Err(errors::newer_recording(path, newer, FORMAT)),
        }
    }

    /// The next block of records, or of a keyframe if that is wanted; whether it is one.
    pub fn batch(&mut self, wants_keyframe: bool) -> Result<(Batch, bool), Stop> {
        if self.version == 1 {
            return self.old_block().map(|batch| (batch, false));
        }
        loop {
            let (frame, stored) = self.whole_block()?;
            let end = self.at + (FRAME + stored.len()) as u64;
            let batch = match frame.holds() {
                Some(Holds::Records) if self.told.contains(&self.at) => None,
                Some(Holds::Records) => Some(records(&frame, &stored)?),
                Some(Holds::Keyframe) if wants_keyframe => Some(records(&frame, &stored)?),
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
                return Ok((batch, frame.holds() == Some(Holds::Keyframe)));
            }
        }
    }

    /// Goes on from a byte.
    pub fn go_to(&mut self, at: u64) -> io::Result<()> {
        self.at = self.bytes()?.seek(SeekFrom::Start(at))?;
        Ok(())
    }

    /// To the first block.
    pub fn go_to_front(&mut self) -> io::Result<()> {
        self.go_to(HEADER as u64)
    }

    /// Lets go of the file; going anywhere in it opens it again.
    pub fn close(&mut self) {
        if self.path.is_some() {
            self.bytes = None;
        }
    }

    /// These blocks, by where they begin, are read from another file.
    pub fn leave_out(&mut self, told: HashSet<u64>) {
        self.told = told;
    }

    /// Where which block is: as the index has it, or, where a file was cut, as the blocks stand. Reading goes on where
    /// it was. None of version 1.
    pub fn entries(&mut self) -> Vec<Entry> {
        if self.version == 1 {
            return Vec::new();
        }
        let (at, was_closed) = (self.at, self.bytes.is_none());
        let entries = self.index().or_else(|| self.walk().ok()).unwrap_or_default();
        // Should this fail, the next read fails as well.
        let _ = self.go_to(at);
        if was_closed {
            self.close();
        }
        entries
    }

    fn bytes(&mut self) -> io::Result<&mut Box<dyn Bytes>> {
        let closed = || io::Error::from(io::ErrorKind::NotFound);
        if let (None, Some(path)) = (&self.bytes, &self.path) {
            let file = File::open(path)?;
            // It may be written still.
            self.len = file.metadata()?.len();
            self.bytes = Some(Box::new(BufReader::new(file)));
        }
        self.bytes.as_mut().ok_or_else(closed)
    }

    fn index(&mut self) -> Option<Vec<Entry>> {
        let mut tail = [0; index::TAIL];
        self.bytes().ok()?;
        self.go_to(self.len.checked_sub(index::TAIL as u64)?).ok()?;
        self.bytes().ok()?.read_exact(&mut tail).ok()?;
        self.go_to(index::start(&tail)?).ok()?;
        let mut bytes = [0; FRAME];
        self.bytes().ok()?.read_exact(&mut bytes).ok()?;
        let frame = Frame::parse(&bytes);
        let stored = self.stored(frame.stored).ok()?;
        let whole = frame.holds() == Some(Holds::Index) && frame.is_whole(&bytes, &stored);
        whole.then(|| index::entries(&stored))
    }

    fn walk(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.go_to_front()?;
        let mut bytes = [0; FRAME];
        while self.bytes()?.read_exact(&mut bytes).is_ok() {
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

    fn whole_block(&mut self) -> Result<(Frame, Vec<u8>), Stop> {
        let mut bytes = [0; FRAME];
        self.bytes()?.read_exact(&mut bytes)?;
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
        self.bytes()?.read_exact(&mut len)?;
        self.bytes()?.read_exact(&mut checksum)?;
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
        self.bytes()?.take(len.into()).read_to_end(&mut bytes)?;
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
