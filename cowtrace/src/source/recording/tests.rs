//! Files that were written whole, cut, flipped, or by somebody else.

use proptest::prelude::*;
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use super::*;

/// A file of these batches, each in a block of its own.
fn recording(batches: &[&[u8]]) -> Vec<u8> {
    let mut bytes = recorder::header().to_vec();
    let mut entries = Vec::new();
    for batch in batches {
        let (block, frame) = block::of_records(batch).expect("compressed");
        entries.push(index::Entry::new(bytes.len() as u64, &frame));
        bytes.extend(block);
    }
    let index = index::block(&entries, bytes.len() as u64);
    bytes.extend(index);
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

/// An empty folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cowtrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn batches_come_back_as_they_went_in() {
    assert_eq!(read(recording(&[b"one", b"", b"three"])), [&b"one"[..], b"", b"three"]);
}

#[test]
fn a_recording_cut_inside_a_block_is_good_up_to_there_and_says_so() {
    let whole = recording(&[b"one", b"three"]);
    let blocks = whole.len() - index::size(2);
    let batches = read(whole[..blocks - 1].to_vec());
    assert_eq!(batches[0], b"one");
    assert!(String::from_utf8_lossy(&batches[1]).contains("it was cut at byte"));
    assert_eq!(batches.len(), 2);
}

#[test]
fn a_recording_without_its_index_was_cut() {
    let whole = recording(&[b"one"]);
    let batches = read(whole[..whole.len() - index::size(1)].to_vec());
    assert_eq!(batches[0], b"one");
    assert!(String::from_utf8_lossy(&batches[1]).contains("it was cut at byte"));
}

#[test]
fn a_flipped_bit_ends_the_recording_at_its_block() {
    let mut bytes = recording(&[b"one", b"three"]);
    let last = bytes.len() - index::size(2) - 1;
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
    assert!(refusal(&newer).contains("format 200; this cowtrace reads up to format 2"));
}

#[test]
fn a_recording_is_for_its_owner_and_never_overwrites() {
    let folder = Folder::new("owner");
    let path = folder.0.join("x.cow");
    let mut recorder = Recorder::create(&path).expect("created");
    recorder.write(b"batch").expect("sent");
    let bytes = recorder.finish().expect("written");
    let there = fs::metadata(&path).expect("there");
    assert_eq!((there.permissions().mode() & 0o777, there.len()), (0o600, bytes));
    assert_eq!(read(fs::read(&path).expect("read")), [b"batch"]);
    let error = Recorder::create(&path).expect_err("exists").to_string();
    assert!(error.contains("not overwritten"), "{error}");
}

/// The blocks of a recording of these batches, all of them there at once.
fn blocks_of(name: &str, batches: &[&[u8]], patience: Duration) -> Vec<Batch> {
    let folder = Folder::new(name);
    let path = folder.0.join("x.cow");
    let mut file = recorder::new_file(&path).expect("created");
    file.write_all(&recorder::header()).expect("written");
    recorder::write_all(file, batches, patience).expect("written");
    read(fs::read(&path).expect("read"))
}

#[test]
fn small_batches_share_a_block_and_large_ones_do_not_outgrow_it() {
    let large = vec![7; block::MOST_BYTES + 1];
    let batches = [&b"facts"[..], b"one", b"two", &large];
    let blocks = blocks_of("share", &batches, Duration::MAX);
    assert_eq!(blocks[..2], [&b"facts"[..], b"onetwo"]);
    assert_eq!(blocks[2..].concat(), large);
}

#[test]
fn what_is_due_is_written_though_more_is_there_already() {
    let batches = [&b"facts"[..], b"one", b"two"];
    assert_eq!(blocks_of("due", &batches, Duration::ZERO), batches);
}

#[test]
fn a_disk_that_is_full_ends_the_recording_and_says_so() {
    let full = fs::File::options().write(true).open("/dev/full").expect("a full disk");
    let error = recorder::write_all(full, &[b"one"], Duration::MAX).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

/// The columns of the first block of a real recording, and how many bytes its records are.
fn columns_of_a_recording() -> (Vec<u8>, usize) {
    let bytes = include_bytes!("../../../tests/recordings/lost-6.12.cow");
    let (frame, rest) = bytes[HEADER..].split_first_chunk::<FRAME>().expect("a frame");
    let frame = Frame::parse(frame);
    let stored = &rest[..frame.stored as usize];
    let columns = zstd::bulk::decompress(stored, block::MOST_BYTES).expect("zstd");
    (columns, frame.bytes as usize)
}

proptest! {
    /// Checksum and zstd protect columns, but a stranger may write both over anything. More of it with
    /// PROPTEST_CASES.
    #[test]
    fn damaged_columns_of_a_recording_are_refused_or_are_other_records(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (mut columns, bytes) = columns_of_a_recording();
        for (index, value) in flips {
            let at = index.index(columns.len());
            columns[at] = value;
        }
        if let Ok(records) = columns::decode(&columns, bytes) {
            prop_assert!(records.len() <= bytes);
            let mut trace = crate::trace::Trace::default();
            crate::decode::Records::new(&records).for_each(|event| drop(trace.take(event)));
        }
    }
}
