//! `cowtrace provoke DEVICE/PAGE/EVENT`: workloads that do something to pages
//! under a pin, and say from their own measurement what became of them.
//!
//! Promise: a case does to its pages what its name says and nothing else, in this
//! order: have a secondary MMU listen (if asked for), touch, pin, look up the
//! PFNs, let the event happen, store one byte in each page, look up the PFNs
//! again, have the device use its pin, look whether that arrived, unpin. Another
//! program traces this and must be able to agree page by page.
//!
//! Surprise: nothing is printed before a repetition is over, so that a slow
//! reader of stdout cannot get between pin and unpin.

use std::{fs, io::Write, path::PathBuf, thread, time::Duration};

use anyhow::Context as _;
use clap::{ValueEnum, builder::RangedU64ValueParser};

mod case;
mod crowd;
mod device;
mod event;
mod heir;
mod load;
mod outcome;
mod pages;
mod scene;
mod schedule;
mod secondary;
mod sibling;
mod skipped;

pub use case::{Case, DEVICES, DeviceKind, EVENTS, Event, PAGES, PageKind, Row};
pub use load::Load;
use outcome::Outcome;
use scene::Scene;
use secondary::SecondaryMmu;

/// One registered buffer of `io_uring` is at most 1 GiB.
const MOST_PAGES: u64 = 1 << 18;

/// Runs a workload that does something to pinned pages and prints what it measured itself, as JSON.
///
/// One object per measured page and repetition: who, where, the page frame number before and after, and
/// whether process and device still see the same data ("sync"), do not ("lost"), or whether there was
/// none ("none"). A case that cannot run here says so in an object of type "provoke-skipped". Needs
/// root: page frame numbers come from /proc/self/pagemap.
#[derive(Debug, clap::Args)]
#[command(after_long_help = case::help())]
pub struct Args {
    /// What to do to which pages under whose pin: DEVICE/PAGE/EVENT
    #[arg(required_unless_present_any = ["list", "schedule", "crowd", "load"], value_name = "DEVICE/PAGE/EVENT")]
    pub case: Option<Case>,

    /// Print all cases, one a line, and run none.
    #[arg(long, exclusive = true)]
    pub list: bool,

    /// In place of a case, threads that do things at random, by this seed, and print their books. The last
    /// buffers stay pinned until standard input ends.
    #[arg(long, value_name = "SEED", conflicts_with = "case")]
    pub schedule: Option<u64>,

    /// In place of a case, one thing done to --pages pages, again and again, and what each pass took.
    #[arg(long, value_enum, value_name = "LOAD", conflicts_with_all = ["case", "schedule"])]
    pub load: Option<Load>,

    /// How long the schedule is.
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    pub length: Duration,

    /// In place of a case, as many threads whose pin calls are all under way before the first returns.
    #[arg(long, value_name = "THREADS", conflicts_with = "case")]
    pub crowd: Option<usize>,

    /// Have another page table follow the process's.
    #[arg(long, value_enum, value_name = "MMU")]
    pub secondary_mmu: Option<Mmu>,

    /// Have the buffer end in the middle of its page, and the store go to what is behind it (io-uring).
    #[arg(long, conflicts_with = "pages")]
    pub tail: bool,

    /// Which thread stores after the event.
    #[arg(long, value_enum, default_value_t = Writer::Main)]
    pub writer: Writer,

    /// A disk on which an O_DIRECT read stays in flight for about a second [default: $LAB_SLOW_DISK]
    #[arg(long, value_name = "PATH")]
    pub slow_disk: Option<PathBuf>,

    /// A PCI device that vfio-pci drives, by its address [default: $LAB_EDU]
    #[arg(long, value_name = "ADDRESS")]
    pub vfio: Option<String>,

    /// One end of a veth pair, by its name, through which AF_XDP sends [default: $LAB_XDP]
    #[arg(long, value_name = "NETDEV")]
    pub xdp: Option<String>,

    /// An RDMA device, by its name: rxe0 [default: the first that there is]
    #[arg(long, value_name = "DEVICE")]
    pub rdma: Option<String>,

    /// Pages (or huge pages) to map, pin and break in one go.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_PAGES))]
    pub pages: usize,

    /// Times to run the case, each with new pages and a new ring.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,

    /// Pause between two repetitions.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub interval: Option<Duration>,

    /// Create this file when the pages are pinned, before anything is done to them.
    #[arg(long, value_name = "FILE")]
    pub ready: Option<PathBuf>,

    /// Do nothing to the pinned pages before this file exists.
    #[arg(long, value_name = "FILE")]
    pub after: Option<PathBuf>,

    /// Keep the pages, pinned, this long after they were measured.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub hold: Option<Duration>,
}

/// What can have the kernel tell it of changes to the page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mmu {
    /// A KVM virtual machine of this process.
    Kvm,
}

/// Who stores after the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Writer {
    /// The thread that pinned.
    #[default]
    Main,
    /// Another thread of the process.
    Thread,
}

/// Runs the case as often as asked for, and writes one JSON line per page and repetition to `out`.
///
/// Fails when a call that the case is made of fails, or without the right to see PFNs.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    // Findings name processes: this is not cowtrace itself. Only a name, so no reason to fail.
    let _ = fs::write("/proc/self/comm", "provoke");
    if let Some(seed) = args.schedule {
        return schedule::run(seed, args.length, out);
    }
    if let Some(threads) = args.crowd {
        return crowd::run(threads);
    }
    if let Some(load) = args.load {
        return load::run(load, args, out);
    }
    let Some(case) = args.case else {
        return Case::all().try_for_each(|case| Ok(writeln!(out, "{case}")?));
    };
    // Until the very end: the pages are unmapped before it goes.
    let _listening = listen(args)?;
    for repetition in 0..args.repeat {
        if repetition > 0 {
            args.interval.into_iter().for_each(thread::sleep);
        }
        let lines = match run_once(args, case) {
            Err(error) => match skipped::reason(&error) {
                Some(why) => return Ok(writeln!(out, "{}", outcome::skipped_line(case, &why))?),
                None => return Err(error),
            },
            Ok(lines) => lines,
        };
        out.write_all(lines.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// The case's lines.
fn run_once(args: &Args, case: Case) -> anyhow::Result<String> {
    if case.event == Event::HolderExits {
        return heir::run(args, case);
    }
    let mut scene = Scene::pin(args, case)?;
    rendezvous(args)?;
    scene.happen()?;
    Ok(outcome::lines(&scene.measure(args)?))
}

fn listen(args: &Args) -> anyhow::Result<Option<SecondaryMmu>> {
    args.secondary_mmu.map(|Mmu::Kvm| SecondaryMmu::kvm()).transpose()
}

/// Says that the pages are pinned, and waits until whoever waits for that lets the case go on.
fn rendezvous(args: &Args) -> anyhow::Result<()> {
    if let Some(ready) = &args.ready {
        fs::write(ready, "").with_context(|| format!("cannot create {}", ready.display()))?;
    }
    while args.after.as_ref().is_some_and(|after| !after.exists()) {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let words = std::iter::once("provoke").chain(line.split_whitespace());
        Command::try_parse_from(words).map(|command| command.args)
    }

    #[test]
    fn one_page_once_without_pauses_unless_told() {
        let args = parse("io-uring/4k/nothing").expect("a case is enough");
        assert_eq!((args.pages, args.repeat, args.interval, args.hold), (1, 1, None, None));
    }

    #[test]
    fn a_case_or_the_list_and_not_both() {
        assert!(parse("--list").expect("needs no case").case.is_none());
        assert!(parse("").is_err());
        assert!(parse("none/4k/fork --list").is_err());
    }

    #[test]
    fn the_list_has_each_case_on_a_line() {
        let mut out = Vec::new();
        run(&parse("--list").expect("an option"), &mut out).expect("prints");
        let text = String::from_utf8(out).expect("text");
        assert!(text.lines().eq(Case::all().map(|case| case.to_string())));
    }

    #[test]
    fn pauses_are_in_seconds_and_may_have_a_fraction() {
        let args = parse("none/4k/fork --pages 23 --repeat 2 --interval 0.5 --hold 2")
            .expect("all are known");
        assert_eq!(args.interval, Some(Duration::from_millis(500)));
        assert_eq!(args.hold, Some(Duration::from_secs(2)));
    }

    #[test]
    fn no_pages_no_repetitions_and_no_negative_pauses() {
        for line in ["--pages 0", "--pages 262145", "--repeat 0", "--interval=-1", "--hold soon"] {
            assert!(parse(&format!("io-uring/4k/nothing {line}")).is_err(), "{line}");
        }
    }
}
