//! Set-up: what the eBPF build and the lab need, installed where it is missing.
//!
//! With apt and root it says what and why, and installs. Without, it prints all
//! the commands that are missing and stops. When nothing is missing it only
//! looks at files, so every other task calls it first.

mod cross;
mod step;
mod toolchain;

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Error, Result, anyhow, ensure};

pub use self::{cross::Cross, step::is_root};
use self::{
    step::{Action, Llvm, Step},
    toolchain::Toolchain,
};
use crate::{dist::Arch, process};

/// What to do where there is no apt, or one with other packages.
const ELSEWHERE: &str = "elsewhere than on Debian 12: `rustup toolchain install nightly --component rust-src`, \
                         `cargo install bpf-linker`, and QEMU, kmod, xz, zstd and a static busybox for the lab";

/// `cargo xtask setup`: everything, for building and for the lab.
pub fn all() -> Result<u8> {
    build_tools()?;
    lab_tools()?;
    interop_tools()?;
    println!("nothing is missing: `cargo xtask run` and `cargo xtask test` can start");
    Ok(0)
}

/// Installs what building the eBPF programs needs.
pub fn build_tools() -> Result<()> {
    install(for_building)
}

/// Installs what booting a guest needs.
pub fn lab_tools() -> Result<()> {
    install(for_the_lab)
}

/// Installs what reads exports in the interop tests.
pub fn interop_tools() -> Result<()> {
    install(for_interop)
}

/// Installs what cowtrace is measured beside.
pub fn bench_tools() -> Result<()> {
    install(for_the_bench)
}

/// Installs what makes packages.
pub fn dist_tools() -> Result<()> {
    install(for_packages)
}

/// Installs what compiles and links C for an architecture.
pub fn dist_tools_for(arch: Arch) -> Result<()> {
    match arch {
        Arch::X86_64 => Ok(()),
        Arch::Aarch64 => install(for_aarch64),
    }
}

/// Installs what the packages are installed with, in a clean Debian.
pub fn chroot_tools() -> Result<()> {
    install(for_the_chroot)
}

/// Takes the first step of those missing until none is. The list is made anew
/// each time: only the installed toolchain says which LLVM bpf-linker needs.
fn install(missing: fn() -> Result<Vec<Step>>) -> Result<()> {
    let mut taken = Vec::new();
    while let Some(step) = missing()?.into_iter().next() {
        ensure!(
            !taken.contains(&step),
            "`{step}` succeeded and is still needed: {}\n  {ELSEWHERE}",
            step.why
        );
        let Some(mut commands) = step.runnable() else {
            return Err(by_hand(&everything()?));
        };
        eprintln!("setup: {}\n  so this runs now: {step}", step.why);
        for command in &mut commands {
            process::run(command)
                .with_context(|| format!("set-up stops here: {}\n  {ELSEWHERE}", step.why))?;
        }
        taken.push(step);
    }
    Ok(())
}

fn everything() -> Result<Vec<Step>> {
    let mut steps = for_building()?;
    steps.extend(for_the_lab()?);
    steps.extend(for_interop()?);
    Ok(steps)
}

fn for_building() -> Result<Vec<Step>> {
    if toolchain::object_is_given() {
        return Ok(Vec::new());
    }
    let toolchain = Toolchain::find()?;
    let mut steps = Vec::new();
    if toolchain.is_none() {
        steps.push(Step {
            why: "no Rust toolchain here can build for bpfel-unknown-none (it needs rust-src or a prebuilt core)",
            action: Action::Packages(toolchain::DEBIAN.map(str::to_owned).into()),
        });
    }
    if process::find("bpf-linker").is_none() {
        let llvm = match toolchain {
            Some(toolchain) => Llvm::Known(toolchain.llvm()?),
            None => Llvm::OfDebiansRustc,
        };
        steps.extend(for_the_linker(llvm));
    }
    Ok(steps)
}

fn for_the_linker(llvm: Llvm) -> Vec<Step> {
    let mut steps = Vec::new();
    if !llvm.is_installed() {
        steps.push(Step {
            why: "bpf-linker links against the LLVM of the Rust toolchain",
            action: Action::Library(llvm),
        });
    }
    steps.push(Step {
        why: "bpf-linker makes one eBPF object of what rustc emits (about three minutes, once)",
        action: Action::Linker(llvm),
    });
    steps
}

/// A program the lab runs and the package that has it.
const LAB_PROGRAMS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("depmod", "kmod"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

#[expect(clippy::unnecessary_wraps, reason = "of the same type as `for_building`")]
fn for_the_lab() -> Result<Vec<Step>> {
    let missing = LAB_PROGRAMS.iter().filter(|(program, _)| process::find(program).is_none());
    let mut packages: Vec<String> = missing.map(|(_, package)| (*package).to_owned()).collect();
    if !static_busybox(Path::new("/bin/busybox")) {
        packages.push("busybox-static".to_owned());
    }
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Step {
        why: "the lab boots kernels under QEMU, with busybox for a user space",
        action: Action::Packages(packages),
    }])
}

#[expect(clippy::unnecessary_wraps, reason = "of the same type as `for_building`")]
fn for_interop() -> Result<Vec<Step>> {
    let mut packages = Vec::new();
    let has_venv = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    if !has_venv.is_ok_and(|output| output.status.success()) {
        packages.push("python3-venv".to_owned());
    }
    if process::find("chromium").is_none() {
        packages.push("chromium".to_owned());
    }
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Step {
        why: "the interop tests read exports with Python packages and open the HTML report in Chromium",
        action: Action::Packages(packages),
    }])
}

#[expect(clippy::unnecessary_wraps, reason = "of the same type as `for_building`")]
fn for_the_bench() -> Result<Vec<Step>> {
    Ok(lacking(
        "the bench measures cowtrace beside bpftrace, which runs in the guest with its libraries",
        &[("bpftrace", "bpftrace")],
    ))
}

/// A step for those of some programs that are not there, each with the package that has it.
fn lacking(why: &'static str, programs: &[(&str, &str)]) -> Vec<Step> {
    let missing = programs.iter().filter(|(program, _)| process::find(program).is_none());
    let packages: Vec<String> = missing.map(|(_, package)| (*package).to_owned()).collect();
    if packages.is_empty() {
        return Vec::new();
    }
    vec![Step { why, action: Action::Packages(packages) }]
}

#[expect(clippy::unnecessary_wraps, reason = "of the same type as `for_building`")]
fn for_packages() -> Result<Vec<Step>> {
    let programs = [("dpkg-deb", "dpkg"), ("rpmbuild", "rpm")];
    Ok(lacking("packages are put together by the tools of their formats", &programs))
}

#[expect(clippy::unnecessary_wraps, reason = "of the same type as `for_building`")]
fn for_aarch64() -> Result<Vec<Step>> {
    let mut steps = lacking(
        "the binary for aarch64 has some C in it (zstd), and is linked by gcc",
        &[("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")],
    );
    if !Path::new("/usr/aarch64-linux-gnu/lib/libc.a").is_file() {
        let packages = vec!["libc6-dev-arm64-cross".to_owned()];
        steps.push(Step {
            why: "the binary for aarch64 is static: the C library is in it",
            action: Action::Packages(packages),
        });
    }
    Ok(steps)
}

#[expect(clippy::unnecessary_wraps, reason = "of the same type as `for_building`")]
fn for_the_chroot() -> Result<Vec<Step>> {
    let programs =
        [("debootstrap", "debootstrap"), ("cpio", "cpio"), ("rpm", "rpm"), ("mandoc", "mandoc")];
    Ok(lacking("the packages are installed in a clean Debian, and looked at", &programs))
}

/// Debian's `busybox` and `busybox-static` have the same path; a guest without
/// libraries runs the latter only. A dynamic file names its loader near its start.
fn static_busybox(file: &Path) -> bool {
    let Ok(bytes) = fs::read(file) else {
        return false;
    };
    let start = &bytes[..bytes.len().min(4096)];
    !start.windows(8).any(|window| window == b"ld-linux")
}

fn by_hand(steps: &[Step]) -> Error {
    let (root, own): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(|step| step.needs_root());
    anyhow!(
        "set-up is incomplete, and without apt and root (or sudo without a password) it cannot be completed from here\n\
         run as root:\n  apt-get update\n{}{}then start again\n{ELSEWHERE}",
        typed("", &root),
        typed("run as yourself:\n", &own)
    )
}

/// The steps as one would type them, each below its reason.
fn typed(heading: &str, steps: &[&Step]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let lines = steps.iter().map(|step| format!("  # {}\n  {}\n", step.why, step.command()));
    heading.to_owned() + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_done_by_hand_comes_in_one_go_with_its_reasons() {
        let mut steps = vec![Step {
            why: "the toolchain",
            action: Action::Packages(vec!["rustc-web".to_owned()]),
        }];
        steps.extend(for_the_linker(Llvm::OfDebiansRustc));
        let message = by_hand(&steps).to_string();
        let parts = [
            "run as root:\n  apt-get update\n  # the toolchain\n",
            "recommends rustc-web\n  # bpf-linker links",
            "llvm=$(/usr/bin/rustc -vV | ",
            "run as yourself:\n",
            "cargo install bpf-linker",
        ];
        let found: Vec<_> = parts.iter().map(|part| message.find(part)).collect();
        assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{message}");
    }
}
