//! The static binary: one file that runs in any guest and on any host.
//!
//! It has its own target directory, because its flags differ from a plain
//! `cargo build` and the two would otherwise rebuild each other's crates. The
//! lab takes a release build; what is released is smaller, and takes longer.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::{dist::Arch, process, setup};

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
    let binary = target_dir.join(Arch::X86_64.target()).join("release/cowtrace");
    let mut build = cargo_build(&target_dir, Arch::X86_64, "release")?;
    if binary.is_file() {
        build.arg("--quiet");
    } else {
        eprintln!("build: cowtrace and its eBPF programs (about three minutes, once)");
    }
    process::run(&mut build)?;
    existing(&binary)
}

/// What a release is made around.
pub struct Release {
    /// The static and stripped binary.
    pub binary: PathBuf,
    /// The eBPF object in it.
    pub object: PathBuf,
}

/// Builds what is released for an architecture; recordings say `build`.
pub fn release(arch: Arch, build: &str) -> Result<Release> {
    let target_dir = process::workspace().join("target/dist-build");
    eprintln!("dist: building for {arch} (some minutes, as the whole is optimised at once)");
    let mut cargo = cargo_build(&target_dir, arch, "dist")?;
    cargo.args(["--quiet", "--message-format=json-render-diagnostics"]);
    cargo.env("COWTRACE_BUILD", build).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let said = process::stdout(&mut cargo)?;
    let object = out_dir(&said).context("cargo does not say where the eBPF object is")?;
    let binary = target_dir.join(arch.target()).join("dist/cowtrace");
    Ok(Release { binary: existing(&binary)?, object: object.join("cowtrace.bpf.o") })
}

/// Where cowtrace's build script wrote to, by what cargo says of it.
fn out_dir(said: &[u8]) -> Option<PathBuf> {
    let messages = said.split(|byte| *byte == b'\n');
    let mut messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let of_ours = messages.find(|message| {
        let package = message["package_id"].as_str().unwrap_or_default();
        message["reason"] == "build-script-executed" && package.contains("/cowtrace#")
    });
    Some(of_ours?["out_dir"].as_str()?.into())
}

fn cargo_build(target_dir: &Path, arch: Arch, profile: &str) -> Result<Command> {
    // --target is needed: without it proc-macro crates would get crt-static too.
    // Frame pointers are for stacks: the kernel walks them, not DWARF.
    let cross = setup::Cross::to(arch)?;
    let mut flags = vec!["-Ctarget-feature=+crt-static", "-Cforce-frame-pointers=yes"];
    let of_target = cross.flags();
    flags.extend(of_target.as_deref());
    let target = arch.target();
    let mut build = cross.cargo();
    build
        .args(["build", "--package", "cowtrace", "--profile", profile])
        .args(["--target", target, "--config"])
        .arg(format!("target.{target}.rustflags={flags:?}"))
        .arg("--target-dir")
        .arg(target_dir)
        // The build's words are for the user, its stdout is not: ours is for the answer.
        .stdout(std::io::stderr());
    Ok(build)
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
