//! What tracing costs, and what is shed for that.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{CLEAN, FINDINGS};
use crate::lab_tests::case::Run;

/// Of one CPU, as the row asks for it.
const BUDGET: f64 = 0.4;

/// Two summaries from within the flood, then the whole.
pub(in crate::lab_tests) fn a_budget_holds(run: &Run) -> Result<()> {
    let summaries = run.json_of_type("summary")?;
    let [settled, later, end] = summaries.as_slice() else {
        anyhow::bail!("{} summaries", summaries.len());
    };
    let number = |summary: &Value, field: &str| {
        summary["budget"][field].as_f64().with_context(|| format!("no {field} in {summary}"))
    };
    let grown = |field| Ok::<_, anyhow::Error>(number(later, field)? - number(settled, field)?);
    let cost = grown("spent_ns")? / grown("measured_ns")?;
    ensure!(cost <= BUDGET * 1.1, "tracing cost {cost:.3} of a CPU when it had settled");
    let stages =
        |summary: &Value| summary["budget"]["shed"].as_array().cloned().unwrap_or_default();
    ensure!(!stages(settled).is_empty(), "nothing was shed within 8 seconds");
    let last = stages(end).pop().context("nothing was shed at the end")?;
    ensure!(!last["until"].is_null(), "it is shed still: {last}");
    let planted = run.json_of_type("provoke")?;
    let page = planted.first().context("nothing was planted")?;
    let findings = run.json_of_type("finding")?;
    let about = findings.iter().find(|finding| finding["address"] == page["address"]);
    let id = &about.context("the planted loss was not found")?["id"];
    let updates = run.json_of_type("update")?;
    let told = findings.iter().chain(&updates).filter(|line| line["id"] == *id);
    let verdicts: Vec<_> = told.filter_map(|line| line["verdict"].as_str()).collect();
    ensure!(verdicts.contains(&"diverged"), "the planted loss is {verdicts:?}");
    let said = run.complaints();
    ensure!(said.contains("events were shed"), "the report says nothing of it");
    run.expect_status(FINDINGS)
}

/// No figure is compared with another: the machine may be as busy as it likes.
pub(in crate::lab_tests) fn costs_are_plausible(run: &Run) -> Result<()> {
    run.expect_status(0)?;
    let costs = run.json_of_type("cost")?;
    let names: Vec<_> = costs.iter().filter_map(|cost| cost["operation"].as_str()).collect();
    ensure!(names == ["cow", "cow-pinned", "register", "read", "touch"], "measured: {names:?}");
    for cost in &costs {
        ensure!(cost["skipped"].is_null(), "skipped: {cost}");
        for field in ["alone_ns", "traced_ns", "cowtrace_ns"] {
            ensure!(cost[field].as_f64().is_some_and(|nanos| nanos > 0.0), "{field} in {cost}");
        }
        let told = cost["ratio"].as_f64();
        ensure!(told.is_some() == (cost["conclusive"] == true), "told inside the noise: {cost}");
        ensure!(told.is_none_or(|ratio| ratio > 0.0), "{cost}");
    }
    let programs = run.json_of_type("program")?;
    for name in ["wp_fault_exit", "pin_fast_exit", "unpin_folio_pages"] {
        let program = programs.iter().find(|program| program["name"] == name);
        let program = program.with_context(|| format!("{name} was not measured"))?;
        ensure!(program["ns"].as_u64() > program["runs"].as_u64(), "{program}");
    }
    ensure!(run.json_of_type("cost-summary")?.len() == 1, "no summary");
    Ok(())
}

/// KiB that cowtrace may ever have had, its ring and program included: docs/budget.md says so.
const MOST_KIB: u64 = 128 << 10;

pub(in crate::lab_tests) fn a_flood_is_bounded_and_told(run: &Run) -> Result<()> {
    let most = run.json_of_type("VmHWM")?;
    let most = most.first().and_then(|line| line["kib"].as_u64()).context("no VmHWM")?;
    ensure!(most <= MOST_KIB, "cowtrace had {most} KiB");
    let summary = run.json_of_type("summary")?.pop().context("no summary")?;
    let programs = summary["programs"].as_array().context("no programs")?;
    // Runs, not records: the more is lost, the more it was one.
    let runs: u64 = programs.iter().filter_map(|program| program["hits"].as_u64()).sum();
    ensure!(runs > 20_000, "{runs} runs, that was no flood: {summary}");
    // Verdicts do without these.
    let extra = |name: &Value| name == "io_fixed_exit" || name == "reference_exit";
    let lost = programs.iter().filter(|program| program["lost"] != 0 && !extra(&program["name"]));
    let lost: Vec<_> = lost.collect();
    ensure!(!lost.is_empty(), "a ring of 256 KiB was enough");
    let unseen = summary["unseen"].to_string();
    for program in lost {
        let name = program["name"].as_str().unwrap_or_default();
        let is_told = unseen.contains(&format!("{name} lost {} of", program["lost"]));
        ensure!(is_told, "what {name} lost is not told: {unseen}");
    }
    ensure!(summary["clean"] == false && run.status != CLEAN, "clean after that");
    Ok(())
}
