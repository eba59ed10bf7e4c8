//! What the process that decodes gives up once the probes are attached.
//!
//! All of it is of a thread, and threads that it starts later inherit it: so it comes in front of the recorder and the
//! exporter. A command under trace is started by a thread that was there before.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope,
};

use super::calls;
use crate::{errors, files, sys};

/// The latest rights that are made use of: of files those of 6.10, to signal that of 6.12. What the kernel does not know
/// it does not enforce.
const FILES: ABI = ABI::V5;
/// Folds the kernel's counters of pins in, when a run ends.
const REFRESH: &str = "/proc/sys/vm/stat_refresh";
const TERMINAL: &str = "/dev/tty";

/// What a run goes on doing when its probes are attached.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// Makes files in these folders, and removes some.
    pub folders: Vec<PathBuf>,
    /// Opens its terminal again.
    pub terminal: bool,
    /// Sends to this TCP port.
    pub collector: Option<u16>,
    /// Ends the command that it started.
    pub ends_command: bool,
    /// Attaches programs that it has loaded, again: a budget takes them off for a while.
    pub attaches: bool,
}

impl Remains {
    /// Writes beside a file, if there is one.
    pub fn beside(file: Option<&Path>) -> Self {
        Self { folders: file.map(files::folder).into_iter().collect(), ..Self::default() }
    }
}

/// How far Landlock goes on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// It writes nowhere else.
    Confined,
    /// The kernel knows a part of what was asked for.
    Partly,
    /// The kernel has no Landlock, or it is off.
    Open,
}

/// What the kernel confines it by, beside the capabilities that it has given up.
#[derive(Debug)]
pub struct Confined {
    /// Where it may write.
    pub files: Files,
    /// Why all system calls are left, if they are.
    pub calls: Option<String>,
}

/// Gives up what is not among the remains. `reads` tells whether maps can still be read: before 5.19 that took CAP_BPF
/// where `kernel.unprivileged_bpf_disabled` is set.
pub fn confine(remains: &Remains, reads: impl Fn() -> bool) -> anyhow::Result<Confined> {
    give_up(remains, reads).map_err(|error| errors::not_confined(&error))?;
    let files = match restrict(remains).map(|restricted| restricted.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Files::Confined,
        Ok(RulesetStatus::PartiallyEnforced) => Files::Partly,
        // A container may forbid to confine oneself, too. What it forbids beside, it forbids.
        Ok(RulesetStatus::NotEnforced) | Err(_) => Files::Open,
    };
    let calls = calls::forbid(remains.attaches).err().map(|error| error.to_string());
    Ok(Confined { files, calls })
}

/// Leaves the capabilities that the remains take.
fn give_up(remains: &Remains, reads: impl Fn() -> bool) -> anyhow::Result<()> {
    let had = caps::read(None, CapSet::Permitted)?;
    let mut keep = kept(remains, &had);
    drop_bounding();
    keep.retain(|capability| had.contains(capability));
    caps::set(None, CapSet::Effective, &keep)?;
    if !reads() {
        let bpf = [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN];
        keep.extend(bpf.into_iter().find(|capability| had.contains(capability)));
    }
    reduce_to(&keep)
}

/// The capabilities that the remains take, where there are these.
fn kept(remains: &Remains, had: &CapsHashSet) -> CapsHashSet {
    let mut keep = CapsHashSet::new();
    if !remains.folders.iter().all(|folder| is_writable(folder)) {
        keep.insert(Capability::CAP_DAC_OVERRIDE);
    }
    if remains.ends_command {
        keep.insert(Capability::CAP_KILL);
    }
    if remains.attaches {
        let attach = [Capability::CAP_BPF, Capability::CAP_PERFMON];
        let enough = attach.iter().all(|capability| had.contains(capability));
        let attach = if enough { &attach[..] } else { &[Capability::CAP_SYS_ADMIN] };
        keep.extend(attach);
    }
    keep
}

/// Whether a folder's own mode lets us make files there. One that is not there is nobody's.
fn is_writable(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| {
        let bits = if found.uid() == sys::effective_uid() { 0o300 } else { 0o003 };
        found.mode() & bits == bits
    })
}

/// What could be had by an exec, which will not come: dropped where we may.
fn drop_bounding() {
    for capability in caps::read(None, CapSet::Bounding).unwrap_or_default() {
        let _ = caps::drop(None, CapSet::Bounding, capability);
    }
}

/// Leaves these capabilities, in no set that is inherited, and no way to more.
pub fn reduce_to(keep: &CapsHashSet) -> anyhow::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    drop_bounding();
    let had = caps::read(None, CapSet::Permitted)?;
    let keep = keep.intersection(&had).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Permitted, &keep)?;
    Ok(())
}

/// Landlock as far as the kernel has it. Reading stays open: the files of a container are beneath
/// no folder that could be named here.
fn restrict(remains: &Remains) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_write(FILES) | AccessFs::Execute)?
        .handle_access(AccessNet::from_all(ABI::V4))?;
    if !remains.ends_command {
        rules = rules.scope(Scope::Signal)?;
    }
    let mut rules = rules.create()?;
    let makes = AccessFs::MakeReg | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::RemoveFile;
    for folder in &remains.folders {
        rules = beneath(rules, folder, makes)?;
    }
    if remains.terminal {
        rules = beneath(rules, Path::new(TERMINAL), AccessFs::WriteFile | AccessFs::IoctlDev)?;
    }
    rules = beneath(rules, Path::new(REFRESH), AccessFs::WriteFile | AccessFs::Truncate)?;
    if let Some(port) = remains.collector {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    rules.restrict_self()
}

/// What is not there needs no rule: whoever wants to write there will be told by the kernel.
fn beneath(
    rules: RulesetCreated,
    path: &Path,
    may: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(place) => rules.add_rule(PathBeneath::new(place, may)),
        Err(_) => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use std::{env, io, process, thread};

    use super::*;

    /// In a thread of its own, which is confined for good.
    fn confined<T: Send>(remains: &Remains, act: impl FnOnce(Files) -> T + Send) -> T {
        thread::scope(|scope| {
            let run = || act(confine(remains, || true).expect("given up").files);
            scope.spawn(run).join().expect("no panic")
        })
    }

    fn folder_of(test: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("cowtrace-{test}-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn a_confined_thread_has_no_capability_and_starts_no_program() {
        confined(&Remains::default(), |_| {
            for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
                assert_eq!(caps::read(None, set).expect("read"), CapsHashSet::new());
            }
            let started = process::Command::new("/bin/true").spawn();
            assert_eq!(
                started.map(|_| ()).map_err(|error| error.kind()),
                Err(io::ErrorKind::PermissionDenied)
            );
        });
        assert!(process::Command::new("/bin/true").status().expect("other threads may").success());
    }

    #[test]
    fn a_confined_thread_writes_in_its_folder_and_nowhere_else() {
        let (ours, other) = (folder_of("ours"), folder_of("other"));
        let remains = Remains { folders: vec![ours.clone()], ..Remains::default() };
        confined(&remains, |files| {
            fs::write(ours.join("x"), "x").expect("its folder");
            fs::remove_file(ours.join("x")).expect("its file");
            let written = fs::write(other.join("x"), "x").map_err(|error| error.kind());
            match files {
                Files::Open => assert_eq!(written, Ok(()), "a kernel without Landlock"),
                _ => assert_eq!(written, Err(io::ErrorKind::PermissionDenied)),
            }
        });
        for folder in [ours, other] {
            fs::remove_dir_all(folder).expect("removed");
        }
    }

    #[test]
    fn somebody_elses_folder_takes_the_right_to_override_it() {
        let missing = Remains::beside(Some(Path::new("/no/such/folder/x.cow")));
        let had = CapsHashSet::from([Capability::CAP_BPF, Capability::CAP_PERFMON]);
        assert!(kept(&missing, &had).contains(&Capability::CAP_DAC_OVERRIDE));
        let own = folder_of("own");
        assert_eq!(kept(&Remains::beside(Some(&own.join("x.cow"))), &had), CapsHashSet::new());
        fs::remove_dir_all(own).expect("removed");
        assert_eq!(kept(&Remains::default(), &had), CapsHashSet::new());
        let attaches = Remains { attaches: true, ..Remains::default() };
        assert_eq!(kept(&attaches, &had), had);
        let root = CapsHashSet::from([Capability::CAP_SYS_ADMIN]);
        assert_eq!(kept(&attaches, &root), root);
    }
}
