//! docs/cases: what a page quotes is what cowtrace says of the recordings that it names, and they say what the
//! workload measured.
//!
//! A quote is a block that begins with `$ cowtrace …`; in it `…` on a line stands for lines that are left out.
//! `recordings/cases/NAME.cow` was made in the lab by the command that its page tells, and `NAME.jsonl` is what the
//! workload printed.

use std::{fs, path::PathBuf, process::Command};

use cowtrace::{
    decode::Records,
    finding::{Finding, How, Verdict},
    source::recording::Recording,
    trace::Trace,
};
use serde_json::Value;

/// A page, a recording that it tells of, and the verdicts on that.
const CASES: [(&str, &str, &[Verdict]); 11] = [
    ("fork-registered-buffers", "fork-5.10", &[Verdict::Diverged]),
    ("fork-registered-buffers", "fork-6.12", &[]),
    ("registration-cache", "reuse-6.12", &[Verdict::Lost]),
    ("balloon-under-vfio", "balloon-6.12", &[Verdict::Lost]),
    ("balloon-under-vfio", "mmu-6.12", &[Verdict::Lost]),
    ("o-direct-and-fork", "o-direct-6.1", &[Verdict::SuspectGet]),
    ("o-direct-and-fork", "o-direct-6.12", &[]),
    ("daemonising", "daemon-6.12", &[Verdict::Snapshot, Verdict::RangeInvalidated]),
    ("tail-of-a-page", "tail-5.10", &[Verdict::Armed, Verdict::Lost]),
    ("tail-of-a-page", "tail-6.12", &[]),
    ("needless-dontfork", "dontfork-6.12", &[]),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/cases")
}

fn pages() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/cases");
    let files = fs::read_dir(folder).expect("the pages").flatten();
    let pages: Vec<_> = files
        .map(|file| {
            let text = fs::read_to_string(file.path()).expect("UTF-8");
            (file.file_name().to_string_lossy().trim_end_matches(".md").to_owned(), text)
        })
        .collect();
    assert!(pages.len() > 7, "{} pages", pages.len());
    pages
}

fn trace(name: &str) -> Trace {
    let mut recording = Recording::open(&folder().join(format!("{name}.cow"))).expect(name);
    let mut trace = Trace::default();
    while let Some(batch) = recording.batch() {
        for event in Records::new(&batch) {
            trace.take(event);
        }
    }
    trace
}

/// What a command line prints, run where the recordings are.
fn output(line: &str) -> String {
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("cowtrace"), "{line}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowtrace"));
    let output = command.current_dir(folder()).args(words).output().expect("cowtrace runs");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The commands of a page, each with the lines quoted behind it.
fn quotes(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut quotes: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut in_quote = false;
    for line in page.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                quotes.push((command, Vec::new()));
                in_quote = true;
            }
            None if line.starts_with("```") => in_quote = false,
            None if in_quote => quotes.last_mut().expect("a command").1.push(line),
            None => {}
        }
    }
    quotes
}

#[test]
fn what_a_page_quotes_is_what_cowtrace_prints() {
    let mut quoted = 0;
    for (name, page) in pages() {
        for (command, lines) in quotes(&page) {
            let printed = output(command);
            let mut rest = printed.as_str();
            for chunk in lines.split(|line| *line == "…").filter(|chunk| !chunk.is_empty()) {
                let text = chunk.join("\n") + "\n";
                let at = rest.find(&text);
                let at =
                    at.unwrap_or_else(|| panic!("{name}: {command} prints no\n{text}\n{rest}"));
                rest = &rest[at + text.len()..];
                quoted += 1;
            }
        }
    }
    assert!(quoted > 10, "{quoted} quotes");
}

#[test]
fn each_case_has_a_page_that_names_its_recording_and_its_verdicts() {
    let pages = pages();
    let index = &pages.iter().find(|(name, _)| name == "README").expect("an index").1;
    for (name, recording, verdicts) in CASES {
        let found: Vec<Verdict> =
            trace(recording).findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(found, verdicts, "{recording}");
        let page = &pages.iter().find(|(page, _)| page == name).expect(name).1;
        assert!(page.contains(&format!("{recording}.cow")), "{name} without {recording}");
        for verdict in verdicts {
            assert!(page.contains(&format!("`{verdict}`")), "{name} without {verdict}");
        }
        assert!(index.contains(&format!("({name}.md)")), "the index lacks {name}");
    }
    for (name, _) in pages.iter().filter(|(name, _)| name != "README") {
        assert!(CASES.iter().any(|(page, ..)| page == name), "no case for {name}");
    }
}

/// Whether a finding is of a page of which the workload told what became.
fn is_about(finding: &Finding, page: &Value) -> bool {
    let addresses = [&page["address"], &page["new_address"]].map(|at| at.as_u64().expect("one"));
    addresses.iter().any(|at| (finding.address..finding.end()).contains(at))
}

#[test]
fn a_page_that_the_workload_saw_move_is_found_and_no_other() {
    for (_, name, _) in CASES {
        let trace = trace(name);
        let measured = fs::read_to_string(folder().join(format!("{name}.jsonl"))).expect(name);
        for line in measured.lines() {
            let page: Value = serde_json::from_str(line).expect("JSON");
            let about = |finding: &&Finding| is_about(finding, &page);
            let found: Vec<_> = trace.findings.iter().filter(about).collect();
            let (moved, data) = (page["moved"] == true, &page["data"]);
            assert_eq!(moved, !found.is_empty(), "{name}: {page}");
            assert_eq!(data, if moved { "lost" } else { "sync" }, "{name}: {page}");
            for copied in found.iter().filter(|finding| finding.how == How::Copied) {
                let alone = copied.pages == 1;
                assert!(!alone || page["pfn_before"] == copied.old_pfn, "{name}: {page}");
                assert!(!alone || page["pfn_after"] == copied.new_pfn, "{name}: {page}");
            }
        }
    }
}
