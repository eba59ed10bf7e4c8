//! `cargo xtask bench`: what cowtrace costs, beside what people use today.
//!
//! The promise: all tools take their turns in one boot of one guest whose clock counts instructions, so the
//! figures are of this code and not of the machine's mood. The surprise: so a nanosecond here is an instruction, except
//! for the user side's, which are taken here and of the clock on the wall.

mod beside;
mod figures;
mod page;
mod peers;
mod user_side;

use std::{ffi::OsString, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::{beside::Released, figures::Figures, user_side::Rates};
use crate::{
    binary,
    initramfs::Added,
    kernels::{self, Bootable, Flavour},
    lab::{
        self,
        boot::{Boot, Output},
        ending::{Ending, Guest},
        options::{Device, Machine},
    },
    process, setup,
};

const GUEST: &str = include_str!("bench/guest.sh");
const ATTACHED: &str = include_str!("bench/attached.sh");
const QUESTION: &str = include_str!("bench/question.bt");
const PAGE: &str = "docs/benchmarks.md";

/// Pages of the large buffer: io_uring takes no larger one than 1 GiB.
const LARGE: u32 = 1 << 18;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// Kernel to measure on
    #[arg(long, value_name = "K", default_value = "6.12")]
    kernel: String,
    /// Turns of each tool
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// One turn of cowtrace alone, printed and not written to docs/benchmarks.md
    #[arg(long)]
    quick: bool,
}

/// Boots once, measures, then measures here, and writes the page.
pub fn run(options: &Options) -> Result<u8> {
    setup::build_tools()?;
    setup::lab_tools()?;
    if !options.quick {
        setup::bench_tools()?;
    }
    let cowtrace = binary::build()?;
    let released = Released::find()?;
    let kernel =
        kernels::select(std::slice::from_ref(&options.kernel))?.pop().context("no such kernel")?;
    let kernel = kernels::ensure(kernel, Flavour::Cloud)?;
    let guest = lab::until_ready(&kernel, || boot(&kernel, &cowtrace, options))?;
    let figures = Figures::parse(&answer(&guest)?)?;
    let unseen = unseen(&guest);
    let page =
        |rates: Option<&Rates>| page::page(&figures, &unseen, released.as_ref(), rates, &kernel);
    if options.quick {
        println!("{}", page(None)?);
        return Ok(0);
    }
    // If the benchmark fails, what the guest measured is not lost.
    write(&page(None)?)?;
    write(&page(Some(&user_side::measure()?))?)?;
    println!("wrote {PAGE}");
    Ok(0)
}

fn write(page: &str) -> Result<()> {
    let file = process::workspace().join(PAGE);
    fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))
}

fn boot(kernel: &Bootable, cowtrace: &Path, options: &Options) -> Result<Guest> {
    let with = if options.quick { Vec::new() } else { peers::bpftrace()? };
    let texts = [("lab/bench/guest", GUEST), ("lab/bench/attached", ATTACHED)]
        .into_iter()
        .chain([("lab/bench/question.bt", QUESTION)])
        .map(|(path, text)| (path.to_owned(), text.into()));
    let tools = if options.quick { "nothing cowtrace" } else { "nothing cowtrace bpftrace ftrace" };
    let rounds = if options.quick { 1 } else { options.rounds };
    let script = format!("TOOLS='{tools}' ROUNDS={rounds} LARGE={LARGE} . /lab/bench/guest");
    Boot {
        kernel,
        cowtrace,
        machine: &machine(with, options.quick),
        texts: &texts.collect::<Vec<_>>(),
        command: &["sh", "-c", &script].map(OsString::from),
        timeout: Some(Duration::from_hours(1)),
        output: Output::Capture,
    }
    .run()
}

/// One CPU whose clock counts instructions; a disk that answers at once and without an interrupt, and KVM for
/// its MMU notifier.
fn machine(with: Vec<Added>, quick: bool) -> Machine {
    Machine {
        icount: true,
        with,
        modules: vec!["null_blk queue_mode=2 irqmode=0".to_owned()],
        devices: vec![Device::Kvm],
        // The large buffer, and the guest's file system twice while it unpacks that.
        memory: if quick { 2048 } else { 3072 },
        ..Machine::default()
    }
}

/// What cowtrace says that it did not see while it was measured: what is lost costs less.
fn unseen(guest: &Guest) -> Vec<String> {
    let complaints = String::from_utf8_lossy(&guest.stderr);
    let lines = complaints.lines().filter_map(|line| line.trim().strip_prefix("not seen: "));
    lines.map(str::to_owned).collect()
}

fn answer(guest: &Guest) -> Result<String> {
    let complaints = String::from_utf8_lossy(&guest.stderr);
    if let Some(trouble) = guest.trouble() {
        bail!("{trouble}\n  boot log in {}\n{complaints}", guest.log.display());
    }
    if guest.ending != Ending::Exited(0) {
        bail!("the guest's script ended with {:?}\n{complaints}", guest.ending);
    }
    eprint!("{complaints}");
    Ok(String::from_utf8_lossy(&guest.stdout).into_owned())
}
