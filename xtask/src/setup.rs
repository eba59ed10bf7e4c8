//! Set-up: what the eBPF build and the lab need, installed where it is missing.
//!
//! With apt and root it says what and why, and installs. Without, it prints the
//! exact commands and stops. When nothing is missing it only looks at files, so
//! every other task calls it first.

mod toolchain;

use std::{env, path::Path, process::Command};

use anyhow::{Result, bail};

use self::toolchain::Toolchain;
use crate::process;

/// Something to install, with the reason that the user gets to read.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    why: &'static str,
    action: Action,
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Debian packages.
    Packages(Vec<String>),
    /// bpf-linker, built against the LLVM of the toolchain that makes its input.
    Linker { llvm: u32 },
}

/// `cargo xtask setup`: everything, for building and for the lab.
pub fn all() -> Result<u8> {
    build_tools()?;
    lab_tools()?;
    println!("nothing is missing: `cargo xtask run` and `cargo xtask test` can start");
    Ok(0)
}

/// What building the eBPF programs needs.
pub fn build_tools() -> Result<()> {
    if toolchain::object_is_given() {
        return Ok(());
    }
    if Toolchain::find().is_none() {
        install(&[Step {
            why: "no Rust toolchain here can build for bpfel-unknown-none (it needs rust-src or a prebuilt core)",
            action: Action::Packages(toolchain::DEBIAN.map(str::to_owned).into()),
        }])?;
    }
    if process::find("bpf-linker").is_some() {
        return Ok(());
    }
    install(&linker()?)
}

/// The steps that give bpf-linker. The LLVM version is known only once the
/// toolchain is there, as it must be the toolchain's own.
fn linker() -> Result<Vec<Step>> {
    let llvm = match Toolchain::find() {
        Some(toolchain) => toolchain.llvm()?,
        None => bail!(
            "the packages are installed and still no toolchain can build for bpfel-unknown-none\n  \
             without one there is no eBPF object; `rustup toolchain install nightly --component rust-src` gives one"
        ),
    };
    let mut steps = Vec::new();
    if !Path::new(&format!("/usr/lib/llvm-{llvm}/bin/llvm-config")).is_file() {
        steps.push(Step {
            why: "bpf-linker links against the LLVM of the Rust toolchain",
            action: Action::Packages(vec![format!("llvm-{llvm}-dev")]),
        });
    }
    steps.push(Step {
        why: "bpf-linker makes one eBPF object of what rustc emits (about three minutes, once)",
        action: Action::Linker { llvm },
    });
    Ok(steps)
}

/// A program the lab runs and the package that has it.
const LAB_PROGRAMS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("depmod", "kmod"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// What booting a guest needs.
pub fn lab_tools() -> Result<()> {
    let missing = LAB_PROGRAMS
        .iter()
        .filter(|(program, _)| process::find(program).is_none());
    let mut packages: Vec<String> = missing.map(|(_, package)| (*package).to_owned()).collect();
    if !static_busybox(Path::new("/bin/busybox")) {
        packages.push("busybox-static".to_owned());
    }
    if packages.is_empty() {
        return Ok(());
    }
    install(&[Step {
        why: "the lab boots kernels under QEMU, with busybox for a user space",
        action: Action::Packages(packages),
    }])
}

/// Debian's `busybox` and `busybox-static` have the same path; a guest without
/// libraries runs the latter only. A dynamic file names its loader near its start.
fn static_busybox(file: &Path) -> bool {
    let Ok(bytes) = std::fs::read(file) else {
        return false;
    };
    let start = &bytes[..bytes.len().min(4096)];
    !start.windows(8).any(|window| window == b"ld-linux")
}

fn install(steps: &[Step]) -> Result<()> {
    for (index, step) in steps.iter().enumerate() {
        let Some(mut commands) = step.runnable() else {
            return Err(by_hand(&steps[index..]));
        };
        eprintln!(
            "setup: {}\n  so this runs now: {}",
            step.why,
            step.commands().join(" && ")
        );
        commands.iter_mut().try_for_each(process::run)?;
    }
    Ok(())
}

fn by_hand(steps: &[Step]) -> anyhow::Error {
    let lines = steps.iter().flat_map(|step| {
        let why = format!("  # {}", step.why);
        let commands = step
            .commands()
            .into_iter()
            .map(|command| format!("  {command}"));
        std::iter::once(why).chain(commands).collect::<Vec<_>>()
    });
    anyhow::anyhow!(
        "set-up is incomplete, and without apt and root (or sudo without a password) it cannot be completed from here\n\
         run these as root, the cargo ones as yourself, then start again:\n{}\n\
         elsewhere than on Debian 12: `rustup toolchain install nightly --component rust-src` and `cargo install bpf-linker`",
        lines.collect::<Vec<_>>().join("\n")
    )
}

impl Step {
    fn commands(&self) -> Vec<String> {
        match &self.action {
            Action::Packages(packages) => vec![
                "apt-get update".to_owned(),
                format!(
                    "apt-get install -y --no-install-recommends {}",
                    packages.join(" ")
                ),
            ],
            Action::Linker { llvm } => vec![format!(
                "LLVM_PREFIX=/usr/lib/llvm-{llvm} cargo {}",
                toolchain::linker_arguments(*llvm).join(" ")
            )],
        }
    }

    /// The commands, ready to run; none where they need a root that we are not.
    fn runnable(&self) -> Option<Vec<Command>> {
        match &self.action {
            Action::Packages(packages) => {
                let root = Root::find()?;
                // Lists of a fresh image are old; packages they name may be gone.
                let mut update = root.apt();
                update.args(["-q", "update"]);
                let mut install = root.apt();
                install
                    .args(["-qy", "--no-install-recommends", "install"])
                    .args(packages);
                Some(vec![update, install])
            }
            Action::Linker { llvm } => {
                let mut install = process::cargo();
                install
                    .args(toolchain::linker_arguments(*llvm))
                    .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"))
                    .stdout(std::io::stderr());
                Some(vec![install])
            }
        }
    }
}

/// How to become root for apt.
#[derive(Clone, Copy)]
enum Root {
    Already,
    Sudo,
}

impl Root {
    fn find() -> Option<Self> {
        process::find("apt-get")?;
        if is_root() {
            return Some(Root::Already);
        }
        let sudo = Command::new("sudo").args(["-n", "true"]).output().ok()?;
        sudo.status.success().then_some(Root::Sudo)
    }

    fn apt(self) -> Command {
        let mut command = match self {
            Root::Already => Command::new("env"),
            Root::Sudo => Command::new("sudo"),
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        // Our stdout is for answers (a path, a guest's output).
        command.stdout(std::io::stderr());
        command
    }
}

/// Whether we run as root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// An environment variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_prints_the_commands_that_one_would_type() {
        let packages = Step {
            why: "",
            action: Action::Packages(vec!["kmod".to_owned(), "zstd".to_owned()]),
        };
        assert_eq!(
            packages.commands(),
            [
                "apt-get update",
                "apt-get install -y --no-install-recommends kmod zstd"
            ]
        );
    }

    #[test]
    fn the_linker_is_built_for_the_llvm_of_the_toolchain() {
        let linker = Step {
            why: "",
            action: Action::Linker { llvm: 22 },
        };
        assert_eq!(
            linker.commands(),
            [
                "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22"
            ]
        );
    }

    #[test]
    fn what_must_be_done_by_hand_comes_with_its_reason() {
        let steps = [Step {
            why: "the lab wants it",
            action: Action::Packages(vec!["kmod".to_owned()]),
        }];
        let message = by_hand(&steps).to_string();
        assert!(
            message.contains("  # the lab wants it\n  apt-get update\n"),
            "{message}"
        );
    }
}
