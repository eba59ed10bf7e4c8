//! Puts the eBPF object where the compiler finds it: given, prebuilt, or built here.
//!
//! * `COWTRACE_EBPF_OBJECT=FILE` gives one: no eBPF toolchain is needed;
//! * a source package of a release has one for each architecture in `prebuilt/`;
//! * else a Rust toolchain that can build for eBPF makes it (`COWTRACE_EBPF_TOOLCHAIN=NAME` forces one).
//!
//! One that is not built here is held against the checksums beside it, and refused where they do not agree.

#![expect(clippy::print_stdout, reason = "a build script answers cargo on stdout")]

mod compile;
mod ready_made;
mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const OBJECT: &str = "COWTRACE_EBPF_OBJECT";
/// Where cargo keeps what the programs are compiled to; `.cargo/config.toml` sets it.
const TARGET_DIR: &str = "COWTRACE_EBPF_TARGET_DIR";

fn main() -> Result<()> {
    for variable in [OBJECT, TARGET_DIR, toolchain::FORCED] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build");
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let prebuilt = here()?.join("prebuilt");
    println!("cargo::rerun-if-changed={}", prebuilt.display());
    let object = match env::var_os(OBJECT) {
        Some(given) => ready_made::given(Path::new(&given))?,
        None if prebuilt.is_dir() => ready_made::prebuilt(&prebuilt, &arch)?,
        None => compile::object(&arch)?,
    };
    let out = PathBuf::from(variable("OUT_DIR")?).join("cowtrace.bpf.o");
    fs::write(&out, object).with_context(|| format!("cannot write {}", out.display()))
}

/// The package's folder, which may have been moved since this was compiled.
fn here() -> Result<PathBuf> {
    Ok(variable("CARGO_MANIFEST_DIR")?.into())
}

/// What cargo tells a build script.
fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("cargo sets {name}"))
}
