//! Files by the run that they are of: parts of one run are read as one recording.
//!
//! What a run is, its facts tell: host, clocks at the start, and what it was limited to. A file that has none of that is a
//! run of its own. A block that two files have, as a sealed one and the parts that it was made of, is read once.

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
};

use super::{Part, Recording, index::Entry, input::Input};
use crate::{
    decode::Records,
    event::{Time, What},
    facts::{Facts, key},
    source::Batch,
};

/// The files of a run, in the order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    files: Vec<PathBuf>,
}

impl Run {
    /// Of one file, whatever run it is of.
    pub fn of(file: &Path) -> Self {
        Self { files: vec![file.to_owned()] }
    }

    /// The first of its files.
    pub fn first(&self) -> &Path {
        &self.files[0]
    }

    /// All of them as one recording.
    pub fn open(&self) -> anyhow::Result<Recording> {
        let (mut parts, mut told) = (Vec::new(), Told::default());
        for file in &self.files {
            let mut input = Input::open(file)?;
            let entries = if self.files.len() > 1 { input.entries() } else { Vec::new() };
            let follows = told.reach(&entries);
            input.leave_out(told.again(&entries));
            if !parts.is_empty() {
                input.close();
            }
            parts.push(Part { input, follows });
        }
        Ok(Recording::of(parts))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first().display())?;
        match self.files.len() {
            1 => Ok(()),
            2 => write!(f, " and 1 more"),
            files => write!(f, " and {} more", files - 1),
        }
    }
}

/// The runs that files are of, each where its first file stands. An error if one cannot be read.
pub fn runs(files: &[PathBuf]) -> anyhow::Result<Vec<Run>> {
    let mut runs: Vec<(Option<Name>, Dated)> = Vec::new();
    for file in files {
        let mut input = Input::open(file)?;
        let entries = input.entries();
        let begins = begins(&entries);
        // Of version 1 nothing is known without reading all of it, and it had no parts.
        let front = input.batch(true).ok().filter(|_| !entries.is_empty());
        let name = front.and_then(|(front, _)| name(&front));
        match runs.iter_mut().find(|(other, _)| name.is_some() && *other == name) {
            Some((_, files)) => files.push((begins, file)),
            None => runs.push((name, vec![(begins, file)])),
        }
    }
    let run = |(_, mut files): (_, Dated)| {
        files.sort_by_key(|(begins, _)| *begins);
        Run { files: files.into_iter().map(|(_, file)| file.to_owned()).collect() }
    };
    Ok(runs.into_iter().map(run).collect())
}

/// Files, each with when it begins.
type Dated<'f> = Vec<(Time, &'f Path)>;

/// What tells a run from others.
type Name = [Option<String>; 4];

/// By what stands in front of a file.
fn name(front: &Batch) -> Option<Name> {
    let mut facts = Facts::default();
    for event in Records::new(front).flatten() {
        if let What::Fact { key, value } = event.what {
            facts.set(key, value);
        }
    }
    let name = [key::BOOT, key::STARTED, key::HOST, key::FILTER];
    let name = name.map(|key| facts.text(key).map(str::to_owned));
    (name[0].is_some() && name[1].is_some()).then_some(name)
}

/// When the keyframe was taken that a file begins with; without one it begins where the run does.
fn begins(entries: &[Entry]) -> Time {
    entries.first().filter(|first| first.is_keyframe).map_or(0, |first| first.times.1)
}

/// What the files up to one tell.
#[derive(Default)]
struct Told {
    /// Blocks: their times, and how many records.
    blocks: HashSet<((Time, Time), u32)>,
    until: Time,
}

impl Told {
    /// Whether a file begins where they end, or before. A keyframe has the latest time of all that is before it.
    fn reach(&self, entries: &[Entry]) -> bool {
        begins(entries) <= self.until
    }

    /// The blocks of a file that they have, by where these begin; takes the others in.
    fn again(&mut self, entries: &[Entry]) -> HashSet<u64> {
        // What begins where they end has nothing of theirs, though two short blocks may look alike.
        let overlaps = begins(entries) < self.until;
        let block = |entry: &Entry| (entry.times, entry.records);
        let records = || entries.iter().filter(|entry| !entry.is_keyframe);
        let again = records().filter(|entry| overlaps && self.blocks.contains(&block(entry)));
        let again = again.map(|entry| entry.offset).collect();
        self.blocks.extend(records().map(block));
        self.until = entries.iter().map(|entry| entry.times.1).fold(self.until, Time::max);
        again
    }
}
