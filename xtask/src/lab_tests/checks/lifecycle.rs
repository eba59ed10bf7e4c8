//! What a cowtrace may do once it is attached, and what is left of it when it has gone.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::super::case::Run;

/// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_SYS_ADMIN: bits 2, 19 and 21.
const LOOKS: u64 = 1 << 2 | 1 << 19 | 1 << 21;

pub(in super::super) fn gives_up_what_it_does_not_need(run: &Run) -> Result<()> {
    // The recording ended, and with it the run.
    run.expect_status(super::FAILED)?;
    let denied = run.complaints();
    ensure!(denied.contains("ends here: Permission denied"), "written elsewhere: {denied}");
    let may = run.json_of_type("may")?;
    let who = |name: &str| may.iter().filter(|line| line["who"] == name).collect::<Vec<_>>();
    for thread in who("cowtrace") {
        ensure!(capabilities(thread)? == 0, "kept: {thread}");
        ensure!(is_confined(thread), "not confined: {thread}");
    }
    ensure!(who("cowtrace").len() >= 2, "the loop and the recorder: {may:?}");
    let openers = who("opener");
    let opener = openers.first().context("no opener")?;
    ensure!(capabilities(opener)? == LOOKS && is_confined(opener), "the opener: {opener}");
    let commands = who("command");
    let command = commands.first().context("no command")?;
    ensure!(capabilities(command)?.count_ones() > 30, "the command has lost some: {command}");
    ensure!(!is_confined(command), "the command is confined: {command}");
    Ok(())
}

pub(in super::super) fn somebody_else_finds_the_same(run: &Run) -> Result<()> {
    run.expect_status(super::FINDINGS)?;
    let users = run.json_of_type("user")?;
    ensure!(users.len() == 1 && users[0]["uid"] == 1000, "traced by: {users:?}");
    let pages = run.json_of_type("provoke")?;
    let lost = pages.iter().filter(|page| page["data"] == "lost").count();
    ensure!(pages.len() == 3 && lost == 3, "{lost} of {} pages lost their data", pages.len());
    let summaries = whole_summaries(run)?;
    let summary = summaries.first().context("no summary")?;
    ensure!(summary["verdicts"]["lost"] == 1, "verdicts: {}", summary["verdicts"]);
    Ok(())
}

/// What is permitted, which is at least what is effective.
fn capabilities(line: &Value) -> Result<u64> {
    let text = line["CapPrm"].as_str().context("no CapPrm")?;
    Ok(u64::from_str_radix(text, 16)?)
}

fn is_confined(line: &Value) -> bool {
    line["NoNewPrivs"] == "1" && line["Seccomp"] == "2"
}

/// The script waits until no more is left than there was before.
pub(in super::super) fn leaves_nothing_behind(run: &Run) -> Result<()> {
    let ended = ended_as_wanted(run)?;
    ensure!(ended.len() == 6, "{} ends", ended.len());
    let summaries = whole_summaries(run)?;
    ensure!(summaries.len() == 3, "{} summaries", summaries.len());
    // Two instances, one inside the other.
    let lost = summaries.iter().filter(|summary| summary["verdicts"]["lost"] == 1);
    ensure!(lost.count() == 2, "two instances do not find the same");
    Ok(())
}

/// The same, on the way that each signal and a reader who is gone make it go.
pub(in super::super) fn ends_when_it_is_asked(run: &Run) -> Result<()> {
    let ended = ended_as_wanted(run)?;
    let ways: Vec<_> = ended.iter().filter_map(|way| way["how"].as_str()).collect();
    ensure!(ways == ["TERM", "INT", "unread"], "ended: {ways:?}");
    let summaries = whole_summaries(run)?;
    ensure!(summaries.len() == 2, "{} summaries", summaries.len());
    Ok(())
}

/// The ways in which it ended, each with the status that it should have.
fn ended_as_wanted(run: &Run) -> Result<Vec<Value>> {
    run.expect_status(0)?;
    let ended = run.json_of_type("ended")?;
    for way in &ended {
        ensure!(way["status"] == way["wanted"], "another status: {way}");
    }
    Ok(ended)
}

/// The summaries, none of which has missed anything.
fn whole_summaries(run: &Run) -> Result<Vec<Value>> {
    let summaries = run.json_of_type("summary")?;
    for summary in &summaries {
        ensure!(summary["unseen"] == Value::Array(Vec::new()), "unseen: {}", summary["unseen"]);
    }
    Ok(summaries)
}

/// Nine pages lose their data, three of them while there is one CPU and it is 2031, three when it is 2021.
pub(in super::super) fn neither_cpus_nor_clocks_matter(run: &Run) -> Result<()> {
    run.expect_status(super::FINDINGS)?;
    let pages = run.json_of_type("provoke")?;
    let lost = pages.iter().filter(|page| page["data"] == "lost").count();
    ensure!(pages.len() == 9 && lost == 9, "{lost} of {} pages lost their data", pages.len());
    let summaries = run.json_of_type("summary")?;
    let summary = summaries.last().context("no summary")?;
    ensure!(summary["unseen"] == Value::Array(Vec::new()), "unseen: {}", summary["unseen"]);
    ensure!(summary["verdicts"]["lost"] == 3, "verdicts: {}", summary["verdicts"]);
    let findings = run.json_of_type("finding")?;
    let time = |finding: &Value, name: &str| finding[name].as_u64().context("no time");
    let mut before = None;
    for finding in &findings {
        let (pinned, broken) = (time(finding, "pinned_at")?, time(finding, "broken_at")?);
        let earliest = before.unwrap_or(pinned);
        // The case may take two minutes, and the clock was set by years.
        let in_order = earliest <= pinned && pinned < broken && broken < earliest + 120_000_000_000;
        ensure!(in_order, "times: {finding}");
        before = Some(broken);
    }
    Ok(())
}
