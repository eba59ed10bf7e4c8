//! The report for a ticket. What comes from outside stands in code spans or is escaped.

use std::io::{self, Write};

use super::{Group, Host, Report};
use crate::sinks::count;

pub(super) fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    writeln!(out, "{}\n", escaped(&report.answer))?;
    if report.hosts.len() > 1 {
        compared(out, &report.hosts)?;
    }
    for host in &report.hosts {
        self::host(out, host)?;
    }
    Ok(())
}

/// No character that Markdown or the HTML in it would take for its own.
fn escaped(text: &str) -> String {
    let special = |c| matches!(c, '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '|' | '#' | '&');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn compared(out: &mut dyn Write, hosts: &[Host]) -> io::Result<()> {
    writeln!(out, "| host | kernel | findings | pin calls | missed |\n|---|---|---|---|---|")?;
    for host in hosts {
        let findings = super::by_verdict(host);
        let (name, kernel) = (escaped(&host.host), escaped(&host.kernel));
        writeln!(
            out,
            "| {name} | {kernel} | {findings} | {} | {} |",
            host.pin_calls,
            host.missed.len()
        )?;
    }
    writeln!(out)
}

fn host(out: &mut dyn Write, host: &Host) -> io::Result<()> {
    writeln!(out, "## {}, kernel {}\n", escaped(&host.host), escaped(&host.kernel))?;
    for group in &host.groups {
        self::group(out, group)?;
    }
    writeln!(out, "### What this rests on\n")?;
    for line in super::facts(host) {
        writeln!(out, "* {}", escaped(&line))?;
    }
    for missed in &host.missed {
        writeln!(out, "* missed: {}", escaped(missed))?;
    }
    for (sees, unseen) in &host.unwatched {
        writeln!(out, "* not watched: {}; unseen: {}", escaped(sees), escaped(unseen))?;
    }
    writeln!(out, "* watched: {}\n", escaped(&super::watched(host)))
}

fn group(out: &mut dyn Write, group: &Group) -> io::Result<()> {
    let (verdict, pages) = (group.kind.verdict.to_uppercase(), count(group.pages, "page"));
    let findings = count(group.findings as u64, "finding");
    writeln!(out, "### {verdict}: {pages} of {} in {findings}\n", escaped(&group.kind.holder))?;
    for line in super::outline(group) {
        writeln!(out, "* {}", escaped(&line))?;
    }
    writeln!(out, "* {}\n", escaped(&group.advice))?;
    for step in &group.example.steps {
        writeln!(out, "`{:+.6} s` {}\n", step.at, escaped(&step.what))?;
        if let Some(id) = step.same_stack_as {
            writeln!(out, "from the same place as in \\#{id}\n")?;
        } else if !step.stack.is_empty() {
            // Indented, so that no fence can be closed from inside.
            step.stack.iter().try_for_each(|frame| writeln!(out, "    {frame}"))?;
            writeln!(out)?;
        }
    }
    Ok(())
}
