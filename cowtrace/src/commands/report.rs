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
    files,
    sinks::{
        diff::Diff,
        filter::Filter,
        report::{Form, Gate, Report},
    },
    source::recording::{self, Run},
    trace::Trace,
};

/// Writes the report; the exit status is that of the worst recording.
pub fn run(
    files: &[PathBuf],
    form: Form,
    filter: &Filter,
    output: Option<&Path>,
) -> anyhow::Result<u8> {
    let traces = traces(&recording::runs(files)?)?;
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
pub fn diff(files: &[PathBuf], as_json: bool) -> anyhow::Result<u8> {
    // Two files may be compared though they are parts of one run.
    let sides = match files {
        [before, after] => vec![Run::of(before), Run::of(after)],
        files => recording::runs(files)?,
    };
    let diff = Diff::new(&Report::new(&traces(&sides)?, &Filter::default()))
        .ok_or_else(|| errors::not_two_runs(sides.len()))?;
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

/// Each recording's trace as it ended, with its files' names.
fn traces(runs: &[Run]) -> anyhow::Result<Vec<(String, Trace)>> {
    runs.iter().map(|run| Ok((run.to_string(), trace(run)?))).collect()
}

/// A recording's trace as it ended.
fn trace(run: &Run) -> anyhow::Result<Trace> {
    let batches = run.open()?.ahead().map_err(errors::no_reader)?;
    let mut trace = Trace::default();
    for batch in batches {
        for event in Records::new(&batch) {
            trace.take(event);
        }
    }
    Ok(trace)
}

pub(super) fn new_file(path: &Path) -> io::Result<File> {
    files::create(path).map_err(|error| errors::report_create(path, &error))
}

fn create(path: &Path, report: &Report, form: Form) -> io::Result<()> {
    let mut file = BufWriter::new(new_file(path)?);
    report.write(form, &Gate::default(), &mut file)?;
    file.flush()
}
