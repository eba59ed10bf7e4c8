//! Blocks: what a recording consists of. Each is whole in itself and knows if it is damaged.

use super::{columns, varint::Invalid};
use crate::event::Time;

/// Bytes in front of what a block stores.
pub const FRAME: usize = 40;
/// Bytes of records that a block may hold; a reader refuses more.
pub const MOST_BYTES: usize = 16 << 20;
/// zstd's own default; more takes much longer and gives little.
const LEVEL: i32 = 3;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Records, by column, compressed.
    Records = 0,
    /// Where the blocks are.
    Index = 1,
    /// Records that tell the state behind the block before: for who begins to read here.
    Keyframe = 2,
}

/// What stands in front of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes stored behind it.
    pub stored: u32,
    checksum: u32,
    /// Bytes of the records.
    pub bytes: u32,
    holds: u32,
    /// The earliest and the latest time of its records.
    pub times: (Time, Time),
    /// How many records.
    pub records: u32,
}

impl Frame {
    /// Reads one.
    pub fn parse(frame: &[u8; FRAME]) -> Self {
        let word = |at: usize| {
            let bytes = frame[at..at + 4].iter().rev();
            bytes.fold(0, |number, byte| number << 8 | u32::from(*byte))
        };
        let long = |at| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Self {
            stored: word(0),
            checksum: word(4),
            bytes: word(8),
            holds: word(12),
            times: (long(16), long(24)),
            records: word(32),
        }
    }

    /// What the block holds; `None`: something that a later version knows.
    pub fn holds(&self) -> Option<Holds> {
        [Holds::Records, Holds::Index, Holds::Keyframe]
            .into_iter()
            .find(|holds| *holds as u32 == self.holds)
    }

    /// Whether frame and stored bytes are as they were written.
    pub fn is_whole(&self, frame: &[u8; FRAME], stored: &[u8]) -> bool {
        checksum(&frame[8..], stored) == self.checksum
    }
}

/// Of everything behind the checksum.
fn checksum(frame: &[u8], stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(frame);
    hasher.update(stored);
    hasher.finalize()
}

/// A block of whole records, at most [`MOST_BYTES`] of them.
pub fn of(batch: &[u8], holds: Holds) -> std::io::Result<(Vec<u8>, Frame)> {
    let (records, times) = count(batch);
    let stored = zstd::bulk::compress(&columns::encode(batch), LEVEL)?;
    Ok(framed(&stored, holds, batch.len() as u32, records, times))
}

/// How many records, and the earliest and the latest of their times: by their headers alone.
fn count(mut batch: &[u8]) -> (u32, (Time, Time)) {
    let (mut records, mut times) = (0, None);
    while let Some((len, time)) = columns::header(batch) {
        records += 1;
        let (first, last) = times.unwrap_or((time, time));
        times = Some((time.min(first), time.max(last)));
        batch = &batch[len..];
    }
    (records, times.unwrap_or_default())
}

/// A block with a frame.
pub fn framed(
    stored: &[u8],
    holds: Holds,
    bytes: u32,
    records: u32,
    times: (Time, Time),
) -> (Vec<u8>, Frame) {
    let mut block = Vec::with_capacity(FRAME + stored.len());
    for number in [stored.len() as u32, 0, bytes, holds as u32] {
        block.extend_from_slice(&number.to_le_bytes());
    }
    for time in [times.0, times.1] {
        block.extend_from_slice(&time.to_le_bytes());
    }
    for number in [records, 0] {
        block.extend_from_slice(&number.to_le_bytes());
    }
    let sum = checksum(&block[8..], stored);
    block[4..8].copy_from_slice(&sum.to_le_bytes());
    block.extend_from_slice(stored);
    let frame = Frame {
        stored: stored.len() as u32,
        checksum: sum,
        bytes,
        holds: holds as u32,
        times,
        records,
    };
    (block, frame)
}

/// The records that a block stores.
pub fn records(frame: &Frame, stored: &[u8]) -> Result<Vec<u8>, Invalid> {
    let bytes = usize::try_from(frame.bytes).ok().filter(|bytes| *bytes <= MOST_BYTES);
    let bytes = bytes.ok_or(Invalid)?;
    // A number takes at most 5 bytes where the record has 4, or 10 where it has 8.
    let most = 4 * bytes + 64;
    let columns = zstd::bulk::decompress(stored, most).map_err(|_| Invalid)?;
    let records = columns::decode(&columns, bytes)?;
    if records.len() == bytes { Ok(records) } else { Err(Invalid) }
}
