//! What changed between two recordings: before and after an upgrade of kernel or driver.
//!
//! Findings are compared by group, as the report makes them. How often is told per hour, since two recordings are
//! seldom as long as each other.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    count,
    report::{Group, Host, Kind, Report},
};

/// A group of findings is called changed where it is so much more, or less, frequent.
const CHANGED: f64 = 2.0;

/// The two recordings, and what is different.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Diff {
    /// The earlier one: file, host and kernel.
    pub before: String,
    /// The later one.
    pub after: String,
    /// What is found now only.
    pub new: Vec<Line>,
    /// What was found then only.
    pub gone: Vec<Line>,
    /// What is at least twice, or at most half, as frequent.
    pub changed: Vec<Line>,
    /// What is as it was.
    pub same: Vec<Line>,
    /// What stands against a comparison.
    pub doubts: Vec<String>,
}

/// A group of findings in both recordings.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Line {
    /// What they have in common.
    #[serde(flatten)]
    pub kind: Kind,
    /// Findings then.
    pub before: usize,
    /// Findings now.
    pub after: usize,
    /// Findings per hour then.
    pub before_per_hour: f64,
    /// Findings per hour now.
    pub after_per_hour: f64,
}

impl Diff {
    /// Of a report of two recordings; `None` of any other.
    pub fn new(report: &Report) -> Option<Self> {
        let [before, after] = report.hosts.as_slice() else { return None };
        let name = |host: &Host| format!("{} ({}, kernel {})", host.file, host.host, host.kernel);
        let mut diff = Self {
            before: name(before),
            after: name(after),
            new: Vec::new(),
            gone: Vec::new(),
            changed: Vec::new(),
            same: Vec::new(),
            doubts: doubts(before, after),
        };
        for line in lines(before, after) {
            diff.list_of(&line).push(line);
        }
        Some(diff)
    }

    fn list_of(&mut self, line: &Line) -> &mut Vec<Line> {
        let (less, more) = (line.before_per_hour, line.after_per_hour);
        match (line.before, line.after) {
            (0, _) => &mut self.new,
            (_, 0) => &mut self.gone,
            _ if more >= CHANGED * less || less >= CHANGED * more => &mut self.changed,
            _ => &mut self.same,
        }
    }

    /// Whether something is found that was not, or more often.
    pub fn is_worse(&self) -> bool {
        let more = |line: &Line| line.after_per_hour > line.before_per_hour;
        !self.new.is_empty() || self.changed.iter().any(more)
    }

    /// For people.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "before: {}\nafter:  {}", self.before, self.after)?;
        let lists = [
            ("new", &self.new),
            ("gone", &self.gone),
            ("changed", &self.changed),
            ("as before", &self.same),
        ];
        if lists.iter().all(|(_, lines)| lines.is_empty()) {
            writeln!(out, "nothing was found in either")?;
        }
        for (title, lines) in lists {
            for line in lines {
                writeln!(out, "{title}: {}", words(line))?;
            }
        }
        self.doubts.iter().try_for_each(|doubt| writeln!(out, "but: {doubt}"))
    }
}

fn words(line: &Line) -> String {
    let site =
        line.kind.site.as_ref().map_or(String::new(), |site| format!(", pinned through {site}"));
    format!(
        "{} of {}{site}, cause {}: {} then, {now} now ({:.1} and {:.1} an hour)",
        line.kind.verdict.to_uppercase(),
        line.kind.holder,
        line.kind.cause,
        count(line.before as u64, "finding"),
        line.before_per_hour,
        line.after_per_hour,
        now = line.after,
    )
}

/// Each group of either, the worst first.
fn lines(before: &Host, after: &Host) -> Vec<Line> {
    let found = |host: &Host, group: &Group| {
        host.groups
            .iter()
            .filter(|other| other.kind == group.kind)
            .map(|other| other.findings)
            .sum()
    };
    let per_hour = |findings: usize, host: &Host| {
        let findings = u32::try_from(findings).unwrap_or(u32::MAX);
        f64::from(findings) * 3600.0 / host.seconds.max(1.0)
    };
    let only_before = before.groups.iter().filter(|group| found(after, group) == 0);
    let groups = after.groups.iter().chain(only_before);
    let line = |group: &Group| {
        let (then, now) = (found(before, group), found(after, group));
        Line {
            kind: group.kind.clone(),
            before: then,
            after: now,
            before_per_hour: per_hour(then, before),
            after_per_hour: per_hour(now, after),
        }
    };
    groups.map(line).collect()
}

fn doubts(before: &Host, after: &Host) -> Vec<String> {
    let missed = |host: &Host| {
        (!host.complete)
            .then(|| format!("{} has not seen everything: {}", host.file, host.missed.join("; ")))
    };
    let mut doubts: Vec<_> = [before, after].into_iter().filter_map(missed).collect();
    let unlisted =
        |host: &Host| host.unlisted.as_ref().map(|more| format!("{}: {more}", host.file));
    doubts.extend([before, after].into_iter().filter_map(unlisted));
    let only = |host: &Host| host.only.clone().unwrap_or_else(|| "all processes".to_owned());
    // The number of a process is another each time.
    let alike = |text: String| text.replace(|c: char| c.is_ascii_digit(), "");
    if alike(only(before)) != alike(only(after)) {
        doubts.push(format!(
            "they watched different things: {}, and {}",
            only(before),
            only(after)
        ));
    }
    for (sees, _) in &before.unwatched {
        if after.watched.iter().any(|(other, _)| other == sees) {
            doubts.push(format!("only {} watched: {sees}", after.file));
        }
    }
    doubts
}
