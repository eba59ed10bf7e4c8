//! Running other programs, with errors that name the command and what it said.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    sync::LazyLock,
};

use anyhow::{Context as _, Result, bail};

/// Runs a command whose output is for the user, and fails unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a command whose output is for the user; its status is the answer.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("cannot start `{}`", shown(command)))
}

/// Runs a command quietly and gives its stdout; on failure its stderr is the error.
pub fn stdout(command: &mut Command) -> Result<Vec<u8>> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        bail!("`{}` failed ({status}): {}", shown(command), said.trim());
    }
    Ok(stdout)
}

/// Like [`stdout`], for tools that print text.
pub fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&stdout(command)?).trim().to_owned())
}

/// The command as one would type it, for messages.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where a program is: in PATH, in cargo's bin directory, or in the directories
/// that Debian keeps out of a plain user's PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(cargo_home().map(|home| home.join("bin")))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

/// The cargo that started us, so that nested builds use the same toolchain.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// This package's directory, as cargo tells it to what it runs: the checkout may have been moved since this was compiled.
pub fn here() -> &'static Path {
    static HERE: LazyLock<PathBuf> = LazyLock::new(|| {
        let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        told.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
    });
    &HERE
}

/// The workspace's root directory.
pub fn workspace() -> &'static Path {
    here().parent().unwrap_or(Path::new("."))
}
