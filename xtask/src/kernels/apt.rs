//! Downloading packages, a kernel's for the most part, with a private apt state.
//!
//! The machine's own apt configuration stays in force (proxies, transports),
//! only sources, lists and caches are ours; nothing is installed and the
//! signatures are checked against Debian's archive keyring.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{Flavour, Kernel, sources, sources::Mirror, version};
use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel is one package before 6.19, then image, binary, modules and base.
const PARTS: [&str; 4] = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];

/// Downloads the newest package of the kernel's series and unpacks it into `into`.
pub fn unpack_newest(kernel: &Kernel, flavour: Flavour, state: &Path, into: &Path) -> Result<()> {
    let apt = Apt::update(kernel.suites, "amd64", state)?;
    let names = process::text(apt.command("apt-cache").args(["pkgnames", "linux-"]))?;
    let names: Vec<&str> = names.lines().collect();
    let Some(version) = version::newest(&names, kernel.series, flavour) else {
        bail!(
            "no linux-image-{}*{} in {}",
            kernel.series[0],
            if flavour == Flavour::Cloud { "-cloud-amd64" } else { "-amd64" },
            kernel.suites.join(", ")
        );
    };
    let parts: Vec<String> = PARTS
        .iter()
        .map(|part| format!("{part}{version}"))
        .filter(|package| names.contains(&package.as_str()))
        .collect();
    apt.unpack(&parts, into)
}

/// Downloads packages of some suites for an architecture and unpacks them into `into`.
pub fn unpack(
    packages: &[&str],
    suites: &[&str],
    arch: &'static str,
    state: &Path,
    into: &Path,
) -> Result<()> {
    let packages: Vec<String> = packages.iter().map(|&package| package.to_owned()).collect();
    Apt::update(suites, arch, state)?.unpack(&packages, into)
}

/// An apt whose sources, lists and caches lie in one directory of ours.
struct Apt {
    state: PathBuf,
    arch: &'static str,
}

impl Apt {
    /// Writes the sources for some suites and reads the archive's lists.
    fn update(suites: &[&str], arch: &'static str, state: &Path) -> Result<Self> {
        for dir in ["state/lists/partial", "cache/archives/partial"] {
            let dir = state.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let list = source_list(suites, &sources::of_this_machine()?);
        fs::write(state.join("sources.list"), list).context("cannot write apt's sources")?;
        let apt = Self { state: state.to_owned(), arch };
        process::stdout(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, dir) in [
            ("Dir::State", "state"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
        ] {
            command.arg("-o").arg(format!("{name}={}", self.state.join(dir).display()));
        }
        for option in [
            "Dir::Etc::sourceparts=-",
            // The installed packages are no part of this, nor are the machine's pins.
            "Dir::State::status=/dev/null",
            "Dir::Etc::preferencesparts=-",
            // The sandbox user could not write into a cache below /root.
            "APT::Sandbox::User=root",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ] {
            command.args(["-o", option]);
        }
        for option in ["APT::Architecture", "APT::Architectures"] {
            command.arg("-o").arg(format!("{option}={}", self.arch));
        }
        command
    }

    fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
        for deb in self.download(packages)? {
            process::run(Command::new("dpkg").arg("-x").arg(&deb).arg(into))?;
            fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
        }
        Ok(())
    }

    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let debs = self.state.join("debs");
        // One that a failed attempt left behind may be another version.
        let _ = fs::remove_dir_all(&debs);
        fs::create_dir_all(&debs).with_context(|| format!("cannot create {}", debs.display()))?;
        eprintln!("lab: downloading {}", packages.join(" "));
        process::stdout(
            self.command("apt-get")
                .arg("--quiet")
                .arg("download")
                .args(packages)
                .current_dir(&debs),
        )?;
        let found = fs::read_dir(&debs).context("cannot list the downloaded packages")?;
        Ok(found.filter_map(|entry| Some(entry.ok()?.path())).collect())
    }
}

fn source_list(suites: &[&str], mirror: &Mirror) -> String {
    let signed = if Path::new(KEYRING).is_file() {
        format!("[signed-by={KEYRING}] ")
    } else {
        String::new()
    };
    let line = |suite: &&str| Some(format!("deb {signed}{} {suite} main\n", mirror.uri(suite)?));
    suites.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::TABLE;

    #[test]
    fn a_machine_without_a_security_archive_still_gets_the_release() {
        let mirror = Mirror { archive: "http://mirror.test/debian".to_owned(), security: None };
        let list = source_list(TABLE[0].suites, &mirror);
        assert!(list.ends_with("http://mirror.test/debian bullseye main\n"), "{list}");
        assert_eq!(list.lines().count(), 1);
    }
}
