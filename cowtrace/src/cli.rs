//! The command line, as parsed. What it asks for is resolved in `commands`.

mod values;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

pub use self::values::RingBytes;
#[cfg(feature = "agent")]
use self::values::period;
use self::values::{duration, event_filter, failing, finding_filter, limit, ring_bytes, verdict};
#[cfg(feature = "agent")]
use crate::commands::agent::{export::Endpoint, listen::Address};
use crate::{
    budget::Share,
    finding::Verdict,
    probes::Devices,
    provoke,
    sinks::{Format, export::To, filter::Filter, report::Form},
    source::recording::{Limit, Plan},
    when::When,
};

/// Flags writes that moved a process off a page which a device still uses.
///
/// A device (or the kernel on its behalf: RDMA, vfio, io_uring, AF_XDP) pins a page and does DMA to it.
/// If a copy-on-write break then gives the process another page, device and CPU silently see
/// different memory. cowtrace watches pins, write-protect faults and unpins in the running kernel, and
/// says which page, who pinned it, who wrote, and what to do.
///
/// Exit status: 0 nothing found and nothing missed; 1 findings; 2 could not run; 3 ran, but something
/// was missed, so that "nothing found" cannot be said; 4 only pages held by plain references were found.
#[derive(Debug, Parser)]
#[command(name = "cowtrace", version, max_term_width = 100)]
pub struct Cli {
    /// What to do; `live` if not given.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to trace, for `live`.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this kernel in a terminal view (the default)
    Live(TraceArgs),
    /// Print findings as they come, as text or JSON lines
    Stream {
        /// What to trace.
        #[command(flatten)]
        trace: TraceArgs,
        /// How to print.
        #[command(flatten)]
        print: PrintArgs,
        /// When to stop.
        #[command(flatten)]
        until: UntilArgs,
    },
    /// Write a recording that replays anywhere, without root
    Record {
        /// File to create; an existing one is not overwritten
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// What to trace.
        #[command(flatten)]
        trace: RecordArgs,
        /// In how many files.
        #[command(flatten)]
        parts: PartArgs,
        /// When to stop.
        #[command(flatten)]
        until: UntilArgs,
    },
    /// Run a command under trace, and fail if it loses pinned pages: for CI
    ///
    /// CMD keeps its stdin, stdout and stderr; what cowtrace says goes to stderr. Its children are traced as well. When it
    /// ends, what is pinned still is held against the page map.
    ///
    /// Exit status: 1 a finding is as bad as --fail-on, or worse; 2 could not run; 3 something was missed or cannot be
    /// told, so that "nothing found" cannot be said. Else the gate is passed, and the status is that of CMD (128 + N if
    /// signal N killed it).
    #[command(mut_arg("pid", |pid| pid.hide(true)))]
    Gate(GateArgs),
    /// Stay: record in a ring, serve metrics to Prometheus, send findings to an OpenTelemetry collector
    #[cfg(feature = "agent")]
    Agent(Box<AgentArgs>),
    /// Look at a recording: in the terminal view, or printed with --format
    Replay {
        /// Recording made by `cowtrace record`; several files if they are parts of one
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Stand at this time at first: "3m ago" (before the end), +12.5s (since the start), 14:03:20 (UTC)
        #[arg(long, value_name = "TIME", value_parser = When::parse, conflicts_with = "format")]
        at: Option<When>,
        /// Print only from this time on, written like that of --at: what is pinned and found by then comes first
        #[arg(long, value_name = "TIME", value_parser = When::parse, requires = "format")]
        from: Option<When>,
        /// Print only up to this time
        #[arg(long, value_name = "TIME", value_parser = When::parse, requires = "format")]
        to: Option<When>,
        /// Print instead of opening the terminal view
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// Also print every event, not only findings
        #[arg(long, requires = "format")]
        events: bool,
        /// Print only findings that meet this: `comm=nccl* verdict>=diverged`. Summary and exit status are of all of
        /// them
        #[arg(long, requires = "format", value_name = "FILTER", value_parser = finding_filter)]
        filter: Option<Filter>,
    },
    /// Write what recordings came to, for the ticket: the answer first, then what it rests on
    Report {
        /// Recordings made by `cowtrace record`, of one host or of many; parts of one are read together
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// In which form
        #[arg(long, value_enum, default_value_t)]
        format: Form,
        /// Only findings that meet this: `comm=nccl* verdict>=diverged`. The exit status is of all of them
        #[arg(long, value_name = "FILTER", value_parser = finding_filter)]
        filter: Option<Filter>,
        /// File to create, in place of standard output; an existing one is not overwritten
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write the events of recordings for other tools: as tables, or stacks for flame graphs
    Export {
        /// Recordings made by `cowtrace record`, of one host or of many; parts of one are read together
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// In which form
        #[arg(long, value_enum)]
        to: To,
        /// Only events that meet this: `kind=pin,unpin comm=nccl*`
        #[arg(long, value_name = "FILTER", value_parser = event_filter)]
        filter: Option<Filter>,
        /// File to create, in place of standard output; an existing one is not overwritten
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Say what is new, gone or changed in frequency between two recordings, as before and after an upgrade
    ///
    /// Exit status: 1 something is new or more frequent, 3 one of them has not seen everything, else 0.
    Diff {
        /// The earlier recording and the later one; of each several files if they are its parts
        #[arg(required = true, num_args = 2.., value_name = "FILE")]
        files: Vec<PathBuf>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say what this kernel offers, row by row, and what to do about what is missing
    Doctor,
    /// Say what a verdict means, what is seen when it is given, and what brings it about
    Explain {
        /// Which; all of them if not given
        #[arg(value_parser = verdict)]
        verdict: Option<Verdict>,
    },
    /// Say what is pinned now, without a trace, and which registered buffers have lost pages
    Audit(AuditArgs),
    /// Test cowtrace itself on this kernel: provoke losses, and compare each verdict with what was measured
    Verify(VerifyArgs),
    /// Workloads that break pinned pages on purpose, for tests
    #[command(hide = true)]
    Provoke(provoke::Args),
}

/// What to trace.
#[derive(Clone, Debug, Default, Args)]
pub struct TraceArgs {
    /// What to trace and how.
    #[command(flatten)]
    pub scope: RecordArgs,
    /// Also write a recording to this file
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// What to trace, where a recording is written anyway.
#[derive(Clone, Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct RecordArgs {
    /// Only this process, its threads and the children it will have
    #[arg(short, long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Only tasks of this name; a * at its end stands for any rest
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Only tasks in this cgroup (v2), or in one that is below it at the start, as a path from the
    /// root: /system.slice/x.service
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Size of the ring buffer between kernel and cowtrace: a power of two of KiB or MiB, as 512K or 64M
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = ring_bytes)]
    pub buffer: RingBytes,
    /// List short-term pins (O_DIRECT and the like) as well: by default they are counted, and one is named
    /// where a process loses its page
    #[arg(long)]
    pub short_term: bool,
    /// Also watch which device maps pinned pages, and until when: `iommu` for what vfio and iommufd map, `dma` for what
    /// drivers map as well. A finding then names the device and where it still finds the old page
    #[arg(long, value_enum, value_name = "API")]
    pub device_maps: Option<Devices>,
    /// Have the kernel measure how long the programs run, as `live` does: it reads the clock twice for each run of
    /// any eBPF program of the machine
    #[arg(long)]
    pub stats: bool,
    /// What tracing may cost of one CPU, eBPF programs and cowtrace together: 1%. When it costs more, work is shed in this
    /// order: events that no verdict needs, who holds pages for a moment, causes and stacks. Verdicts on long-term pins
    /// never are. Measured as with --stats
    #[arg(long, value_name = "SHARE")]
    pub budget: Option<Share>,
    /// Take kprobes where a row of the probe table has them, as on kernels without fexit; for tests
    #[arg(long, hide = true)]
    pub kprobes: bool,
    /// Room for so many address spaces with pins; for tests
    #[arg(long, hide = true, value_name = "N")]
    pub spaces: Option<u32>,
    /// Print what the kernel side logs about itself to standard error (`stream`, `record` and `gate`)
    #[arg(short, long)]
    pub verbose: bool,
}

/// What to run, and what fails it.
#[derive(Clone, Debug, Args)]
pub struct GateArgs {
    /// What to trace.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// The least verdict that fails; what is less bad is told and passes. `inconclusive` is status 3 whatever stands here
    #[arg(long, value_name = "VERDICT", value_parser = failing, default_value = "suspect")]
    pub fail_on: Verdict,
    /// Write the results as JUnit XML; what the file had is gone when CMD starts
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the findings as SARIF 2.1.0, likewise
    #[arg(long, value_name = "FILE")]
    pub sarif: Option<PathBuf>,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD", conflicts_with = "pid")]
    pub command: Vec<OsString>,
}

/// How to stay.
#[cfg(feature = "agent")]
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// Where Prometheus finds /metrics: an address of this host's own, or unix:/run/cowtrace/metrics.sock
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9435")]
    pub listen: Address,
    /// Let --listen be an address that other hosts reach. There is neither TLS nor a password: anybody can read names of
    /// processes and what was found
    #[arg(long)]
    pub listen_publicly: bool,
    /// Send findings as logs, and metrics, to an OpenTelemetry collector: http://127.0.0.1:4318
    #[arg(long, value_name = "URL")]
    pub otlp: Option<Endpoint>,
    /// How often metrics are sent there
    #[arg(long, value_name = "TIME", value_parser = period, default_value = "60s", requires = "otlp")]
    pub otlp_interval: Duration,
    /// Flight recorder's file; keeps the last 512M if not told otherwise. FILE.cow becomes FILE-0001.cow and so on
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How much of it.
    #[command(flatten)]
    pub parts: PartArgs,
    /// What to trace.
    #[command(flatten)]
    pub scope: RecordArgs,
    /// Tell of a recording in place of this kernel; for tests
    #[arg(long, value_name = "FILE", hide = true)]
    pub replay: Option<PathBuf>,
}

/// In how many files a recording is kept, and how much of it.
#[derive(Clone, Copy, Debug, Args)]
pub struct PartArgs {
    /// Begin a new file when one has so much: 256M, or 1h. FILE.cow becomes FILE-0001.cow and so on; each stands alone
    #[arg(long, value_name = "SIZE|TIME", value_parser = limit)]
    pub rotate: Option<Limit>,
    /// Remove the oldest of these files when there is more than that: 10G, or 24h
    #[arg(long, value_name = "SIZE|TIME", value_parser = limit, requires = "rotate")]
    pub keep: Option<Limit>,
    /// Flight recorder: keep only the last 512M, or 10m, in a few files; a finding seals what led to it in a file of its
    /// own, at most 16 times
    #[arg(long, value_name = "SIZE|TIME", value_parser = limit, conflicts_with_all = ["rotate", "keep"])]
    pub ring: Option<Limit>,
    /// How long a finding is followed before its file is sealed
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s", requires = "ring")]
    pub after: Duration,
    /// The least verdict that seals
    #[arg(long, value_name = "VERDICT", value_parser = verdict, default_value = "suspect", requires = "ring")]
    pub seal: Verdict,
}

impl PartArgs {
    /// What it comes to.
    pub fn plan(&self) -> Plan {
        match (self.ring, self.rotate) {
            (Some(ring), _) => Plan::ring(ring, self.after),
            (None, Some(part)) => Plan::rotating(part, self.keep),
            (None, None) => Plan::default(),
        }
    }
}

/// What to verify.
#[derive(Clone, Debug, Default, Args)]
pub struct VerifyArgs {
    /// Only cases of this name, as DEVICE/PAGE/EVENT with * for any part; `cowtrace provoke --list` has all
    #[arg(long, value_name = "GLOB")]
    pub case: Vec<String>,
    /// In place of the cases a random schedule of threads that pin, fork, protect, discard, write and unpin, and
    /// keep books; by the clock if no seed is given. The seed is printed
    #[arg(long, value_name = "SEED", num_args = 0..=1, conflicts_with = "case")]
    pub random: Option<Option<u64>>,
    /// In place of the cases, what tracing costs here: the same loads without and with cowtrace in turns, and how long
    /// each eBPF program runs
    #[arg(long, conflicts_with_all = ["case", "random"])]
    pub cost: bool,
    /// For the O_DIRECT reads of --cost, a file or a disk, which is only read; cowtrace's own file if not given
    #[arg(long, value_name = "PATH", requires = "cost")]
    pub disk: Option<PathBuf>,
    /// How long the schedule is: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub length: Duration,
    /// One JSON object per case, and one for the whole
    #[arg(long)]
    pub json: bool,
    /// A disk on which an O_DIRECT read stays in flight for about a second
    #[arg(long, value_name = "PATH")]
    pub slow_disk: Option<PathBuf>,
    /// Which thread of the workload stores to the pinned pages
    #[arg(long, value_enum, default_value_t = provoke::Writer::Main)]
    pub writer: provoke::Writer,
    /// A PCI device that vfio-pci drives, by its address: 0000:00:03.0
    #[arg(long, value_name = "ADDRESS")]
    pub vfio: Option<String>,
    /// One end of a veth pair, by its name, through which AF_XDP sends
    #[arg(long, value_name = "NETDEV")]
    pub xdp: Option<String>,
    /// An RDMA device, by its name: rxe0 [default: the first that there is]
    #[arg(long, value_name = "DEVICE")]
    pub rdma: Option<String>,
}

/// What to audit.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct AuditArgs {
    /// Only this process; if not given, all of them
    pub pid: Option<u32>,
    /// One JSON object per process
    #[arg(long)]
    pub json: bool,
}

/// How to print.
#[derive(Clone, Debug, Default, Args)]
pub struct PrintArgs {
    /// Text for people, or one JSON object per line
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Also print every event, not only findings
    #[arg(long)]
    pub events: bool,
    /// Print only findings that meet this: `comm=nccl* verdict>=diverged cgroup=/k8s/*`. Summary and exit status are of
    /// all of them
    #[arg(long, value_name = "FILTER", value_parser = finding_filter)]
    pub filter: Option<Filter>,
}

/// When to stop. Without any of these: at Ctrl-C.
#[derive(Clone, Debug, Default, Args)]
pub struct UntilArgs {
    /// Stop after this long: 30s, 5m, 2h
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Run this command, trace it and its children, and stop when it ends
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_ring_and_a_rotation_are_one_or_the_other() {
        let parse = |options: &[&str]| {
            let words = ["cowtrace", "record", "-o", "x.cow"];
            Cli::try_parse_from(words.iter().chain(options)).is_ok()
        };
        assert!(parse(&["--ring", "512M", "--after", "10s", "--seal", "lost"]));
        assert!(parse(&["--rotate", "1h", "--keep", "24h"]));
        assert!(!parse(&["--ring", "512M", "--rotate", "1h"]));
        assert!(!parse(&["--keep", "24h"]) && !parse(&["--after", "10s"]));
    }

    #[test]
    fn a_command_to_trace_stands_behind_two_dashes() {
        let cli =
            Cli::try_parse_from(["cowtrace", "record", "-o", "x.cow", "--", "sh", "-c", "true"]);
        let Ok(Cli { command: Some(Command::Record { until, .. }), .. }) = cli else {
            panic!("not parsed: {cli:?}");
        };
        assert_eq!(until.command, ["sh", "-c", "true"]);
    }
}
