//! Parquet: `FOLDER/events/host=NAME/date=2026-01-02/FILE.parquet`, and `findings` the same.

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
    files,
    sinks::{
        export::{
            self, found,
            parquet::{Table, Tabled},
        },
        filter::Filter,
    },
    source::recording::Run,
    trace::Trace,
};

/// Writes the tables of each recording.
pub fn write(runs: &[Run], folder: &Path, filter: &Filter) -> anyhow::Result<()> {
    for run in runs {
        let place = place(run)?;
        let mut events = table(folder, "events", &place)?;
        let trace = replay(run, |step| match step {
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
    files::refuse_open(folder).context(CANNOT)?;
    fs::create_dir_all(path.parent().unwrap_or(folder)).context(CANNOT)?;
    Table::new(new_file(&path)?).context(CANNOT)
}

/// Where a recording's tables go, by what stands in front of it.
fn place(run: &Run) -> anyhow::Result<PathBuf> {
    let mut front = Trace::default();
    if let Some(batch) = run.open()?.batch() {
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
    let stem = run.first().file_stem().unwrap_or_default().to_string_lossy();
    Ok([format!("host={host}"), format!("date={date}"), format!("{stem}.parquet")].iter().collect())
}
