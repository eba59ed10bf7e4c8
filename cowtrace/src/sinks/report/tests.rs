//! Reports of a made-up trace. Those of real recordings are in tests/report.rs.

use super::*;
use crate::event::{Event, Stack, Task, What};

/// A trace with these facts.
fn trace(facts: &[(&str, &str)]) -> Trace {
    let mut trace = Trace::default();
    for (key, value) in facts {
        let what = What::Fact { key: (*key).to_owned(), value: (*value).to_owned() };
        let (task, stack) = (Task::default(), Stack::default());
        trace.take(Ok(Event { time: 1, task, cpu: 0, program: None, stack, what }));
    }
    trace
}

fn written(report: &Report, form: Form) -> String {
    let mut out = Vec::new();
    report.write(form, &Gate::default(), &mut out).expect("a Vec takes everything");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn clean_is_said_only_where_nothing_was_missed() {
    let whole = trace(&[(key::ENDED, "5")]);
    let cut = trace(&[]);
    let answer =
        |trace: Trace| Report::new(&[("x.cow".to_owned(), trace)], &Filter::default()).answer;
    assert_eq!(answer(whole), "No process lost a page that was pinned. Nothing was missed.");
    let cut = answer(cut);
    assert!(cut.contains("it cannot be said that nothing happened"), "{cut}");
}

#[test]
fn several_hosts_are_compared() {
    let hosts = ["one", "two"]
        .map(|host| (format!("{host}.cow"), trace(&[(key::HOST, host), (key::ENDED, "5")])));
    let report = Report::new(&hosts, &Filter::default());
    assert_eq!(report.answer, "Nothing was found in 2 recordings.");
    let markdown = written(&report, Form::Markdown);
    assert!(markdown.contains("| one | unknown | none | 0 | 0 |"), "{markdown}");
}

#[test]
fn a_hostile_name_stays_text_in_every_form() {
    let host = "<script>alert(1)</script> [x](y) `|";
    let report =
        Report::new(&[("x.cow".to_owned(), trace(&[(key::HOST, host)]))], &Filter::default());
    assert!(written(&report, Form::Html).contains("&lt;script&gt;"));
    assert!(!written(&report, Form::Html).contains("<script"));
    let markdown = written(&report, Form::Markdown);
    assert!(markdown.contains(r"\<script\>alert(1)\</script\> \[x\](y) \`\|"), "{markdown}");
}

#[test]
fn the_beginning_is_a_date() {
    let report = Report::new(
        &[(
            "x.cow".to_owned(),
            trace(&[(key::BOOT, "1700000000000000000"), (key::STARTED, "5000000000")]),
        )],
        &Filter::default(),
    );
    assert_eq!(report.hosts[0].began.as_deref(), Some("2023-11-14T22:13:25Z"));
}
