//! `cargo xtask test`: cargo's tests, the interop tests, then the lab's.

use std::{num::NonZero, thread};

use anyhow::Result;
use clap::Args;

use crate::{interop, lab_tests, process, setup};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Kernel for the lab tests (again for another) [default: all]
    #[arg(long = "kernel", value_name = "K", default_value = "all")]
    kernels: Vec<String>,
    /// No guests
    #[arg(long)]
    no_lab: bool,
    /// Only the interop and lab tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// More of what takes long: a release's packages too, and the lab tests find LAB_FULL set
    #[arg(long)]
    full: bool,
    /// Guests at a time: each keeps two thirds of a core busy [default: one more than there are cores, at most 8]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// Runs everything; failing cargo tests, all of which are named, end it before any guest is booted.
pub fn run(options: &Options) -> Result<u8> {
    setup::build_tools()?;
    if options.only.is_none() {
        let words = "test --workspace --exclude cowtrace-ebpf --no-fail-fast";
        process::run(process::cargo().args(words.split(' ')))?;
    }
    let only = options.only.as_deref();
    let mut failed = 0;
    if interop::has(only, options.full) {
        failed = u8::from(interop::run(only, options.full)? > 0);
    }
    if options.no_lab || !lab_tests::has(only) && interop::has(only, options.full) {
        return Ok(failed);
    }
    let jobs = options.jobs.unwrap_or_else(guests_at_a_time);
    Ok(failed.max(lab_tests::run(&options.kernels, only, options.full, jobs)?))
}

/// A cowtrace that ends waits, in a guest as elsewhere, until the kernel has let go of one program after the other: a
/// third of the time of most cases, in which another guest has the core.
fn guests_at_a_time() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    (cores + 1).min(8)
}
