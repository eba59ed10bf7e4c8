//! What tools cost beside the operations: until they are attached, in memory, while nothing happens, and on disk.

use std::{
    fmt::{self, Write as _},
    fs,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use super::{figures::Figures, page::decimal};
use crate::{dist::Arch, process};

/// A number that the guest measured of each tool.
struct Row {
    what: &'static str,
    /// Its lines, and its name in them.
    of: (&'static str, &'static str),
    /// What it is divided by.
    unit: f64,
    /// Digits behind the point.
    digits: usize,
    /// What cowtrace may have.
    target: Option<f64>,
    /// Why it has more, where it does. No figures, as in the reasons of loads.
    why: &'static str,
}

const ROWS: [Row; 6] = [
    Row {
        what: "seconds until attached, waiting included",
        of: ("start", "nanos"),
        unit: 1e9,
        digits: 2,
        target: None,
        why: "",
    },
    Row {
        what: "seconds of CPU until attached",
        of: ("start", "cpu"),
        unit: 1e9,
        digits: 2,
        target: Some(0.2),
        why: "Most of it is the kernel's verifier; the rest is attaching the programs one by one.",
    },
    Row {
        what: "MiB resident",
        of: ("memory", "resident"),
        unit: 1024.0,
        digits: 1,
        target: None,
        why: "",
    },
    Row {
        what: "MiB of that beside the ring",
        of: ("memory", "beside"),
        unit: 1024.0,
        digits: 1,
        target: Some(32.0),
        why: "What is neither anonymous nor the ring is the program itself.",
    },
    Row {
        what: "MiB of that anonymous",
        of: ("memory", "anonymous"),
        unit: 1024.0,
        digits: 1,
        target: None,
        why: "",
    },
    Row {
        what: "context switches in ten seconds, after twenty idle ones",
        of: ("idle", "switches"),
        unit: 1.0,
        digits: 0,
        target: Some(0.0),
        why: "The counters are read less and less often while nothing happens, and not never.",
    },
];

const SIZE: Row = Row {
    what: "MiB of the released binary, static and stripped",
    of: ("", ""),
    unit: 1024.0 * 1024.0,
    digits: 1,
    target: Some(10.0),
    why: "`cargo xtask dist` makes no release of it.",
};

/// The binary that the last release was made around.
pub struct Released {
    bytes: f64,
    /// There are commits that it is not of.
    is_old: bool,
}

impl Released {
    /// Looks where `cargo xtask dist` builds it; none if it did not.
    pub fn find() -> Result<Option<Self>> {
        let target = Arch::X86_64.target();
        let place = process::workspace().join("target/dist-build").join(target);
        let Ok(file) = fs::metadata(place.join("dist/cowtrace")) else { return Ok(None) };
        let mut git = Command::new("git");
        git.args(["log", "-1", "--format=%ct"]).current_dir(process::workspace());
        let commit = process::text(&mut git)?.parse().context("git tells seconds")?;
        let built = file.modified()?.duration_since(UNIX_EPOCH)?;
        #[expect(clippy::cast_precision_loss, reason = "it is told with one digit")]
        let bytes = file.len() as f64;
        Ok(Some(Self { bytes, is_old: built < Duration::from_secs(commit) }))
    }
}

/// The table, then what misses its target.
pub fn section(page: &mut String, figures: &Figures, released: Option<&Released>) -> fmt::Result {
    page.push_str(HEAD);
    let mut notes = String::new();
    for row in &ROWS {
        let (kind, name) = row.of;
        row.write(page, &mut notes, TOOLS.map(|tool| figures.number(kind, tool, name)))?;
    }
    SIZE.write(page, &mut notes, [released.map(|released| released.bytes), None, None])?;
    if notes.is_empty() {
        notes.push_str("* No target is missed.\n");
    }
    match released {
        None => notes.push_str(UNRELEASED),
        Some(Released { is_old: true, .. }) => notes.push_str(OLD),
        Some(_) => {}
    }
    write!(page, "\n{EXPLAINED}{notes}")
}

const TOOLS: [&str; 3] = ["cowtrace", "bpftrace", "ftrace"];

const HEAD: &str = "## Beside the operations

| | cowtrace | bpftrace | ftrace | target |
|---|---|---|---|---|
";

const EXPLAINED: &str =
    "A second is 10⁹ of the guest's instructions. CPU and switches are those of all threads of a tool and of its children,
memory is the tool's without them. ftrace has no process, so nothing of it is resident or wakes up: what is told is what
the shell takes that sets the filter and switches the tracer on. Who would read what it traces is not in it.

";

const UNRELEASED: &str = "* The released binary was not there to be looked at: `cargo xtask dist --arch x86_64` makes it.\n";
const OLD: &str = "* The released binary is older than the last commit: `cargo xtask dist --arch x86_64` makes it anew.\n";

impl Row {
    /// Writes it, and in the notes by how much its target is missed.
    fn write(
        &self,
        page: &mut String,
        notes: &mut String,
        numbers: [Option<f64>; TOOLS.len()],
    ) -> fmt::Result {
        let Self { what, digits, target, why, .. } = self;
        let numbers = numbers.map(|number| number.map(|number| number / self.unit));
        let [cowtrace, bpftrace, ftrace] = numbers.map(|number| decimal(number, *digits));
        let most = target.map_or("–".to_owned(), |target| target.to_string());
        writeln!(page, "| {what} | {cowtrace} | {bpftrace} | {ftrace} | {most} |")?;
        match (numbers[0], target) {
            (Some(number), Some(target)) if number > *target => {
                let over = decimal(Some(number - target), *digits);
                writeln!(notes, "* Missed by {over}: {what}. {why}")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"
{"type":"start","tool":"cowtrace","nanos":2050000000,"cpu":2010000000}
{"type":"start","tool":"bpftrace","nanos":1000000000,"cpu":930000000}
{"type":"start","tool":"ftrace","nanos":412000000,"cpu":409000000}
{"type":"memory","tool":"cowtrace","resident":41677,"anonymous":14541,"beside":25293}
{"type":"memory","tool":"bpftrace","resident":101888,"anonymous":40448,"beside":101888}
{"type":"idle","tool":"cowtrace","seconds":10,"switches":0}
{"type":"idle","tool":"bpftrace","seconds":10,"switches":100}"#;

    fn written(run: &str, released: Option<&Released>) -> String {
        let mut page = String::new();
        let figures = Figures::parse(run).unwrap();
        section(&mut page, &figures, released).unwrap();
        page
    }

    #[test]
    fn a_missed_target_is_told_with_by_how_much_and_why() {
        let page = written(RUN, Some(&Released { bytes: 9_874_368.0, is_old: false }));
        let (table, notes) = page.split_once("\n\nA second").unwrap();
        assert_eq!(
            table,
            "\
## Beside the operations

| | cowtrace | bpftrace | ftrace | target |
|---|---|---|---|---|
| seconds until attached, waiting included | 2.05 | 1.00 | 0.41 | – |
| seconds of CPU until attached | 2.01 | 0.93 | 0.41 | 0.2 |
| MiB resident | 40.7 | 99.5 | – | – |
| MiB of that beside the ring | 24.7 | 99.5 | – | 32 |
| MiB of that anonymous | 14.2 | 39.5 | – | – |
| context switches in ten seconds, after twenty idle ones | 0 | 100 | – | 0 |
| MiB of the released binary, static and stripped | 9.4 | – | – | 10 |"
        );
        let missed: Vec<_> = notes.lines().filter(|line| line.starts_with('*')).collect();
        let why = ROWS[1].why;
        assert_eq!(missed, [format!("* Missed by 1.81: seconds of CPU until attached. {why}")]);
    }

    #[test]
    fn where_no_release_was_made_the_page_says_how_to_make_one() {
        let page = written(RUN, None);
        assert!(
            page.contains("stripped | – | – | – | 10 |") && page.ends_with(UNRELEASED),
            "{page}"
        );
    }

    #[test]
    fn an_old_release_is_said_to_be_old() {
        let page = written("", Some(&Released { bytes: 1.0, is_old: true }));
        assert!(page.ends_with(&format!("* No target is missed.\n{OLD}")), "{page}");
    }
}
