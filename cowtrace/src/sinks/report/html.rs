//! The report as one page: no script, no network, readable in any browser, light or dark.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Group, Host, Report, Step};
use crate::sinks::count;

/// The page may load nothing at all; the style is its own.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = include_str!("style.css");

pub(super) fn page(report: &Report) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width";
                title { "cowtrace report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "cowtrace report" }
                p.answer { (report.answer) }
                @if report.hosts.len() > 1 { (compared(&report.hosts)) }
                @for host in &report.hosts { (self::host(host)) }
            }
        }
    }
}

fn compared(hosts: &[Host]) -> Markup {
    html! {
        table {
            tr { th { "host" } th { "kernel" } th { "findings" } th { "pin calls" } th { "missed" } }
            @for host in hosts {
                tr {
                    td { (host.host) }
                    td { (host.kernel) }
                    td {
                        @for (verdict, count) in &host.verdicts { span.verdict.(*verdict) { (count) " " (verdict) } " " }
                        @if host.verdicts.is_empty() { "none" }
                    }
                    td { (host.pin_calls) }
                    td { (host.missed.len()) }
                }
            }
        }
    }
}

fn host(host: &Host) -> Markup {
    html! {
        h2 { (host.host) ", kernel " (host.kernel) }
        @for group in &host.groups { (self::group(group)) }
        h3 { "What this rests on" }
        ul {
            @for line in super::facts(host) { li { (line) } }
            @for missed in &host.missed { li.missed { "missed: " (missed) } }
            @for (sees, unseen) in &host.unwatched { li.missed { "not watched: " (sees) "; unseen: " (unseen) } }
        }
        details {
            summary { "watched: " (count(host.watched.len() as u64, "kind") ) " of event" }
            table {
                @for (sees, by) in &host.watched { tr { td { (sees) } td { code { (by) } } } }
            }
        }
    }
}

fn group(group: &Group) -> Markup {
    html! {
        section {
            h3 {
                span.verdict.(group.kind.verdict) { (group.kind.verdict.to_uppercase()) }
                " " (group.certainty) ": " (count(group.pages, "page")) " of " (group.kind.holder)
                " in " (count(group.findings as u64, "finding"))
            }
            p { (super::capitalized(&group.reason)) "." }
            p.advice { (group.advice) }
            (timeline(&group.example.steps))
            ul { @for line in super::outline(group) { li { (line) } } }
            @for step in &group.example.steps {
                details {
                    summary { code { (format!("{:+.6} s", step.at)) } " " (step.what) }
                    @if !step.stack.is_empty() { pre { (step.stack.join("\n")) } }
                }
            }
        }
    }
}

/// The steps on a line, in the order of time and with their times: not to scale, since a pin may be hours old.
fn timeline(steps: &[Step]) -> Markup {
    const STEP: usize = 180;
    const LEFT: usize = 60;
    let x = |n: usize| LEFT + n * STEP;
    let last = x(steps.len().saturating_sub(1));
    html! {
        @if steps.len() > 1 {
            svg role="img" aria-label="timeline" viewBox=(format!("0 0 {} 70", last + LEFT + 40)) width=(last + LEFT + 40) {
                line x1=(LEFT) y1="30" x2=(last) y2="30" {}
                @for (n, step) in steps.iter().enumerate() {
                    circle cx=(x(n)) cy="30" r="6" {}
                    text x=(x(n)) y="16" text-anchor="middle" { (step.short) }
                    text x=(x(n)) y="54" text-anchor="middle" { (format!("{:+.6} s", step.at)) }
                }
            }
        }
    }
}
