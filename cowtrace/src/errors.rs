//! What users read when something fails: what failed, why, what it costs, what to do. All of it here,
//! so that it keeps one voice.

use std::{fmt::Display, io, net::SocketAddr, path::Path};

use anyhow::{Error, anyhow};
use caps::Capability;
use cowtrace_common::setting::Member;

use crate::{
    privileges::{self, Need},
    sinks::{count, export::To},
};

/// Exit codes: documented in README.md and `--help`.
pub mod exit {
    /// Nothing was found, and nothing was missed.
    pub const CLEAN: u8 = 0;
    /// There are findings.
    pub const FINDINGS: u8 = 1;
    /// It could not run.
    pub const FAILED: u8 = 2;
    /// It ran, but what was missed makes the answer inconclusive.
    pub const INCONCLUSIVE: u8 = 3;
    /// Only pages that plain references hold were found, no pins.
    pub const REFERENCES: u8 = 4;
}

/// Not the right machine.
pub fn machine(machine: &str) -> Error {
    anyhow!(
        "cannot trace on {machine}: cowtrace knows what page table entries mean on x86_64 only\n\
         recordings from other hosts can be looked at here: `cowtrace replay FILE`"
    )
}

/// Started without rights.
pub fn no_capability(needs: &[&Need]) -> Error {
    let lines =
        needs.iter().map(|need| format!("{} {}, and is not there\n", need.capability, need.gives));
    anyhow!(
        "cannot trace: it needs root, or the capabilities that docs/threat-model.md names\n\
         {}run `sudo cowtrace`; looking at a recording (`cowtrace replay FILE`) needs no rights",
        lines.collect::<String>()
    )
}

/// Kernel memory is shown to root alone.
pub fn not_root() -> Error {
    anyhow!(
        "cannot audit: it needs root\n\
         /proc/kcore takes CAP_SYS_RAWIO, and page frame numbers take CAP_SYS_ADMIN\n\
         run `sudo cowtrace audit`; a trace audits at its end with less"
    )
}

/// Privileges could not be given up.
pub fn not_confined(error: &dyn Display) -> Error {
    anyhow!(
        "cannot give up the capabilities that are no longer needed: {error}\n\
         cowtrace does not go on with more than it needs; nothing is attached any more\n\
         please report this, with the kernel's version and what runs cowtrace (a container, a unit)"
    )
}

/// The kernel does not show what it counts of our programs.
pub fn no_fdinfo(error: &io::Error) -> Error {
    anyhow!(
        "cannot trace: /proc/self/fdinfo: {error}\n\
         without it nothing tells which runs the kernel skipped, and no run could be called clean\n\
         give capabilities as a unit or `setpriv --ambient-caps` does, not to the file (setcap)"
    )
}

/// The process that opens other processes' files does not start.
pub fn no_opener(error: &io::Error) -> Error {
    anyhow!(
        "cannot start the process that opens other processes' files: {error}\n\
         without it stacks have no names and nothing can be audited; nothing was attached\n\
         if this is a container or a unit, let it fork, and make the system calls of docs/threat-model.md"
    )
}

/// The kernel shows no types.
pub fn no_btf(path: &str, release: &str, error: &io::Error) -> Error {
    anyhow!(
        "cannot trace on kernel {release}: {path}: {error}\n\
         without the kernel's own types (BTF) no offset would be right, so cowtrace stops here\n\
         run a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 11, RHEL 8.2, Ubuntu 20.10 and later have it)"
    )
}

/// The kernel shows types that are none.
pub fn broken_btf(release: &str) -> Error {
    anyhow!(
        "cannot trace on kernel {release}: its BTF does not parse\nplease report this, with /sys/kernel/btf/vmlinux"
    )
}

/// Kernel memory cannot be read.
pub fn no_kcore(error: &io::Error) -> Error {
    anyhow!(
        "cannot audit: /proc/kcore: {error}\n\
         without it nothing tells which pages the kernel counts as pinned\n\
         run as root on a kernel with CONFIG_PROC_KCORE=y that is not in lockdown; a trace needs neither"
    )
}

/// The kernel shows no symbols.
pub fn no_kallsyms(error: &io::Error) -> Error {
    anyhow!(
        "cannot trace: /proc/kallsyms: {error}\n\
         without it probes cannot be chosen and stacks have no names\n\
         run a kernel built with CONFIG_KALLSYMS=y"
    )
}

/// The kernel shows symbols without addresses.
pub fn hidden_kallsyms() -> Error {
    anyhow!(
        "cannot trace: /proc/kallsyms hides its addresses\n\
         without them a page has no frame number\n\
         run as root (CAP_SYSLOG); if you are, `sysctl kernel.kptr_restrict=1` shows them to root"
    )
}

/// A member that the programs read is not there.
pub fn no_member(member: &Member) -> Error {
    anyhow!(
        "cannot trace on this kernel: struct {} has no member {}\n\
         without it the programs would read the wrong bytes, so cowtrace stops here\n\
         please report the kernel's version: its layout is new to cowtrace",
        member.of,
        member.names.join(" or ")
    )
}

/// A type or enumerator is not there.
pub fn no_type(name: &str) -> Error {
    anyhow!(
        "cannot trace on this kernel: its BTF does not tell {name}\n\
         without it the programs would read the wrong bytes, so cowtrace stops here\n\
         please report the kernel's version: its layout is new to cowtrace"
    )
}

/// A kernel variable is not there.
pub fn no_variable(name: &str) -> Error {
    anyhow!(
        "cannot trace on this kernel: /proc/kallsyms has no variable {name}\n\
         without it a page has no frame number\n\
         run a kernel built with CONFIG_KALLSYMS_ALL=y"
    )
}

/// Whether an interrupt runs cannot be read.
pub fn no_preempt_count() -> Error {
    anyhow!(
        "cannot trace on this kernel: /proc/kallsyms has neither __preempt_count nor pcpu_hot\n\
         without it what an interrupt unpins is taken for what it interrupted\n\
         run a kernel built with CONFIG_KALLSYMS_ALL=y"
    )
}

/// The kernel does not measure programs.
pub fn no_stats(error: &dyn Display) -> Error {
    anyhow!(
        "cannot keep a budget: the kernel does not measure how long programs run: {error}\n\
         without that nobody knows what tracing costs\n\
         run as root (BPF_ENABLE_STATS takes CAP_SYS_ADMIN), or without --budget"
    )
}

/// The kernel refuses maps or programs as such.
pub fn refused(error: &dyn std::fmt::Display) -> Error {
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return anyhow!(
            "cannot trace: the kernel is locked down (confidentiality), so programs may not read kernel memory\n\
             the kernel said: {error}\n\
             boot without lockdown=confidentiality; Secure Boot alone sets the level integrity, under which cowtrace runs"
        );
    }
    anyhow!(
        "cannot trace: the kernel refuses eBPF programs\n\
         the kernel said: {error}\n\
         a container or a hardened kernel may forbid bpf(2) even to root; run on the host itself, or try the lab: `cargo xtask run`"
    )
}

/// A thing that every verdict needs cannot be seen.
pub fn unseen(sees: &str, release: &str, tried: &[String]) -> Error {
    let tried = tried.join("\n  ");
    // Debian's own level, at which CAP_PERFMON does not do (seen on its 5.10 and 6.1).
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let hint = if tried.contains("perf_event_open")
        && level.trim() == "3"
        && privileges::lacks(Capability::CAP_SYS_ADMIN)
    {
        "kernel.perf_event_paranoid is 3, so kprobes take CAP_SYS_ADMIN; with `sysctl kernel.perf_event_paranoid=2` CAP_PERFMON does\n"
    } else {
        ""
    };
    anyhow!(
        "cannot see \"{sees}\" on kernel {release}\n  {tried}\n{hint}\
         without it no verdict would hold, so cowtrace stops here\n\
         `cowtrace doctor` lists what this kernel offers"
    )
}

/// A folder that root does not write to.
pub fn open_folder(folder: &Path) -> io::Error {
    let text = format!(
        "anybody may put another file in its place, since {} is writable for all and not sticky (as /tmp is)",
        folder.display()
    );
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// A file that decides nothing for root.
pub fn owned_by(user: u32) -> io::Error {
    let text = format!("it belongs to user {user}, and cowtrace runs as root: make it root's");
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// Likewise.
pub fn anybody_writes() -> io::Error {
    let text = "it is writable for all, and cowtrace runs as root: take that away from it";
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// A recording cannot be written.
pub fn recording_create(path: &Path, error: &io::Error) -> Error {
    anyhow!(
        "cannot create the recording {}: {error}\n\
         nothing was traced\n\
         choose another place with -o; an existing file is not overwritten, nor is a link followed",
        path.display()
    )
}

/// The report's file cannot be created.
pub fn report_create(path: &Path, error: &io::Error) -> io::Error {
    let text = format!(
        "{}: {error}\nchoose another place with -o; an existing file is not overwritten, nor is a link followed",
        path.display()
    );
    io::Error::new(error.kind(), text)
}

/// A file for a CI cannot be written, and nothing was run yet.
pub fn gate_create(path: &Path, error: &io::Error) -> Error {
    anyhow!(
        "cannot write {}: {error}\n\
         the command was not started\n\
         choose another place; a link is not followed",
        path.display()
    )
}

/// A file for a CI cannot be written after all.
pub fn gate_write(path: &Path, error: &io::Error) -> Error {
    anyhow!(
        "cannot write {}: {error}\nthe command ran, and the answer is above; the file is not whole",
        path.display()
    )
}

/// A recording cannot be written on.
pub fn recording_write(path: &Path, error: &io::Error) -> Error {
    anyhow!(
        "the recording {} ends here: {error}\n\
         what was written up to now is whole and can be replayed",
        path.display()
    )
}

/// A recording cannot be read.
pub fn recording_read(path: &Path, error: &io::Error) -> Error {
    anyhow!("cannot read the recording {}: {error}", path.display())
}

/// A file that is no recording.
pub fn not_a_recording(path: &Path) -> Error {
    anyhow!(
        "{} is no cowtrace recording: it does not begin with COWTRACE\n\
         recordings are made by `cowtrace record -o FILE`",
        path.display()
    )
}

/// A recording of a later version.
pub fn newer_recording(path: &Path, found: u32, known: u32) -> Error {
    anyhow!(
        "{} was written in format {found}; this cowtrace reads up to format {known}\n\
         replay it with a newer cowtrace",
        path.display()
    )
}

/// The command to trace cannot be started.
pub fn command(command: &str, error: &io::Error) -> Error {
    anyhow!("cannot start {command}: {error}\nnothing was traced")
}

/// A cgroup that is not there.
pub fn no_cgroup(path: &str, error: &io::Error) -> Error {
    anyhow!(
        "no cgroup {path}: {error}\n\
         give its path below the cgroup v2 root, as in /proc/PID/cgroup behind `0::`"
    )
}

/// A process that is not there.
pub fn no_process(pid: u32) -> Error {
    anyhow!(
        "no process {pid}\ngive the number of one that runs; with --pid its threads and later children are included"
    )
}

/// A form of export that was left out.
pub fn not_built(to: To) -> Error {
    let name = format!("{to:?}").to_lowercase();
    anyhow!(
        "this cowtrace was built without {name}\nbuild it with `--features {name}`, as `cargo xtask build` does"
    )
}

/// An export to tables without a place for them.
pub fn no_folder() -> Error {
    anyhow!(
        "Parquet is a folder of files\nname it with -o; what is in it stays, and a file that is there is not overwritten"
    )
}

/// Files of several runs, or of none, where one is wanted.
pub fn not_one_run(runs: usize) -> Error {
    anyhow!(
        "these files are of {}, and only parts of one can be looked at together\n\
         give those of one; `cowtrace report` compares several",
        count(runs as u64, "run")
    )
}

/// Files that are not of two runs where two are compared.
pub fn not_two_runs(runs: usize) -> Error {
    anyhow!(
        "these files are of {}, and a comparison is of two\n\
         give the files of the earlier one, then those of the later one; two files are compared whatever they are of",
        count(runs as u64, "run")
    )
}

/// Several recordings in one trace.
pub fn one_recording() -> Error {
    anyhow!(
        "a Perfetto trace is of one recording\nexport each by itself; the viewer opens several side by side"
    )
}

/// An address that other hosts reach.
pub fn public_address(address: &SocketAddr) -> Error {
    anyhow!(
        "{address} can be reached from other hosts, and the agent has neither TLS nor passwords\n\
         anybody who reaches it could read what this host's processes are called and what was found; nothing was started\n\
         listen on 127.0.0.1 or unix:PATH and let a collector on this host fetch it, or allow it with --listen-publicly"
    )
}

/// An address that cannot be listened on.
pub fn listen(address: &dyn Display, error: &io::Error) -> Error {
    anyhow!(
        "cannot listen on {address}: {error}\n\
         nothing was started\n\
         choose another address with --listen; if another agent runs on this host, it serves the same"
    )
}

/// A configuration that cannot be read.
pub fn config(path: &Path, wrong: &str) -> Error {
    anyhow!(
        "{}: {wrong}\nnothing was started; mend the file or move it away (docs/tui.md says what it may have)",
        path.display()
    )
}

/// The terminal view without a terminal.
pub fn no_terminal() -> Error {
    anyhow!(
        "standard output is no terminal, so there is nothing to draw on\n\
         `cowtrace stream` prints lines, `cowtrace record -o FILE` writes a recording"
    )
}

/// A recording in the terminal view without a terminal.
pub fn no_terminal_to_replay() -> Error {
    anyhow!(
        "standard output is no terminal, so there is nothing to draw on\n\
         `cowtrace replay --format text FILE` prints lines, `cowtrace report FILE` a report"
    )
}

/// No thread to read a recording in.
pub fn no_reader(error: io::Error) -> Error {
    Error::new(error).context(
        "cannot start the thread that reads the recording, so nothing was read\n\
         more threads than now are allowed by `ulimit -u` or the cgroup's pids.max",
    )
}
