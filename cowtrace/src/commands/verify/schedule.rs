//! `cowtrace verify --random`: a random schedule under our own tracing, the findings held against its books.

use std::{collections::BTreeMap, io::Write, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, timeout_at},
};

use super::{finish, take};
use crate::{
    errors::exit,
    facts::key,
    finding::{Finding, Verdict},
    sinks::count,
    source::{Source, live},
    trace::Trace,
};

/// How long a schedule may take behind its own length: to end its last buffers, and to print its books.
const GRACE: Duration = Duration::from_mins(2);
/// Pages told that do not agree; the rest is counted.
const SHOWN: usize = 20;

/// A line of the books.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line {
    SchedulePage(Page),
    ScheduleEnd { buffers: u64, pinned: u64 },
}

/// A page that was pinned.
#[derive(Clone, Debug, Deserialize)]
struct Page {
    address: u64,
    pfn_before: u64,
    lost: bool,
}

/// What came of holding findings against books.
#[derive(Debug, Default, PartialEq, Eq)]
struct Agreement {
    /// Pages lost and found.
    found: u64,
    /// Pages kept and not flagged.
    kept: u64,
    /// Addresses lost and not found.
    missed: Vec<u64>,
    /// Addresses kept and flagged.
    flagged: Vec<u64>,
}

/// Runs the schedule of a seed, and prints what came of it.
pub async fn run(
    seed: u64,
    length: Duration,
    mut source: Source,
    out: &mut dyn Write,
    as_json: bool,
) -> anyhow::Result<u8> {
    let mut trace = Trace::default();
    let (mut child, pages, buffers, pinned) = books(seed, length, &mut source, &mut trace).await?;
    take(&source.drain(), &mut trace);
    let ledger = trace.ledger.live_pages();
    let before = trace.facts.number(key::VMSTAT_START);
    let kernel = live::pins_by_vmstat().zip(before).map(|(now, before)| now - before);
    drop(child.stdin.take());
    child.wait().await.context("cannot wait for the schedule")?;
    let missed = finish(&mut source, &mut trace).await?;
    let agreement = agreement(&pages, &trace.findings);
    // 5.10 and later count; where nothing counts, the workload's own books stand alone.
    let balanced = ledger == pinned && kernel.is_none_or(|kernel| kernel == pinned.cast_signed());
    let good = agreement.missed.is_empty() && agreement.flagged.is_empty() && balanced;
    let Agreement { found, kept, missed: lost, flagged } = &agreement;
    if as_json {
        let line = json!({
            "type": "schedule", "seed": seed, "good": good, "buffers": buffers, "pages": pages.len(),
            "found": found, "kept": kept, "missed": lost, "false": flagged, "ledger": ledger,
            "kernel": kernel, "pinned": pinned, "unseen": missed,
        });
        writeln!(out, "{line}")?;
    } else {
        for (what, addresses) in [("missed", lost), ("false", flagged)] {
            for address in addresses.iter().take(SHOWN) {
                writeln!(out, "{what:<8} page {address:#x}{}", told(*address, &trace.findings))?;
            }
        }
        writeln!(
            out,
            "seed {seed}: {} and {}: {found} lost and found, {kept} kept and not flagged, {} missed, {} false",
            count(buffers, "buffer"),
            count(pages.len() as u64, "page"),
            lost.len(),
            flagged.len()
        )?;
        let kernel = kernel.map_or("no count".to_owned(), |kernel| kernel.to_string());
        writeln!(
            out,
            "pinned at the end: {pinned} by its books, {ledger} by the ledger, {kernel} by the kernel"
        )?;
        missed.iter().try_for_each(|spot| writeln!(out, "not seen: {spot}"))?;
    }
    Ok(match (good, missed.is_empty()) {
        (false, _) => exit::FINDINGS,
        (true, false) => exit::INCONCLUSIVE,
        (true, true) => exit::CLEAN,
    })
}

/// Runs the workload up to the end of its books, while its records are taken in. It then waits.
async fn books(
    seed: u64,
    length: Duration,
    source: &mut Source,
    trace: &mut Trace,
) -> anyhow::Result<(Child, Vec<Page>, u64, u64)> {
    let mut command = Command::new("/proc/self/exe");
    let seconds = length.as_secs_f64().to_string();
    command.args(["provoke", "--schedule", &seed.to_string(), "--length", &seconds]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot run cowtrace provoke")?;
    let stdout = child.stdout.take().context("the schedule has no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut pages = Vec::new();
    let limit = Instant::now() + length + GRACE;
    loop {
        let line = tokio::select! {
            line = timeout_at(limit, lines.next_line()) => line,
            batch = source.batch() => {
                take(&batch?.context("the source ended")?, trace);
                continue;
            }
        };
        let line = line.with_context(|| format!("the schedule of seed {seed} did not end"))??;
        let line = line.with_context(|| format!("the schedule of seed {seed} failed"))?;
        match serde_json::from_str(&line)? {
            Line::SchedulePage(page) => pages.push(page),
            Line::ScheduleEnd { buffers, pinned } => {
                ensure!(!pages.is_empty(), "the schedule of seed {seed} pinned nothing");
                return Ok((child, pages, buffers, pinned));
            }
        }
    }
}

/// What was found at an address, if anything.
fn told(address: u64, findings: &[Finding]) -> String {
    let about = findings.iter().filter(|f| (f.address..f.end()).contains(&address));
    let found: Vec<_> =
        about.map(|f| format!("; found {} ({})", f.verdict, f.how.name())).collect();
    found.concat()
}

/// Which pages agree. An address stands for one page, and each finding about it has to be about that.
fn agreement(pages: &[Page], findings: &[Finding]) -> Agreement {
    let told = findings.iter().filter(|finding| finding.verdict > Verdict::Armed);
    let mut by_address: BTreeMap<u64, Vec<&Finding>> = BTreeMap::new();
    for finding in told {
        let addresses = (0..finding.pages).map(|page| finding.address + (page << 12));
        addresses.for_each(|address| by_address.entry(address).or_default().push(finding));
    }
    let mut agreement = Agreement::default();
    for page in pages {
        let about = by_address.get(&page.address).map_or(&[][..], Vec::as_slice);
        let right = |finding: &&Finding| {
            finding.address != page.address || finding.old_pfn == page.pfn_before
        };
        match (page.lost, about.iter().any(right)) {
            (true, true) => agreement.found += 1,
            (false, false) if about.is_empty() => agreement.kept += 1,
            (true, false) => agreement.missed.push(page.address),
            (false, _) => agreement.flagged.push(page.address),
        }
    }
    agreement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::How;

    fn page(address: u64, pfn_before: u64, pfn_after: u64) -> Page {
        Page { address, pfn_before, lost: pfn_before != pfn_after }
    }

    fn finding(address: u64, pages: u64, old_pfn: u64, verdict: Verdict) -> Finding {
        Finding { address, pages, old_pfn, ..Finding::new(verdict, How::Zapped) }
    }

    #[test]
    fn each_lost_page_wants_a_finding_and_each_kept_one_none() {
        let pages =
            [page(0x1000, 1, 9), page(0x2000, 2, 0), page(0x3000, 3, 3), page(0x4000, 4, 8)];
        let findings = [finding(0x1000, 2, 1, Verdict::RangeInvalidated)];
        let came = agreement(&pages, &findings);
        assert_eq!(
            (came.found, came.kept, came.missed, came.flagged),
            (2, 1, vec![0x4000], vec![])
        );
    }

    #[test]
    fn a_finding_of_a_kept_page_is_false_and_one_of_another_page_is_none() {
        let wrong = [finding(0x1000, 1, 7, Verdict::Diverged)];
        assert_eq!(agreement(&[page(0x1000, 1, 1)], &wrong).flagged, [0x1000]);
        assert_eq!(agreement(&[page(0x1000, 1, 9)], &wrong).missed, [0x1000]);
    }

    #[test]
    fn a_prediction_and_a_suspect_by_references_are_no_loss() {
        let said =
            [finding(0x1000, 1, 1, Verdict::Armed), finding(0x1000, 1, 1, Verdict::SuspectGet)];
        assert_eq!(agreement(&[page(0x1000, 1, 1)], &said).kept, 1);
    }
}
