//! What cargo cannot do for cowtrace: set-up, the kernel lab, the lab tests, releases.
//!
//! `cargo xtask run` and `cargo xtask test` are the two commands a newcomer
//! needs; the others are their parts. Everything here shells out to standard
//! Debian tools. Nothing is installed without saying what and why.

#![expect(clippy::print_stdout, reason = "a build tool answers on stdout: paths, test results")]

mod bench;
mod binary;
mod dist;
mod initramfs;
mod interop;
mod kernels;
mod lab;
mod lab_tests;
mod process;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, the kernel lab and the tests of cowtrace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up, build and start cowtrace: here where it can attach, else in the lab
    Run(run::Options),
    /// Run everything: cargo's tests, the interop tests, then the lab tests over all kernels
    Test(test::Options),
    /// Boot a real kernel under QEMU and run one command in it as root
    Lab(Box<lab::Options>),
    /// Install what the eBPF build and the lab lack
    Setup,
    /// Build the static release binary and print its path
    Build(binary::Options),
    /// Make a release: binaries, packages, source package, bill of materials, checksums
    Dist(dist::Options),
    /// Measure what cowtrace costs beside bpftrace and ftrace, and write docs/benchmarks.md
    Bench(bench::Options),
    /// Fill the lab's kernel cache, so that the lab needs no network after
    Fetch(kernels::FetchOptions),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Run(options) => run::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Lab(options) => lab::run(&options),
        Task::Setup => setup::all(),
        Task::Build(options) => binary::run(&options),
        Task::Dist(options) => dist::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Fetch(options) => kernels::fetch_all(&options),
    };
    outcome.map_or_else(|error| explain(&error), ExitCode::from)
}

/// A task that could not run is exit 2, as for cowtrace itself.
fn explain(error: &anyhow::Error) -> ExitCode {
    eprintln!("xtask: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::from(2)
}
