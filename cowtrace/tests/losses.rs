//! Never a wrong "clean": each kind of loss makes a run that found nothing inconclusive, for every command that answers.

use std::{fs, path::Path, process::Command};

use cowtrace::{
    budget::{Kept, Share},
    encode::Writer,
    event::{ProbeState, Tally, Untold},
    facts::key,
    finding::Verdict,
    source::recording::Plan,
    tee::Tee,
};
use cowtrace_common::{program::Program, setting::Stage};

/// How much there is of it matters to nobody.
const SOME: Tally = Tally { hits: 100, ring_full: 0, map_full: 0, recursion: 0 };

type Loss = (&'static str, &'static str, fn(&mut Writer));

/// Each with what is said of it.
const LOSSES: [Loss; 11] = [
    ("ring-full", "3 did not fit the ring", |to| {
        to.tally(Program::PinFastExit, &Tally { ring_full: 3, ..SOME });
    }),
    ("map-full", "3 did not fit a map", |to| {
        to.tally(Program::PinFastExit, &Tally { map_full: 3, ..SOME });
    }),
    ("skipped", "3 were skipped by the kernel", |to| {
        to.tally(Program::MoveExit, &Tally { recursion: 3, ..SOME });
    }),
    ("skipped-twice", "3 were skipped by the kernel", |to| {
        // The understudy has seen 2 of the 5, and was skipped itself.
        to.tally(Program::WpFaultExit, &Tally { recursion: 5, ..SOME });
        to.tally(Program::WpFaultAgain, &Tally { hits: 2, recursion: 4, ..SOME });
    }),
    ("unlisted", "7 pinned pages could not be listed", |to| {
        to.begin();
        to.end(&Untold { unlisted: 7, ..Untold::default() });
    }),
    ("malformed", "7 records could not be decoded", |to| {
        to.begin();
        to.end(&Untold { malformed: 7, ..Untold::default() });
    }),
    ("unknown", "7 records are of kinds that this cowtrace does not know", |to| {
        to.begin();
        to.end(&Untold { unknown: 7, ..Untold::default() });
    }),
    ("audit", "not all pinned pages were held against the page map", |to| to.audit_ended()),
    ("shed-holders", "holders were shed for 4.0 s to keep the budget", |to| {
        to.budget(&shed([Stage::Events, Stage::Holders]));
    }),
    ("shed-causes", "causes were shed for 4.0 s to keep the budget", |to| {
        to.budget(&shed([Stage::Events, Stage::Holders, Stage::Causes]));
    }),
    ("unwatched", "\"page pinned\" is not watched", |to| {
        let [sees, attached, unseen] = ["page pinned", "", "pins"].map(str::to_owned);
        to.probe(&ProbeState { row: 1, sees, attached, unseen });
    }),
];

/// A budget that these stages were shed for, each for four seconds.
fn shed(stages: impl IntoIterator<Item = Stage>) -> Kept {
    let limit = Share { ppm: 10_000 };
    let mut kept = Kept { limit, ..Kept::default() };
    for stage in stages {
        kept.shed(stage, 1);
        kept.stages[stage as usize - 1].nanos = 4_000_000_000;
        kept.taken_up(stage, 5);
    }
    kept
}

/// Writes a recording of a run that found nothing, and what else `tell` tells; its name.
fn recording(name: &str, ended: bool, tell: impl FnOnce(&mut Writer)) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.cow"));
    let _ = fs::remove_file(&path);
    let mut batch = Vec::new();
    let mut writer = Writer::new(&mut batch, 5);
    writer.fact(key::STARTED, "1");
    tell(&mut writer);
    if ended {
        writer.fact(key::ENDED, "5");
    }
    let mut tee = Tee::create(&path, Plan::default(), Verdict::Lost).expect("a recording");
    tee.write(&batch);
    tee.finish().expect("a recording");
    path.to_string_lossy().into_owned()
}

fn cowtrace(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cowtrace")).args(words).output();
    let output = output.expect("cowtrace runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

/// Every command that answers has this exit status, and prints `telling` if there is something to tell.
fn answers(recording: &str, status: i32, telling: Option<&str>) {
    let forms = ["text", "markdown", "html", "json", "junit", "sarif"];
    let reports = forms.map(|form| ["report", "--format", form, recording]);
    let replays = ["text", "json"].map(|form| ["replay", "--format", form, recording]);
    for words in reports.iter().chain(&replays) {
        let (found, printed) = cowtrace(words);
        assert_eq!(found, Some(status), "{words:?}:\n{printed}");
        // Markdown, HTML and JSON escape some of it, and lines are broken.
        let plain: String =
            printed.replace("&quot;", "\"").replace('\\', "").split_whitespace().collect();
        for telling in telling.iter().map(|words| words.split_whitespace().collect::<String>()) {
            assert!(plain.contains(&telling), "{words:?} does not say {telling:?}:\n{printed}");
        }
    }
    let (junit, sarif) = (cowtrace(&reports[4]).1, cowtrace(&reports[5]).1);
    assert_eq!(junit.contains("<error "), status == 3, "{junit}");
    assert_eq!(sarif.contains("\"executionSuccessful\": false"), status == 3, "{sarif}");
}

#[test]
fn without_a_loss_it_is_clean() {
    answers(&recording("clean", true, |_| {}), 0, None);
}

#[test]
fn with_any_loss_it_is_not() {
    for (name, telling, tell) in LOSSES {
        answers(&recording(name, true, tell), 3, Some(telling));
    }
}

#[test]
fn what_no_verdict_hangs_on_may_be_shed_and_it_is_clean_and_told() {
    let path = recording("shed-events", true, |to| to.budget(&shed([Stage::Events])));
    for words in [["report", "--format", "text"], ["replay", "--format", "text"]] {
        let (status, printed) = cowtrace(&[&words[..], &[&path]].concat());
        let plain = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(status, Some(0), "{plain}");
        assert!(plain.contains("events were shed once, for 4.0 s in all"), "{plain}");
    }
}

#[test]
fn what_devices_map_may_be_lost_and_it_is_clean_and_told() {
    let path = recording("devices", true, |to| {
        to.fact(key::DEVICE_MAPS, "dma");
        to.tally(Program::DmaUnmap, &Tally { ring_full: 3, ..SOME });
    });
    answers(&path, 0, None);
    let (_, printed) = cowtrace(&["replay", "--format", "text", &path]);
    assert!(printed.contains("3 records of what devices map were lost"), "{printed}");
}

#[test]
fn a_lost_plain_reference_takes_nothing_from_a_clean_run_and_is_told() {
    let file = recording("references", true, |to| {
        to.tally(Program::ReferenceExit, &Tally { recursion: 3, ..SOME });
    });
    answers(&file, 0, None);
    let (_, printed) = cowtrace(&["replay", "--format", "text", &file]);
    assert!(printed.contains("3 calls of plain references were not seen"), "{printed}");
}

#[test]
fn a_recording_without_an_end_is_not_clean() {
    let path = recording("no-end", false, |_| {});
    answers(&path, 3, Some("the recording stops before cowtrace did"));
}

#[test]
fn a_damaged_recording_is_not_clean() {
    let path = recording("damaged", true, |_| {});
    let whole = fs::read(&path).expect("the recording");
    for (at, byte) in [(whole.len() / 2, 0x41), (whole.len() - 1, 0x41)] {
        let mut damaged = whole.clone();
        damaged[at] ^= byte;
        fs::write(&path, &damaged).expect("the recording");
        answers(&path, 3, None);
    }
    fs::write(&path, &whole[..whole.len() - 10]).expect("the recording");
    answers(&path, 3, None);
}
