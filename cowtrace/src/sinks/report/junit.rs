//! The report as JUnit XML: one test case for each verdict, whether there is a finding of it or not, so that a CI's
//! history has the same names in each run; one for what was missed, and one for the command.
//!
//! The surprise: losses are an `error`, not a `failure`. A reader that counts either never takes them for a pass.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::{Gate, Group, Host, Report, plain};
use crate::{finding::Verdict, sinks::count};

/// Verdicts that have a test case, the worst first; the other one is told with what was missed.
fn verdicts() -> impl Iterator<Item = Verdict> {
    Verdict::ALL.into_iter().rev().filter(|verdict| *verdict != Verdict::Inconclusive)
}

pub(super) fn document(report: &Report, gate: &Gate) -> String {
    let suites: Vec<_> = report.hosts.iter().map(|host| suite(host, gate)).collect();
    let document = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        testsuites name="cowtrace" {
            @for suite in suites { (suite) }
        }
        (PreEscaped("\n"))
    };
    document.into_string().chars().map(|c| if is_xml(c) { c } else { '?' }).collect()
}

/// Not every character may stand in XML, escaped or not.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'..)
        && !('\u{7f}'..'\u{a0}').contains(&c)
}

/// What became of a test case.
enum Outcome {
    Passed,
    Failure,
    Error,
}

struct Case {
    name: &'static str,
    outcome: Outcome,
    /// In a line.
    message: String,
    /// The whole story; told of a case that has passed, too.
    text: String,
}

fn suite(host: &Host, gate: &Gate) -> Markup {
    let of_verdicts = verdicts().map(|verdict| of_verdict(verdict, host, gate));
    let cases: Vec<Case> = of_verdicts.chain([missed(host)]).chain(command(gate)).collect();
    let with =
        |wanted: fn(&Outcome) -> bool| cases.iter().filter(|case| wanted(&case.outcome)).count();
    html! {
        testsuite name="cowtrace" tests=(cases.len()) failures=(with(|o| matches!(o, Outcome::Failure)))
            errors=(with(|o| matches!(o, Outcome::Error))) skipped="0" hostname=(host.host)
            time=(format!("{:.3}", host.seconds)) timestamp=[host.began.as_deref()] {
            properties {
                @for (name, value) in properties(host, gate) { property name=(name) value=(value) {} }
            }
            @for case in &cases { (testcase(case)) }
        }
    }
}

fn properties(host: &Host, gate: &Gate) -> Vec<(&'static str, String)> {
    let command = gate.ran.as_ref().map(|ran| ("command", ran.line.clone()));
    let only = host.only.as_ref().map(|only| ("traced", only.clone()));
    let told = [
        ("host", host.host.clone()),
        ("kernel", host.kernel.clone()),
        ("cowtrace", host.cowtrace.clone()),
        ("fail-on", gate.fail_on.to_string()),
        ("answer", gate.line(host)),
        ("watched", super::watched(host)),
        ("not watched", super::unwatched(host)),
        ("books", host.books.clone()),
    ];
    told.into_iter().chain(command).chain(only).collect()
}

fn testcase(case: &Case) -> Markup {
    html! {
        testcase classname="cowtrace" name=(case.name) {
            @match case.outcome {
                Outcome::Failure => { failure type=(case.name) message=(case.message) { (case.text) } }
                Outcome::Error => { error type=(case.name) message=(case.message) { (case.text) } }
                Outcome::Passed => { @if !case.text.is_empty() { system-out { (case.text) } } }
            }
                    }
    }
}

fn of_verdict(verdict: Verdict, host: &Host, gate: &Gate) -> Case {
    let groups: Vec<&Group> = host.groups.iter().filter(|group| group.grade == verdict).collect();
    let fails = !groups.is_empty() && gate.fails(verdict);
    Case {
        name: verdict.name(),
        outcome: if fails { Outcome::Failure } else { Outcome::Passed },
        message: message(&groups),
        text: plain::text_of(groups),
    }
}

/// The first group, and how many there are beside it.
fn message(groups: &[&Group]) -> String {
    match groups {
        [] => String::new(),
        [one] => super::title(one),
        [first, others @ ..] => {
            format!(
                "{}; and {}",
                super::title(first),
                count(others.len() as u64, "group") + " beside it"
            )
        }
    }
}

fn missed(host: &Host) -> Case {
    let undecided = host.groups.iter().filter(|group| group.grade == Verdict::Inconclusive);
    let mut text = plain::text_of(undecided);
    for missed in &host.missed {
        let _ = writeln!(text, "not seen: {missed}");
    }
    let (outcome, message) = if text.is_empty() {
        (Outcome::Passed, String::new())
    } else {
        (Outcome::Error, "so \"nothing found\" cannot be said".to_owned())
    };
    Case { name: "everything was seen", outcome, message, text }
}

fn command(gate: &Gate) -> Option<Case> {
    let status = gate.ran.as_ref()?.status();
    let (outcome, message) = match status {
        Some(0) => (Outcome::Passed, String::new()),
        Some(status) => {
            (Outcome::Failure, format!("the command itself failed with status {status}"))
        }
        None => (Outcome::Error, "cowtrace was interrupted before the command ended".to_owned()),
    };
    Some(Case { name: "the command succeeded", outcome, message, text: String::new() })
}
