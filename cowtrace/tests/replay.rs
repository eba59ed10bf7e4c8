//! Recordings are the test double: what was seen on a real kernel, replayed here without one.
//!
//! `recordings/NAME.cow` was made in the lab with the command that stands in its test.

use std::{fs, path::Path, sync::LazyLock};

use cowtrace::{
    decode::Records,
    finding::Verdict,
    sinks::{
        Format,
        filter::Filter,
        report::{Form, Gate, Report},
    },
    source::recording::Recording,
    trace::Trace,
};
use expect_test::expect_file;
use proptest::{prelude::*, test_runner::RngSeed};

fn bytes(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    fs::read(path).expect("a recording")
}

/// What `replay --events --format FORMAT` prints, and the trace as it ended. `None` if the bytes are
/// refused as no recording.
fn replay(bytes: Vec<u8>, format: Format) -> Option<(String, Trace)> {
    print(bytes, format, true)
}

/// The same, with or without `--events`.
fn print(bytes: Vec<u8>, format: Format, events: bool) -> Option<(String, Trace)> {
    let mut recording = Recording::parse(bytes, Path::new("test.cow")).ok()?;
    let (mut out, mut trace) = (Vec::new(), Trace::default());
    while let Some(batch) = recording.batch() {
        for event in Records::new(&batch) {
            if events && let Ok(event) = &event {
                format.event(&mut out, &trace, event).expect("a Vec takes everything");
            }
            for change in trace.take(event) {
                format.change(&mut out, &trace, change).expect("a Vec takes everything");
            }
        }
    }
    format.summary(&mut out, &trace).expect("a Vec takes everything");
    Some((String::from_utf8(out).expect("UTF-8"), trace))
}

/// `cowtrace record -o mprotect-5.10.cow -- cowtrace provoke io-uring/4k/mprotect --pages 3`, on 5.10
const MPROTECT: &str = "mprotect-5.10.cow";

#[test]
fn a_recording_of_5_10_replays_to_the_same_text_for_ever() {
    let (text, _) = replay(bytes(MPROTECT), Format::Text).expect("a recording");
    expect_file!["recordings/mprotect-5.10.txt"].assert_eq(&text);
}

#[test]
fn a_recording_of_5_10_replays_to_the_same_json_for_ever() {
    let (json, _) = replay(bytes(MPROTECT), Format::Json).expect("a recording");
    expect_file!["recordings/mprotect-5.10.jsonl"].assert_eq(&json);
}

/// One for each verdict, and the verdicts in it as they were at its end. Made in the lab, on a machine with
/// `--device edu --hugepages 4`, by `cowtrace record -o NAME.cow OPTIONS -- COMMAND` on the kernel in its name.
const VERDICTS: [(&str, &str, &[Verdict]); 8] = [
    // `cowtrace provoke af-xdp/4k/mprotect`, and a wait for the unpin, which a worker does later
    ("lost-5.10", "unpinned dirty", &[Verdict::Armed, Verdict::Lost]),
    // `cowtrace provoke io-uring/shmem/truncate`
    ("lost-6.12", "I/O for the buffer was submitted", &[Verdict::Lost]),
    // `cowtrace provoke io-uring/hugetlb/fork`
    ("diverged-5.10", "fork", &[Verdict::Diverged]),
    // `cowtrace provoke vfio-ro/file/nothing`
    ("stale-read-5.10", "read-only long-term pin", &[Verdict::StaleRead]),
    // `cowtrace provoke io-uring/4k/holder-exits --hold 1.5`
    ("snapshot-6.12", "its child", &[Verdict::Snapshot, Verdict::RangeInvalidated]),
    // `cowtrace provoke io-uring/4k/mprotect`, which had pinned before the recording began
    ("suspect-5.10", "no pin of it was seen", &[Verdict::Suspect]),
    // `cowtrace provoke vmsplice/4k/fork`
    ("suspect-get-6.12", "plain reference", &[Verdict::SuspectGet]),
    // `--buffer 4K`, `cowtrace provoke --schedule 3 --length 0.3`
    ("inconclusive-6.12", "did not fit the ring", &[Verdict::Inconclusive]),
];

#[test]
fn each_verdict_has_a_recording_that_is_judged_the_same_for_ever() {
    let mut seen = Vec::new();
    for (name, telling, verdicts) in VERDICTS {
        let (text, trace) = print(bytes(&format!("{name}.cow")), Format::Text, false).expect(name);
        let found: Vec<Verdict> = trace.findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(found, verdicts, "{name}");
        assert!(text.contains(telling), "{name} says nothing of {telling:?}:\n{text}");
        expect_file![format!("recordings/{name}.txt")].assert_eq(&text);
        seen.extend(found);
    }
    for verdict in Verdict::ALL {
        assert!(seen.contains(&verdict), "no recording has a {verdict}");
    }
}

/// With `--device-maps iommu`, otherwise like those before. The device wrote to the old page, as the workload measured.
const DEVICES: [(&str, &[Verdict]); 2] = [
    // `cowtrace provoke vfio/4k/mprotect`
    ("device-5.10", &[Verdict::Armed, Verdict::Lost]),
    // `cowtrace provoke vfio/4k/dontneed`
    ("device-6.12", &[Verdict::Lost]),
];

#[test]
fn which_device_maps_the_old_page_is_told_the_same_for_ever() {
    for (name, verdicts) in DEVICES {
        let recording = bytes(&format!("{name}.cow"));
        let (text, trace) = print(recording.clone(), Format::Text, false).expect(name);
        let found: Vec<Verdict> = trace.findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(found, verdicts, "{name}");
        expect_file![format!("recordings/{name}.txt")].assert_eq(&text);
        let (json, _) = replay(recording, Format::Json).expect(name);
        expect_file![format!("recordings/{name}.jsonl")].assert_eq(&json);
    }
}

/// One that predicts, for all three pages, and one for each page when it comes true.
const FINDINGS: usize = 1 + 3;

#[test]
fn a_whole_recording_has_no_blind_spot() {
    let (_, trace) = replay(bytes(MPROTECT), Format::Text).expect("a recording");
    assert_eq!(trace.unseen(), Vec::<String>::new());
    assert_eq!(trace.findings.len(), FINDINGS);
}

#[test]
fn a_recording_cut_at_any_byte_is_refused_or_read_up_to_there_and_never_whole() {
    let whole = bytes(MPROTECT);
    let mut findings = 0;
    for len in 0..whole.len() {
        let Some((_, trace)) = replay(whole[..len].to_vec(), Format::Text) else {
            assert!(len < 12, "refused at {len}, behind the header");
            continue;
        };
        assert!(!trace.unseen().is_empty(), "cut at {len} and nothing said");
        assert!(trace.findings.len() >= findings, "cut at {len}: an earlier finding is gone");
        findings = trace.findings.len();
    }
    assert_eq!(findings, FINDINGS);
}

#[test]
fn a_recording_with_any_byte_flipped_is_refused_or_says_what_is_left_out() {
    let whole = bytes(MPROTECT);
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x41;
        let Some((_, trace)) = replay(flipped, Format::Text) else {
            assert!(at < 12, "refused for byte {at}, behind the header");
            continue;
        };
        assert!(!trace.unseen().is_empty(), "byte {at} flipped and nothing said");
    }
}

/// The records of each recording.
static RECORDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let verdicts = VERDICTS.iter().map(|(name, ..)| format!("{name}.cow"));
    let whole: Vec<_> = verdicts.chain([MPROTECT.to_owned()]).map(|name| records(&name)).collect();
    let parts = whole.iter().map(|records| part(records));
    parts.chain(whole.iter().cloned()).collect()
});

/// The same records as a part that begins where most of them have been: with a keyframe.
fn part(records: &[u8]) -> Vec<u8> {
    let mut trace = Trace::default();
    let mut events = Records::new(records);
    while events.rest().len() > records.len() / 3 {
        trace.take(events.next().expect("there is a third"));
    }
    [trace.keyframe(), events.rest().to_vec()].concat()
}

/// The records of a recording, all blocks joined: what the decoder is given.
fn records(name: &str) -> Vec<u8> {
    let mut recording = Recording::parse(bytes(name), Path::new(name)).expect("a recording");
    std::iter::from_fn(|| recording.batch()).flatten().collect()
}

fn config() -> ProptestConfig {
    let own = ProptestConfig::default();
    let seed = match own.rng_seed {
        RngSeed::Random => RngSeed::Fixed(42),
        given @ RngSeed::Fixed(_) => given,
    };
    ProptestConfig { cases: own.cases.max(2000), rng_seed: seed, failure_persistence: None, ..own }
}

proptest! {
    // The same cases at every run: a test tells the same today and tomorrow. To look for more, set
    // PROPTEST_RNG_SEED and PROPTEST_CASES.
    #![proptest_config(config())]

    /// A checksum protects a block, but a stranger may write one that is right over anything.
    #[test]
    fn damaged_records_decode_or_are_counted(
        which in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut batch = RECORDS[which.index(RECORDS.len())].clone();
        for (index, value) in flips {
            let at = index.index(batch.len());
            batch[at] = value;
        }
        let (mut out, mut trace) = (Vec::new(), Trace::default());
        for event in Records::new(&batch) {
            for change in trace.take(event) {
                Format::Text.change(&mut out, &trace, change).expect("a Vec takes everything");
                Format::Json.change(&mut out, &trace, change).expect("a Vec takes everything");
            }
        }
        Format::Text.summary(&mut out, &trace).expect("a Vec takes everything");
        let keyframe = trace.keyframe();
        prop_assert!(Records::new(&keyframe).all(|event| event.is_ok()), "a keyframe decodes");
        Report::new(&[(String::new(), trace)], &Filter::default()).write(Form::Html, &Gate::default(), &mut out).expect("a Vec");
        let text = String::from_utf8(out).expect("UTF-8");
        prop_assert!(!text.contains('\x1b'), "an escape reached the output");
    }

    #[test]
    fn any_bytes_decode_or_are_counted(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut trace = Trace::default();
        for event in Records::new(&bytes) {
            trace.take(event);
        }
        prop_assert!(trace.counts.malformed + trace.counts.unknown > 0 || bytes.is_empty() || trace.now > 0);
    }
}
