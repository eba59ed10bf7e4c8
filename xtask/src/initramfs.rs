//! The guest's file system: busybox, cowtrace, what `--with` adds, and `/init`.
//!
//! It is written by hand as a cpio archive, so neither root nor a staging
//! directory is needed. COMMAND reaches the guest as a file, byte for byte.

mod cpio;
mod quote;

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use self::cpio::Archive;
pub use self::quote::quote;
use crate::kernels::{Bootable, modules, modules::Modules};

const INIT: &str = include_str!("initramfs/init.sh");

/// A host file that the guest gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    host: PathBuf,
    guest: Option<String>,
}

impl Added {
    /// Reads `HOSTFILE[=GUESTPATH]`.
    ///
    /// The result type is what clap wants of a value parser.
    #[expect(clippy::unnecessary_wraps, reason = "clap wants a Result")]
    pub fn parse(word: &str) -> Result<Self, String> {
        let (host, guest) = match word.split_once('=') {
            Some((host, guest)) => (host, Some(guest.to_owned())),
            None => (word, None),
        };
        Ok(Self { host: host.into(), guest })
    }

    /// Where it lies in the guest: executables in PATH, the rest in `/root`.
    fn guest_path(&self, executable: bool) -> String {
        let name = self.host.file_name().unwrap_or_default().to_string_lossy();
        match &self.guest {
            Some(path) => path.trim_start_matches('/').to_owned(),
            None if executable => format!("usr/bin/{name}"),
            None => format!("root/{name}"),
        }
    }
}

/// What goes into a guest.
pub struct Contents<'a> {
    /// The static cowtrace binary.
    pub cowtrace: &'a Path,
    /// What `--with` named.
    pub with: &'a [Added],
    /// Texts that are no files on the host: guest path and bytes.
    pub texts: &'a [(String, Vec<u8>)],
    /// Modules to insert, each with its parameters after a space; one with a `?` in front only where there is one.
    pub modules: &'a [String],
    /// Settings for `/init`: shell variables.
    pub settings: &'a [(&'static str, String)],
    /// What to run.
    pub command: &'a [OsString],
}

/// The whole archive for one kernel.
pub fn build(contents: &Contents<'_>, kernel: &Bootable) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("bin/busybox", 0o755, &read(Path::new("/bin/busybox"))?);
    archive.file("usr/bin/cowtrace", 0o755, &read(contents.cowtrace)?);
    archive.file("lab/settings", 0o644, settings(contents.settings).as_bytes());
    archive.file("lab/command", 0o644, &command(contents.command));
    for (path, bytes) in contents.texts {
        archive.file(path, 0o755, bytes);
    }
    for added in contents.with {
        add(&mut archive, added)?;
    }
    add_modules(&mut archive, contents.modules, kernel)?;
    Ok(archive.finish())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {} for the guest", file.display()))
}

fn settings(settings: &[(&str, String)]) -> String {
    let line = |(name, value): &(&str, String)| {
        format!("{name}={}\n", String::from_utf8_lossy(&quote(OsStr::new(value))))
    };
    settings.iter().map(line).collect()
}

/// A script that becomes COMMAND, with every word exactly as it was given.
fn command(words: &[OsString]) -> Vec<u8> {
    let mut script = b"exec".to_vec();
    for word in words {
        script.push(b' ');
        script.extend(quote(word));
    }
    script.push(b'\n');
    script
}

fn add(archive: &mut Archive, added: &Added) -> Result<()> {
    let meta = fs::metadata(&added.host)
        .with_context(|| format!("cannot read {} (--with)", added.host.display()))?;
    let mode = meta.permissions().mode();
    let path = added.guest_path(meta.is_file() && mode & 0o111 != 0);
    if meta.is_file() {
        archive.file(&path, mode & 0o777, &read(&added.host)?);
        return Ok(());
    }
    for entry in fs::read_dir(&added.host)? {
        let entry = entry?;
        let guest = format!("{path}/{}", entry.file_name().to_string_lossy());
        add(archive, &Added { host: entry.path(), guest: Some(guest) })?;
    }
    Ok(())
}

fn add_modules(archive: &mut Archive, wanted: &[String], kernel: &Bootable) -> Result<()> {
    let mut order: Vec<(PathBuf, &str)> = Vec::new();
    if !wanted.is_empty() {
        let directory = kernel.modules.as_deref().context("modules need --modules-dir DIR")?;
        let index = Modules::read(directory)?;
        for module in wanted {
            let (name, parameters) = module.split_once(' ').unwrap_or((module, ""));
            let found = match name.strip_prefix('?') {
                Some(name) => Ok(index.in_order(name).unwrap_or_default()),
                None => index.in_order(name),
            };
            let mut files = found.with_context(|| {
                format!("kernel {} has no such module; `--flavour full` has more", kernel.release)
            })?;
            let own = files.pop();
            files.retain(|file| !order.iter().any(|(seen, _)| seen == file));
            order.extend(files.into_iter().map(|file| (file, "")));
            order.extend(
                own.filter(|f| !order.iter().any(|(seen, _)| seen == f)).map(|f| (f, parameters)),
            );
        }
    }
    let mut list = Vec::new();
    for (file, parameters) in order {
        let name = file.file_stem().unwrap_or_default().as_bytes().to_owned();
        let name = String::from_utf8_lossy(name.strip_suffix(b".ko").unwrap_or(&name)).into_owned();
        archive.file(&format!("lab/modules/{name}"), 0o644, &modules::load(&file)?);
        list.extend(format!("{name} {parameters}\n").bytes());
    }
    archive.file("lab/modules/order", 0o644, &list);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_lands_in_path_unless_told_otherwise() {
        let plain = Added::parse("target/tool").unwrap();
        assert_eq!(plain.guest_path(true), "usr/bin/tool");
        assert_eq!(plain.guest_path(false), "root/tool");
        let told = Added::parse("a.txt=/etc/b").unwrap();
        assert_eq!(told.guest_path(true), "etc/b");
    }

    #[test]
    fn the_command_is_one_exec_with_every_word_quoted() {
        let words = ["sh", "-c", "echo 'a b' $HOME"].map(OsString::from);
        let script = String::from_utf8(command(&words)).unwrap();
        assert_eq!(script, "exec 'sh' '-c' 'echo '\\''a b'\\'' $HOME'\n");
    }
}
