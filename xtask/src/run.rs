//! `cargo xtask run`: from a fresh checkout to a running cowtrace.
//!
//! On this kernel where cowtrace can attach, else in the lab on a kernel that
//! has the defect, with a workload beside it that provokes it.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    binary,
    kernels::{self, Flavour},
    lab::{self, options::Machine},
    process, setup,
};

const DEFAULT_KERNEL: &str = "5.10";
/// cowtrace's status where it has findings.
const FINDINGS: u8 = 1;

/// A break every three seconds, then cowtrace in the foreground.
const GUEST: &str =
    "cowtrace provoke io-uring/4k/mprotect --repeat 1000 --interval 3 >/tmp/provoke.json 2>&1 &
exec cowtrace \"$@\"";

/// Options of `cargo xtask run`.
#[derive(Args)]
pub struct Options {
    /// Start in the lab on this kernel, even where cowtrace could attach here
    #[arg(long, value_name = "K")]
    kernel: Option<String>,
    /// What cowtrace is told
    #[arg(last = true, value_name = "COWTRACE-ARGS")]
    arguments: Vec<OsString>,
}

/// Sets up, builds and starts cowtrace where it can run.
pub fn run(options: &Options) -> Result<u8> {
    setup::build_tools()?;
    let cowtrace = binary::build()?;
    let status = somewhere(options, &cowtrace, &arguments(&options.arguments))?;
    // Without arguments nothing was asked, and findings are what there is to see.
    let shown = options.arguments.is_empty() && status == FINDINGS;
    Ok(if shown { 0 } else { status })
}

fn somewhere(options: &Options, cowtrace: &Path, arguments: &[OsString]) -> Result<u8> {
    if let Some(kernel) = &options.kernel {
        return in_the_lab(kernel, cowtrace, arguments);
    }
    match here(cowtrace) {
        Ok(live) => start(live, arguments),
        Err(why) => {
            eprintln!("run: not here: {why}");
            in_the_lab(DEFAULT_KERNEL, cowtrace, arguments)
        }
    }
}

/// Without a terminal there is no TUI: findings as text, and an end to them.
fn arguments(given: &[OsString]) -> Vec<OsString> {
    if given.is_empty() && !is_interactive() {
        return ["stream", "--duration", "20s"].map(OsString::from).into();
    }
    given.to_vec()
}

fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The command that runs cowtrace live here, or why it cannot: `doctor` knows.
fn here(cowtrace: &Path) -> Result<Command, String> {
    let live = as_root(cowtrace).ok_or("cowtrace needs root")?;
    let said = again(&live).arg("doctor").stdin(Stdio::inherit()).output();
    let said = said.map_err(|error| format!("`cowtrace doctor` did not start: {error}"))?;
    if said.status.success() {
        return Ok(live);
    }
    Err(reason(&said.stdout, &said.stderr))
}

/// An error's first line says what failed; without one, doctor's rows end in the verdict.
fn reason(stdout: &[u8], stderr: &[u8]) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    let line = |line: &&str| !line.trim().is_empty();
    let said = stderr.lines().find(line).or_else(|| stdout.lines().rfind(line));
    let said = said.unwrap_or("`cowtrace doctor` fails and does not say why");
    said.trim().trim_start_matches("cowtrace: ").to_owned()
}

/// As root, or by sudo where someone is there to type the password.
fn as_root(cowtrace: &Path) -> Option<Command> {
    if setup::is_root() {
        return Some(Command::new(cowtrace));
    }
    if !is_interactive() || process::find("sudo").is_none() {
        return None;
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(cowtrace);
    Some(sudo)
}

fn again(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    copy
}

fn start(mut live: Command, arguments: &[OsString]) -> Result<u8> {
    let status = process::status(live.args(arguments))?;
    let code = status.code().with_context(|| format!("cowtrace was ended ({status})"))?;
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

fn in_the_lab(name: &str, cowtrace: &Path, arguments: &[OsString]) -> Result<u8> {
    setup::lab_tools()?;
    let [series] = kernels::select(&[name.to_owned()])?[..] else {
        bail!("cowtrace runs on one kernel at a time: --kernel takes one");
    };
    let kernel = kernels::ensure(series, Flavour::Cloud)?;
    eprintln!(
        "run: in the lab on kernel {} ({}), beside a workload that write-protects its pinned page and writes to it, every three seconds",
        kernel.release, series.stands_for
    );
    let script = ["sh", "-c", GUEST, "cowtrace"].map(OsString::from);
    let command: Vec<OsString> = script.into_iter().chain(arguments.iter().cloned()).collect();
    if is_interactive() {
        lab::on_this_terminal(&kernel, cowtrace, &Machine::default(), &command)
    } else {
        lab::in_pipes(&kernel, cowtrace, &Machine::default(), &command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_it_cannot_run_here_is_the_first_line_of_the_error() {
        let said =
            reason(b"", b"\ncowtrace: cannot trace: it needs root\nloading probes takes CAP_BPF\n");
        assert_eq!(said, "cannot trace: it needs root");
    }

    #[test]
    fn without_an_error_it_is_what_the_rows_come_to() {
        let said = reason(b"  MISSING  page pinned\n1 needed rows cannot be seen\n", b"");
        assert_eq!(said, "1 needed rows cannot be seen");
    }
}
