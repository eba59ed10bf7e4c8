//! The report as text of 80 columns. Frames of stacks are not broken.

use std::io::{self, Write};

use textwrap::Options;

use super::{Group, Host, Report};
use crate::sinks::count;

const WIDTH: usize = 80;

pub(super) fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    paragraph(out, "", &report.answer)?;
    for host in &report.hosts {
        writeln!(out)?;
        self::host(out, host, report.hosts.len() > 1)?;
    }
    Ok(())
}

fn paragraph(out: &mut dyn Write, indent: &str, text: &str) -> io::Result<()> {
    let options = Options::new(WIDTH).initial_indent(indent).subsequent_indent(indent);
    writeln!(out, "{}", textwrap::fill(text, options))
}

/// A line with what hangs from it indented.
fn item(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let options = Options::new(WIDTH).initial_indent("  ").subsequent_indent("      ");
    writeln!(out, "{}", textwrap::fill(text, options))
}

fn heading(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "{text}\n{}", "-".repeat(text.chars().count().min(WIDTH)))
}

fn host(out: &mut dyn Write, host: &Host, is_one_of_several: bool) -> io::Result<()> {
    heading(out, &format!("{}, kernel {}", host.host, host.kernel))?;
    if is_one_of_several {
        paragraph(out, "", &host.answer)?;
    }
    for group in &host.groups {
        writeln!(out)?;
        self::group(out, group)?;
    }
    writeln!(out)?;
    heading(out, "What this rests on")?;
    for line in super::facts(host) {
        item(out, &line)?;
    }
    for missed in &host.missed {
        item(out, &format!("missed: {missed}"))?;
    }
    for (sees, unseen) in &host.unwatched {
        item(out, &format!("not watched: {sees}; unseen: {unseen}"))?;
    }
    item(out, &format!("watched: {}", super::watched(host)))
}

/// Some groups of a report by themselves: no stack is told by one that is not there.
pub(super) fn groups<'a>(
    out: &mut dyn Write,
    groups: impl IntoIterator<Item = &'a Group>,
) -> io::Result<()> {
    let mut groups: Vec<Group> = groups.into_iter().cloned().collect();
    super::name_repeated_stacks(&mut groups);
    for group in &groups {
        self::group(out, group)?;
        writeln!(out)?;
    }
    Ok(())
}

/// The same as a text.
pub(super) fn text_of<'a>(groups: impl IntoIterator<Item = &'a Group>) -> String {
    let mut text = Vec::new();
    // A Vec takes everything.
    let _ = self::groups(&mut text, groups);
    String::from_utf8_lossy(&text).into_owned()
}

fn group(out: &mut dyn Write, group: &Group) -> io::Result<()> {
    paragraph(
        out,
        "",
        &format!(
            "{} ({}): {} of {} in {}",
            group.kind.verdict.to_uppercase(),
            group.certainty,
            count(group.pages, "page"),
            group.kind.holder,
            count(group.findings as u64, "finding"),
        ),
    )?;
    for line in super::outline(group) {
        item(out, &line)?;
    }
    for step in &group.example.steps {
        item(out, &format!("{:+.6} s {}", step.at, step.what))?;
        match step.same_stack_as {
            Some(id) => writeln!(out, "        from the same place as in #{id}")?,
            None => step.stack.iter().try_for_each(|frame| writeln!(out, "        {frame}"))?,
        }
    }
    item(out, &group.advice)
}
