//! The lab: one command on a real kernel under QEMU, as if it ran here.
//!
//! The promise: COMMAND's stdout, stderr and status come out as they are, and
//! nothing else comes out on stdout. The surprise: a guest that dies before it
//! is ready is booted again (QEMU's emulation does that now and then), one that
//! dies afterwards is a result.

pub mod boot;
mod channel;
mod console;
mod emulator;
pub mod ending;
mod lines;
pub mod options;
mod place;
mod programs;
mod qemu;
mod terminal;

use std::{ffi::OsString, path::Path, time::Duration};

use anyhow::{Result, bail, ensure};

pub use self::options::Options;
use self::{
    boot::{Boot, Output},
    ending::{Ending, Guest},
    options::Machine,
    terminal::Terminal,
};
use crate::{
    binary,
    kernels::{self, Bootable},
    setup,
};

/// The lab's own status where the guest died or could not be what was asked for.
const GUEST_FAILED: u8 = 125;
/// The status where COMMAND did not end in time, as `timeout` has it.
const TIMED_OUT: u8 = 124;
const BOOTS: u32 = 3;

/// The emulator and what all its guests have in common, for a guest that is no guest of the lab's.
pub fn emulator() -> String {
    format!("qemu-system-x86_64 {}", qemu::EMULATION)
}

/// `cargo xtask lab`: the first status that is not zero, over all kernels.
pub fn run(options: &Options) -> Result<u8> {
    setup::build_tools()?;
    setup::lab_tools()?;
    let cowtrace = binary::build()?;
    if options.machine.flavour() != options.machine.flavour {
        eprintln!("lab: this device takes the full flavour of the kernel, so that is booted");
    }
    let kernels = options.bootables()?;
    ensure!(
        !options.interactive() || kernels.len() == 1,
        "-it takes one kernel: there is one terminal"
    );
    let mut first = 0;
    for kernel in &kernels {
        if kernels.len() > 1 {
            eprintln!("== kernel {} ({})", kernel.name, kernel.release);
        }
        let status = if options.interactive() {
            on_this_terminal(kernel, &cowtrace, &options.machine, &options.command)?
        } else {
            in_pipes(kernel, &cowtrace, &options.machine, &options.command)?
        };
        first = if first == 0 { status } else { first };
    }
    Ok(first)
}

/// Runs COMMAND in the guest with its stdout and stderr as ours.
pub fn in_pipes(
    kernel: &Bootable,
    cowtrace: &Path,
    machine: &Machine,
    command: &[OsString],
) -> Result<u8> {
    let boot = Boot {
        kernel,
        cowtrace,
        machine,
        texts: &[],
        command,
        timeout: Some(machine.timeout()),
        output: Output::Inherit,
    };
    Ok(report(kernel, &until_ready(kernel, || boot.run())?))
}

/// Runs COMMAND in the guest on the terminal that xtask was started on.
pub fn on_this_terminal(
    kernel: &Bootable,
    cowtrace: &Path,
    machine: &Machine,
    command: &[OsString],
) -> Result<u8> {
    let terminal = Terminal::open()?;
    let guest = until_ready(kernel, || {
        // Raw only from here to the end of the block: messages want a sane terminal.
        let raw = terminal.raw()?;
        let guest = Boot {
            kernel,
            cowtrace,
            machine,
            texts: &[],
            command,
            timeout: machine.timeout.map(Duration::from_secs),
            output: Output::Terminal(raw.size()),
        }
        .run()?;
        if matches!(guest.ending, Ending::Exited(_)) {
            raw.give_back();
        }
        Ok(guest)
    })?;
    Ok(report(kernel, &guest))
}

/// Boots again, and says so, while the guest dies before its ready line.
pub fn until_ready(kernel: &Bootable, mut boot: impl FnMut() -> Result<Guest>) -> Result<Guest> {
    for attempt in 1..=BOOTS {
        let guest = boot()?;
        if !matches!(guest.ending, Ending::NeverReady(_)) {
            return Ok(guest);
        }
        let why = guest.trouble().unwrap_or_default();
        eprintln!(
            "lab: kernel {} died while booting, attempt {attempt} of {BOOTS}: {why}\n  boot log in {}",
            kernel.release,
            guest.log.display()
        );
    }
    bail!(
        "kernel {} did not come up in {BOOTS} boots, so COMMAND was not run\n  the boot logs named above say how far it came",
        kernel.release
    )
}

/// Says what befell the guest, if anything did, and gives the exit status.
fn report(kernel: &Bootable, guest: &Guest) -> u8 {
    if let Some(trouble) = guest.trouble() {
        eprintln!(
            "lab: kernel {}: {trouble}\n  boot log in {}",
            kernel.release,
            guest.log.display()
        );
    }
    match guest.ending {
        Ending::Exited(0) if guest.kernel_trouble().is_some() => GUEST_FAILED,
        Ending::Exited(status) => status,
        Ending::TimedOut(_) => TIMED_OUT,
        Ending::Unread => 0,
        _ => GUEST_FAILED,
    }
}

/// The kernels `words` name, from the cache.
fn cached(words: &[String], flavour: kernels::Flavour) -> Result<Vec<Bootable>> {
    kernels::select(words)?.into_iter().map(|kernel| kernels::ensure(kernel, flavour)).collect()
}
