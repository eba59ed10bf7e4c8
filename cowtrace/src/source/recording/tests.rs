//! Files that were written whole, cut, flipped, or by somebody else.

use proptest::prelude::*;
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::mpsc, time::Duration};

use super::{
    block::{FRAME, Frame, Holds},
    part::Part,
    parts::Parts,
    *,
};

/// A file of these batches, each in a block of its own.
fn recording(batches: &[&[u8]]) -> Vec<u8> {
    let mut bytes = part::header().to_vec();
    let mut entries = Vec::new();
    for batch in batches {
        let (block, frame) = block::of(batch, Holds::Records).expect("compressed");
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
    let mut recorder = Recorder::create(&path, Plan::default()).expect("created");
    recorder.write(b"batch").expect("sent");
    let bytes = recorder.finish().expect("written");
    let there = fs::metadata(&path).expect("there");
    assert_eq!((there.permissions().mode() & 0o777, there.len()), (0o600, bytes));
    assert_eq!(read(fs::read(&path).expect("read")), [b"batch"]);
    let error = Recorder::create(&path, Plan::default()).expect_err("exists").to_string();
    assert!(error.contains("not overwritten"), "{error}");
}

/// The blocks of a recording of these batches, all of them there at once.
fn blocks_of(name: &str, batches: &[&[u8]], patience: Duration) -> Vec<Batch> {
    let folder = Folder::new(name);
    let path = folder.0.join("x.cow");
    let parts = Parts::create(&path, Plan::default(), mpsc::channel().0).expect("created");
    recorder::write_all(parts, batches, patience).expect("written");
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
    let error = Part::begin(full, Path::new("/dev/full")).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

/// A record of so many bytes that time has passed until then.
fn tick(time: Time, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    let noise: String = (0..bytes).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
    Writer::new(&mut batch, time).fact("noise", &noise);
    batch
}

/// A recording of ticks with a keyframe behind each.
fn with_keyframes(folder: &Folder) -> PathBuf {
    let path = folder.0.join("x.cow");
    let mut part = Part::create(&path).expect("created");
    for time in [10, 20, 30] {
        part.add(&tick(time, 1)).expect("written");
        part.keyframe(&tick(time, 2)).expect("written");
    }
    part.end().expect("ended");
    path
}

#[test]
fn a_keyframe_is_read_where_reading_begins_and_stepped_over_elsewhere() {
    let folder = Folder::new("keyframe");
    let path = with_keyframes(&folder);
    let mut recording = Recording::open(&path).expect("a recording");
    let mut rest = || std::iter::from_fn(|| recording.batch()).collect::<Vec<_>>();
    assert_eq!(rest(), [tick(10, 1), tick(20, 1), tick(30, 1)]);
    recording.seek(25).expect("there");
    let mut rest = || std::iter::from_fn(|| recording.batch()).collect::<Vec<_>>();
    assert_eq!(rest(), [tick(20, 2), tick(30, 1)]);
    recording.seek(9).expect("there");
    assert_eq!(recording.batch(), Some(tick(10, 1)));
}

#[test]
fn a_keyframe_that_takes_several_blocks_is_read_whole() {
    let folder = Folder::new("long");
    let path = folder.0.join("x.cow");
    let keyframe = [tick(20, 100), tick(5, 100), tick(12, 100)].concat();
    let mut part = Part::create(&path).expect("created").with_blocks_of(200);
    part.add(&tick(10, 1)).expect("written");
    part.keyframe(&keyframe).expect("written");
    part.add(&tick(30, 1)).expect("written");
    part.end().expect("ended");
    let mut recording = Recording::open(&path).expect("a recording");
    let mut rest = || std::iter::from_fn(|| recording.batch()).collect::<Vec<_>>();
    assert_eq!(rest(), [tick(10, 1), tick(30, 1)]);
    recording.seek(20).expect("there");
    let rest: Vec<_> = std::iter::from_fn(|| recording.batch()).collect();
    assert_eq!(rest.len(), 4, "a block for each of its records");
    assert_eq!(rest.concat(), [keyframe, tick(30, 1)].concat());
    recording.seek(19).expect("there");
    assert_eq!(recording.batch(), Some(tick(10, 1)), "it was not taken yet");
}

#[test]
fn times_are_known_from_the_index_and_without_it_from_the_blocks() {
    let folder = Folder::new("times");
    let bytes = fs::read(with_keyframes(&folder)).expect("read");
    let cut = bytes[..bytes.len() - 1].to_vec();
    for bytes in [bytes, cut] {
        let mut recording = Recording::parse(bytes, Path::new("x.cow")).expect("a recording");
        assert_eq!(recording.batch(), Some(tick(10, 1)));
        assert_eq!(recording.times(), Some((10, 30)));
        assert_eq!(recording.batch(), Some(tick(20, 1)), "reading goes on where it was");
    }
}

/// Whether a file is there, by what stands behind `x` in its name.
fn there(folder: &Folder, name: &str) -> bool {
    folder.0.join(format!("x{name}.cow")).exists()
}

#[test]
fn parts_begin_with_a_keyframe_and_the_oldest_go() {
    let folder = Folder::new("parts");
    let plan = Plan::rotating(Limit::Bytes(100), Some(Limit::Bytes(1400)));
    let path = folder.0.join("x.cow");
    let mut parts = Parts::create(&path, plan, mpsc::channel().0).expect("created");
    for time in 1..=4 {
        parts.records(&tick(time, 1)).expect("written");
        parts.next(&tick(time, 2), plan.keep).expect("written");
    }
    parts.end().expect("ended");
    assert!(!there(&folder, "") && !there(&folder, "-0001") && there(&folder, "-0005"));
    let read = |name: &str| read(fs::read(folder.0.join(name)).expect("read"));
    let last = read("x-0004.cow");
    assert_eq!(last[..2], [tick(3, 2), tick(4, 1)]);
    assert!(String::from_utf8_lossy(&last[2]).contains(key::PART_UNTIL));
    assert_eq!(read("x-0005.cow"), [tick(4, 2)]);
}

#[test]
fn what_is_found_is_sealed_with_all_that_is_there_and_reads_as_one() {
    let folder = Folder::new("seal");
    let plan = Plan::ring(Limit::Bytes(1 << 20), Duration::MAX);
    let (tell, sealed) = mpsc::channel();
    let mut parts = Parts::create(&folder.0.join("x.cow"), plan, tell).expect("created");
    parts.records(&tick(1, 1)).expect("written");
    parts.next(&tick(1, 2), None).expect("written");
    parts.records(&tick(2, 1)).expect("written");
    parts.found("finding-2-armed".to_owned(), 3);
    parts.found("finding-3-lost".to_owned(), 8);
    parts.seal().expect("sealed");
    parts.records(&tick(3, 1)).expect("written");
    parts.finish_sealing();
    let path = sealed.try_recv().expect("told").expect("sealed").path;
    assert!(path.display().to_string().contains("x-finding-3-lost-2"), "{}", path.display());
    let batches = read(fs::read(path).expect("read"));
    let is_tick = |batch: &&Batch| !String::from_utf8_lossy(batch).contains(key::PART_UNTIL);
    let ticks: Vec<_> = batches.iter().filter(is_tick).collect();
    assert_eq!(ticks, [&tick(1, 1), &tick(2, 1)]);
}

/// The facts that tell a run, as they stand in front of it and of its keyframes.
fn front(time: Time, host: &str) -> Batch {
    let mut batch = Batch::new();
    let mut writer = Writer::new(&mut batch, time);
    for (key, value) in [(key::BOOT, "7"), (key::STARTED, "1"), (key::HOST, host)] {
        writer.fact(key, value);
    }
    batch
}

/// All that the files of a folder are, read together, by run.
fn read_together(folder: &Folder) -> Vec<Vec<Batch>> {
    let files = fs::read_dir(&folder.0).expect("there").flatten().map(|file| file.path());
    let mut files: Vec<_> = files.collect();
    files.sort_unstable();
    let is_told = |batch: &Batch| !String::from_utf8_lossy(batch).contains(key::PART_UNTIL);
    let read = |run: Run| {
        let mut recording = run.open().expect("recordings");
        std::iter::from_fn(move || recording.batch()).filter(is_told).collect()
    };
    runs(&files).expect("recordings").into_iter().map(read).collect()
}

/// Parts of a run of this host, which begin at these times.
fn parts_of(folder: &Folder, host: &str, times: std::ops::Range<Time>) {
    let path = folder.0.join(format!("{host}.cow"));
    let plan = Plan::rotating(Limit::Bytes(1), None);
    let mut parts = Parts::create(&path, plan, mpsc::channel().0).expect("created");
    parts.records(&front(1, host)).expect("written");
    for time in times {
        parts.records(&tick(10 * time, 1)).expect("written");
        parts.next(&front(10 * time, host), None).expect("written");
    }
    parts.records(&tick(1000, 1)).expect("written");
    parts.end().expect("ended");
}

#[test]
fn parts_of_a_run_read_as_one_and_those_of_another_apart() {
    let folder = Folder::new("together");
    parts_of(&folder, "a", 1..3);
    parts_of(&folder, "b", 5..6);
    let runs = read_together(&folder);
    assert_eq!(runs[0], [front(1, "a"), tick(10, 1), tick(20, 1), tick(1000, 1)]);
    assert_eq!(runs[1], [front(1, "b"), tick(50, 1), tick(1000, 1)]);
}

#[test]
fn behind_a_part_that_is_missing_the_keyframe_is_read() {
    let folder = Folder::new("gap");
    parts_of(&folder, "a", 1..4);
    fs::remove_file(folder.0.join("a-0002.cow")).expect("it was there");
    let runs = read_together(&folder);
    assert_eq!(runs, [[front(1, "a"), tick(10, 1), front(20, "a"), tick(30, 1), tick(1000, 1)]]);
}

#[test]
fn what_was_sealed_and_the_parts_that_it_is_made_of_are_read_once() {
    let folder = Folder::new("sealed");
    let plan = Plan::ring(Limit::Bytes(1 << 20), Duration::MAX);
    let mut parts =
        Parts::create(&folder.0.join("x.cow"), plan, mpsc::channel().0).expect("created");
    parts.records(&front(1, "a")).expect("written");
    parts.next(&front(1, "a"), None).expect("written");
    parts.records(&tick(2, 1)).expect("written");
    parts.found("finding-3-lost".to_owned(), 8);
    parts.seal().expect("sealed");
    parts.records(&tick(3, 1)).expect("written");
    parts.next(&front(3, "a"), None).expect("written");
    parts.records(&tick(4, 1)).expect("written");
    parts.end().expect("ended");
    fs::remove_file(folder.0.join("x-0001.cow")).expect("the ring has gone on");
    assert_eq!(read_together(&folder), [[front(1, "a"), tick(2, 1), tick(3, 1), tick(4, 1)]]);
}

#[test]
fn a_time_in_a_part_is_found_from_its_own_keyframe_on() {
    let folder = Folder::new("seek-parts");
    parts_of(&folder, "a", 1..4);
    let files: Vec<_> = (1..=4).map(|n| folder.0.join(format!("a-000{n}.cow"))).collect();
    let mut recording = runs(&files).expect("recordings")[0].open().expect("recordings");
    let whole = recording.position();
    assert_eq!(recording.times(), Some((1, 1000)));
    recording.seek(25).expect("there");
    assert_eq!(recording.batch(), Some(front(20, "a")));
    assert_eq!(recording.batch(), Some(tick(30, 1)));
    assert!(recording.position().at() > whole.at());
    recording.resume(whole);
    assert_eq!(recording.batch(), Some(front(1, "a")));
}

#[test]
fn a_recorder_asks_for_a_keyframe_when_a_part_has_enough_and_goes_on_in_the_next() {
    let folder = Folder::new("asks");
    let plan = Plan::rotating(Limit::Bytes(1), None);
    let mut recorder = Recorder::create(&folder.0.join("x.cow"), plan).expect("created");
    recorder.write(&tick(1, 1)).expect("sent");
    while !recorder.wants_keyframe() {
        std::thread::yield_now();
    }
    recorder.keyframe(tick(1, 2)).expect("sent");
    recorder.write(&tick(2, 1)).expect("sent");
    recorder.finish().expect("written");
    let second = read(fs::read(folder.0.join("x-0002.cow")).expect("read"));
    assert_eq!(second, [tick(1, 2), tick(2, 1)]);
}

#[test]
fn what_is_saved_of_a_process_tells_its_findings_and_that_it_is_not_all() {
    let folder = Folder::new("extract");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/snapshot-6.12.cow");
    let fold = |path: &Path| {
        let mut recording = Recording::open(path).expect("a recording");
        let mut trace = crate::trace::Trace::default();
        while let Some(batch) = recording.batch() {
            crate::decode::Records::new(&batch).for_each(|event| drop(trace.take(event)));
        }
        trace
    };
    let whole = fold(&from);
    let holder = whole.findings[0].pin.as_ref().map(|pin| pin.holder.tgid).expect("a holder");
    let (mine, others) = (folder.0.join("mine.cow"), folder.0.join("others.cow"));
    extract::extract_to(&mine, &Run::of(&from), &[holder].into()).expect("saved");
    extract::extract_to(&others, &Run::of(&from), &[1].into()).expect("saved");
    let (mine, others) = (fold(&mine), fold(&others));
    let said = |trace: &crate::trace::Trace| {
        trace.findings.iter().map(|finding| (finding.verdict, finding.address)).collect::<Vec<_>>()
    };
    assert_eq!(said(&mine), said(&whole));
    assert!(mine.unseen().is_empty());
    let only = mine.facts.text(key::FILTER).expect("it is limited");
    assert!(only.contains(&format!("of that what was saved of process {holder}")), "{only}");
    assert_eq!((others.findings.len(), others.counts.pins), (0, 0));
}

#[test]
fn numbers_go_on_behind_the_parts_that_are_there() {
    let folder = Folder::new("restart");
    let plan = Plan::rotating(Limit::Bytes(100), None);
    let path = folder.0.join("x.cow");
    for name in ["x-0003.cow", "x-0007.cow", "x-finding-9-lost-20260102T030405Z.cow", "xy-0099.cow"]
    {
        fs::write(folder.0.join(name), name).expect("written");
    }
    let mut parts = Parts::create(&path, plan, mpsc::channel().0).expect("created");
    parts.records(&tick(1, 1)).expect("written");
    parts.next(&tick(1, 2), None).expect("written");
    parts.end().expect("ended");
    assert!(there(&folder, "-0008") && there(&folder, "-0009") && !there(&folder, "-0100"));
    assert_eq!(fs::read(folder.0.join("x-0007.cow")).expect("read"), b"x-0007.cow");
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

#[test]
fn what_is_read_ahead_is_what_is_read() {
    let numbers: Vec<[u8; 2]> = (0..500u16).map(u16::to_le_bytes).collect();
    let batches: Vec<&[u8]> = numbers.iter().map(<[u8; 2]>::as_slice).collect();
    let mut bytes = recording(&batches);
    bytes.truncate(bytes.len() - 100); // What is told of the damage comes, too.
    let ahead = Recording::parse(bytes.clone(), Path::new("test.cow")).expect("a recording");
    assert_eq!(ahead.ahead().expect("a thread").collect::<Vec<_>>(), read(bytes));
}
