//! The kernels of the lab: which there are, and the cache that holds them.
//!
//! They come from Debian's archive with apt's own signature check, are unpacked
//! and never installed. A kernel in the cache needs no network again; delete its
//! directory to get the newest package of its series.

mod apt;
pub mod modules;
mod sources;
mod version;

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::setup;

/// One kernel series of the lab.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What `--kernel` takes.
    pub name: &'static str,
    /// Debian suites that carry it.
    suites: &'static [&'static str],
    /// Version prefixes, best first: backports drop a series when the next comes.
    series: &'static [&'static str],
    /// What it is in the lab for.
    pub stands_for: &'static str,
}

/// All kernels, oldest first.
pub const TABLE: [Kernel; 5] = [
    Kernel {
        name: "5.10",
        suites: &["bullseye", "bullseye-security"],
        series: &["5.10."],
        stands_for: "the page_count rule of 5.9 to 5.18: the defect is live",
    },
    Kernel {
        name: "6.1",
        suites: &["bookworm"],
        series: &["6.1."],
        stands_for: "anon-exclusive; read-only long-term pins of file and zero pages still break",
    },
    Kernel {
        name: "6.12",
        suites: &["trixie"],
        series: &["6.12."],
        stands_for: "wp_page_copy inlined; O_DIRECT pins; folio unpins",
    },
    Kernel {
        name: "6.18",
        suites: &["trixie-backports"],
        series: &["6.18."],
        stands_for: "large-folio reuse; opaque mm flags",
    },
    Kernel {
        name: "7.3",
        suites: &["trixie-backports"],
        series: &["7.3.", "7."],
        stands_for: "struct page.compound_info; zap functions renamed",
    },
];

/// The build of a kernel: `cloud` boots faster, `full` has more modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Flavour {
    /// Few drivers, boots fastest
    #[default]
    Cloud,
    /// All of Debian's modules (RDMA, sound cards, the rest)
    Full,
}

impl Flavour {
    /// The name in directories and messages.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Cloud => "cloud",
            Flavour::Full => "full",
        }
    }
}

/// Options of `cargo xtask fetch`.
#[derive(Args)]
pub struct FetchOptions {
    /// Kernels to fetch: 5.10, 6.1, 6.12, 6.18, 7.3 or all
    #[arg(value_name = "K", default_value = "all")]
    kernels: Vec<String>,
    /// Which build of the kernels
    #[arg(long, value_enum, default_value_t)]
    flavour: Flavour,
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Bootable {
    /// What the user calls it.
    pub name: String,
    /// What `uname -r` will say, or the image's path where that is not known.
    pub release: String,
    /// The bzImage.
    pub image: PathBuf,
    /// The directory with `modules.dep`, where there is one.
    pub modules: Option<PathBuf>,
}

/// `cargo xtask fetch`: fills the cache.
pub fn fetch_all(options: &FetchOptions) -> Result<u8> {
    setup::lab_tools()?;
    for kernel in select(&options.kernels)? {
        let found = ensure(kernel, options.flavour)?;
        println!("{} {} {}", found.name, found.release, found.image.display());
    }
    Ok(0)
}

/// The kernels that `--kernel` words name, in the table's order for `all`.
pub fn select(words: &[String]) -> Result<Vec<&'static Kernel>> {
    let mut chosen = Vec::new();
    for word in words {
        let before = chosen.len();
        chosen.extend(TABLE.iter().filter(|k| word == "all" || k.name == word));
        if chosen.len() == before {
            bail!("no kernel {word:?} in the lab: take one of {}, all", names());
        }
    }
    Ok(chosen)
}

fn names() -> String {
    TABLE.map(|kernel| kernel.name).join(", ")
}

/// The cache outside the source tree: kernels, apt's state, boot logs.
pub fn cache() -> Result<PathBuf> {
    let home = || env::home_dir().map(|home| home.join(".cache"));
    env::var_os("COWTRACE_LAB_CACHE")
        .map(PathBuf::from)
        .or_else(|| {
            env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(home)
                .map(|cache| cache.join("cowtrace/lab"))
        })
        .context("no place for the lab's cache: set COWTRACE_LAB_CACHE, XDG_CACHE_HOME or HOME")
}

/// The kernel from the cache, fetched first where it is not there yet.
pub fn ensure(kernel: &Kernel, flavour: Flavour) -> Result<Bootable> {
    let cache = cache()?;
    let home = cache.join("kernels").join(format!("{}-{}", kernel.name, flavour.name()));
    if !home.is_dir() {
        let _held = lock(&cache)?;
        // Another xtask may have fetched it while we waited for the lock.
        if !home.is_dir() {
            fetch(kernel, flavour, &cache, &home)?;
        }
    }
    bootable(kernel.name, &home).with_context(|| {
        format!("{} is damaged: delete it, it will be fetched again", home.display())
    })
}

/// A package of Debian's, unpacked into a folder; nothing is done where that is there.
pub fn unpack_package(
    package: &str,
    suites: &[&str],
    arch: &'static str,
    home: &Path,
) -> Result<()> {
    unpack_packages(package, &[package], suites, arch, home)
}

/// The same of several packages, which together are called `name`.
pub fn unpack_packages(
    name: &str,
    packages: &[&str],
    suites: &[&str],
    arch: &'static str,
    home: &Path,
) -> Result<()> {
    if home.is_dir() {
        return Ok(());
    }
    let cache = cache()?;
    let _held = lock(&cache)?;
    if home.is_dir() {
        return Ok(()); // Another xtask fetched it while we waited for the lock.
    }
    eprintln!("lab: fetching {name} from Debian's archive (once)");
    let partial = cache.join("partial").join(name);
    apt::unpack(packages, suites, arch, &cache.join("apt").join(name), &partial)
        .with_context(|| format!("cannot fetch {name}"))?;
    fs::rename(&partial, home).with_context(|| format!("cannot move {name} into the cache"))
}

/// Where this machine has Debian's packages from.
pub fn mirror() -> Result<String> {
    Ok(sources::of_this_machine()?.archive)
}

fn lock(cache: &Path) -> Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let file = File::create(cache.join("lock")).context("cannot create the cache's lock file")?;
    file.lock().context("cannot lock the lab's cache")?;
    Ok(file)
}

/// Downloads and unpacks beside `home`, then renames: `home` is whole or absent.
fn fetch(kernel: &Kernel, flavour: Flavour, cache: &Path, home: &Path) -> Result<()> {
    let start = Instant::now();
    let name = format!("{}-{}", kernel.name, flavour.name());
    eprintln!("lab: fetching kernel {name} from Debian's archive (once; {})", kernel.stands_for);
    let partial = cache.join("partial").join(&name);
    if partial.exists() {
        fs::remove_dir_all(&partial).context("cannot remove an old partial download")?;
    }
    apt::unpack_newest(kernel, flavour, &cache.join("apt").join(kernel.name), &partial)
        .with_context(|| format!("cannot fetch kernel {name}, so it cannot be booted (any other: --kernel-image FILE --modules-dir DIR)"))?;
    modules::index(&partial)?;
    let parent = home.parent().context("the cache has no parent directory")?;
    fs::create_dir_all(parent)?;
    fs::rename(&partial, home).context("cannot move the unpacked kernel into the cache")?;
    eprintln!(
        "lab: kernel {name} is in {} after {:.0} s",
        home.display(),
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

fn bootable(name: &str, home: &Path) -> Result<Bootable> {
    let modules = modules::directory(home)?;
    let release = modules
        .file_name()
        .context("the modules directory has no name")?
        .to_string_lossy()
        .into_owned();
    // From 6.19 on the image lies among the modules, before that in boot/.
    let image = [home.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")]
        .into_iter()
        .find(|file| file.is_file())
        .context("there is no vmlinuz in it")?;
    Ok(Bootable { name: name.to_owned(), release, image, modules: Some(modules) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_every_kernel_once_in_order() {
        let chosen = select(&["all".to_owned()]).unwrap();
        assert_eq!(chosen, TABLE.iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_unknown_kernel_is_refused_with_the_list() {
        let error = select(&["4.19".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("5.10, 6.1, 6.12, 6.18, 7.3, all"), "{error}");
    }
}
