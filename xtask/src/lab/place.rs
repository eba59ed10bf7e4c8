//! Where a boot keeps its files: a directory for its time, a log for later.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

use crate::kernels;

const PREFIX: &str = "cowtrace-lab-";
/// Boot logs kept, the newest; the lab tests of one run write a few dozen.
const LOGS: usize = 100;

/// A directory for one boot, removed when dropped.
pub struct Place(PathBuf);

impl Place {
    /// A new directory. Those of killed runs go.
    pub fn create() -> Result<Self> {
        let parent = env::temp_dir();
        remove_abandoned(&parent);
        let place = parent.join(format!("{PREFIX}{}", unique()));
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        Ok(Self(place))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what runs that were killed left behind, as each holds an initramfs.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process id in a directory's name.
fn owner(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some(pid)
}

/// A file for the log of a boot, under a name that no other boot has.
pub fn log_file(kernel: &str) -> Result<PathBuf> {
    let logs = kernels::cache()?.join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    remove_old(&logs);
    Ok(logs.join(format!("{kernel}-{}.log", unique())))
}

fn remove_old(logs: &Path) {
    let entries = fs::read_dir(logs).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    for (_, file) in files.iter().rev().skip(LOGS) {
        let _ = fs::remove_file(file);
    }
}

/// Tells apart the boots of one xtask and of several.
fn unique() -> String {
    static BOOTS: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", process::id(), BOOTS.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_the_process_that_made_it() {
        assert_eq!(owner("cowtrace-lab-123-0"), Some("123"));
        assert_eq!(owner("cowtrace-lab-else"), None);
        assert_eq!(owner("something-123-0"), None);
    }
}
