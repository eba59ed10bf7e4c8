//! Objects that somebody else built, and the checksums that they have to have.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::OBJECT;

/// The file that `COWTRACE_EBPF_OBJECT` names. Where FILE.sha256 lies beside it, it has to agree.
pub fn given(object: &Path) -> Result<Vec<u8>> {
    let checksums = with_suffix(object, ".sha256");
    println!("cargo::rerun-if-changed={}", object.display());
    if checksums.is_file() {
        println!("cargo::rerun-if-changed={}", checksums.display());
        check(&checksums, &format!("fetch both again, or unset {OBJECT}"))?;
    }
    read(object)
}

/// The object of a source package. Its checksums are of the programs' sources as well: an object of other
/// sources than these would load, and tell nonsense.
pub fn prebuilt(folder: &Path, arch: &str) -> Result<Vec<u8>> {
    println!("cargo::rerun-if-changed={}", folder.join("../../cowtrace-ebpf").display());
    println!("cargo::rerun-if-changed={}", folder.join("../../cowtrace-common").display());
    let object = folder.join(format!("cowtrace-{arch}.bpf.o"));
    let remedy = "unpack the package again; to build changed programs, remove cowtrace/prebuilt";
    ensure!(
        object.is_file(),
        "this source package has no eBPF object for {arch} (looked for {})\n{remedy}",
        object.display()
    );
    check(&with_suffix(&object, ".sha256"), remedy)?;
    read(&object)
}

/// Has coreutils compare a list of checksums, which is beside the files that it is of.
fn check(checksums: &Path, remedy: &str) -> Result<()> {
    let absolute = checksums.canonicalize();
    let list = absolute.with_context(|| format!("no checksums in {}", checksums.display()))?;
    let mut command = Command::new("sha256sum");
    command.args(["--check", "--strict", "--quiet"]).arg(&list);
    command.current_dir(list.parent().unwrap_or(Path::new("/")));
    let said = command.output().context("cannot start sha256sum, which checks the eBPF object")?;
    ensure!(
        said.status.success(),
        "the eBPF object is not the one that {} is of:\n{}{}{remedy}",
        checksums.display(),
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
    );
    Ok(())
}

fn read(object: &Path) -> Result<Vec<u8>> {
    fs::read(object).with_context(|| format!("cannot read the eBPF object {}", object.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
