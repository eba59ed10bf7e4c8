//! The source package: the workspace, and in `cowtrace/prebuilt` the eBPF objects of the release, so that it builds
//! with stable Rust alone.
//!
//! Beside each object lie checksums: its own, and those of the sources that it was made of. The build refuses an
//! object that is not of the sources it finds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Arch, Making, layout, tarball};
use crate::{binary::Release, process};

/// What decides what is in an object, as `git ls-files` takes it.
const OF_THE_PROGRAMS: [&str; 2] = ["cowtrace-common", "cowtrace-ebpf"];

/// Makes it.
pub fn package(making: &Making, releases: &[(Arch, Release)]) -> Result<()> {
    let name = format!("cowtrace-{}", making.version);
    let root = making.work.join(&name);
    for file in tracked(&[])? {
        layout::install(&process::workspace().join(&file), &root.join(&file), 0o644)?;
    }
    for (arch, release) in releases {
        let object = root.join(format!("cowtrace/prebuilt/cowtrace-{arch}.bpf.o"));
        layout::install(&release.object, &object, 0o644)?;
        checksum(&object, &tracked(&OF_THE_PROGRAMS)?)?;
    }
    tarball::pack(making, &making.work, &name, &format!("{name}-src"))
}

/// Writes OBJECT.sha256: of the object, and of files of the workspace, as they are seen from `cowtrace/prebuilt`.
pub fn checksum(object: &Path, sources: &[PathBuf]) -> Result<()> {
    let name = object.file_name().context("an object has a name")?;
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.arg(name).args(sources.iter().map(|source| Path::new("../..").join(source)));
    sha256sum.current_dir(object.parent().context("an object lies in a folder")?);
    let sums = process::stdout(&mut sha256sum)?;
    let file = object.with_added_extension("sha256");
    fs::write(&file, sums).with_context(|| format!("cannot write {}", file.display()))
}

/// The files of the workspace that git knows and that are there.
fn tracked(below: &[&str]) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--"]).args(below).current_dir(process::workspace());
    let listed = String::from_utf8(process::stdout(&mut git)?).context("names are UTF-8")?;
    let files = listed.split_terminator('\0').map(PathBuf::from);
    Ok(files.filter(|file| process::workspace().join(file).is_file()).collect())
}
