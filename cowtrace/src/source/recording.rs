//! Recordings: the batches as they came, each in a block with its length and checksum.
//!
//! Format in docs/recording-format.md. A recording that was cut or damaged is good up to there: what
//! is behind is not guessed at, and the trace is told that something is missing.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cowtrace_common::wire;

use super::{Batch, write::Writer};
use crate::{errors, facts::key};

/// First bytes of every recording.
const MAGIC: &[u8; 8] = b"COWTRACE";
/// Magic, then the wire version.
const HEADER: usize = MAGIC.len() + 4;
/// Length and checksum in front of each block.
const FRAME: usize = 8;

/// A recording being written.
#[derive(Debug)]
pub struct Recorder {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Recorder {
    /// Creates the file, for its owner only. An existing file is not overwritten, a link not followed.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let create = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(&header())?;
            Ok(file)
        };
        let file = create().map_err(|error| errors::recording_create(path, &error))?;
        Ok(Self { file, path: path.to_owned(), bytes: HEADER as u64 })
    }

    /// Appends a batch.
    pub fn write(&mut self, batch: &[u8]) -> anyhow::Result<()> {
        let block = block(batch);
        self.bytes += block.len() as u64;
        // In one write, so that a reader of the growing file seldom sees half a block.
        self.file.write_all(&block).map_err(|error| errors::recording_write(&self.path, &error))
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(&wire::VERSION.to_le_bytes());
    header
}

fn block(batch: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(FRAME + batch.len());
    block.extend_from_slice(&(batch.len() as u32).to_le_bytes());
    block.extend_from_slice(&crc32fast::hash(batch).to_le_bytes());
    block.extend_from_slice(batch);
    block
}

/// A recording being read, or bytes made by a test.
#[derive(Debug)]
pub struct Recording {
    bytes: Vec<u8>,
    at: usize,
    done: bool,
}

impl Recording {
    /// Opens a file. An error if it is no recording, or one of a later version.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path).map_err(|error| errors::recording_read(path, &error))?;
        Self::parse(bytes, path)
    }

    /// The same from bytes; `path` is for messages.
    pub fn parse(bytes: Vec<u8>, path: &Path) -> anyhow::Result<Self> {
        let version = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk())
            .ok_or_else(|| errors::not_a_recording(path))?;
        match u32::from_le_bytes(*version) {
            1..=wire::VERSION => Ok(Self { bytes, at: HEADER, done: false }),
            0 => Err(errors::not_a_recording(path)),
            newer => Err(errors::newer_recording(path, newer, wire::VERSION)),
        }
    }

    /// The next batch; behind the last whole one a batch that tells of the damage, if there is any.
    pub fn batch(&mut self) -> Option<Batch> {
        if self.done || self.at == self.bytes.len() {
            return None;
        }
        match self.next_block() {
            Ok(batch) => Some(batch),
            Err(damage) => {
                self.done = true;
                let behind = self.bytes.len() - self.at;
                let mut batch = Batch::new();
                let text = format!(
                    "{damage} at byte {}: the last {behind} bytes of the recording are left out",
                    self.at
                );
                Writer::new(&mut batch, 0).fact(key::DAMAGE, &text);
                Some(batch)
            }
        }
    }

    fn next_block(&mut self) -> Result<Batch, &'static str> {
        const CUT: &str = "it was cut";
        let rest = &self.bytes[self.at..];
        let (frame, rest) = rest.split_first_chunk::<FRAME>().ok_or(CUT)?;
        let [len, checksum] = [&frame[..4], &frame[4..]].map(|four| {
            four.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte))
        });
        let batch = rest.get(..len as usize).ok_or(CUT)?;
        if crc32fast::hash(batch) != checksum {
            return Err("a block's checksum is wrong");
        }
        self.at += FRAME + batch.len();
        Ok(batch.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(batches: &[&[u8]]) -> Vec<u8> {
        let mut bytes = header().to_vec();
        for batch in batches {
            bytes.extend(block(batch));
        }
        bytes
    }

    fn read(bytes: Vec<u8>) -> Vec<Batch> {
        let mut recording = Recording::parse(bytes, Path::new("test.cow")).expect("a recording");
        std::iter::from_fn(|| recording.batch()).collect()
    }

    fn refusal(bytes: &[u8]) -> String {
        let error = Recording::parse(bytes.to_vec(), Path::new("test.cow")).expect_err("refused");
        error.to_string()
    }

    #[test]
    fn batches_come_back_as_they_went_in() {
        assert_eq!(read(recording(&[b"one", b"", b"three"])), [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn a_recording_cut_inside_a_block_is_good_up_to_there_and_says_so() {
        let mut bytes = recording(&[b"one", b"three"]);
        bytes.truncate(bytes.len() - 1);
        let batches = read(bytes);
        assert_eq!(batches[0], b"one");
        assert!(String::from_utf8_lossy(&batches[1]).contains("it was cut at byte 23"));
        assert_eq!(batches.len(), 2);
    }

    #[test]
    fn a_flipped_bit_ends_the_recording_at_its_block() {
        let mut bytes = recording(&[b"one", b"three"]);
        let last = bytes.len() - 1;
        bytes[last] ^= 0x10;
        let batches = read(bytes);
        assert_eq!(batches[0], b"one");
        assert!(String::from_utf8_lossy(&batches[1]).contains("checksum is wrong"));
    }

    #[test]
    fn other_files_and_later_formats_are_refused_in_words() {
        assert!(refusal(b"").contains("no cowtrace recording"));
        assert!(refusal(b"\x7fELF\x02\x01\x01\0\0\0\0\0").contains("no cowtrace recording"));
        let mut newer = recording(&[]);
        newer[8] = 200;
        assert!(refusal(&newer).contains("format 200; this cowtrace reads up to format 1"));
    }

    #[test]
    fn a_recording_is_for_its_owner_and_never_overwrites() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("cowtrace-test-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("x.cow");
        let mut recorder = Recorder::create(&path).expect("created");
        recorder.write(b"batch").expect("written");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(&path).expect("there").len(), recorder.bytes());
        let error = Recorder::create(&path).expect_err("exists").to_string();
        assert!(error.contains("not overwritten"), "{error}");
        fs::remove_dir_all(folder).expect("removed");
    }
}
