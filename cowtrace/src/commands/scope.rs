//! From the filters of the command line to those of the programs.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use crate::{
    cli::RecordArgs,
    errors,
    probes::settings::{Cgroup, Filter},
};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Resolves names to numbers. A command to run is a child of ours, and so are its children: they are
/// what our own process's descendants are.
pub fn filter(args: &RecordArgs, runs_command: bool) -> anyhow::Result<Filter> {
    if let Some(pid) = args.pid.filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
        return Err(errors::no_process(pid));
    }
    let own = runs_command.then(std::process::id);
    let cgroup = args.cgroup.as_deref().map(cgroup).transpose()?;
    Ok(Filter { tgid: args.pid.or(own), comm: args.comm.clone(), cgroup })
}

fn cgroup(path: &str) -> anyhow::Result<Cgroup> {
    let path = format!("/{}", path.trim_matches('/'));
    let mut ids = Vec::new();
    collect(Path::new(&format!("{CGROUPS}{path}")), &mut ids)
        .map_err(|error| errors::no_cgroup(&path, &error))?;
    Ok(Cgroup { ids, path })
}

/// The ids of a cgroup and of all below it. One that goes away meanwhile is no error.
fn collect(folder: &Path, ids: &mut Vec<u64>) -> io::Result<()> {
    ids.push(fs::metadata(folder)?.ino());
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = collect(&entry.path(), ids);
        }
    }
    Ok(())
}
