//! `cowtrace export`: recordings in, a file or a folder of tables out.

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
    source::recording::Recording,
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
    match (to, output, files) {
        #[cfg(feature = "parquet")]
        (To::Parquet, Some(folder), _) => tables::write(files, folder, filter)?,
        (To::Parquet, _, _) => return Err(errors::no_folder()),
        // Process numbers and clocks of several hosts cannot be told apart in one.
        (To::Perfetto, _, [_, _, ..]) => return Err(errors::one_recording()),
        (to, output, files) => stream(files, to, filter, output)?,
    }
    Ok(exit::CLEAN)
}

/// A form that is one file.
fn stream(files: &[PathBuf], to: To, filter: &Filter, output: Option<&Path>) -> anyhow::Result<()> {
    let out: Box<dyn io::Write> = match output {
        None => Box::new(BufWriter::new(io::stdout().lock())),
        Some(path) => Box::new(BufWriter::new(new_file(path)?)),
    };
    let mut export = Export::new(to, out).context("no single file")?;
    for file in files {
        let trace = replay(file, |step| match step {
            Step::Event(trace, event) if filter.takes(trace, event) => export.event(trace, event),
            Step::Event(..) => Ok(()),
            Step::Folded(trace, event, changes) => export.folded(trace, event, changes),
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
    /// What it has come to.
    Folded(&'a Trace, &'a Event, &'a [Change]),
}

/// A recording's trace as it ended; says what was not seen.
fn replay(file: &Path, mut tell: impl FnMut(Step) -> io::Result<()>) -> anyhow::Result<Trace> {
    let mut recording = Recording::open(file)?;
    let mut trace = Trace::default();
    while let Some(batch) = recording.batch() {
        for event in Records::new(&batch) {
            let Ok(event) = event else {
                trace.take(event);
                continue;
            };
            // What a keyframe tells once more is in the part before.
            if !trace.is_restoring() {
                tell(Step::Event(&trace, &event)).context(CANNOT)?;
            }
            let changes = trace.take(Ok(event.clone()));
            tell(Step::Folded(&trace, &event, &changes)).context(CANNOT)?;
        }
    }
    for missed in trace.unseen() {
        eprintln!("cowtrace: {}: not seen: {missed}", file.display());
    }
    Ok(trace)
}

/// Parquet: `FOLDER/events/host=NAME/date=2026-01-02/FILE.parquet`, and `findings` the same.
#[cfg(feature = "parquet")]
mod tables {
    use std::{
        fs::{self, File},
        path::{Path, PathBuf},
        time::{Duration, UNIX_EPOCH},
    };

    use anyhow::Context as _;

    use super::{CANNOT, Step, new_file, replay};
    use crate::{
        decode::Records,
        facts::key,
        sinks::{
            export::{
                self, found,
                parquet::{Table, Tabled},
            },
            filter::Filter,
        },
        source::recording::Recording,
        trace::Trace,
    };

    pub fn write(files: &[PathBuf], folder: &Path, filter: &Filter) -> anyhow::Result<()> {
        for file in files {
            let place = place(file)?;
            let mut events = table(folder, "events", &place)?;
            let trace = replay(file, |step| match step {
                Step::Event(trace, event) if filter.takes(trace, event) => {
                    export::row(trace, event).map_or(Ok(()), |row| events.add(row))
                }
                _ => Ok(()),
            })?;
            events.finish().context(CANNOT)?;
            let mut findings = table(folder, "findings", &place)?;
            for row in found(&trace) {
                findings.add(row).context(CANNOT)?;
            }
            findings.finish().context(CANNOT)?;
        }
        Ok(())
    }

    fn table<R: Tabled>(folder: &Path, name: &str, place: &Path) -> anyhow::Result<Table<R, File>> {
        let path = folder.join(name).join(place);
        fs::create_dir_all(path.parent().unwrap_or(folder)).context(CANNOT)?;
        Table::new(new_file(&path)?).context(CANNOT)
    }

    /// Where a recording's tables go, by what stands in front of it.
    fn place(file: &Path) -> anyhow::Result<PathBuf> {
        let mut front = Trace::default();
        if let Some(batch) = Recording::open(file)?.batch() {
            Records::new(&batch).for_each(|event| drop(front.take(event)));
        }
        let number = |key| front.facts.number(key).map(i64::cast_unsigned);
        let began = number(key::BOOT).zip(number(key::STARTED));
        let began = began.and_then(|(boot, started)| boot.checked_add(started)).unwrap_or(0);
        let date = humantime::format_rfc3339(UNIX_EPOCH + Duration::from_nanos(began)).to_string();
        let date = date.split('T').next().unwrap_or_default();
        // A recording is a file from anywhere: its host's name is no path.
        let is_plain = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let host = front.facts.text(key::HOST).unwrap_or("unknown");
        let host: String = host.chars().map(|c| if is_plain(&c) { c } else { '_' }).collect();
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        Ok([format!("host={host}"), format!("date={date}"), format!("{stem}.parquet")]
            .iter()
            .collect())
    }
}
