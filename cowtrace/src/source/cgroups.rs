//! Paths of cgroups, in front of the first record of a task in one.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::Batch;
use crate::decode::Records;
use crate::encode::Writer;

/// Where the hierarchy is mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// Cgroups that are known to have been told: a bound on memory. Beyond it all are told anew.
const CGROUPS: usize = 1 << 16;

/// Which cgroups have been told.
#[derive(Debug, Default)]
pub struct Cgroups {
    told: HashSet<u64>,
}

impl Cgroups {
    /// Writes the paths of cgroups that the records in `batch` are of and that were not told before.
    pub fn tell(&mut self, batch: &[u8], paths: &mut Batch) {
        let mut new = Vec::new();
        for event in Records::new(batch).flatten() {
            if event.task.cgroup != 0 && self.told.insert(event.task.cgroup) {
                new.push((event.time, event.task.cgroup));
            }
        }
        if new.is_empty() {
            return;
        }
        if self.told.len() > CGROUPS {
            self.told.clear();
        }
        // One that is gone already stays a number.
        let _ = walk(Path::new(ROOT), &mut |folder, id| {
            if let Some((time, _)) = new.iter().find(|(_, new)| *new == id) {
                let path = folder.strip_prefix(ROOT).unwrap_or(folder);
                Writer::new(paths, *time).cgroup(id, &format!("/{}", path.to_string_lossy()));
            }
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
