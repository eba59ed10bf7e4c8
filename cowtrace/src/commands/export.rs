//! `cowtrace export`: recordings in, a file or a folder of tables out.

#[cfg(feature = "parquet")]
mod tables;

use std::{
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::report::new_file;
use crate::{
    decode::Records,
    errors::{self, exit},
    event::Event,
    sinks::{
        export::{Export, To},
        filter::Filter,
    },
    source::recording::{self, Run},
    trace::{Change, Trace},
};

/// Writes the events of recordings.
pub fn run(
    files: &[PathBuf],
    to: To,
    filter: &Filter,
    output: Option<&Path>,
) -> anyhow::Result<u8> {
    if !to.is_built() {
        return Err(errors::not_built(to));
    }
    let runs = recording::runs(files)?;
    match (to, output, runs.as_slice()) {
        #[cfg(feature = "parquet")]
        (To::Parquet, Some(folder), runs) => tables::write(runs, folder, filter)?,
        (To::Parquet, _, _) => return Err(errors::no_folder()),
        // Process numbers and clocks of several hosts cannot be told apart in one.
        (To::Perfetto, _, [_, _, ..]) => return Err(errors::one_recording()),
        (to, output, runs) => stream(runs, to, filter, output)?,
    }
    Ok(exit::CLEAN)
}

/// A form that is one file.
fn stream(runs: &[Run], to: To, filter: &Filter, output: Option<&Path>) -> anyhow::Result<()> {
    let out: Box<dyn io::Write> = match output {
        None => Box::new(BufWriter::new(io::stdout().lock())),
        Some(path) => Box::new(BufWriter::new(new_file(path)?)),
    };
    let mut export = Export::new(to, out).context("no single file")?;
    for run in runs {
        let trace = replay(run, |step| match step {
            Step::Event(trace, event) if filter.takes(trace, event) => export.event(trace, event),
            Step::Event(..) => Ok(()),
            Step::Folded(trace, changes) => export.folded(trace, changes),
        })?;
        export.ended(&trace).context(CANNOT)?;
    }
    export.finish().context(CANNOT)
}

const CANNOT: &str = "cannot write the export";

/// What is told of an event.
enum Step<'a> {
    /// It, and the trace that it comes to.
    Event(&'a Trace, &'a Event),
    /// What the last event has come to.
    Folded(&'a Trace, &'a [Change]),
}

/// A recording's trace as it ended; says what was not seen.
fn replay(run: &Run, mut tell: impl FnMut(Step) -> io::Result<()>) -> anyhow::Result<Trace> {
    let batches = run.open()?.ahead().map_err(errors::no_reader)?;
    let mut trace = Trace::default();
    for batch in batches {
        for event in Records::new(&batch) {
            // What a keyframe tells once more is in the part before.
            if let Ok(event) = &event
                && !trace.is_restoring()
            {
                tell(Step::Event(&trace, event)).context(CANNOT)?;
            }
            let changes = trace.take(event);
            tell(Step::Folded(&trace, &changes)).context(CANNOT)?;
        }
    }
    for missed in trace.unseen() {
        eprintln!("cowtrace: {run}: not seen: {missed}");
    }
    Ok(trace)
}
