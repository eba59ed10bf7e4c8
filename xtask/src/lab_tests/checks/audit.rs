//! `cowtrace audit`, and what a trace says of pins that it only counts.

use anyhow::{Context as _, Result, ensure};

use super::{CLEAN, FINDINGS, everything_was_seen, summary};
use crate::lab_tests::case::Run;

/// First all three pages are pinned where they are mapped; then the process has others, and no pin of them.
pub(in crate::lab_tests) fn sees_the_buffer_lose_its_pages(run: &Run) -> Result<()> {
    run.expect_status(FINDINGS)?;
    let processes = run.json_of_type("process")?;
    let [before, after] = processes.as_slice() else {
        anyhow::bail!("{} audits of one process", processes.len());
    };
    let pages = |process: &serde_json::Value, what: &str| {
        let number = process["buffers"][0]["pages"][what].as_u64();
        number.with_context(|| format!("no {what} pages of the buffer"))
    };
    ensure!(pages(before, "pinned")? == 3 && before["lost"] == 0, "before the event: {before}");
    let lost = pages(after, "not_pinned")?;
    ensure!(lost > 0 && after["lost"] == lost, "after the event: {after}");
    ensure!(pages(after, "pinned")? == 0, "pins where they were given up: {after}");
    ensure!(lost + pages(after, "unmapped")? == 3, "not three pages: {after}");
    Ok(())
}

/// A short-term pin is no record, but its holder is named where the page is lost, and nothing of it stays.
pub(in crate::lab_tests) fn names_who_holds_for_a_moment(run: &Run) -> Result<()> {
    let page = run.json_of_type("provoke")?.pop().context("the workload said nothing")?;
    let findings = run.json_of_type("finding")?;
    let summary = summary(run)?;
    ensure!(
        summary["pins"] == 0 && summary["short_term_pinned"] == 1,
        "not only counted: {summary}"
    );
    ensure!(summary["pages_live"] == 0, "{} pages stay pinned", summary["pages_live"]);
    everything_was_seen(run)?;
    if page["moved"] == false {
        ensure!(summary["short_term_unpinned"] == 1, "not unpinned: {summary}");
        ensure!(findings.is_empty(), "found though no page moved");
        return run.expect_status(CLEAN);
    }
    let [finding] = findings.as_slice() else {
        anyhow::bail!("{} findings for one page", findings.len());
    };
    ensure!(finding["holder"]["tgid"] == page["holder_pid"], "holder: {}", finding["holder"]);
    ensure!(finding["old_pfn"] == page["pfn_before"], "old page: {}", finding["old_pfn"]);
    ensure!(summary["pages_unmatched"] == 0, "the unpin was not matched");
    run.expect_status(FINDINGS)
}
