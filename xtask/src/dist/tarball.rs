//! Archives that are the same from the same files: sorted, nobody's, of one time.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{Arch, Making, layout, layout::Form};
use crate::{binary::Release, process};

/// The binary with its pages and documents, to be unpacked anywhere.
pub fn package(making: &Making, arch: Arch, release: &Release) -> Result<()> {
    let name = format!("cowtrace-{}-{arch}-linux", making.version);
    layout::stage(making, release, Form::Tarball, &making.work.join(&name))?;
    pack(making, &making.work, &name, &name)
}

/// Packs a folder's folder into a file of the release.
pub fn pack(making: &Making, folder: &Path, name: &str, file: &str) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    tar.arg("--mode=u=rwX,go=rX").arg(format!("--mtime=@{}", making.epoch));
    tar.args(["--use-compress-program", "gzip -9n", "-C"]).arg(folder);
    tar.arg("-cf").arg(making.out.join(format!("{file}.tar.gz"))).arg(name);
    process::run(&mut tar)
}
