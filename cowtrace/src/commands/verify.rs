//! `cowtrace verify`: the workloads of `cowtrace provoke` under our own tracing, each verdict held against
//! what the workload measured itself.
//!
//! Promise: a case that cannot run here is skipped with its reason and counts as nothing else.
//!
//! Surprise: findings are compared when the workload has ended and the ring is empty; what a kernel thread
//! unpins later only adds to a finding that is there.

pub mod cost;
mod judge;
mod report;
mod schedule;

use std::{io::Write, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use glob::Pattern;
use tokio::{process::Command, time::timeout};

use crate::{
    cli::VerifyArgs,
    decode::Records,
    errors::exit,
    provoke::{Case, Event, Writer},
    source::Source,
    sys,
    trace::Trace,
};
use judge::Page;
use report::Report;

/// Longer than any case takes; single ones were seen to take half a minute under emulation.
const LIMIT: Duration = Duration::from_mins(2);

/// Runs the cases and prints what came of them.
pub async fn run(args: &VerifyArgs, mut source: Source, out: &mut dyn Write) -> anyhow::Result<u8> {
    if let Some(seed) = args.random {
        let seed = seed.unwrap_or_else(sys::realtime_ns);
        return schedule::run(seed, args.length, source, out, args.json).await;
    }
    let cases = selected(args)?;
    let mut trace = Trace::default();
    let mut report = Report::default();
    for case in cases {
        let before = trace.findings.len();
        let said = provoke(case, args, &mut source, &mut trace).await?;
        match said {
            Said::Skipped(why) => report.skip(why),
            Said::Failed(why) => report.fail(out, case, &why, args.json)?,
            Said::Measured(pages) => {
                let findings = &trace.findings[before..];
                let judged: Vec<_> =
                    pages.iter().map(|page| judge::page(case, page, findings)).collect();
                report.add(out, case, &judged, findings, args.json)?;
            }
        }
    }
    let missed = finish(&mut source, &mut trace).await?;
    report.end(out, &trace, &missed, args.json)?;
    Ok(status(&report, &missed))
}

fn status(report: &Report, missed: &[String]) -> u8 {
    if !report.is_good() {
        exit::FINDINGS
    } else if missed.is_empty() {
        exit::CLEAN
    } else {
        exit::INCONCLUSIVE
    }
}

/// The cases asked for, in the tables' order.
fn selected(args: &VerifyArgs) -> anyhow::Result<Vec<Case>> {
    let patterns: Vec<Pattern> = args
        .case
        .iter()
        .map(|text| Pattern::new(text).with_context(|| format!("--case {text}")))
        .collect::<Result<_, _>>()?;
    let wanted = |case: &Case| {
        let name = case.to_string();
        let named = patterns.iter().any(|pattern| pattern.matches(&name));
        named || patterns.is_empty()
    };
    let cases: Vec<Case> = Case::all().filter(wanted).collect();
    ensure!(!cases.is_empty(), "no case is named so; `cowtrace provoke --list` has all");
    Ok(cases)
}

/// What a workload said.
enum Said {
    Measured(Vec<Page>),
    Skipped(String),
    Failed(String),
}

/// Runs one workload while its records are taken in.
async fn provoke(
    case: Case,
    args: &VerifyArgs,
    source: &mut Source,
    trace: &mut Trace,
) -> anyhow::Result<Said> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["provoke", &case.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    if let Some(disk) = &args.slow_disk {
        command.arg("--slow-disk").arg(disk);
    }
    if args.writer == Writer::Thread {
        command.args(["--writer", "thread"]);
    }
    if let Some(address) = &args.vfio {
        command.args(["--vfio", address]);
    }
    if let Some(device) = &args.xdp {
        command.args(["--xdp", device]);
    }
    if let Some(device) = &args.rdma {
        command.args(["--rdma", device]);
    }
    if case.event == Event::HolderExits {
        // A pin whose holder has ended is nobody's only when it had the time to go.
        command.args(["--hold", "1.5"]);
    }
    let output = timeout(LIMIT, command.output());
    let mut output = std::pin::pin!(output);
    let output = loop {
        tokio::select! {
            biased;
            output = &mut output => break output,
            batch = source.batch() => {
                take(&batch?.context("the source ended")?, trace);
            }
        }
    };
    take(&source.drain(), trace);
    let Ok(output) = output else {
        return Ok(Said::Failed(format!("did not end within {} s", LIMIT.as_secs())));
    };
    let output = output.context("cannot run cowtrace provoke")?;
    said(&output)
}

fn said(output: &std::process::Output) -> anyhow::Result<Said> {
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Ok(Said::Failed(format!("{}: {why}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut pages = Vec::new();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        if value["type"] == "provoke-skipped" {
            return Ok(Said::Skipped(value["why"].as_str().unwrap_or("no reason").to_owned()));
        }
        pages.push(serde_json::from_value(value)?);
    }
    Ok(Said::Measured(pages))
}

fn take(batch: &[u8], trace: &mut Trace) {
    for event in Records::new(batch) {
        trace.take(event);
    }
}

/// Takes the probes off and what is left in; what was missed on the way.
async fn finish(source: &mut Source, trace: &mut Trace) -> anyhow::Result<Vec<String>> {
    source.stop();
    while let Some(batch) = source.batch().await? {
        take(&batch, trace);
    }
    Ok(trace.unseen())
}
