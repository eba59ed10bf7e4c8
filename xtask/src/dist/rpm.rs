//! The .rpm: rpmbuild puts it together of what is staged, and compiles, strips and guesses nothing.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{Arch, Making, layout, layout::Form};
use crate::{binary::Release, process};

/// Makes it.
pub fn package(making: &Making, arch: Arch, release: &Release) -> Result<()> {
    let top = making.work.join(format!("rpm-{arch}"));
    let root = top.join("staged");
    layout::stage(making, release, Form::Rpm, &root)?;
    let spec = top.join("cowtrace.spec");
    fs::write(&spec, self::spec(making, &root)?).context("cannot write the spec file")?;
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--target"]).arg(format!("{arch}-linux"));
    for (name, value) in [
        ("_topdir", top.display().to_string()),
        ("_rpmdir", making.out.display().to_string()),
        ("_rpmfilename", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm".to_owned()),
        // The same from the same sources, on whichever machine.
        ("_buildhost", "localhost".to_owned()),
        ("use_source_date_epoch_as_buildtime", "1".to_owned()),
        ("clamp_mtime_to_source_date_epoch", "1".to_owned()),
    ] {
        rpmbuild.arg("--define").arg(format!("{name} {value}"));
    }
    rpmbuild.arg(&spec).env("SOURCE_DATE_EPOCH", &making.epoch);
    process::stdout(&mut rpmbuild).map(drop)
}

fn spec(making: &Making, root: &Path) -> Result<String> {
    Ok(format!(
        "%global debug_package %{{nil}}\n\
         %global __os_install_post %{{nil}}\n\
         %global _build_id_links none\n\
         %global _binary_payload w9.xzdio\n\
         Name: cowtrace\n\
         Version: {version}\n\
         Release: 1\n\
         Summary: Flags writes that moved a process off a page a device still uses\n\
         License: MIT OR Apache-2.0\n\
         URL: https://github.com/cowtrace/cowtrace\n\
         AutoReqProv: no\n\
         \n\
         %description\n\
         {description}\n\
         \n\
         %install\n\
         cp -a '{root}/.' %{{buildroot}}\n\
         \n\
         %post\n\
         [ ! -d /run/systemd/system ] || systemctl daemon-reload || :\n\
         \n\
         %preun\n\
         if [ $1 -eq 0 ] && [ -d /run/systemd/system ]; then\n\
         \x20   systemctl disable --now cowtrace-agent.service || :\n\
         fi\n\
         \n\
         %files\n\
         {files}",
        version = making.version,
        description = super::DESCRIPTION.join("\n"),
        root = root.display(),
        files = files(root)?,
    ))
}

/// The package's own folders whole, and of those it shares its files.
fn files(root: &Path) -> Result<String> {
    let found = Command::new("find")
        .args([".", "-type", "f", "-printf", "/%P\n"])
        .current_dir(root)
        .output()
        .context("cannot list what is staged")?;
    let found = String::from_utf8(found.stdout).context("names are UTF-8")?;
    let is_shared = |file: &&str| !file.contains("/doc/") && !file.contains("/licenses/");
    let mut files: Vec<&str> = found.lines().filter(is_shared).collect();
    files.extend(["%doc /usr/share/doc/cowtrace", "%license /usr/share/licenses/cowtrace"]);
    files.sort_unstable();
    Ok(files.join("\n") + "\n")
}
