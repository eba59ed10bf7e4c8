//! Paths of cgroups, in front of the first record of a task in one.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hashbrown::{HashMap, HashSet};

use super::Batch;
use crate::{encode::Writer, event::Event};

/// Where the hierarchy is mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// Cgroups that are known to have been told: a bound on memory. Beyond it all are told anew.
const CGROUPS: usize = 1 << 14;

/// The paths, and which have been told.
#[derive(Debug, Default)]
pub struct Cgroups {
    told: HashSet<u64>,
    /// All that there were when one was looked for last.
    paths: HashMap<u64, String>,
}

impl Cgroups {
    /// Writes the path of the cgroup of an event, if it was not told before.
    pub fn tell(&mut self, event: &Event, paths: &mut Batch) {
        let id = event.task.cgroup;
        if id == 0 || self.told.contains(&id) {
            return;
        }
        if self.told.len() > CGROUPS {
            self.told.clear();
        }
        self.told.insert(id);
        if !self.paths.contains_key(&id) {
            self.look();
        }
        // One that is gone already stays a number.
        if let Some(path) = self.paths.get(&id) {
            Writer::new(paths, event.time).cgroup(id, path);
        }
    }

    fn look(&mut self) {
        self.paths.clear();
        let _ = walk(Path::new(ROOT), &mut |folder, id| {
            let path = folder.strip_prefix(ROOT).unwrap_or(folder);
            self.paths.insert(id, format!("/{}", path.to_string_lossy()));
        });
    }
}

/// Visits a cgroup and all below it, with their ids. One that goes away meanwhile is no error.
pub fn walk(folder: &Path, visit: &mut impl FnMut(&Path, u64)) -> io::Result<()> {
    visit(folder, fs::metadata(folder)?.ino());
    let below = |entry: io::Result<fs::DirEntry>| -> Option<PathBuf> {
        let entry = entry.ok()?;
        entry.file_type().is_ok_and(|kind| kind.is_dir()).then(|| entry.path())
    };
    for folder in fs::read_dir(folder)?.filter_map(below) {
        let _ = walk(&folder, visit);
    }
    Ok(())
}
