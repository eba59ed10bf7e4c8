//! One thing to install: why, and the command that does it.

use std::{
    fmt::{self, Display},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
};

use crate::process;

const INSTALL: [&str; 3] = ["install", "-y", "--no-install-recommends"];

/// What `cargo` is told in order to build bpf-linker. Its default feature is one
/// LLVM, and not the one that Debian 12 has.
const LINKER: [&str; 7] = [
    "install",
    "bpf-linker",
    "--version",
    "0.13.0",
    "--locked",
    "--no-default-features",
    "--features",
];

/// Something to install, with the reason that the user gets to read.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The reason.
    pub why: &'static str,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Install Debian packages.
    Packages(Vec<String>),
    /// Install Debian's package of what links against an LLVM.
    Library(Llvm),
    /// Build bpf-linker, with the LLVM of the toolchain that makes its input.
    Linker(Llvm),
}

/// The major version of a toolchain's LLVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Llvm {
    /// The toolchain is here and has said it.
    Known(u32),
    /// The toolchain is a step that comes before: its rustc will say it then.
    OfDebiansRustc,
}

impl Llvm {
    /// Whether bpf-linker can be built with it.
    pub fn is_installed(self) -> bool {
        Path::new(&format!("/usr/lib/llvm-{self}/bin/llvm-config")).is_file()
    }

    /// What a shell must do before it knows the version.
    fn asked(self) -> &'static str {
        match self {
            Llvm::Known(_) => "",
            Llvm::OfDebiansRustc => {
                r"llvm=$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p') && "
            }
        }
    }
}

/// A word for a shell.
impl Display for Llvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Llvm::Known(version) => version.fmt(f),
            Llvm::OfDebiansRustc => f.write_str("$llvm"),
        }
    }
}

/// All that the step runs.
impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.needs_root() {
            f.write_str("apt-get update && ")?;
        }
        f.write_str(&self.command())
    }
}

impl Step {
    /// Whether only root can take it.
    pub fn needs_root(&self) -> bool {
        !matches!(self.action, Action::Linker(_))
    }

    /// The command that one would type, after an `apt-get update` where it is apt's.
    pub fn command(&self) -> String {
        match &self.action {
            Action::Packages(packages) => {
                format!("apt-get {} {}", INSTALL.join(" "), packages.join(" "))
            }
            Action::Library(llvm) => {
                format!("{}apt-get {} llvm-{llvm}-dev", llvm.asked(), INSTALL.join(" "))
            }
            Action::Linker(llvm) => format!(
                "{}LLVM_PREFIX=/usr/lib/llvm-{llvm} cargo {} llvm-{llvm}",
                llvm.asked(),
                LINKER.join(" ")
            ),
        }
    }

    /// The commands, ready to run; none where they need a root that we are not.
    pub fn runnable(&self) -> Option<Vec<Command>> {
        match &self.action {
            Action::Packages(packages) => apt(packages),
            Action::Library(llvm) => apt(&[format!("llvm-{llvm}-dev")]),
            Action::Linker(llvm) => {
                let mut install = process::cargo();
                install
                    .args(LINKER)
                    .arg(format!("llvm-{llvm}"))
                    .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"))
                    .stdout(std::io::stderr());
                Some(vec![install])
            }
        }
    }
}

fn apt(packages: &[String]) -> Option<Vec<Command>> {
    let root = Root::find()?;
    // Lists of a fresh image are old; packages they name may be gone.
    let mut update = root.apt();
    update.args(["-q", "update"]);
    let mut install = root.apt();
    install.arg("-q").args(INSTALL).args(packages);
    Some(vec![update, install])
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
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(action: Action, expected: &str) {
        assert_eq!(Step { why: "", action }.to_string(), expected);
    }

    #[test]
    fn packages_come_from_fresh_lists() {
        check(
            Action::Packages(vec!["kmod".to_owned(), "zstd".to_owned()]),
            "apt-get update && apt-get install -y --no-install-recommends kmod zstd",
        );
    }

    #[test]
    fn the_linker_is_built_for_the_llvm_of_the_toolchain() {
        check(
            Action::Linker(Llvm::Known(22)),
            "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22",
        );
    }

    #[test]
    fn an_llvm_that_is_not_known_yet_is_asked_for_by_the_shell() {
        let step = Step { why: "", action: Action::Library(Llvm::OfDebiansRustc) };
        let typed = step.command().replace("apt-get", "echo");
        let script = format!("rustc() {{ echo 'LLVM version: 22.1.8'; }}; {typed}");
        let script = script.replace("/usr/bin/rustc", "rustc");
        let said = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&said.stdout),
            "install -y --no-install-recommends llvm-22-dev\n"
        );
    }
}
