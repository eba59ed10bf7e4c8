//! RDMA: real clients, and memory regions that lose their pages, against the kernel's own list of regions.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{CLEAN, FINDINGS, everything_was_seen, ledger_is_the_kernels, summary};
use crate::lab_tests::case::Run;

const PAGE: u64 = 4096;

/// Each client came to its end, nothing was found, and what is pinned in the end is what the kernel counts and what its
/// one region is long.
pub(in crate::lab_tests) fn clients_are_clean(run: &Run) -> Result<()> {
    run.expect_status(CLEAN)?;
    let clients = run.json_of_type("client")?;
    ensure!(clients.len() == 6, "{} clients ended", clients.len());
    for client in &clients {
        ensure!(client["status"] == 0, "a client failed: {client}");
    }
    ensure!(run.json_of_type("finding")?.is_empty(), "there are findings");
    let region = only(run.json_of_type("region")?, "regions")?;
    ensure!(region["comm"] == "ibv_rc_pingpong", "of another process: {region}");
    let bytes = region["mrlen"].as_u64().context("a region without a length")?;
    // Four pairs of clients, each with a region.
    ensure!(summary(run)?["pins"].as_u64() >= Some(7), "some pinned nothing");
    ledger_is_the_kernels(run, bytes.div_ceil(PAGE).cast_signed())?;
    everything_was_seen(run)
}

/// One region of two lost its pages, and with them what was written to them.
pub(in crate::lab_tests) fn names_the_region_that_lost_its_pages(run: &Run) -> Result<()> {
    let pages = run.json_of_type("provoke")?;
    let first = pages.first().context("the workload said nothing")?;
    for page in &pages {
        ensure!(page["moved"] == true && page["data"] == "lost", "not lost: {page}");
    }
    one_finding_of_one_region(run, first)
}

/// The same of a client's, whose file was cut.
pub(in crate::lab_tests) fn names_the_region_whose_file_was_cut(run: &Run) -> Result<()> {
    let cut = only(run.json_of_type("cut")?, "files cut")?;
    for finding in run.json_of_type("finding")? {
        ensure!(finding["cause"]["kind"] == "truncate", "cause: {}", finding["cause"]);
        ensure!(finding["vma_name"] == "/dev/shm/buffer", "of another mapping: {finding}");
    }
    one_finding_of_one_region(run, &cut)
}

/// Of two regions, that of a process with this id, at this address: all of it, nothing else, and by its number.
fn one_finding_of_one_region(run: &Run, lost: &Value) -> Result<()> {
    let regions = run.json_of_type("region")?;
    ensure!(regions.len() == 2, "{} regions", regions.len());
    let region = regions.iter().find(|region| region["pid"] == lost["pid"]);
    let region = region.context("the kernel lists no region of the process")?;
    let finding = only(run.json_of_type("finding")?, "findings")?;
    for told in std::iter::once(&finding).chain(&run.json_of_type("update")?) {
        ensure!(told["holder"]["tgid"] == region["pid"], "of another process: {told}");
        ensure!(told["address"] == lost["address"], "another address: {told}");
        let bytes = told["pages"].as_u64().map(|pages| pages * PAGE);
        ensure!(bytes == region["mrlen"].as_u64(), "of other pages: {told}");
        is_owner(&told["holder"]["owner"], region)?;
    }
    everything_was_seen(run)?;
    run.expect_status(FINDINGS)
}

/// The owner that is named is this region.
fn is_owner(owner: &Value, region: &Value) -> Result<()> {
    let name = owner["name"].as_str().context("no owner is named")?;
    let device = region["ifname"].as_str().unwrap_or_default();
    let wanted = format!("memory region {} of {device} ({} bytes", region["mrn"], region["mrlen"]);
    ensure!(name.starts_with(&wanted), "owner {name:?} is not {wanted:?}");
    Ok(())
}

fn only(mut lines: Vec<Value>, what: &str) -> Result<Value> {
    ensure!(lines.len() == 1, "{} {what}", lines.len());
    lines.pop().context("none")
}

/// What RDMA writes and AF_XDP sends arrives exactly where no page moved; then all cases.
pub(in crate::lab_tests) fn verify_agrees_with_the_network(run: &Run) -> Result<()> {
    let pages = run.json_of_type("provoke")?;
    ensure!(pages.len() == 6, "{} pages measured", pages.len());
    for page in &pages {
        let wanted = if page["moved"] == true { "lost" } else { "sync" };
        ensure!(page["data"] == wanted, "{wanted} was due: {page}");
        // The defect of 5.9 to 5.18.
        ensure!(page["moved"] == (run.kernel == "5.10"), "{page}");
    }
    super::agrees(run, 30)
}
