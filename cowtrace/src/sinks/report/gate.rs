//! A report as a CI takes it: passed or not, and the exit status.
//!
//! Promise: what was missed is never a pass, whatever fails, and the command's own failure shows through.

use std::{
    io::{self, Write},
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
};

use super::{Group, Host, Report, plain};
use crate::{errors::exit, finding::Verdict, sinks::count};

/// What decides.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The least verdict that fails.
    pub fail_on: Verdict,
    /// What was run; none of a recording, which does not tell.
    pub ran: Option<Ran>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { fail_on: Verdict::Suspect, ran: None }
    }
}

/// A command, and how it ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its words.
    pub line: String,
    /// None: cowtrace was interrupted before.
    pub ended: Option<ExitStatus>,
}

impl Ran {
    /// As a shell has it: 128 + the signal that killed it.
    pub fn status(&self) -> Option<u8> {
        let ended = self.ended?;
        let status = ended.code().or_else(|| Some(128 + ended.signal()?))?;
        Some(u8::try_from(status).unwrap_or(u8::MAX))
    }
}

/// What a host's trace comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing that fails was found, and nothing was missed.
    Passed,
    /// Something was found that fails.
    Failed,
    /// It cannot be said.
    Inconclusive,
}

impl Answer {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl Gate {
    /// Whether findings of a verdict fail.
    pub fn fails(&self, verdict: Verdict) -> bool {
        verdict >= self.fail_on && verdict > Verdict::Inconclusive
    }

    /// The answer for a host. A finding is certain enough to fail even where something was missed.
    pub fn answer(&self, host: &Host) -> Answer {
        let undecided = |group: &Group| group.grade == Verdict::Inconclusive;
        if host.groups.iter().any(|group| self.fails(group.grade)) {
            Answer::Failed
        } else if !host.complete || host.groups.iter().any(undecided) {
            Answer::Inconclusive
        } else {
            Answer::Passed
        }
    }

    /// The exit status for a host: the command's own where the gate is passed.
    pub fn status(&self, host: &Host) -> u8 {
        match self.answer(host) {
            Answer::Failed => exit::FINDINGS,
            Answer::Inconclusive => exit::INCONCLUSIVE,
            Answer::Passed => self.ran.as_ref().and_then(Ran::status).unwrap_or(exit::CLEAN),
        }
    }

    /// For people: a line, and in front of it what fails and what was missed.
    pub fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        for host in &report.hosts {
            let telling =
                |group: &&Group| self.fails(group.grade) || group.grade == Verdict::Inconclusive;
            plain::groups(out, host.groups.iter().filter(telling))?;
            for missed in &host.missed {
                writeln!(out, "not seen: {missed}")?;
            }
            writeln!(out, "cowtrace gate: {}", self.line(host))?;
        }
        Ok(())
    }

    /// The answer in a line.
    pub fn line(&self, host: &Host) -> String {
        let answer = self.answer(host);
        let found = match super::by_verdict(host).as_str() {
            "none" => "nothing was found".to_owned(),
            found if answer == Answer::Passed => {
                format!("{found} (--fail-on is {})", self.fail_on)
            }
            found => found.to_owned(),
        };
        let missed = match host.missed.len() {
            0 => "nothing was missed".to_owned(),
            n => format!("not everything was seen ({})", count(n as u64, "reason")),
        };
        let ended = self.ran.as_ref().map_or(String::new(), |ran| ended(ran, answer));
        format!("{}: {found}, {missed}; {}{ended}", answer.name(), watched(host))
    }
}

impl Report {
    /// The same, knowing how its command ended: what happens behind an interruption is not seen.
    #[must_use]
    pub fn of_a_run(mut self, gate: &Gate) -> Self {
        if gate.ran.as_ref().is_some_and(|ran| ran.ended.is_none()) {
            for host in &mut self.hosts {
                host.complete = false;
                host.missed
                    .push("the end of the command: cowtrace was interrupted before it".to_owned());
            }
        }
        self
    }
}

/// How the command ended, where there is something to tell.
fn ended(ran: &Ran, answer: Answer) -> String {
    match (ran.status(), answer) {
        (Some(0), _) => String::new(),
        (None, _) => "; the command had not ended".to_owned(),
        (Some(status), Answer::Passed) => {
            format!("; the command itself failed, and this is its status: {status}")
        }
        (Some(status), _) => format!("; the command itself failed with status {status}"),
    }
}

/// What there was to see: a gate that saw no pin has tested nothing, and its user should know.
fn watched(host: &Host) -> String {
    let short = match host.short_term_pages {
        0 => String::new(),
        pages => format!(", {} for short", count(pages, "page")),
    };
    match host.pin_calls {
        0 if short.is_empty() => "no page was seen to be pinned".to_owned(),
        calls => {
            format!("{} of {}{short}", count(calls, "pin call"), count(host.pinned_pages, "page"))
        }
    }
}

#[cfg(test)]
mod tests;
