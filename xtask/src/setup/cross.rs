//! Which cargo builds for an architecture, and with whose std.
//!
//! For another than this machine's: rustup's toolchain if it has the target, else Debian's rustc with the std of
//! Debian's package for that architecture, which is unpacked and not installed.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{dist::Arch, kernels, process};

/// How to build for an architecture.
pub enum Cross {
    /// As always: this machine's own architecture.
    No,
    /// rustup's toolchain has it.
    Rustup(Arch),
    /// Debian's has it not, but takes it from here.
    Debian(Arch, PathBuf),
}

impl Cross {
    /// Finds the toolchain, and fetches std where there is none.
    pub fn to(arch: Arch) -> Result<Self> {
        if arch == Arch::X86_64 {
            return Ok(Cross::No);
        }
        let asked = ["--print", "target-libdir", "--target", arch.target()];
        let libraries = process::text(Command::new("rustc").args(asked));
        if libraries.is_ok_and(|libraries| PathBuf::from(libraries).is_dir()) {
            return Ok(Cross::Rustup(arch));
        }
        debians_std(arch).map(|sysroot| Cross::Debian(arch, sysroot))
    }

    /// A cargo that builds for it.
    pub fn cargo(&self) -> Command {
        match self {
            Cross::No => process::cargo(),
            Cross::Rustup(arch) => with_linker(process::cargo(), *arch),
            Cross::Debian(arch, _) => {
                let mut cargo = Command::new("/usr/bin/cargo");
                cargo.current_dir(process::workspace()).env("RUSTC", "/usr/bin/rustc");
                with_linker(cargo, *arch)
            }
        }
    }

    /// What rustc has to be told for the target alone.
    pub fn flags(&self) -> Option<String> {
        match self {
            Cross::Debian(_, sysroot) => Some(format!("--sysroot={}", sysroot.display())),
            Cross::No | Cross::Rustup(_) => None,
        }
    }
}

fn with_linker(mut cargo: Command, arch: Arch) -> Command {
    let target = arch.target().to_uppercase().replace('-', "_");
    cargo.env(format!("CARGO_TARGET_{target}_LINKER"), format!("{arch}-linux-gnu-gcc"));
    cargo
}

/// The std of the very rustc that is installed: another's metadata it would not read.
fn debians_std(arch: Arch) -> Result<PathBuf> {
    let asked = ["-W", "-f", "${Version}", "libstd-rust-web-dev"];
    let version = process::text(Command::new("dpkg-query").args(asked)).with_context(|| {
        format!(
            "nothing here has Rust's std for {arch}\n  with rustup: rustup target add {}\n  \
             on Debian 12: apt-get install rustc-web cargo-web",
            arch.target()
        )
    })?;
    let home = kernels::cache()?.with_file_name(format!("std-{arch}-{version}"));
    let package = format!("libstd-rust-web-dev={version}");
    let suites = ["bookworm", "bookworm-security"];
    kernels::unpack_package(&package, &suites, arch.debian(), &home)?;
    Ok(home.join("usr"))
}
