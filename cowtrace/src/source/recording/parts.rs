//! The files of a recording: the part that is written, those before it, and what findings seal.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::Sender,
    time::Instant,
};

use super::{
    columns,
    part::{Part, now},
    plan::{Limit, Plan},
    seal::{Allowance, Sealing, Sources, Told},
};
use crate::event::Time;

/// A part that was ended.
#[derive(Debug)]
struct Ended {
    path: PathBuf,
    bytes: u64,
    at: Instant,
}

/// The files.
#[derive(Debug)]
pub struct Parts {
    /// The name that was asked for; parts have a number in it.
    base: PathBuf,
    part: Part,
    /// When the keyframe was taken that it began with.
    from: Time,
    number: u32,
    ended: VecDeque<Ended>,
    /// Bytes of those that were ended, removed ones included.
    bytes: u64,
    /// What is to be sealed: its name, and how bad it is.
    found: Option<(String, usize)>,
    /// What is being sealed.
    sealing: Option<Sealing>,
    allowance: Allowance,
    tell: Sender<Told>,
}

impl Parts {
    /// Creates the first file; those that will be sealed are told.
    pub fn create(base: &Path, plan: Plan, tell: Sender<Told>) -> io::Result<Self> {
        let number = free(base);
        let path = if plan.part.is_some() { numbered(base, number) } else { base.to_owned() };
        let (part, base) = (Part::create(&path)?, base.to_owned());
        let (ended, found, sealing) = (VecDeque::new(), None, None);
        let (from, bytes, allowance) = (0, 0, Allowance::new(Instant::now()));
        Ok(Self { base, part, from, number, ended, bytes, found, sealing, allowance, tell })
    }

    /// Appends records.
    pub fn records(&mut self, batch: &[u8]) -> io::Result<()> {
        self.part.add(batch)
    }

    /// Appends a keyframe to the part that is written.
    pub fn keyframe(&mut self, batch: &[u8]) -> io::Result<()> {
        self.part.keyframe(batch)
    }

    /// All of it is on the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.part.sync()
    }

    /// Whether the part that is written has as much as a part is to have.
    pub fn has_enough(&self, limit: Option<Limit>) -> bool {
        let (bytes, passed) = (self.part.bytes, self.part.began.elapsed());
        limit.is_some_and(|limit| limit.is_reached(bytes, passed))
    }

    /// Whether a keyframe is later than the one that the part began with. Each part has something later than those before:
    /// so a reader sees if one is missing.
    pub fn is_later(&self, keyframe: &[u8]) -> bool {
        time(keyframe) > self.from
    }

    /// Ends the part, begins the next one with a keyframe, and removes what is more than is to be kept.
    pub fn next(&mut self, keyframe: &[u8], keep: Option<Limit>) -> io::Result<()> {
        let mut next = Part::create(&numbered(&self.base, self.number + 1))?;
        next.keyframe(keyframe)?;
        self.from = time(keyframe);
        self.number += 1;
        let mut part = std::mem::replace(&mut self.part, next);
        part.close()?;
        let path = part.path.clone();
        let bytes = part.end()?;
        self.bytes += bytes;
        self.ended.push_back(Ended { path, bytes, at: Instant::now() });
        self.remove(keep);
        Ok(())
    }

    /// Whether there may be one more sealed file.
    pub fn can_seal(&self) -> bool {
        self.allowance.left(Instant::now()) > 0
    }

    /// Something is to be sealed; of several the worst names it.
    pub fn found(&mut self, name: String, rank: usize) {
        if self.found.as_ref().is_none_or(|(_, before)| rank > *before) {
            self.found = Some((name, rank));
        }
    }

    /// Begins to join all that is there into a file of its own, behind what is being sealed.
    pub fn seal(&mut self) -> io::Result<()> {
        let Some((name, _)) = self.found.take().filter(|_| self.can_seal()) else {
            return Ok(());
        };
        self.finish_sealing();
        self.allowance.take(Instant::now());
        self.part.sync()?;
        let path = named(&self.base, &format!("{name}-{}", now()));
        let ended = self.ended.iter().map(|ended| (ended.path.clone(), ended.bytes));
        let sources: Sources = ended.chain([(self.part.path.clone(), self.part.bytes)]).collect();
        self.sealing = Sealing::begin(&path, sources, !self.can_seal(), &self.tell);
        Ok(())
    }

    /// Something else that takes the time of a file.
    #[cfg(test)]
    pub fn seal_by(&mut self, make: impl FnOnce() + Send + 'static) {
        self.sealing = Some(Sealing::doing(make).expect("a thread"));
    }

    /// What is being sealed; until [`Self::finish_sealing`] nothing is removed.
    pub fn sealing(&self) -> Option<&Sealing> {
        self.sealing.as_ref()
    }

    /// Waits for what is being sealed.
    pub fn finish_sealing(&mut self) {
        self.sealing = None;
    }

    /// Ends the last part; bytes of all.
    pub fn end(self) -> io::Result<u64> {
        Ok(self.bytes + self.part.end()?)
    }

    /// Removes the oldest of those that were ended, until no more is left than is to be kept.
    pub fn remove(&mut self, keep: Option<Limit>) {
        let keep = keep.filter(|_| self.sealing.is_none());
        while let (Some(oldest), Some(keep)) = (self.ended.front(), keep) {
            let bytes: u64 = self.ended.iter().map(|part| part.bytes).sum();
            if !keep.is_reached(bytes, oldest.at.elapsed()) {
                return;
            }
            // It may have been taken away already.
            let _ = fs::remove_file(&oldest.path);
            self.ended.pop_front();
        }
    }
}

/// When a keyframe was taken.
fn time(keyframe: &[u8]) -> Time {
    columns::header(keyframe).map_or(0, |(_, time)| time)
}

/// The number behind the last one that a part has: parts of an earlier run stay, and are in nobody's way.
fn free(base: &Path) -> u32 {
    let folder = base.parent().filter(|folder| !folder.as_os_str().is_empty());
    let (stem, extension) = (base.file_stem().unwrap_or_default(), base.extension());
    let number = |path: PathBuf| {
        let name = path.file_stem()?.as_encoded_bytes();
        let number = name.strip_prefix(stem.as_encoded_bytes())?.strip_prefix(b"-")?;
        let number = str::from_utf8(number).ok()?.parse::<u32>().ok()?;
        (path.extension() == extension).then_some(number)
    };
    // Who may not look into the folder begins at 1, and is told if that is there.
    let there = fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let last = there.filter_map(|entry| number(PathBuf::from(entry.file_name()))).max();
    last.unwrap_or(0).saturating_add(1)
}

/// `x-0007.cow` for `x.cow`.
fn numbered(base: &Path, number: u32) -> PathBuf {
    named(base, &format!("{number:04}"))
}

/// `x-NAME.cow` for `x.cow`.
fn named(base: &Path, name: &str) -> PathBuf {
    let mut file = base.file_stem().unwrap_or_default().to_owned();
    file.push("-");
    file.push(name);
    if let Some(extension) = base.extension() {
        file.push(".");
        file.push(extension);
    }
    base.with_file_name(file)
}
