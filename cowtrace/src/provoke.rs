//! `cowtrace provoke CASE`: workloads that break (or keep) a pinned page, and
//! say from their own measurement which it was.
//!
//! Promise: a case does to its pages what its description says and nothing
//! else, in this order: have a secondary MMU listen (if the case has one), touch, pin, look up the PFNs, disturb, store one byte
//! in each page, look up the PFNs again, have the kernel write through the pin,
//! look whether that arrived, unpin. Another program traces this and must be
//! able to agree page by page.
//!
//! Surprise: nothing is printed before a repetition is over, so that a slow
//! reader of stdout cannot get between pin and unpin.

use std::{fs, io::Write, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, ensure};
use clap::builder::RangedU64ValueParser;

use crate::{
    pagemap::Pagemap,
    sys::{self, Mapping},
};

mod case;
mod device;
mod outcome;
mod secondary;
mod sibling;

pub use case::Case;
use device::Device;
use outcome::{Data, Outcome};

use sibling::Sibling;

/// One registered buffer of `io_uring` is at most 1 GiB.
const MOST_PAGES: u64 = 1 << 18;

/// What the CPU stores before and after the disturbance; no byte of a device pattern equals one.
const STORED_FIRST: u8 = 1;
const STORED_AGAIN: u8 = 2;

/// Runs a workload that breaks (or keeps) pinned pages and prints what it measured itself, as JSON.
///
/// One object per page and repetition: process, address, page frame number before and after, and
/// whether data that the kernel wrote through the pin arrived ("sync"), did not ("lost"), or was
/// not sent ("none"). Needs root: page frame numbers come from /proc/self/pagemap.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do to the pages.
    #[arg(value_enum)]
    pub case: Case,

    /// Pages to map, pin and break in one go.
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

/// Runs the case as often as asked for, and writes one JSON line per page and repetition to `out`.
///
/// Fails when a call that the case is made of fails, or without the right to see PFNs.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    // Findings name processes: this is not cowtrace itself. Only a name, so no reason to fail.
    let _ = fs::write("/proc/self/comm", "provoke");
    let pagemap = Pagemap::of_this_process()?;
    for repetition in 0..args.repeat {
        if repetition > 0 {
            args.interval.into_iter().for_each(thread::sleep);
        }
        for outcome in run_once(args, &pagemap)? {
            writeln!(out, "{outcome}")?;
        }
        out.flush()?;
    }
    Ok(())
}

fn run_once(args: &Args, pagemap: &Pagemap) -> anyhow::Result<Vec<Outcome>> {
    // Until the very end: the pages are unmapped before it goes.
    let _listening = args.case.secondary_mmu()?;
    let pages =
        Mapping::new(args.pages).with_context(|| format!("cannot map {} pages", args.pages))?;
    store_in_each(&pages, STORED_FIRST);
    let device = args.case.pin(&pages)?;
    let before = pagemap.pfns(&pages)?;

    rendezvous(args)?;

    let child = args.case.disturb(&pages)?;
    store_in_each(&pages, STORED_AGAIN);

    let after = pagemap.pfns(&pages)?;
    let (device, data) = deliver(device, &pages)?;
    args.hold.into_iter().for_each(thread::sleep);
    let_go(child, device)?;
    Ok(outcomes(args.case, &pages, &before, &after, &data))
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

/// One store per page: each page that is write-protected breaks exactly once.
fn store_in_each(pages: &Mapping, value: u8) {
    for offset in (0..pages.bytes()).step_by(sys::page_size()) {
        pages.write_byte(offset, value);
    }
}

/// What became of the device's data, page by page.
fn deliver(device: Option<Device>, pages: &Mapping) -> anyhow::Result<(Option<Device>, Vec<Data>)> {
    let Some(mut device) = device else {
        return Ok((None, vec![Data::None; pages.pages()]));
    };
    let data = device.deliver(pages)?;
    Ok((Some(device), data))
}

/// The child goes first: while it lives it holds the ring too.
fn let_go(child: Option<Sibling>, device: Option<Device>) -> anyhow::Result<()> {
    if let Some(child) = child {
        let code = child.finish().context("cannot wait for the child")?;
        ensure!(code == 0, "the child ended with {code}");
    }
    device.map_or(Ok(()), Device::unpin)
}

fn outcomes(
    case: Case,
    pages: &Mapping,
    before: &[u64],
    after: &[u64],
    data: &[Data],
) -> Vec<Outcome> {
    let addresses = (pages.address()..).step_by(sys::page_size());
    let measured = before.iter().zip(after).zip(data);
    let outcome = |(address, ((&pfn_before, &pfn_after), &data))| Outcome {
        case,
        pid: std::process::id(),
        tid: sys::thread_id(),
        address,
        pfn_before,
        pfn_after,
        data,
    };
    addresses.zip(measured).map(outcome).collect()
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
        let args = parse("io-uring-none").expect("a case is enough");
        assert_eq!((args.pages, args.repeat, args.interval, args.hold), (1, 1, None, None));
    }

    #[test]
    fn pauses_are_in_seconds_and_may_have_a_fraction() {
        let args = parse("nopin-fork --pages 23 --repeat 2 --interval 0.5 --hold 2")
            .expect("all are known");
        assert_eq!(args.interval, Some(Duration::from_millis(500)));
        assert_eq!(args.hold, Some(Duration::from_secs(2)));
    }

    #[test]
    fn no_pages_no_repetitions_and_no_negative_pauses() {
        for line in ["--pages 0", "--pages 262145", "--repeat 0", "--interval=-1", "--hold soon"] {
            assert!(parse(&format!("io-uring-none {line}")).is_err(), "{line}");
        }
    }
}
