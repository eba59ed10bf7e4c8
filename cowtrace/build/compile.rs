//! Builds the eBPF object: the same bytes from the same sources, in whichever directory.
//!
//! aya-build would do this but for its flags, to which none can be added: the line info of BTF would name the
//! directories of the machine that built it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use object::build::elf::{Builder, SectionData};

use crate::toolchain::{Core, Toolchain};

const TARGET: &str = "bpfel-unknown-none";

/// Builds cowtrace-ebpf for kernels of this architecture.
pub fn object(arch: &str) -> Result<Vec<u8>> {
    let toolchain = Toolchain::find()?;
    let workspace = crate::here()?.join("..");
    println!("cargo::rerun-if-changed={}", workspace.join("cowtrace-ebpf").display());
    let target_dir = target_dir()?.join(arch);
    build(&toolchain, arch, &workspace.canonicalize()?, &target_dir)?;
    let built = target_dir.join(TARGET).join("release/cowtrace");
    let object = fs::read(&built).with_context(|| format!("no object in {}", built.display()))?;
    without_dwarf(&object).context("cannot take DWARF out of the eBPF object")
}

/// A target directory of its own, since the outer cargo holds the lock of the other; in this workspace one for all
/// profiles, of which each would else take a minute for the same object.
fn target_dir() -> Result<PathBuf> {
    let shared = env::var_os(crate::TARGET_DIR).map(PathBuf::from);
    shared.map_or_else(|| Ok(PathBuf::from(crate::variable("OUT_DIR")?).join("ebpf")), Ok)
}

fn build(toolchain: &Toolchain, arch: &str, workspace: &Path, target_dir: &Path) -> Result<()> {
    let mut cargo = toolchain.command("cargo");
    cargo.args(["build", "--quiet", "--release", "--package", "cowtrace-ebpf", "--bins"]);
    cargo.args(["--target", TARGET, "--target-dir"]).arg(target_dir).current_dir(workspace);
    // aya-ebpf needs features that are not stable, also of a stable compiler.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    if toolchain.core == Core::Source {
        cargo.arg("-Zbuild-std=core");
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain, arch, workspace).join("\x1f"));
    warn_or_fail(&mut cargo)
}

/// bpf-linker makes BTF of debug information. Paths in it begin at what is the same everywhere.
fn flags(toolchain: &Toolchain, arch: &str, workspace: &Path) -> Vec<String> {
    let remapped = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    vec![
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        remapped(workspace, ""),
        remapped(&cargo_home(), "cargo"),
        remapped(&toolchain.sysroot.join("lib/rustlib/src/rust"), "rust"),
    ]
}

fn cargo_home() -> PathBuf {
    let home = || env::home_dir().unwrap_or_default().join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// What the compiler says becomes warnings of the outer build, or its error.
fn warn_or_fail(cargo: &mut Command) -> Result<()> {
    let out = cargo.output().with_context(|| format!("cannot start {cargo:?}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "the eBPF programs do not build: {cargo:?}\n{said}");
    for line in said.lines() {
        println!("cargo::warning={line}");
    }
    Ok(())
}

/// Kernels read BTF. DWARF, of which it was made, is three quarters of the object, and would be in each binary.
fn without_dwarf(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object)?;
    for section in &mut elf.sections {
        let name = String::from_utf8_lossy(&section.name);
        section.delete = name.trim_start_matches(".rel").starts_with(".debug");
    }
    elf.delete_orphans();
    // LLVM has one table of strings, for symbols and sections; the writer takes two.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    elf.write(&mut stripped)?;
    Ok(stripped)
}
