//! Which Rust toolchain can build for bpfel-unknown-none: the same choice, in
//! the same order, as cowtrace/build/ makes.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::process;

/// Names a ready-made eBPF object: then no toolchain is needed.
const OBJECT: &str = "COWTRACE_EBPF_OBJECT";
/// Forces a toolchain: a rustup name, or a directory such as /usr.
const FORCED: &str = "COWTRACE_EBPF_TOOLCHAIN";

/// Debian's rustc for web browsers: newer than Debian's own, with a prebuilt core for eBPF.
pub const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// A toolchain that can build for eBPF.
#[derive(Debug)]
pub struct Toolchain {
    sysroot: PathBuf,
}

/// Whether the user brings the eBPF object.
pub fn object_is_given() -> bool {
    variable(OBJECT).is_some()
}

impl Toolchain {
    /// The first that has rust-src or a prebuilt core. Only files are looked at:
    /// asking each rustc would take a tenth of a second. A forced one that has
    /// neither is an error, as nothing that set-up installs would help.
    pub fn find() -> Result<Option<Self>> {
        if let Some(forced) = variable(FORCED) {
            let sysroot = sysroot(&forced);
            ensure!(
                can_build(&sysroot),
                "{FORCED}={forced} has neither rust-src nor a core for bpfel-unknown-none (looked in {})\n  \
                 without it there is no eBPF object; unset it, and the choice is made for you",
                sysroot.display()
            );
            return Ok(Some(Self { sysroot }));
        }
        let found = ["nightly", "stable", "/usr"].map(sysroot);
        let found = found.into_iter().find(|sysroot| can_build(sysroot));
        Ok(found.map(|sysroot| Self { sysroot }))
    }

    /// The major version of its LLVM.
    pub fn llvm(&self) -> Result<u32> {
        let rustc = self.sysroot.join("bin/rustc");
        let said = process::text(Command::new(&rustc).arg("-vV"))?;
        llvm_major(&said)
            .with_context(|| format!("`{} -vV` names no LLVM version", rustc.display()))
    }
}

/// rustup's directory of a channel, or the directory itself.
fn sysroot(name: &str) -> PathBuf {
    if name.starts_with('/') {
        return name.into();
    }
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".rustup")))
        .unwrap_or_default();
    let exact = rustup.join("toolchains").join(name);
    if exact.is_dir() {
        exact
    } else {
        rustup.join(format!("toolchains/{name}-x86_64-unknown-linux-gnu"))
    }
}

fn can_build(sysroot: &Path) -> bool {
    let rustlib = sysroot.join("lib/rustlib");
    rustlib.join("bpfel-unknown-none/lib").is_dir()
        || rustlib.join("src/rust/library/Cargo.lock").is_file()
}

/// An environment variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn llvm_major(rustc_says: &str) -> Option<u32> {
    let version = rustc_says.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_what_rustc_says() {
        assert_eq!(llvm_major("release: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("release: 1.96.0\n"), None);
    }

    #[test]
    fn a_directory_is_a_toolchain_of_its_own() {
        assert_eq!(sysroot("/usr"), Path::new("/usr"));
        assert!(sysroot("nightly-x").ends_with("toolchains/nightly-x-x86_64-unknown-linux-gnu"));
    }
}
