//! The static release binary: one file that runs in any guest and on any host.
//!
//! It has its own target directory, because its flags differ from a plain
//! `cargo build` and the two would otherwise rebuild each other's crates.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
use clap::Args;

use crate::{process, setup};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Names a ready-made static binary, which is then used and not built.
pub const READY_MADE: &str = "COWTRACE_LAB_BINARY";

/// Options of `cargo xtask build`.
#[derive(Args)]
pub struct Options {
    /// Accepted for habit's sake: the static binary is always a release build
    #[arg(long)]
    release: bool,
}

/// `cargo xtask build`: builds and prints where the binary is.
pub fn run(options: &Options) -> Result<u8> {
    let Options { release: _ } = options;
    setup::build_tools()?;
    println!("{}", build()?.display());
    Ok(0)
}

/// Builds the static binary (0.1 s when nothing changed) and says where it is.
pub fn build() -> Result<PathBuf> {
    if let Some(ready_made) = env::var_os(READY_MADE) {
        return existing(&PathBuf::from(ready_made));
    }
    let target_dir = process::workspace().join("target/static");
    let binary = target_dir.join(TARGET).join("release/cowtrace");
    let mut build = cargo_build(&target_dir);
    if binary.is_file() {
        build.arg("--quiet");
    } else {
        eprintln!("build: cowtrace and its eBPF programs (about three minutes, once)");
    }
    process::run(&mut build)?;
    existing(&binary)
}

fn cargo_build(target_dir: &Path) -> Command {
    // --target is needed: without it proc-macro crates would get crt-static too.
    // Frame pointers are for stacks: the kernel walks them, not DWARF.
    let flags = "['-Ctarget-feature=+crt-static', '-Cforce-frame-pointers=yes']";
    let mut build = process::cargo();
    build
        .args(["build", "--release", "--package", "cowtrace"])
        .args(["--target", TARGET, "--config"])
        .arg(format!("target.{TARGET}.rustflags={flags}"))
        .arg("--target-dir")
        .arg(target_dir)
        // The build's words are for the user, its stdout is not: ours is for the answer.
        .stdout(std::io::stderr());
    build
}

fn existing(binary: &Path) -> Result<PathBuf> {
    if !binary.is_file() {
        bail!(
            "no static binary at {}\n  without it there is nothing to run; unset {READY_MADE} if it names the wrong file",
            binary.display()
        );
    }
    Ok(binary.to_owned())
}
