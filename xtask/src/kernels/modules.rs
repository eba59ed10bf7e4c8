//! A kernel's modules: where they are, and in which order to insert them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// The one directory `lib/modules/RELEASE` below an unpacked kernel.
pub fn directory(home: &Path) -> Result<PathBuf> {
    ["lib/modules", "usr/lib/modules"]
        .iter()
        .filter_map(|dir| fs::read_dir(home.join(dir)).ok())
        .flatten()
        .find_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_dir()))
        .with_context(|| format!("no lib/modules/RELEASE in {}", home.display()))
}

/// Writes `modules.dep`, which Debian leaves to the package's installation.
pub fn index(home: &Path) -> Result<()> {
    let directory = directory(home)?;
    let release = directory.file_name().context("the modules directory has no name")?;
    if !home.join("lib").exists() {
        // depmod looks below lib/ only.
        std::os::unix::fs::symlink("usr/lib", home.join("lib"))?;
    }
    let depmod = process::find("depmod").context("no depmod (package kmod)")?;
    process::stdout(Command::new(depmod).arg("-b").arg(home).arg(release))?;
    Ok(())
}

/// What `modules.dep` and `modules.builtin` say.
#[derive(Debug, Default)]
pub struct Modules {
    directory: PathBuf,
    needs: BTreeMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads the index of a modules directory.
    pub fn read(directory: &Path) -> Result<Self> {
        let text = |name: &str| {
            let file = directory.join(name);
            fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}: `depmod` writes it", file.display()))
        };
        let mut modules = Self::parse(&text("modules.dep")?, &text("modules.builtin")?);
        directory.clone_into(&mut modules.directory);
        Ok(modules)
    }

    fn parse(dep: &str, builtin: &str) -> Self {
        let needs = dep.lines().filter_map(|line| {
            let (path, needs) = line.split_once(':')?;
            let files = std::iter::once(path).chain(needs.split_whitespace());
            Some((name(path), files.map(str::to_owned).collect()))
        });
        Self {
            directory: PathBuf::new(),
            needs: needs.collect(),
            builtin: builtin.lines().map(name).collect(),
        }
    }

    /// The module's own file last, what it depends on before it; none if built in.
    pub fn in_order(&self, wanted: &str) -> Result<Vec<PathBuf>> {
        let wanted = name(wanted);
        let Some(files) = self.needs.get(&wanted) else {
            if self.builtin.contains(&wanted) {
                return Ok(Vec::new());
            }
            bail!("no module {wanted:?} in {}", self.directory.display());
        };
        // modules.dep lists the dependencies so that the last is needed first.
        Ok(files.iter().rev().map(|file| self.directory.join(file)).collect())
    }
}

/// The module's bytes, decompressed: insmod in the guest takes no other.
pub fn load(file: &Path) -> Result<Vec<u8>> {
    let unpack = match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    process::stdout(Command::new(unpack).arg("-dc").arg(file))
}

/// `kernel/drivers/block/null_blk.ko.xz` is `null_blk`; `-` and `_` are the same.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Modules {
        Modules::parse(
            "kernel/virtio.ko.xz:\n\
             kernel/virtio_ring.ko.xz: kernel/virtio.ko.xz\n\
             kernel/vfio-pci.ko: kernel/virtio_ring.ko.xz kernel/virtio.ko.xz\n",
            "kernel/drivers/virtio/virtio_pci.ko\n",
        )
    }

    #[test]
    fn what_a_module_needs_comes_before_it() {
        let files = modules().in_order("vfio_pci").unwrap();
        let expected = ["kernel/virtio.ko.xz", "kernel/virtio_ring.ko.xz", "kernel/vfio-pci.ko"];
        assert_eq!(files, expected.map(PathBuf::from));
    }

    #[test]
    fn a_built_in_module_needs_no_file() {
        assert_eq!(modules().in_order("virtio-pci").unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_module_that_is_not_there_is_an_error() {
        assert!(modules().in_order("rdma_rxe").is_err());
    }
}
