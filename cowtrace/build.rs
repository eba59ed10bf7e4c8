//! Builds the eBPF object with aya-build, choosing a Rust toolchain that can.
//!
//! The first that fits (`COWTRACE_EBPF_TOOLCHAIN=NAME` forces one):
//!   1. `nightly` with the rust-src component: core is built from source;
//!   2. `stable` with the rust-src component: the same;
//!   3. `/usr`: Debian's rustc with the prebuilt core of libstd-rust-web-dev-bpf.
//!
//! `COWTRACE_EBPF_OBJECT=FILE` takes a ready-made object, and no eBPF toolchain is needed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use aya_build::{Package, Toolchain};

const TOOLCHAIN: &str = "COWTRACE_EBPF_TOOLCHAIN";
const OBJECT: &str = "COWTRACE_EBPF_OBJECT";

/// The crates built for bpf that use `#![feature]`. Naming them in RUSTC_BOOTSTRAP, in place of "1",
/// keeps aya-build from adding `-Z build-std`, which a prebuilt core neither needs nor allows.
const FEATURE_CRATES: &str = "aya_ebpf,aya_ebpf_bindings,aya_log_ebpf,cowtrace";

/// How a toolchain comes by `core` for bpfel-unknown-none.
enum Core {
    /// From the rust-src component.
    Source,
    /// It is there.
    Prebuilt,
}

struct Found {
    core: Core,
    nightly: bool,
}

fn main() -> anyhow::Result<()> {
    for variable in [TOOLCHAIN, OBJECT, "RUSTC_BOOTSTRAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    match env::var_os(OBJECT) {
        Some(object) => copy(Path::new(&object)),
        None => build(),
    }
}

fn copy(object: &Path) -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    fs::copy(object, out.join("cowtrace"))
        .with_context(|| format!("{OBJECT}={}", object.display()))?;
    Ok(())
}

fn build() -> anyhow::Result<()> {
    let forced = env::var(TOOLCHAIN).ok();
    let candidates = match &forced {
        Some(toolchain) => vec![toolchain.as_str()],
        None => vec!["nightly", "stable", "/usr"],
    };
    let Some((toolchain, found)) =
        candidates.iter().find_map(|toolchain| probe(toolchain).map(|found| (*toolchain, found)))
    else {
        bail!(
            "no Rust toolchain here can build for bpfel-unknown-none (looked at {}).\n\
             `cargo xtask setup` installs what is missing on Debian. By hand, either\n\
             \x20 rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n\
             or, on Debian 12 and later,\n\
             \x20 apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf   (and bpf-linker, see CONTRIBUTING.md)\n\
             or give a ready-made object: {OBJECT}=FILE",
            candidates.join(", ")
        );
    };
    allow_features(&found);
    let root_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cowtrace-ebpf");
    let package = Package {
        name: "cowtrace-ebpf",
        root_dir: root_dir.to_str().context("the path to cowtrace-ebpf is not UTF-8")?,
        ..Default::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(toolchain))
}

/// Sets RUSTC_BOOTSTRAP for the build of the object, which inherits the environment.
fn allow_features(found: &Found) {
    if env::var_os("RUSTC_BOOTSTRAP").is_some() {
        return;
    }
    let value = match (&found.core, found.nightly) {
        (Core::Source, true) => return, // aya-build adds -Z build-std by itself.
        (Core::Source, false) => "1",
        (Core::Prebuilt, _) => FEATURE_CRATES,
    };
    // SAFETY: a build script's main thread, before any other is started.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", value) };
}

fn probe(toolchain: &str) -> Option<Found> {
    let rustlib = PathBuf::from(rustc(toolchain, &["--print", "sysroot"])?).join("lib/rustlib");
    let core = if rustlib.join("bpfel-unknown-none/lib").is_dir() {
        Core::Prebuilt
    } else if rustlib.join("src/rust/library/Cargo.lock").is_file() {
        Core::Source
    } else {
        return None;
    };
    let nightly = rustc(toolchain, &["-V"])?.contains("nightly");
    Some(Found { core, nightly })
}

/// What a toolchain's rustc answers. rustup takes a path for a name; without rustup there is only the
/// rustc on PATH.
fn rustc(toolchain: &str, args: &[&str]) -> Option<String> {
    let has_rustup = Command::new("rustup").arg("--version").output().is_ok();
    let mut command = Command::new(if has_rustup { "rustup" } else { "rustc" });
    if has_rustup {
        command.args(["run", toolchain, "rustc"]);
    }
    let out = command.args(args).env_remove("RUSTC_BOOTSTRAP").output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
