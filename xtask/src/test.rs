//! `cargo xtask test`: cargo's tests, then the lab's.

use anyhow::Result;
use clap::Args;

use crate::{lab_tests, process, setup};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Kernel for the lab tests (again for another) [default: all]
    #[arg(long = "kernel", value_name = "K", default_value = "all")]
    kernels: Vec<String>,
    /// Only cargo's tests
    #[arg(long)]
    no_lab: bool,
    /// Only the lab tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Guests at a time: each keeps one core busy
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
}

/// Runs everything; failing cargo tests, all of which are named, end it before any guest is booted.
pub fn run(options: &Options) -> Result<u8> {
    setup::build_tools()?;
    if options.only.is_none() {
        let words = "test --workspace --exclude cowtrace-ebpf --no-fail-fast";
        process::run(process::cargo().args(words.split(' ')))?;
    }
    if options.no_lab {
        return Ok(0);
    }
    lab_tests::run(&options.kernels, options.only.as_deref(), options.jobs)
}
