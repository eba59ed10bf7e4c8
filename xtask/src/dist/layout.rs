//! Which file lies where in the packages and the tarball: one table.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::Making;
use crate::{binary::Release, process};

/// What files are put into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A package of Debian's.
    Deb,
    /// A package of Fedora's, RHEL's and SUSE's.
    Rpm,
    /// A tarball to be unpacked anywhere.
    Tarball,
}

/// Files by the folder they come from, and the folder or, without a slash behind it, the file that they become in
/// a .deb, in a .rpm and in the tarball.
struct Row(From, &'static str, [&'static str; 3]);

#[derive(Clone, Copy)]
enum From {
    /// The release's binary.
    Binary,
    /// What `examples/pages.rs` wrote.
    Pages,
    /// The workspace.
    Workspace,
}

const DOC: &str = "usr/share/doc/cowtrace/";
const EXAMPLES: &str = "usr/share/doc/cowtrace/examples/";

const LAYOUT: [Row; 15] = [
    Row(From::Binary, "cowtrace", ["usr/bin/", "usr/bin/", ""]),
    Row(From::Pages, "*.1", ["usr/share/man/man1/", "usr/share/man/man1/", "man/man1/"]),
    Row(
        From::Pages,
        "cowtrace.bash",
        [
            "usr/share/bash-completion/completions/cowtrace",
            "usr/share/bash-completion/completions/cowtrace",
            "completions/",
        ],
    ),
    Row(
        From::Pages,
        "_cowtrace",
        ["usr/share/zsh/vendor-completions/", "usr/share/zsh/site-functions/", "completions/"],
    ),
    Row(
        From::Pages,
        "cowtrace.fish",
        [
            "usr/share/fish/vendor_completions.d/",
            "usr/share/fish/vendor_completions.d/",
            "completions/",
        ],
    ),
    Row(
        From::Workspace,
        "dist/systemd/cowtrace-agent.service",
        ["usr/lib/systemd/system/", "usr/lib/systemd/system/", "systemd/"],
    ),
    Row(
        From::Workspace,
        "dist/systemd/cowtrace.tmpfiles.conf",
        ["usr/lib/tmpfiles.d/cowtrace.conf", "usr/lib/tmpfiles.d/cowtrace.conf", "systemd/"],
    ),
    Row(From::Workspace, "LICENSE-*", [DOC, "usr/share/licenses/cowtrace/", ""]),
    Row(From::Workspace, "*.md", [DOC, DOC, ""]),
    Row(
        From::Workspace,
        "docs/*.md",
        ["usr/share/doc/cowtrace/docs/", "usr/share/doc/cowtrace/docs/", "docs/"],
    ),
    Row(
        From::Workspace,
        "docs/schema/*.json",
        [
            "usr/share/doc/cowtrace/docs/schema/",
            "usr/share/doc/cowtrace/docs/schema/",
            "docs/schema/",
        ],
    ),
    Row(From::Workspace, "dist/kubernetes/*.yaml", [EXAMPLES, EXAMPLES, "examples/"]),
    Row(From::Workspace, "dist/prometheus/*.yml", [EXAMPLES, EXAMPLES, "examples/"]),
    Row(From::Workspace, "dist/grafana/*.json", [EXAMPLES, EXAMPLES, "examples/"]),
    Row(From::Workspace, "dist/otel/*.yaml", [EXAMPLES, EXAMPLES, "examples/"]),
];

/// Puts every file in its place below `root`, man pages compressed where they are installed.
pub fn stage(making: &Making, release: &Release, form: Form, root: &Path) -> Result<()> {
    for Row(from, pattern, places) in &LAYOUT {
        let files = match from {
            From::Binary => vec![release.binary.clone()],
            From::Pages => matching(&making.pages(), pattern)?,
            From::Workspace => matching(process::workspace(), pattern)?,
        };
        for file in files {
            let to = place(&file, root, places[form as usize]);
            let executable = matches!(from, From::Binary);
            install(&file, &to, if executable { 0o755 } else { 0o644 })?;
            if form != Form::Tarball && *pattern == "*.1" {
                process::run(Command::new("gzip").arg("-9n").arg(&to))?;
            }
        }
    }
    Ok(())
}

/// Files by a path whose last part may have one `*`.
fn matching(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let path = folder.join(pattern);
    let mut files = match pattern.split_once('*') {
        None => vec![path.clone()],
        Some((start, end)) => listed(&path)?
            .filter(|file| {
                let file = file.to_string_lossy();
                file.starts_with(&*folder.join(start).to_string_lossy()) && file.ends_with(end)
            })
            .collect(),
    };
    files.sort();
    let is_there = !files.is_empty() && files.iter().all(|file| file.is_file());
    ensure!(is_there, "no file is {}, which packages have to have", path.display());
    Ok(files)
}

/// What lies in the folder of a path.
fn listed(path: &Path) -> Result<impl Iterator<Item = PathBuf>> {
    let folder = path.parent().unwrap_or(path);
    let listed =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(listed.flatten().map(|entry| entry.path()))
}

fn place(file: &Path, root: &Path, place: &str) -> PathBuf {
    let to = root.join(place);
    if place.is_empty() || place.ends_with('/') {
        return to.join(file.file_name().unwrap_or_default());
    }
    to
}

/// Writes a file that a package has.
pub fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let what = || format!("cannot put {} to {}", from.display(), to.display());
    fs::create_dir_all(to.parent().unwrap_or(Path::new("/"))).with_context(what)?;
    fs::copy(from, to).with_context(what)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_workspace_gives_to_packages_is_there() {
        for Row(from, pattern, _) in &LAYOUT {
            if matches!(from, From::Workspace) {
                assert!(matching(process::workspace(), pattern).is_ok(), "{pattern}");
            }
        }
        assert!(matching(process::workspace(), "dist/*.none").is_err());
    }

    #[test]
    fn a_place_is_a_folder_if_it_ends_in_a_slash() {
        let at = |to| place(Path::new("/x/cowtrace.bash"), Path::new("/root"), to);
        assert_eq!(at("a/"), Path::new("/root/a/cowtrace.bash"));
        assert_eq!(at(""), Path::new("/root/cowtrace.bash"));
        assert_eq!(at("a/cowtrace"), Path::new("/root/a/cowtrace"));
    }
}
