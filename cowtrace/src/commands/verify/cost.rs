//! `cowtrace verify --cost`: what tracing costs on this machine.
//!
//! Promise: the same loads run with nothing attached and with cowtrace attached, in turns, in one run; where both lie
//! within what the machine itself varies by, nothing is concluded. Surprise: the programs' own time is measured in a
//! turn of its own, since measuring it costs something for each of their runs.

mod table;

use std::{io::Write, path::Path, process::Stdio};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::process::Command;

use self::table::{Operation, Table};
use super::take;
use crate::{
    cli::{RecordArgs, VerifyArgs},
    commands::watch,
    errors::exit,
    facts::key,
    source::Source,
    sys,
    trace::Trace,
};

/// Turns of each kind.
const TURNS: usize = 3;
/// What one load does in a pass.
const PAGES: &str = "2000";

/// The loads, by the name that `cowtrace provoke --load` has for them, and what one operation of each is.
const LOADS: [(&str, &str); 5] = [
    ("cow", "COW break, no pins in the process"),
    ("cow-pinned", "COW break beside a registered buffer"),
    ("register", "page registered and unregistered"),
    ("read", "O_DIRECT read of 4 KiB"),
    ("touch", "first store to a page"),
];

/// Runs the loads in turns and prints the table.
pub async fn run(args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut operations = LOADS.map(|(load, what)| Operation::new(load, what));
    // Whatever cannot be attached to is said before anything is measured.
    let mut source = attach(&RecordArgs::default())?;
    for turn in 0..TURNS {
        if turn > 0 {
            source = attach(&RecordArgs::default())?;
        }
        let mut trace = Trace::default();
        for operation in &mut operations {
            operation.traced(&load(operation.load, args, Some((&mut source, &mut trace))).await?);
        }
        finish(&mut source, &mut trace).await?;
        for operation in &mut operations {
            operation.alone(&load(operation.load, args, None).await?);
        }
    }
    let trace = measured(args).await?;
    let table = Table {
        kernel: trace.facts.text(key::KERNEL).unwrap_or("unknown").to_owned(),
        turns: TURNS,
        operations: operations.into(),
        programs: trace.costs.into_iter().collect(),
    };
    if args.json {
        table.json(out)?;
    } else {
        table.text(out)?;
    }
    Ok(exit::CLEAN)
}

/// A turn in which the kernel measures the programs.
async fn measured(args: &VerifyArgs) -> anyhow::Result<Trace> {
    let scope = RecordArgs { stats: true, ..RecordArgs::default() };
    let (mut source, mut trace) = (attach(&scope)?, Trace::default());
    for (name, _) in LOADS {
        load(name, args, Some((&mut source, &mut trace))).await?;
    }
    finish(&mut source, &mut trace).await?;
    Ok(trace)
}

/// Like the rest of `verify` it gives nothing up: its loads pin as root does.
fn attach(scope: &RecordArgs) -> anyhow::Result<Source> {
    Ok(Source::Live(Box::new(watch(scope, None)?)))
}

/// What a load took.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Took {
    /// By pass.
    Passes(Passes),
    /// It cannot run here.
    Skipped(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Passes {
    operations: u64,
    nanos: Vec<u64>,
    /// What this process took meanwhile.
    #[serde(skip)]
    own: u64,
}

/// Runs a load, while the records that it brings about are taken in.
async fn load(
    name: &str,
    args: &VerifyArgs,
    traced: Option<(&mut Source, &mut Trace)>,
) -> anyhow::Result<Took> {
    let disk = match &args.disk {
        Some(disk) => disk.clone(),
        None => std::env::current_exe().context("where is cowtrace?")?,
    };
    if name == "read" && is_in_memory(&disk) {
        let disk = disk.display();
        let why =
            format!("{disk} is in memory, and reading it pins nothing; name another with --disk");
        return Ok(Took::Skipped(why));
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(["provoke", "--load", name, "--pages", PAGES]);
    command.arg("--slow-disk").arg(disk);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let before = sys::cpu_ns();
    let output = match traced {
        None => command.output().await,
        Some((source, trace)) => {
            let mut output = std::pin::pin!(command.output());
            let output = loop {
                tokio::select! {
                    biased;
                    output = &mut output => break output,
                    batch = source.batch() => take(&batch?.context("the source ended")?, trace),
                }
            };
            take(&source.drain(), trace);
            output
        }
    };
    let output = output.context("cannot run cowtrace provoke")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Ok(Took::Skipped(why.lines().next().unwrap_or("no reason").to_owned()));
    }
    let mut passes: Passes = serde_json::from_slice(&output.stdout)?;
    passes.own = sys::cpu_ns() - before;
    Ok(Took::Passes(passes))
}

/// Whether a file has no disk below it: from 6.6 on tmpfs takes O_DIRECT, and copies.
fn is_in_memory(file: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    // Where a disk's own node lies says nothing.
    file.is_file()
        && rustix::fs::statfs(file).is_ok_and(|system| matches!(system.f_type, TMPFS | RAMFS))
}

/// Takes the probes off.
async fn finish(source: &mut Source, trace: &mut Trace) -> anyhow::Result<()> {
    source.stop();
    while let Some(batch) = source.batch().await? {
        take(&batch, trace);
    }
    Ok(())
}
