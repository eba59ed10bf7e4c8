//! Parts of a run, read together, come to what the unrotated recording comes to; and a part that is missing is said.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use cowtrace::{
    decode::Records,
    finding::Finding,
    sinks::{
        Format,
        filter::Filter,
        report::{Form, Gate, Report},
    },
    source::recording::{Limit, Plan, Recorder, Recording, runs},
    trace::Trace,
};

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cowtrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// The recordings in it, by name.
    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(&self.0).expect("there").flatten().map(|file| file.path()).collect();
        files.sort_unstable();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stored() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let files = fs::read_dir(folder).expect("the recordings").flatten().map(|file| file.path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "cow")).collect()
}

/// Writes a recording as parts of so many records each, where it can be cut.
fn rotate(from: &Path, folder: &Folder, records: usize) {
    let mut recording = Recording::open(from).expect("a recording");
    let plan = Plan::rotating(Limit::Bytes(1), None);
    let mut recorder = Recorder::create(&folder.0.join("x.cow"), plan).expect("created");
    let mut trace = Trace::default();
    let (mut front, mut pending) = (Vec::new(), 0);
    while let Some(batch) = recording.batch() {
        let mut rest = Records::new(&batch);
        loop {
            let before = rest.rest();
            let Some(event) = rest.next() else { break };
            front.extend_from_slice(&before[..before.len() - rest.rest().len()]);
            trace.take(event);
            // Of host and run a live source tells in its first batch.
            if trace.counts.records == 0 {
                continue;
            }
            recorder.write(&std::mem::take(&mut front)).expect("sent");
            pending += 1;
            if pending >= records && trace.is_settled() {
                // A part has enough with its first record, so one is asked for.
                while !recorder.wants_keyframe() {
                    std::thread::yield_now();
                }
                recorder.keyframe(trace.keyframe()).expect("sent");
                pending = 0;
            }
        }
    }
    recorder.finish().expect("written");
}

/// All that is printed of a recording: its events and findings, and its report in two forms.
fn said(mut recording: Recording) -> (String, Trace) {
    let (mut out, mut trace) = (Vec::new(), Trace::default());
    while let Some(batch) = recording.batch() {
        for event in Records::new(&batch) {
            if let Ok(event) = &event
                && !trace.is_restoring()
            {
                Format::Text.event(&mut out, &trace, event).expect("a Vec takes everything");
            }
            for change in trace.take(event) {
                Format::Json.change(&mut out, &trace, change).expect("a Vec takes everything");
            }
        }
    }
    Format::Json.summary(&mut out, &trace).expect("a Vec takes everything");
    let report = Report::new(&[("x.cow".to_owned(), trace.clone())], &Filter::default());
    for form in [Form::Text, Form::Json] {
        report.write(form, &Gate::default(), &mut out).expect("a Vec takes everything");
    }
    (String::from_utf8(out).expect("UTF-8"), trace)
}

fn together(files: &[PathBuf]) -> Recording {
    let runs = runs(files).expect("recordings");
    assert_eq!(runs.len(), 1, "{files:?}");
    runs[0].open().expect("recordings")
}

#[test]
fn parts_say_what_the_unrotated_recording_says() {
    let mut cuts = 0;
    for file in stored() {
        let (whole, _) = said(Recording::open(&file).expect("a recording"));
        // A prime: the cuts fall on each sort of record.
        for records in [7, 50] {
            let folder = Folder::new(&format!("rotated-{records}"));
            rotate(&file, &folder, records);
            let files = folder.files();
            cuts += files.len() - 1;
            let (parts, _) = said(together(&files));
            for (part, whole) in parts.lines().zip(whole.lines()) {
                assert_eq!(part, whole, "{} in {} parts", file.display(), files.len());
            }
            assert_eq!(parts.len(), whole.len());
        }
    }
    assert!(cuts > 100, "{cuts}");
}

#[test]
fn a_part_that_is_missing_is_said_and_no_finding_is_told_twice() {
    for name in ["mprotect-5.10.cow", "lost-5.10.cow"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
        let folder = Folder::new(&format!("without-{name}"));
        rotate(&file, &folder, 7);
        let (_, whole) = said(Recording::open(&file).expect("a recording"));
        let all = folder.files();
        for missing in 1..all.len() - 1 {
            let mut files = all.clone();
            files.remove(missing);
            let (_, trace) = said(together(&files));
            without_a_part(&trace, &whole);
        }
    }
}

fn without_a_part(trace: &Trace, whole: &Trace) {
    let gap = trace.unseen();
    assert!(gap[0].ends_with("a part of the recording is missing"), "{gap:?}");
    let findings = &trace.findings;
    let marks: BTreeSet<_> =
        findings.iter().map(|found| (found.address, found.broken_at)).collect();
    assert_eq!(marks.len(), findings.len());
    assert!(findings.len() <= whole.findings.len());
    let caused = |found: &Finding| found.cause.iter().all(|cause| cause.time <= found.broken_at);
    assert!(findings.iter().all(caused), "what came later is no cause");
    assert!(trace.counts.records <= whole.counts.records && trace.counts.records > 0);
    assert!(trace.part_from().is_none(), "it begins where the run does");
    assert_eq!(trace.ledger.live_pages(), whole.ledger.live_pages());
}

#[test]
fn behind_a_damaged_part_the_next_one_is_read_and_both_are_said() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/lost-5.10.cow");
    let folder = Folder::new("damaged-part");
    rotate(&file, &folder, 50);
    let files = folder.files();
    let mut bytes = fs::read(&files[1]).expect("read");
    let last = bytes.len() - 200;
    bytes[last] ^= 0x10;
    fs::write(&files[1], bytes).expect("written");
    let (_, trace) = said(together(&files));
    let unseen = trace.unseen().join("\n");
    assert!(unseen.contains("left out") && unseen.contains("a part of the recording"), "{unseen}");
    assert_eq!(trace.ledger.live_pages(), 0, "the end is read");
}
