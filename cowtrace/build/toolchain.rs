//! Which Rust toolchain builds the eBPF programs: the first that can.
//!
//!   1. `nightly` with the rust-src component: core is built from source;
//!   2. `stable` with the rust-src component: the same;
//!   3. `/usr`: Debian's rustc with the prebuilt core of libstd-rust-web-dev-bpf.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

/// Forces a toolchain.
pub const FORCED: &str = "COWTRACE_EBPF_TOOLCHAIN";

/// How a toolchain comes by `core` for bpfel-unknown-none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// From the rust-src component.
    Source,
    /// It is there.
    Prebuilt,
}

/// A toolchain that can build for eBPF.
pub struct Toolchain {
    name: String,
    /// Where its libraries are.
    pub sysroot: PathBuf,
    /// How it comes by core.
    pub core: Core,
}

impl Toolchain {
    /// The one that is forced, or the first that can.
    pub fn find() -> Result<Self> {
        let forced = env::var(FORCED).ok();
        let candidates = match &forced {
            Some(toolchain) => vec![toolchain.as_str()],
            None => vec!["nightly", "stable", "/usr"],
        };
        let Some(found) = candidates.iter().find_map(|name| probe(name)) else {
            bail!(
                "no Rust toolchain here can build for bpfel-unknown-none (looked at {}).\n\
                 `cargo xtask setup` installs what is missing on Debian. By hand, either\n\
                 \x20 rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n\
                 or, on Debian 12 and later,\n\
                 \x20 apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf   (and bpf-linker, see CONTRIBUTING.md)\n\
                 or give a ready-made object: {}=FILE. The source package of a release has one",
                candidates.join(", "),
                crate::OBJECT,
            );
        };
        Ok(found)
    }

    /// A program of it.
    pub fn command(&self, program: &str) -> Command {
        command(&self.name, program)
    }
}

fn probe(name: &str) -> Option<Toolchain> {
    let out = command(name, "rustc").args(["--print", "sysroot"]).output().ok()?;
    let said = out.status.success().then_some(out.stdout)?;
    let sysroot = PathBuf::from(String::from_utf8(said).ok()?.trim());
    let rustlib = sysroot.join("lib/rustlib");
    let core = if rustlib.join("bpfel-unknown-none/lib").is_dir() {
        Core::Prebuilt
    } else if rustlib.join("src/rust/library/Cargo.lock").is_file() {
        Core::Source
    } else {
        return None;
    };
    Some(Toolchain { name: name.to_owned(), sysroot, core })
}

/// A directory has its programs in bin, rustup knows the others. Without rustup there is only what is on PATH.
fn command(toolchain: &str, program: &str) -> Command {
    let directory = Path::new(toolchain);
    let has_rustup = || Command::new("rustup").arg("--version").output().is_ok();
    let mut command = if directory.is_absolute() {
        let mut command = Command::new(directory.join("bin").join(program));
        command.env("RUSTC", directory.join("bin/rustc"));
        command
    } else if has_rustup() {
        let mut command = Command::new("rustup");
        command.args(["run", toolchain, program]).env_remove("RUSTC");
        command
    } else {
        let mut command = Command::new(program);
        command.env_remove("RUSTC");
        command
    };
    // What the outer cargo set for its own toolchain.
    for variable in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}
