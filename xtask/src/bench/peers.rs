//! What cowtrace is measured beside: bpftrace as Debian has it, with all that it is linked to.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{initramfs::Added, process};

/// The program and its libraries, each for the place where it is here.
pub fn bpftrace() -> Result<Vec<Added>> {
    let program =
        process::find("bpftrace").context("bpftrace was just installed and is not there")?;
    let libraries = process::text(Command::new("ldd").arg(&program))?;
    let files = libraries.lines().filter_map(path_of).map(|path| format!("{path}={path}"));
    let program = format!("{}=/usr/bin/bpftrace", program.display());
    files.chain([program]).map(|word| Added::parse(&word).map_err(anyhow::Error::msg)).collect()
}

/// The file in a line of `ldd`: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
fn path_of(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_files_and_the_vdso_is_none() {
        assert_eq!(path_of("\tlibz.so.1 => /lib/libz.so.1 (0x7f)"), Some("/lib/libz.so.1"));
        assert_eq!(
            path_of("\t/lib64/ld-linux-x86-64.so.2 (0x7f)"),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(path_of("\tlinux-vdso.so.1 (0x7ffc)"), None);
    }
}
