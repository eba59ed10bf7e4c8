//! What must hold of a case's output.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::case::Run;

pub(super) mod audit;
pub(super) mod budget;
pub(super) mod devices;
pub(super) mod gate;
pub(super) mod lifecycle;
pub(super) mod owners;
pub(super) mod rdma;
pub(super) mod secondary_mmu;
pub(super) mod silence;

/// cowtrace's exit statuses.
const CLEAN: u8 = 0;
const FINDINGS: u8 = 1;
const FAILED: u8 = 2;
const INCONCLUSIVE: u8 = 3;

pub(super) fn the_release_is_of_the_series(run: &Run) -> Result<()> {
    run.expect_status(0)?;
    ensure!(run.text().starts_with(&format!("{}.", run.kernel)), "another release");
    Ok(())
}

pub(super) fn doctor_is_content(run: &Run) -> Result<()> {
    run.expect_status(CLEAN)?;
    let text = run.text();
    ensure!(!text.contains("MISSING"), "a needed row is missing");
    ensure!(text.contains("NoNewPrivs 1, Seccomp 2"), "nothing was given up");
    for sees in ["device reaches memory (IOMMU)", "device reaches lists of memory (DMA)"] {
        ensure!(text.contains(&format!("  asked    {sees}")), "{sees:?} cannot be watched");
    }
    for (sees, hook) in [
        ("write-protect fault answered", "fexit do_wp_page"),
        ("pages pinned (fast)", "fexit pin_user_pages_fast"),
        ("process forked", "tp_btf sched_process_fork"),
    ] {
        let is_it = |line: &&str| line.trim().trim_start_matches("ok").trim().starts_with(sees);
        let row = text.lines().find(is_it).unwrap_or_default();
        ensure!(row.contains(hook), "{sees:?} is not served by {hook}: {row:?}");
    }
    Ok(())
}

/// Each page that the workload saw move has a finding with these PFNs, and there is no other.
pub(super) fn agrees_with_the_workload(run: &Run) -> Result<()> {
    let pages = run.json_of_type("provoke")?;
    ensure!(!pages.is_empty(), "the workload said nothing");
    let moved: Vec<_> = pages.iter().filter(|page| page["moved"] == true).collect();
    let findings = breaks(run)?;
    ensure!(
        moved.len() == findings.len(),
        "{} pages moved, {} findings",
        moved.len(),
        findings.len()
    );
    for page in &moved {
        ensure!(page["data"] == "lost", "a page moved and its data arrived all the same: {page}");
        let finding = findings.iter().find(|finding| finding["address"] == page["address"]);
        is_about(finding.with_context(|| format!("no finding for {page}"))?, page)?;
    }
    for finding in &findings {
        ensure!(finding["verdict"] == "diverged", "opened as {}", finding["verdict"]);
    }
    everything_was_seen(run)?;
    run.expect_status(if moved.is_empty() { CLEAN } else { FINDINGS })
}

pub(super) fn agrees_with_the_workload_through_kprobes(run: &Run) -> Result<()> {
    let probes = summary(run)?["probes"].to_string();
    ensure!(probes.contains("kprobe do_wp_page + kretprobe do_wp_page"), "probes: {probes}");
    ensure!(!probes.contains("fexit pin_user_pages"), "probes: {probes}");
    agrees_with_the_workload(run)
}

fn is_about(finding: &Value, page: &Value) -> Result<()> {
    for (ours, theirs) in [("old_pfn", "pfn_before"), ("new_pfn", "pfn_after")] {
        ensure!(
            finding[ours] == page[theirs],
            "{ours} is {}, the workload's {theirs} {}",
            finding[ours],
            page[theirs]
        );
    }
    for who in ["holder", "writer"] {
        ensure!(finding[who]["tgid"] == page["pid"], "{who} is {}", finding[who]["tgid"]);
        let stack = finding[who]["stack"].as_array().map_or(0, Vec::len);
        ensure!(stack > 3, "the {who}'s stack has {stack} frames");
    }
    ensure!(finding["cause"]["kind"] == "mprotect", "cause: {}", finding["cause"]);
    let cause_stack = finding["cause"]["stack"].to_string();
    ensure!(cause_stack.contains("mprotect"), "the cause's stack: {cause_stack}");
    ensure!(finding["holder"]["flags"] == "WRITE|LONGTERM", "flags {}", finding["holder"]["flags"]);
    let [pinned, broken] = ["pinned_at", "broken_at"].map(|key| finding[key].as_u64());
    ensure!(pinned < broken, "pinned at {pinned:?}, broken at {broken:?}");
    Ok(())
}

/// Each page is opened as diverged, and is lost when its dirty unpin comes from a worker.
pub(super) fn loses_what_is_unpinned_dirty(run: &Run) -> Result<()> {
    let moved = run.json_of_type("provoke")?.iter().filter(|page| page["moved"] == true).count();
    ensure!(moved == 3, "{moved} pages moved");
    let findings = breaks(run)?;
    ensure!(findings.iter().all(|finding| finding["verdict"] == "diverged"), "opened otherwise");
    let updates = run.json_of_type("update")?;
    let lost = updates.iter().filter(|update| {
        update["verdict"] == "lost"
            && update["unpinned_dirty"] == true
            && update["unpinned_at"].as_u64() > update["broken_at"].as_u64()
    });
    let lost = lost.count();
    ensure!(lost == 3 && findings.len() == 3, "{} found, {lost} lost", findings.len());
    run.expect_status(FINDINGS)
}

/// The pin was not seen, so there is no holder to name.
pub(super) fn suspects_what_moved(run: &Run) -> Result<()> {
    let pages = run.json_of_type("provoke")?;
    let moved: Vec<_> = pages.iter().filter(|page| page["moved"] == true).collect();
    let findings = breaks(run)?;
    ensure!(findings.len() == moved.len(), "{} moved, {} found", moved.len(), findings.len());
    for page in &moved {
        let finding = findings.iter().find(|finding| finding["address"] == page["address"]);
        let finding = finding.with_context(|| format!("no finding for {page}"))?;
        ensure!(finding["verdict"] == "suspect", "opened as {}", finding["verdict"]);
        ensure!(finding["holder"].is_null(), "a holder that nobody saw: {}", finding["holder"]);
        ensure!(finding["old_pfn"] == page["pfn_before"], "old PFN {}", finding["old_pfn"]);
    }
    run.expect_status(if moved.is_empty() { CLEAN } else { FINDINGS })
}

pub(super) fn tells_the_soft_dirty_write(run: &Run) -> Result<()> {
    let told = run.json_of_type("protect")?;
    let soft_dirty: Vec<_> = told.iter().filter(|line| line["by"] == "soft-dirty").collect();
    ensure!(!soft_dirty.is_empty(), "not told");
    let pins = run.json_of_type("pin")?;
    let pin = pins.first().context("no pin")?;
    let same_mm = |line: &&Value| line["mm"] == pin["mm"];
    ensure!(
        soft_dirty.into_iter().filter(same_mm).any(|line| covers(line, pin)),
        "none covers the pinned page"
    );
    everything_was_seen(run)?;
    run.expect_status(CLEAN)
}

/// The findings that say that something happened, without those that predict it.
fn breaks(run: &Run) -> Result<Vec<Value>> {
    let mut findings = run.json_of_type("finding")?;
    findings.retain(|finding| finding["verdict"] != "armed");
    Ok(findings)
}

fn summary(run: &Run) -> Result<Value> {
    let mut lines = run.json_of_type("summary")?;
    ensure!(lines.len() == 1, "{} summaries", lines.len());
    lines.pop().context("no summary")
}

fn everything_was_seen(run: &Run) -> Result<()> {
    let summary = summary(run)?;
    ensure!(summary["lost"] == 0, "{} lost", summary["lost"]);
    ensure!(summary["unseen"] == Value::Array(Vec::new()), "unseen: {}", summary["unseen"]);
    Ok(())
}

pub(super) fn finds_one_of_each(run: &Run) -> Result<()> {
    run.expect_status(FINDINGS)?;
    let text = run.text();
    let page = run.text().lines().next().map(serde_json::from_str::<Value>);
    let page = page.context("the workload said nothing")??;
    let hex = |key: &str| format!("{:#x}", page[key].as_u64().unwrap_or_default());
    for wanted in [
        format!("device has PFN {}, process has PFN {}", hex("pfn_before"), hex("pfn_after")),
        format!("page {} of process {}", hex("address"), page["pid"]),
        format!("pinned by provoke[{}], 1 page at", page["pid"]),
        format!("written and copied by provoke[{}]", page["pid"]),
        "io_sqe_buffer_register+".to_owned(),
        "run 5.19 or later".to_owned(),
        "2 findings: 1 lost, 1 armed".to_owned(),
    ] {
        ensure!(text.contains(&wanted), "{wanted:?} is not said");
    }
    Ok(())
}

pub(super) fn one_pin_record_each(run: &Run) -> Result<()> {
    run.expect_status(CLEAN)?;
    let pids: Vec<_> =
        run.json_of_type("provoke")?.iter().map(|page| page["pid"].clone()).collect();
    ensure!(pids.len() == 23, "the workload ran {} times", pids.len());
    for kind in ["pin", "unpin"] {
        let records = run.json_of_type(kind)?;
        ensure!(records.len() == 23, "{} records of {kind}", records.len());
    }
    let summary = summary(run)?;
    for (key, wanted) in [("pins", 23), ("unpins", 23), ("pages_live", 0), ("pages_unmatched", 0)] {
        ensure!(summary[key] == wanted, "{key} is {}", summary[key]);
    }
    everything_was_seen(run)
}

/// Two runs that pinned for short and unpinned all of it: the first lists that, the second counts it.
pub(super) fn books_are_even(run: &Run) -> Result<()> {
    run.expect_status(CLEAN)?;
    let summaries = run.json_of_type("summary")?;
    ensure!(summaries.len() == 2, "{} runs", summaries.len());
    let counts = [["pins", "unpins"], ["short_term_pinned", "short_term_unpinned"]];
    for (summary, keys) in summaries.iter().zip(counts) {
        let [pinned, unpinned] = keys.map(|key| &summary[key]);
        ensure!(pinned.as_u64() > Some(0), "nothing was pinned: {summary}");
        ensure!(pinned == unpinned, "{pinned} pinned and {unpinned} unpinned");
        ensure!(summary["pages_live"] == 0, "{} pages stay", summary["pages_live"]);
        ensure!(summary["lost"] == 0, "{} lost", summary["lost"]);
    }
    Ok(())
}

pub(super) fn ledger_equals_vmstat(run: &Run) -> Result<()> {
    ledger_holds(run, 40)
}

pub(super) fn ledger_equals_vmstat_of_a_long_call(run: &Run) -> Result<()> {
    ledger_holds(run, 6000)
}

fn ledger_holds(run: &Run, pages: i64) -> Result<()> {
    run.expect_status(CLEAN)?;
    let pins = summary(run)?["pins"].clone();
    ensure!(pins == 1, "{pins} pin calls");
    ledger_is_the_kernels(run, pages)?;
    everything_was_seen(run)
}

/// What is pinned in the end: as the workload has it, the kernel's books, the ledger, and the page map.
fn ledger_is_the_kernels(run: &Run, pages: i64) -> Result<()> {
    let summary = summary(run)?;
    let number = |key: &str| summary[key].as_i64().with_context(|| format!("no {key}"));
    let kernel = number("kernel_live_after")? - number("kernel_live_before")?;
    ensure!(kernel == pages, "the workload holds {pages} pages, the kernel counts {kernel}");
    ensure!(number("pages_live")? == kernel, "the ledger has {}", summary["pages_live"]);
    let same = number("audited_same")?;
    ensure!(same == pages, "the audit finds {same} of them where they were pinned");
    Ok(())
}

pub(super) fn witnesses_agree(run: &Run) -> Result<()> {
    run.expect_status(CLEAN)?;
    let summary = summary(run)?;
    let copies = summary["faults"]["copy"].as_u64().context("no count of copies")?;
    ensure!(copies >= 50, "50 pages were copied, {copies} seen");
    ensure!(summary["copies_witnessed"] == copies, "{} witnessed", summary["copies_witnessed"]);
    Ok(())
}

pub(super) fn bytes_are_equal(run: &Run) -> Result<()> {
    run.expect_status(0)?;
    let lines: Vec<usize> = run.text().lines().filter_map(|line| line.parse().ok()).collect();
    // 1 pin, 3 unpins or more, the summary: an empty output equals itself too.
    ensure!(lines.len() == 2 && lines.iter().all(|lines| *lines >= 5), "lines printed: {lines:?}");
    Ok(())
}

pub(super) fn cut_recording_is_inconclusive(run: &Run) -> Result<()> {
    let text = run.text();
    ensure!(text.contains("inconclusive"), "not called inconclusive");
    ensure!(text.contains("the recording stops before cowtrace did"), "not said why");
    run.expect_status(INCONCLUSIVE)
}

pub(super) fn all_but_the_last_second_is_there(run: &Run) -> Result<()> {
    let (killed, last) = (run.json_of_type("killed")?, run.json_of_type("last")?);
    let (kills, read) = (killed.len(), last.len());
    ensure!(kills >= 3 && read == kills, "{kills} were killed, {read} read");
    for (killed, last) in killed.iter().zip(&last) {
        let uptime = killed["uptime"].as_f64().context("no uptime")?;
        let seen = last["at"].as_f64().context("no time")? / 1e9;
        ensure!(seen > uptime - 1.0, "killed at {uptime} s, and nothing is there after {seen} s");
    }
    for summary in run.json_of_type("summary")? {
        ensure!(summary["clean"] == false, "called clean");
        let unseen = summary["unseen"].to_string();
        ensure!(
            unseen.contains("the recording stops before cowtrace did"),
            "not said why: {unseen}"
        );
    }
    Ok(())
}

pub(super) fn parts_stand_alone(run: &Run) -> Result<()> {
    let summaries = run.json_of_type("summary")?;
    ensure!(summaries.len() > 4, "only {} files", summaries.len());
    let (mut found, mut last) = (false, false);
    for summary in summaries {
        ensure!(summary["unseen"] == Value::Array(Vec::new()), "unseen: {}", summary["unseen"]);
        // An unpin of what an earlier part pinned would be one, did the part not know of it.
        let unmatched = &summary["pages_unmatched"];
        ensure!(unmatched == 0, "{unmatched} pages unpinned whose pin is not known");
        found |= summary["findings"].as_u64() > Some(0);
        let kernel = |key: &str| summary[key].as_i64();
        if let Some((before, after)) = kernel("kernel_live_before").zip(kernel("kernel_live_after"))
        {
            let live = kernel("pages_live");
            ensure!(live == Some(after - before), "{live:?} of {} live", after - before);
            last = true;
        }
    }
    ensure!(found, "nothing was found");
    ensure!(last, "no part is the last one");
    Ok(())
}

pub(super) fn an_agent_counts_what_was_lost(run: &Run) -> Result<()> {
    let moved = run.json_of_type("provoke")?.iter().filter(|page| page["moved"] == true).count();
    ensure!(moved == 3, "{moved} pages moved: the test has no point");
    let metrics = run.complaints();
    // Of all samples that begin so, together.
    let sum = |start: &str| -> f64 {
        let values = metrics.lines().filter(|line| line.starts_with(start));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    ensure!(sum("cowtrace_findings_total{verdict=\"diverged\"") > 0.0, "nothing diverged");
    ensure!(sum("cowtrace_last_finding_timestamp_seconds{verdict=\"diverged\"}") > 1e9, "no time");
    ensure!(sum("cowtrace_pages_pinned_total") >= 3.0, "nothing was pinned");
    ensure!(sum("cowtrace_probes_attached") > 20.0, "hardly anything is attached");
    ensure!(sum("cowtrace_recording ") > 0.0, "it does not record");
    for missed in ["cowtrace_lost_records_total", "cowtrace_blind_spots"] {
        ensure!(metrics.contains(missed) && sum(missed) == 0.0, "not everything was seen");
    }
    let sealed = run.json_of_type("summary")?.pop().context("nothing is sealed")?;
    ensure!(sealed["findings"].as_u64() > Some(0), "sealed without what was found: {sealed}");
    run.expect_status(CLEAN)
}

pub(super) fn says_that_the_disk_is_full(run: &Run) -> Result<()> {
    ensure!(run.complaints().contains("No space left on device"), "not said: {}", run.complaints());
    let summary = summary(run)?;
    ensure!(summary["clean"] == false, "called clean");
    ensure!(summary["pins"].as_u64() > Some(0), "nothing is there: {summary}");
    run.expect_status(FAILED)
}

pub(super) fn each_page_comes_back(run: &Run) -> Result<()> {
    const PASSES: u64 = 6;
    run.expect_status(CLEAN)?;
    everything_was_seen(run)?;
    let summary = summary(run)?;
    let is = |key: &str, expected: u64| {
        ensure!(summary[key] == expected, "{key} is {}, not {expected}", summary[key]);
        Ok(())
    };
    is("pins", PASSES)?;
    is("pages_unpinned", PASSES * 4096)?;
    is("pages_unmatched", 0)?;
    is("pages_live", 0)?;
    let kernel = ["kernel_live_before", "kernel_live_after"].map(|key| summary[key].as_i64());
    ensure!(kernel[0].is_some() && kernel[0] == kernel[1], "the kernel's count moved: {kernel:?}");
    let hurried = run.json_of_type("hurried")?.pop().context("no hurried run")?;
    ensure!(hurried["pins"] == PASSES, "{} pins of a hurried process", hurried["pins"]);
    ensure!(hurried["pages_live"] == 0, "{} pages are thought pinned", hurried["pages_live"]);
    ensure!(hurried["findings"] == 0, "{} findings where nothing was lost", hurried["findings"]);
    Ok(())
}

pub(super) fn interrupts_unpin_as_well(run: &Run) -> Result<()> {
    run.expect_status(CLEAN)?;
    everything_was_seen(run)?;
    let summary = summary(run)?;
    for key in ["pages_live", "pages_unmatched"] {
        ensure!(summary[key] == 0, "{key} is {}", summary[key]);
    }
    let [pinned, unpinned] =
        ["short_term_pinned", "short_term_unpinned"].map(|key| summary[key].as_u64());
    ensure!(pinned == Some(6 * 4000), "{pinned:?} pages of reads: not as many as there were");
    ensure!(unpinned == pinned, "{unpinned:?} of {pinned:?} are off the books");
    Ok(())
}

pub(super) fn a_tight_ring_loses_and_is_never_clean(run: &Run) -> Result<()> {
    let summary = summary(run)?;
    ensure!(summary["lost"].as_u64() > Some(0), "nothing was lost: the test has no point");
    ensure!(summary["clean"] == false, "called clean");
    let unseen = summary["unseen"].to_string();
    ensure!(unseen.contains("did not fit the ring"), "not said why: {unseen}");
    run.expect_status(INCONCLUSIVE)
}

pub(super) fn without_room_it_is_never_clean(run: &Run) -> Result<()> {
    let (statuses, summaries) = (run.json_of_type("status")?, run.json_of_type("summary")?);
    ensure!(statuses.len() == 2 && summaries.len() == 2, "not two runs");
    let why = ["did not fit a map", "were skipped by the kernel"];
    for (summary, why) in summaries.iter().zip(why) {
        let unseen = summary["unseen"].to_string();
        let count = |at: usize| unseen[..at].trim_end().rsplit(' ').next();
        let some = unseen.match_indices(why).any(|(at, _)| count(at) != Some("0"));
        ensure!(some, "none {why}: {unseen}");
        ensure!(summary["clean"] == false, "called clean");
    }
    for status in &statuses {
        ensure!(status["status"] == INCONCLUSIVE, "{status}");
    }
    Ok(())
}

pub(super) fn filtered_out(run: &Run) -> Result<()> {
    let summary = summary(run)?;
    ensure!(summary["pins"] == 0, "{} pins", summary["pins"]);
    ensure!(summary["findings"] == 0, "{} findings", summary["findings"]);
    run.expect_status(CLEAN)
}

pub(super) fn three_pins_of_the_traced_process(run: &Run) -> Result<()> {
    let pages = run.json_of_type("provoke")?;
    ensure!(pages.len() == 3, "the workload ran {} times", pages.len());
    let summary = summary(run)?;
    ensure!(summary["pins"] == 3, "{} pins", summary["pins"]);
    // The other process's unpin is seen (an unpin says nothing of whose it is) and matches no pin.
    ensure!(summary["pages_unmatched"] == 1, "{} unmatched", summary["pages_unmatched"]);
    run.expect_status(CLEAN)
}

pub(super) fn refuses_with_status_2(run: &Run) -> Result<()> {
    ensure!(run.complaints().contains("no process 4000000"), "not said why");
    ensure!(run.text().is_empty(), "something is left behind: {}", run.text());
    run.expect_status(FAILED)
}

/// Whether a range that was told covers a page.
fn covers(range: &Value, page: &Value) -> bool {
    let [start, end] = ["start", "end"].map(|key| range[key].as_u64());
    start <= page["address"].as_u64() && page["address"].as_u64() < end
}

/// Nothing missed and nothing false among pins, and references as README promises. Runs that the kernel skipped
/// may make it inconclusive: it is a long run on a preemptible kernel.
/// The matrix on plain hardware.
pub(super) fn verify_agrees(run: &Run) -> Result<()> {
    agrees(run, 150)
}

/// Those cases that need the edu device; of huge pages three are measured, which takes it thrice as long.
pub(super) fn verify_agrees_with_a_device(run: &Run) -> Result<()> {
    agrees(run, 60)
}

/// Cases of base pages alone.
pub(super) fn verify_agrees_with_a_few(run: &Run) -> Result<()> {
    agrees(run, 25)
}

fn agrees(run: &Run, at_least: u64) -> Result<()> {
    let totals = run.json_of_type("verify")?.pop().context("verify did not come to its end")?;
    for case in run.json_of_type("case")? {
        ensure!(case["result"] == "agreed", "{case}");
    }
    for key in ["missed", "false", "wrong", "failed"] {
        ensure!(totals[key] == 0, "{key}: {}", totals[key]);
    }
    ensure!(totals["run"].as_u64() >= Some(at_least), "only {} cases were run", totals["run"]);
    ensure!(totals["good"] == true, "not good: {totals}");
    let unseen = totals["unseen"].as_array().map_or(0, Vec::len);
    run.expect_status(if unseen == 0 { CLEAN } else { INCONCLUSIVE })
}

pub(super) fn a_schedule_agrees(run: &Run) -> Result<()> {
    let schedule = run.json_of_type("schedule")?.pop().context("no schedule came to its end")?;
    for key in ["missed", "false"] {
        ensure!(schedule[key].as_array().is_some_and(Vec::is_empty), "{key}: {schedule}");
    }
    ensure!(schedule["found"].as_u64() > Some(0), "no page was lost: {schedule}");
    for books in ["ledger", "kernel"] {
        ensure!(schedule[books] == schedule["pinned"], "pinned by the {books}: {schedule}");
    }
    ensure!(schedule["good"] == true, "not good: {schedule}");
    let unseen = schedule["unseen"].as_array().map_or(0, Vec::len);
    run.expect_status(if unseen == 0 { CLEAN } else { INCONCLUSIVE })
}
