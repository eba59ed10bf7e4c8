//! What cowtrace may do: what it has to be given at the start, and what is left once the probes are attached.
//!
//! Promise: from there on the process that decodes, draws, records and answers has no capability that a row of
//! [`NEEDS`] or the run itself ([`Remains`]) does not name, gains none, and writes only where the run writes anyway.
//!
//! Surprise: it may not look into other processes any more. Landlock forbids that to whoever it confines, so a child
//! does it: [`opener`].

mod calls;
mod confine;
pub mod opener;

use std::{fs, io};

use caps::{CapSet, Capability, CapsHashSet};

pub use self::confine::{Confined, Files, Remains, confine};
use crate::{errors, sys};

/// A capability that cowtrace makes use of.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Which.
    pub capability: Capability,
    /// What it is for.
    pub gives: &'static str,
    /// What is lost without it; none: everything.
    pub without: Option<&'static str>,
}

const fn need(capability: Capability, gives: &'static str, without: Option<&'static str>) -> Need {
    Need { capability, gives, without }
}

/// What root has, as far as it is made use of. The first three are for attaching; the last three stay with the opener.
pub const NEEDS: &[Need] = &[
    need(Capability::CAP_BPF, "loads the programs and makes their maps", None),
    need(Capability::CAP_PERFMON, "attaches them, and lets them read kernel memory", None),
    need(Capability::CAP_SYSLOG, "shows the addresses in /proc/kallsyms", None),
    need(
        Capability::CAP_SYS_RESOURCE,
        "lifts the limit on locked memory, which maps count against before 5.11",
        Some("before 5.11 maps are refused where `ulimit -l` is low"),
    ),
    need(
        Capability::CAP_SYS_ADMIN,
        "reads page frame numbers",
        Some(
            "no audit at the end, no --stats, and no PFNs beyond the first 4096 of a pin call: what \
             rests on those is inconclusive",
        ),
    ),
    need(
        Capability::CAP_SYS_PTRACE,
        "reads mappings and page maps of other users' processes",
        Some("frames of other users' processes have no names, and their pins are not audited"),
    ),
    need(
        Capability::CAP_DAC_READ_SEARCH,
        "reads binaries that not everybody may, and the kernel's preemption mode",
        Some(
            "frames in binaries that not everybody may read have no names; understudies are attached everywhere",
        ),
    ),
];

/// The capabilities that look into other processes.
const LOOKS: [Capability; 3] =
    [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];

/// What of [`NEEDS`] is not there.
pub fn missing() -> anyhow::Result<Vec<&'static Need>> {
    Ok(missing_of(&caps::read(None, CapSet::Effective)?))
}

/// Whether a capability is known not to be there.
pub fn lacks(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).is_ok_and(|has| !has)
}

/// Refuses to start without what attaching takes; in words what else is missed.
pub fn check() -> anyhow::Result<Vec<String>> {
    let missing = missing()?;
    let (needed, others): (Vec<_>, Vec<_>) =
        missing.into_iter().partition(|need| need.without.is_none());
    if !needed.is_empty() {
        return Err(errors::no_capability(&needed));
    }
    let counts_memory = sys::memory_of_maps_is_locked();
    let matters = |need: &&&Need| counts_memory || need.capability != Capability::CAP_SYS_RESOURCE;
    let cost = |need: &&Need| Some(format!("without {}: {}", need.capability, need.without?));
    Ok(others.iter().filter(matters).filter_map(cost).collect())
}

fn missing_of(effective: &CapsHashSet) -> Vec<&'static Need> {
    // CAP_SYS_ADMIN is what CAP_BPF and CAP_PERFMON were before 5.8, and still is.
    let implied = |capability| {
        matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON)
            && effective.contains(&Capability::CAP_SYS_ADMIN)
    };
    let has = |capability| effective.contains(&capability) || implied(capability);
    NEEDS.iter().filter(|need| !has(need.capability)).collect()
}

/// Refuses to go on where the kernel hides from this process what it counts for the process's own programs: runs that it
/// skipped would not be known. It hides that from whoever got capabilities from a file (`setcap`).
pub fn sees_itself() -> anyhow::Result<()> {
    fs::read_dir("/proc/self/fdinfo").map(drop).map_err(|error| errors::no_fdinfo(&error))
}

/// What a status of a process says of its privileges, as `doctor` shows it.
pub fn status() -> io::Result<Vec<String>> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let is_one = |line: &&str| {
        ["CapEff:", "CapPrm:", "CapBnd:", "NoNewPrivs:", "Seccomp:"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    Ok(status.lines().filter(is_one).map(|line| line.replace(":\t", " ")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon_and_not_for_syslog() {
        let missing = missing_of(&CapsHashSet::from([Capability::CAP_SYS_ADMIN]));
        let missing: Vec<_> = missing.iter().map(|need| need.capability).collect();
        assert!(!missing.contains(&Capability::CAP_BPF), "{missing:?}");
        assert!(!missing.contains(&Capability::CAP_PERFMON), "{missing:?}");
        assert!(missing.contains(&Capability::CAP_SYSLOG), "{missing:?}");
    }

    #[test]
    fn whoever_has_nothing_lacks_all() {
        assert_eq!(missing_of(&CapsHashSet::new()).len(), NEEDS.len());
    }
}
