//! From the filters of the command line to those of the programs.

use std::path::Path;

use crate::{
    cli::RecordArgs,
    errors,
    probes::settings::{Cgroup, Filter},
    source::cgroups,
};

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
    let folder = format!("{}{path}", cgroups::ROOT);
    cgroups::walk(Path::new(&folder), &mut |_, id| ids.push(id))
        .map_err(|error| errors::no_cgroup(&path, &error))?;
    Ok(Cgroup { ids, path })
}
