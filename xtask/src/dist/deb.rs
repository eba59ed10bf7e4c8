//! The .deb: Debian's own dpkg-deb puts it together.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{Arch, Making, layout, layout::Form};
use crate::{binary::Release, process};

/// Debian wants one file that tells whose it is and on which terms.
const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: cowtrace
Source: https://github.com/cowtrace/cowtrace

Files: *
Copyright: the cowtrace contributors
License: MIT or Apache-2.0
 The texts are in LICENSE-MIT and LICENSE-APACHE beside this file. What the binary has from others is listed, with
 the licence of each, in the bill of materials of the release.
";

/// The agent is not started by installing it; what somebody started ends with the package.
const BEFORE_REMOVAL: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now cowtrace-agent.service || true
fi
";

const AFTER_INSTALLATION: &str = "\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
";

/// Makes it.
pub fn package(making: &Making, arch: Arch, release: &Release) -> Result<()> {
    let root = making.work.join(format!("deb-{arch}"));
    layout::stage(making, release, Form::Deb, &root)?;
    write(&root.join("usr/share/doc/cowtrace/copyright"), COPYRIGHT, 0o644)?;
    write(&root.join("DEBIAN/control"), &control(making, arch, size(&root)?), 0o644)?;
    write(&root.join("DEBIAN/postinst"), AFTER_INSTALLATION, 0o755)?;
    write(&root.join("DEBIAN/prerm"), BEFORE_REMOVAL, 0o755)?;
    let package = format!("cowtrace_{}-1_{}.deb", making.version, arch.debian());
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zxz", "--build"]).arg(&root).arg(making.out.join(package));
    dpkg.env("SOURCE_DATE_EPOCH", &making.epoch);
    process::stdout(&mut dpkg).map(drop)
}

fn control(making: &Making, arch: Arch, kibibytes: u64) -> String {
    format!(
        "Package: cowtrace\n\
         Version: {}-1\n\
         Architecture: {}\n\
         Maintainer: the cowtrace contributors <noreply@cowtrace.invalid>\n\
         Installed-Size: {kibibytes}\n\
         Section: admin\n\
         Priority: optional\n\
         Homepage: https://github.com/cowtrace/cowtrace\n\
         Description: flags writes that moved a process off a page a device still uses\n \
         {}\n",
        making.version,
        arch.debian(),
        super::DESCRIPTION.join("\n "),
    )
}

/// In KiB, as du counts.
fn size(root: &Path) -> Result<u64> {
    let said = process::text(Command::new("du").args(["-sk", "--apparent-size"]).arg(root))?;
    said.split_whitespace().next().and_then(|size| size.parse().ok()).context("du says a size")
}

fn write(file: &Path, text: &str, mode: u32) -> Result<()> {
    let what = || format!("cannot write {}", file.display());
    fs::create_dir_all(file.parent().unwrap_or(Path::new("/"))).with_context(what)?;
    fs::write(file, text).with_context(what)?;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).with_context(what)
}
