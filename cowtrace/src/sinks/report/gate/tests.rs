//! What passes, what fails, and what a stranger's words become in the files.

use super::*;
use crate::{
    event::{Comm, Event, Stack, Task, What},
    facts::key,
    finding::{Finding, How},
    sinks::{filter::Filter, report::Form},
    trace::Trace,
};

/// A trace that ended, with a finding of each of these verdicts, of a process of this name.
fn report(verdicts: &[Verdict], name: &[u8]) -> Report {
    let mut trace = Trace::default();
    for (key, value) in [(key::ENDED, "5"), (key::HOST, "ho\u{1b}st<&>")] {
        let what = What::Fact { key: key.to_owned(), value: value.to_owned() };
        let (task, stack) = (Task::default(), Stack::default());
        trace.take(Ok(Event { time: 1, task, cpu: 0, program: None, stack, what }));
    }
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    for verdict in verdicts {
        let mut finding = Finding::new(*verdict, How::Copied);
        finding.writer.comm = Comm(comm);
        trace.findings.push(finding);
    }
    Report::new(&[("x.cow".to_owned(), trace)], &Filter::default())
}

fn gate(fail_on: Verdict, ended: Option<i32>) -> Gate {
    let ended = ended.map(ExitStatus::from_raw);
    Gate { fail_on, ran: Some(Ran { line: "make \u{1b}[2J\u{ffff}".to_owned(), ended }) }
}

/// What wait(2) says of a process that exited with 7.
const EXITED_7: i32 = 7 << 8;

/// The exit status, and the line.
fn judged(verdicts: &[Verdict], gate: &Gate) -> (u8, String) {
    let report = report(verdicts, b"trainer").of_a_run(gate);
    let host = &report.hosts[0];
    (gate.status(host), gate.line(host))
}

#[test]
fn a_finding_fails_from_the_verdict_on_that_is_asked_for() {
    let found = [Verdict::Armed];
    let (status, line) = judged(&found, &gate(Verdict::Suspect, Some(0)));
    assert_eq!(status, exit::FINDINGS);
    assert!(line.starts_with("failed: 1 armed, nothing was missed; "), "{line}");
    let (status, line) = judged(&found, &gate(Verdict::Lost, Some(0)));
    assert_eq!(status, exit::CLEAN);
    assert!(line.starts_with("passed: 1 armed (--fail-on is lost), "), "{line}");
}

#[test]
fn what_cannot_be_told_is_no_pass_whatever_fails() {
    for fail_on in Verdict::ALL {
        let (status, line) = judged(&[Verdict::Inconclusive], &gate(fail_on, Some(0)));
        assert_eq!(status, exit::INCONCLUSIVE, "{line}");
    }
    let both = [Verdict::Inconclusive, Verdict::Lost];
    assert_eq!(judged(&both, &gate(Verdict::Suspect, Some(0))).0, exit::FINDINGS);
}

#[test]
fn the_commands_own_failure_shows_through_and_is_said_where_a_finding_hides_it() {
    let (status, line) = judged(&[], &gate(Verdict::Suspect, Some(EXITED_7)));
    assert_eq!(status, 7);
    assert!(line.ends_with("; the command itself failed, and this is its status: 7"), "{line}");
    let (status, line) = judged(&[Verdict::Lost], &gate(Verdict::Suspect, Some(EXITED_7)));
    assert_eq!(status, exit::FINDINGS);
    assert!(line.ends_with("; the command itself failed with status 7"), "{line}");
    let killed = gate(Verdict::Suspect, Some(libc::SIGKILL));
    assert_eq!(judged(&[], &killed).0, 137, "as a shell has it");
}

#[test]
fn a_run_that_was_interrupted_is_no_pass() {
    let (status, line) = judged(&[], &gate(Verdict::Suspect, None));
    assert_eq!(status, exit::INCONCLUSIVE);
    assert!(line.ends_with("; the command had not ended"), "{line}");
}

#[test]
fn names_of_strangers_are_text_in_both_files() {
    let name = b"</a>\x1b[2J\xef\xbf\xbf:%/";
    let (report, gate) = (report(&[Verdict::Lost], name), gate(Verdict::Suspect, Some(0)));
    let written = |form| {
        let mut out = Vec::new();
        report.write(form, &gate, &mut out).expect("a Vec takes everything");
        String::from_utf8(out).expect("UTF-8")
    };
    let junit = written(Form::Junit);
    assert!(!junit.chars().any(|c| c.is_control() && c != '\n' || c == '\u{ffff}'), "{junit}");
    let parsed = roxmltree::Document::parse(&junit).expect("XML");
    let failure = parsed.descendants().find(|node| node.has_tag_name("failure")).expect("one");
    assert_eq!(failure.attribute("message"), Some("1 page of </a>?[2J?:%/; cause: not seen"));
    let sarif: serde_json::Value = serde_json::from_str(&written(Form::Sarif)).expect("JSON");
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "%3C%2Fa%3E%3F%5B2J%EF%BF%BF%3A%25%2F");
}
