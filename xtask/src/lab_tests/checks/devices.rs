//! Which device maps what was lost: a real one, which the workload saw write to the old page.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{FINDINGS, breaks, everything_was_seen};
use crate::lab_tests::case::Run;

/// What moved is told with the device that maps the old page, where it finds it and until when; what did not move is
/// not told at all.
pub(in crate::lab_tests) fn names_the_device(run: &Run) -> Result<()> {
    let pages = run.json_of_type("provoke")?;
    let (moved, stayed): (Vec<_>, Vec<_>) = pages.iter().partition(|page| page["moved"] == true);
    ensure!(!moved.is_empty() && !stayed.is_empty(), "{} of {} moved", moved.len(), pages.len());
    ensure!(stayed.iter().all(|page| page["data"] == "sync"), "the device's data went elsewhere");
    let findings = breaks(run)?;
    ensure!(findings.len() == moved.len(), "{} findings", findings.len());
    for page in moved {
        ensure!(page["data"] == "lost", "a page moved and the device's bytes arrived: {page}");
        let finding = findings.iter().find(|finding| finding["address"] == page["address"]);
        let finding = finding.with_context(|| format!("no finding for {page}"))?;
        ensure!(finding["old_pfn"] == page["pfn_before"], "another page: {finding}");
        maps(finding, page, "live")?;
        ends(run, finding, page)?;
    }
    everything_was_seen(run)?;
    run.expect_status(FINDINGS)
}

/// In the end the page is known to be lost, both frames are those that were measured, and the mapping went before the
/// pin.
fn ends(run: &Run, finding: &Value, page: &Value) -> Result<()> {
    let mut updates = run.json_of_type("update")?;
    updates.retain(|update| update["id"] == finding["id"]);
    let last = updates.last().context("nothing was told after it was found")?;
    ensure!(last["verdict"] == "lost" && !last["cause"].is_null(), "in the end {last}");
    let (pinned, unpinned) = (last["holder"]["stack"].to_string(), last["unpin_stack"].to_string());
    for stack in [pinned, unpinned] {
        ensure!(stack.contains("[vfio_iommu_type1]"), "pinned or unpinned through {stack}");
    }
    let owner = &last["holder"]["owner"];
    ensure!(owner["kind"] == "vfio" && owner["found"] == "sure", "it belongs to {owner}");
    ensure!(last["new_pfn"] == page["pfn_after"], "the process has {}", last["new_pfn"]);
    let device = maps(last, page, "ended")?;
    let [mapped, unmapped] = ["mapped_at", "unmapped_at"].map(|key| device[key].as_u64());
    let [broken, unpinned] = ["broken_at", "unpinned_at"].map(|key| last[key].as_u64());
    ensure!(mapped < broken && broken < unmapped && unmapped < unpinned, "other times: {last}");
    Ok(())
}

/// One device maps the old page, where the workload had it map it.
fn maps(finding: &Value, page: &Value, state: &str) -> Result<Value> {
    ensure!(finding["devices_lost"] == 0, "records of mappings were lost: {finding}");
    let devices = finding["devices"].as_array().context("mappings are not watched")?;
    ensure!(devices.len() == 1, "{} devices map it: {finding}", devices.len());
    let device = &devices[0];
    ensure!(device["device"].as_str().is_some_and(|name| name.starts_with("0000:")), "{device}");
    ensure!((&device["iova"], &device["state"]) == (&page["iova"], &state.into()), "{device}");
    Ok(device.clone())
}
