//! What must not be told.

use anyhow::{Context as _, Result, ensure};

use super::{super::case::Run, CLEAN, everything_was_seen, summary};

pub(in super::super) fn finds_nothing(run: &Run) -> Result<()> {
    ensure!(!run.json_of_type("provoke")?.is_empty(), "the workload said nothing");
    ensure!(run.json_of_type("finding")?.is_empty(), "there are findings");
    everything_was_seen(run)?;
    ensure!(summary(run)?["clean"] == true, "not called clean");
    run.expect_status(CLEAN)
}

/// Of the 12,000 stores to fresh pages, none was where a pinned page had been.
pub(in super::super) fn tells_few_page_faults(run: &Run) -> Result<()> {
    ensure!(run.json_of_type("load")?.len() == 2, "the loads said nothing");
    let summary = summary(run)?;
    let programs = summary["programs"].as_array().context("no programs")?;
    let refaults = programs
        .iter()
        .filter(|program| program["name"].as_str().is_some_and(|name| name.starts_with("refault")));
    let told: u64 = refaults.filter_map(|program| program["hits"].as_u64()).sum();
    // Those of the process itself may be beside it.
    ensure!(told < 600, "{told} page faults were told");
    run.expect_status(CLEAN)
}
