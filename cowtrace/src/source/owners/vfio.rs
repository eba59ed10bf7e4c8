//! vfio: containers with their groups, and iommufd with its devices, by the PCI addresses in sysfs.

use std::fs;

use super::candidate::{Candidate, Process};

/// Devices that are named; a group may be a whole bus.
const DEVICES: usize = 8;

/// The containers of a process. Which group is in which is not told, so that of several none has any.
pub fn containers(process: &Process) -> Vec<Candidate> {
    let fds: Vec<u32> = process
        .with("/dev/vfio/vfio")
        .filter(|(_, rest)| rest.is_empty())
        .map(|(fd, _)| fd)
        .collect();
    let groups: Vec<String> = process.with("/dev/vfio/").filter_map(group).collect();
    let with = if fds.len() == 1 { listed(&groups) } else { String::new() };
    named(process, &fds, "container", &with)
}

/// The descriptors of iommufd, which also answers in the place of a container.
pub fn iommufds(process: &Process) -> Vec<Candidate> {
    let is_one = |(fd, rest): (u32, &str)| rest.is_empty().then_some(fd);
    let native = process.with("/dev/iommu").filter_map(is_one);
    let fds: Vec<u32> = native.chain(process.with("/dev/vfio/vfio").filter_map(is_one)).collect();
    let devices: Vec<String> = process.with("/dev/vfio/devices/").filter_map(device).collect();
    let with = if fds.len() == 1 { listed(&devices) } else { String::new() };
    named(process, &fds, "I/O address space", &with)
}

fn named(process: &Process, fds: &[u32], what: &str, with: &str) -> Vec<Candidate> {
    let one = |fd: &u32| Candidate {
        name: format!("{what} fd {fd}{with}"),
        scope: process.tgid,
        is_whole: true,
        ..Candidate::default()
    };
    fds.iter().map(one).collect()
}

/// `, group 1 (fd 5): 0000:00:05.0`
fn group((fd, name): (u32, &str)) -> Option<String> {
    let number: u32 = name.trim_start_matches("noiommu-").parse().ok()?;
    let found = fs::read_dir(format!("/sys/kernel/iommu_groups/{number}/devices"));
    let names = found.into_iter().flatten().flatten();
    let mut names: Vec<String> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.truncate(DEVICES);
    Some(format!("group {number} (fd {fd}): {}", names.join(" ")))
}

/// `, vfio0 (fd 5): 0000:00:05.0`
fn device((fd, name): (u32, &str)) -> Option<String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let link = is_plain.then(|| fs::read_link(format!("/sys/class/vfio-dev/{name}/device")))?;
    let address = link.ok()?.file_name()?.to_string_lossy().into_owned();
    Some(format!("{name} (fd {fd}): {address}"))
}

fn listed(all: &[String]) -> String {
    all.iter().flat_map(|one| [", ", one]).collect()
}
