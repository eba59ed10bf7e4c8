//! `cargo xtask dist`: what a release consists of, made into one folder.
//!
//! For each architecture a static binary, the .deb, .rpm and tarball around it, the eBPF object and a bill of
//! materials; and one source package, which builds without an eBPF toolchain. Everything is made again, and with
//! the time of the last commit: what is not of these sources is in none of it.

mod arch;
mod deb;
mod layout;
mod rpm;
mod sbom;
mod source;
mod tarball;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

pub use self::arch::Arch;
use crate::{
    binary::{self, Release},
    process, setup,
};

/// More would be a surprise to who copies it to a host.
const MOST_BYTES: u64 = 10 << 20;

/// What packages say of themselves, in lines that their formats take.
const DESCRIPTION: [&str; 4] = [
    "A device, or the kernel on its behalf, does DMA to pages that it pins. If the",
    "process gets another page at the same address meanwhile, the data is silently",
    "wrong. cowtrace watches pins, write-protect faults, unmaps and unpins in the",
    "running kernel with eBPF, and says which page, who pinned it and what to do.",
];

/// Options of `cargo xtask dist`.
#[derive(Args)]
pub struct Options {
    /// Only this architecture (again for another) [default: both]
    #[arg(long = "arch", value_enum, value_name = "ARCH")]
    archs: Vec<Arch>,
    /// Folder for what is made; what a release before left there goes [default: target/dist]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A release as it is made.
pub struct Making {
    /// The version in names of files.
    pub version: &'static str,
    /// When the sources were last changed, in seconds since 1970.
    pub epoch: String,
    /// Which sources these are.
    pub build: String,
    /// Where what is made goes.
    pub out: PathBuf,
    /// Where parts lie until then.
    pub work: PathBuf,
}

/// `cargo xtask dist`.
pub fn run(options: &Options) -> Result<u8> {
    let archs = if options.archs.is_empty() { &Arch::ALL } else { options.archs.as_slice() };
    println!("{}", make(archs, options.out.as_deref())?.display());
    Ok(0)
}

/// Makes all of a release for some architectures, and says where it is.
pub fn make(archs: &[Arch], out: Option<&Path>) -> Result<PathBuf> {
    setup::build_tools()?;
    setup::dist_tools()?;
    let making = Making::begin(out)?;
    pages(&making)?;
    let releases: Result<Vec<_>> = archs.iter().map(|arch| package(&making, *arch)).collect();
    source::package(&making, &releases?)?;
    checksums(&making)?;
    Ok(making.out)
}

impl Making {
    /// Empties the folders.
    fn begin(out: Option<&Path>) -> Result<Self> {
        let target = process::workspace().join("target");
        let out = out.map_or_else(|| target.join("dist"), Path::to_owned);
        let work = target.join("dist-work");
        for folder in [&out, &work] {
            if folder.exists() {
                let what = || format!("cannot empty {}", folder.display());
                fs::remove_dir_all(folder).with_context(what)?;
            }
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let git = |words: &[&str]| {
            process::text(Command::new("git").args(words).current_dir(process::workspace()))
        };
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            epoch: git(&["log", "-1", "--format=%ct"])?,
            build: git(&["describe", "--always", "--dirty"])?,
            out: out.canonicalize().context("the folder is there")?,
            work,
        })
    }

    /// Where the man pages and completions are.
    pub fn pages(&self) -> PathBuf {
        self.work.join("pages")
    }
}

/// Has cowtrace's own command line written down.
fn pages(making: &Making) -> Result<()> {
    let folder = making.pages();
    fs::create_dir_all(&folder).context("cannot make a folder for the man pages")?;
    let words = ["run", "--quiet", "--package", "cowtrace", "--example", "pages", "--"];
    process::run(process::cargo().args(words).arg(&folder))
}

/// All that is of one architecture.
fn package(making: &Making, arch: Arch) -> Result<(Arch, Release)> {
    setup::dist_tools_for(arch)?;
    let release = binary::release(arch, &making.build)?;
    let bytes = fs::metadata(&release.binary).context("the binary is there")?.len();
    eprintln!("dist: {} has {bytes} bytes", release.binary.display());
    ensure!(
        bytes <= MOST_BYTES,
        "the binary for {arch} has {bytes} bytes, and {MOST_BYTES} is what is promised"
    );
    deb::package(making, arch, &release)?;
    rpm::package(making, arch, &release)?;
    tarball::package(making, arch, &release)?;
    sbom::write(making, arch)?;
    let object = making.out.join(format!("cowtrace-{arch}.bpf.o"));
    fs::copy(&release.object, &object).context("cannot copy the eBPF object")?;
    source::checksum(&object, &[])?;
    Ok((arch, release))
}

/// The checksums of all that is there.
fn checksums(making: &Making) -> Result<()> {
    let listed = fs::read_dir(&making.out).context("cannot list what was made")?;
    let mut names: Vec<_> = listed.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let sums =
        process::stdout(Command::new("sha256sum").arg("--").args(names).current_dir(&making.out))?;
    fs::write(making.out.join("SHA256SUMS"), sums).context("cannot write SHA256SUMS")
}
