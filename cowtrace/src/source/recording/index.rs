//! The index: where each block is, and which time it is of. It is the last block, and ends in where it begins.

use super::block::{self, Frame, Holds};
use crate::event::Time;

/// Last bytes of a recording that was ended.
const MAGIC: &[u8; 8] = b"COWINDEX";
/// Bytes of an entry.
const ENTRY: usize = 32;
/// Behind the entries: where the index begins, and the magic.
pub const TAIL: usize = 16;

/// A block of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its frame begins in the file.
    pub offset: u64,
    /// The earliest and the latest time of its records.
    pub times: (Time, Time),
    /// How many records.
    pub records: u32,
    /// Whether it is a keyframe.
    pub is_keyframe: bool,
}

impl Entry {
    /// Of a block at `offset`.
    pub fn new(offset: u64, frame: &Frame) -> Self {
        let is_keyframe = frame.holds() == Some(Holds::Keyframe);
        Self { offset, times: frame.times, records: frame.records, is_keyframe }
    }
}

/// The index as a block that begins at `offset`.
pub fn block(entries: &[Entry], offset: u64) -> Vec<u8> {
    let mut stored = Vec::with_capacity(entries.len() * ENTRY + TAIL);
    for entry in entries {
        let sort = if entry.is_keyframe { Holds::Keyframe } else { Holds::Records };
        let records = u64::from(entry.records) | (sort as u64) << 32;
        for number in [entry.offset, entry.times.0, entry.times.1, records] {
            stored.extend_from_slice(&number.to_le_bytes());
        }
    }
    stored.extend_from_slice(&offset.to_le_bytes());
    stored.extend_from_slice(MAGIC);
    block::framed(&stored, Holds::Index, 0, 0, (0, 0)).0
}

/// Where the index begins, by the last [`TAIL`] bytes of a file.
pub fn start(tail: &[u8; TAIL]) -> Option<u64> {
    let (offset, magic) = tail.split_first_chunk::<8>()?;
    (magic == MAGIC).then(|| u64::from_le_bytes(*offset))
}

/// The entries of a stored index.
pub fn entries(stored: &[u8]) -> Vec<Entry> {
    let entries = stored.len().saturating_sub(TAIL) / ENTRY;
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let entry = |bytes: &[u8]| Entry {
        offset: number(&bytes[..8]),
        times: (number(&bytes[8..16]), number(&bytes[16..24])),
        records: number(&bytes[24..28]) as u32,
        is_keyframe: number(&bytes[28..32]) == Holds::Keyframe as u64,
    };
    stored.chunks_exact(ENTRY).take(entries).map(entry).collect()
}

/// Bytes of the index of so many blocks, frame included.
#[cfg(test)]
pub fn size(blocks: usize) -> usize {
    block::FRAME + blocks * ENTRY + TAIL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::recording::block::FRAME;

    #[test]
    fn entries_come_back_and_the_last_bytes_lead_to_them() {
        let entry =
            |n: u64| Entry { offset: 12 + n, times: (n, n + 5), records: 7, is_keyframe: n == 1 };
        let all: Vec<_> = (0..3).map(entry).collect();
        let block = block(&all, 99);
        assert_eq!(block.len(), size(3));
        assert_eq!(entries(&block[FRAME..]), all);
        let tail = block.last_chunk().expect("a tail");
        assert_eq!((start(tail), start(&[0; TAIL])), (Some(99), None));
    }
}
