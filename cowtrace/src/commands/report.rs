//! `cowtrace report` and `diff`: recordings in, a file out.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::status;
use crate::{
    decode::Records,
    errors::{self, exit},
    sinks::{
        diff::Diff,
        filter::Filter,
        report::{Form, Gate, Report},
    },
    source::recording::{self, Recording},
    trace::Trace,
};

/// Writes the report; the exit status is that of the worst recording.
pub fn run(
    files: &[PathBuf],
    form: Form,
    filter: &Filter,
    output: Option<&Path>,
) -> anyhow::Result<u8> {
    let traces = traces(files)?;
    let report = Report::new(&traces, filter);
    match output {
        None => report.write(form, &Gate::default(), &mut io::stdout().lock()),
        Some(path) => create(path, &report, form),
    }
    .context("cannot write the report")?;
    let statuses: Vec<u8> = traces.iter().map(|(_, trace)| status(trace)).collect();
    let worst = [exit::FINDINGS, exit::INCONCLUSIVE, exit::REFERENCES];
    Ok(worst.into_iter().find(|status| statuses.contains(status)).unwrap_or(exit::CLEAN))
}

/// Writes what is different between two recordings.
pub fn diff(files: &[PathBuf; 2], as_json: bool) -> anyhow::Result<u8> {
    let diff = Diff::new(&Report::new(&traces(files)?, &Filter::default()))
        .context("two recordings make two parts")?;
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string(&diff)?)?;
    } else {
        diff.write(&mut out)?;
    }
    Ok(match (diff.is_worse(), diff.doubts.is_empty()) {
        (true, _) => exit::FINDINGS,
        (false, false) => exit::INCONCLUSIVE,
        (false, true) => exit::CLEAN,
    })
}

/// Each recording's trace as it ended, with its file's name.
fn traces(files: &[PathBuf]) -> anyhow::Result<Vec<(String, Trace)>> {
    files.iter().map(|file| Ok((file.display().to_string(), trace(file)?))).collect()
}

/// A recording's trace as it ended.
fn trace(file: &Path) -> anyhow::Result<Trace> {
    let mut recording = Recording::open(file)?;
    let mut trace = Trace::default();
    while let Some(batch) = recording.batch() {
        for event in Records::new(&batch) {
            trace.take(event);
        }
    }
    Ok(trace)
}

pub(super) fn new_file(path: &Path) -> io::Result<File> {
    recording::new_file(path).map_err(|error| errors::report_create(path, &error))
}

fn create(path: &Path, report: &Report, form: Form) -> io::Result<()> {
    let mut file = BufWriter::new(new_file(path)?);
    report.write(form, &Gate::default(), &mut file)?;
    file.flush()
}
