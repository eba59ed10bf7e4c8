//! What the command line asks for, done: a source, a trace, a sink, and an exit status.

#[cfg(feature = "agent")]
pub mod agent;
mod audit;
mod doctor;
mod export;
mod follow;
mod gate;
mod report;
mod scope;
mod stretch;
mod verify;
mod waiting;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    cli::{Cli, Command, PartArgs, PrintArgs, RecordArgs, TraceArgs, UntilArgs},
    errors::{self, exit},
    explain, files,
    finding::Verdict,
    privileges::{self, Remains},
    probes::Devices,
    provoke,
    signals::Signals,
    sinks::tui::{self, Show},
    source::{
        Source,
        live::{Live, Options},
        recording::{self, Plan, Run},
    },
    tee::Tee,
    trace::Trace,
    when::When,
};
use follow::{End, Follow, Until};
use waiting::Waiting;

/// Runs a command line; its exit status.
pub async fn run(cli: Cli) -> anyhow::Result<u8> {
    match cli.command.unwrap_or(Command::Live(cli.trace)) {
        Command::Live(trace) => live(&trace).await,
        Command::Stream { trace, print, until } => stream(&trace, print, until).await,
        Command::Record { output, trace, parts, until } => {
            record(&output, &trace, &parts, until).await
        }
        Command::Gate(args) => gate::run(args).await,
        #[cfg(feature = "agent")]
        Command::Agent(args) => agent::run(&args).await,
        Command::Replay { files, format: None, at, .. } => look(&files, at).await,
        Command::Replay { files, format: Some(format), events, filter, from, to, .. } => {
            replay(&files, PrintArgs { format, events, filter }, from, to).await
        }
        Command::Report { files, format, filter, output } => {
            report::run(&files, format, &filter.unwrap_or_default(), output.as_deref())
        }
        Command::Export { files, to, filter, output } => {
            export::run(&files, to, &filter.unwrap_or_default(), output.as_deref())
        }
        Command::Diff { files, json } => report::diff(&files, json),
        Command::Doctor => doctor::run(&mut io::stdout().lock()),
        Command::Explain { verdict } => {
            let text = verdict.map_or_else(explain::all, explain::verdict);
            write!(io::stdout().lock(), "{text}")?;
            Ok(exit::CLEAN)
        }
        Command::Audit(args) => audit::run(&args, &mut io::stdout().lock()),
        Command::Verify(args) if args.cost => {
            verify::cost::run(&args, &mut io::stdout().lock()).await
        }
        Command::Verify(args) => {
            // The workloads are children of ours; nothing else is traced.
            let children = UntilArgs { command: vec!["provoke".into()], ..UntilArgs::default() };
            let device_maps = Some(Devices::Iommu);
            let scope = RecordArgs { short_term: true, device_maps, ..RecordArgs::default() };
            // It gives nothing up: its workloads pin, fork and map as root does.
            let source = Source::Live(Box::new(watch(&scope, Some(&children))?));
            verify::run(&args, source, &mut io::stdout().lock()).await
        }
        Command::Provoke(args) => {
            provoke::run(&args, &mut io::stdout().lock())?;
            Ok(exit::CLEAN)
        }
    }
}

async fn live(args: &TraceArgs) -> anyhow::Result<u8> {
    if !io::stdout().is_terminal() {
        return Err(errors::no_terminal());
    }
    args.record.as_deref().map_or(Ok(()), can_record)?;
    let config = tui::Config::load()?;
    let mut remains = Remains { terminal: true, ..Remains::beside(args.record.as_deref()) };
    // A recording that is begun at a key, and a selection that is saved.
    remains.folders.push(".".into());
    let source = attach(&RecordArgs { stats: true, ..args.scope.clone() }, None, &remains)?;
    let signals = Signals::listen(true)?;
    let mut tee = tee(args)?;
    let mut trace = Trace::default();
    let show = Show { config, run: None, at: None, signals };
    tui::run(source, &mut trace, show, &mut tee).await?;
    tee.finish();
    tee.said().iter().for_each(|line| say(line));
    Ok(status(&trace))
}

async fn look(files: &[PathBuf], at: Option<When>) -> anyhow::Result<u8> {
    if !io::stdout().is_terminal() {
        return Err(errors::no_terminal_to_replay());
    }
    let config = tui::Config::load()?;
    let run = run_of(files)?;
    let source = Source::Recording(run.open()?);
    let mut trace = Trace::default();
    let show = Show { config, run: Some(run), at, signals: Signals::listen(true)? };
    tui::run(source, &mut trace, show, &mut Tee::default()).await?;
    Ok(status(&trace))
}

async fn stream(args: &TraceArgs, print: PrintArgs, until: UntilArgs) -> anyhow::Result<u8> {
    args.record.as_deref().map_or(Ok(()), can_record)?;
    let waiting = Waiting::of(&until.command)?;
    let remains = Remains::beside(args.record.as_deref());
    let source = attach(&args.scope, Some(&until), &remains)?;
    let signals = Signals::listen(false)?;
    let tee = tee(args)?;
    let out = &mut io::stdout().lock();
    let follow = Follow { print, tee, only_records: false, out };
    let until = Until::start(signals, waiting, until.duration)?.while_read();
    let End { trace, .. } = follow.run(source, until).await?;
    Ok(status(&trace))
}

/// The recording beside a run, if one is asked for.
fn tee(args: &TraceArgs) -> anyhow::Result<Tee> {
    let create = |path: &Path| Tee::create(path, Plan::default(), Verdict::Lost);
    Ok(args.record.as_deref().map(create).transpose()?.unwrap_or_default())
}

async fn record(
    path: &Path,
    args: &RecordArgs,
    parts: &PartArgs,
    until: UntilArgs,
) -> anyhow::Result<u8> {
    if parts.plan() == Plan::default() {
        can_record(path)?;
    }
    let waiting = Waiting::of(&until.command)?;
    let source = attach(args, Some(&until), &Remains::beside(Some(path)))?;
    let signals = Signals::listen(false)?;
    let tee = Tee::create(path, parts.plan(), parts.seal)?;
    // Standard output belongs to the command that is traced.
    let mut stderr = io::stderr().lock();
    let print = PrintArgs::default();
    let follow = Follow { print, tee, only_records: true, out: &mut stderr };
    let until = Until::start(signals, waiting, until.duration)?;
    let End { trace, recorded, .. } = follow.run(source, until).await?;
    let Some(bytes) = recorded else { return Ok(exit::FAILED) };
    let parts = if parts.plan() == Plan::default() { "" } else { ", in parts" };
    writeln!(stderr, "recorded {bytes} bytes to {}{parts}", path.display())?;
    Ok(status(&trace))
}

/// Refuses a recording that could not be made before the kernel is touched.
fn can_record(path: &Path) -> anyhow::Result<()> {
    files::can_create(path).map_err(|error| errors::recording_create(path, &error))
}

/// The one run that files are of.
fn run_of(files: &[PathBuf]) -> anyhow::Result<Run> {
    let mut runs = recording::runs(files)?;
    anyhow::ensure!(runs.len() == 1, errors::not_one_run(runs.len()));
    Ok(runs.remove(0))
}

async fn replay(
    files: &[PathBuf],
    print: PrintArgs,
    from: Option<When>,
    to: Option<When>,
) -> anyhow::Result<u8> {
    let mut recording = run_of(files)?.open()?;
    stretch::limit(&mut recording, from, to)?;
    let source = Source::Recording(recording);
    let out = &mut io::stdout().lock();
    let follow = Follow { print, tee: Tee::default(), only_records: false, out };
    let End { trace, .. } = follow.run(source, Until::end(Signals::listen(false)?)).await?;
    Ok(status(&trace))
}

/// A line to the user. Where standard error is gone, nobody is there to be told.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "cowtrace: {line}");
}

/// Attaches to the running kernel, and gives up what is not needed from there on.
fn attach(
    args: &RecordArgs,
    until: Option<&UntilArgs>,
    remains: &Remains,
) -> anyhow::Result<Source> {
    let live = watch(args, until)?;
    let remains = Remains { attaches: args.budget.is_some(), ..remains.clone() };
    if let Some(why) = privileges::confine(&remains, || live.can_read())?.calls {
        say(&format!("seccomp is refused, so all system calls are left to it: {why}"));
    }
    privileges::sees_itself()?;
    Ok(Source::Live(Box::new(live)))
}

/// Attaches to the running kernel. `until` is for the line-oriented commands, which leave stderr free for
/// what the programs log.
fn watch(args: &RecordArgs, until: Option<&UntilArgs>) -> anyhow::Result<Live> {
    if args.verbose && until.is_some() {
        env_logger::Builder::new().filter_level(log::LevelFilter::Debug).init();
    }
    privileges::check()?.iter().for_each(|cost| say(cost));
    let runs_command = until.is_some_and(|until| !until.command.is_empty());
    let options = Options {
        filter: scope::filter(args, runs_command)?,
        ring_bytes: args.buffer.0,
        spaces: args.spaces,
        kprobes: args.kprobes,
        short_term: args.short_term,
        devices: args.device_maps,
        stats: args.stats,
        budget: args.budget,
        verbose: args.verbose,
    };
    Live::start(&options)
}

/// The answer as an exit status. A finding is certain enough to say so even where something was missed;
/// "nothing" is not. References that are no pins are held apart.
fn status(trace: &Trace) -> u8 {
    let any =
        |wanted: fn(Verdict) -> bool| trace.findings.iter().any(|finding| wanted(finding.verdict));
    if any(|verdict| verdict > Verdict::SuspectGet) {
        exit::FINDINGS
    } else if any(|verdict| verdict == Verdict::Inconclusive) || !trace.unseen().is_empty() {
        exit::INCONCLUSIVE
    } else if any(|verdict| verdict == Verdict::SuspectGet) {
        exit::REFERENCES
    } else {
        exit::CLEAN
    }
}
