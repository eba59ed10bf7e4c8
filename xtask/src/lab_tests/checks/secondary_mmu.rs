//! What must hold where a secondary MMU shares the page table.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{FAILED, agrees_with_the_workload, covers, summary};
use crate::lab_tests::case::Run;

/// The notifier and what it was told, against the workload's pages, the kernel's own symbol and a
/// kprobe's count.
pub fn a_secondary_mmu_is_told(run: &Run) -> Result<()> {
    agrees_with_the_workload(run)?;
    let page = run.json_of_type("provoke")?.remove(0);
    let notifier = the_notifier(run, &page["pid"])?;
    let told = run.json_of_type("invalidate")?;
    for one in &told {
        ensure!(one["mm"] == notifier["mm"], "another address space: {one}");
        let [began, ended] = ["began", "at"].map(|key| one[key].as_u64());
        ensure!(Some(0) < began && began <= ended, "not in order: {one}");
    }
    for page in run.json_of_type("provoke")? {
        let protected = told.iter().filter(|one| one["event"] == "protection-vma");
        let times = protected.filter(|one| covers(one, &page)).count();
        ensure!(times == 2, "mprotect was called twice, told {times} times: {page}");
    }
    for finding in run.json_of_type("finding")? {
        mprotect_is_the_cause(&finding["cause"], &page["pid"])?;
        ensure!(finding["coherence"] == json!({"secondary_mmus": ["KVM"], "complete": true}));
    }
    what_is_pinned_relies_on_the_pin(run, &told, &notifier)?;
    one_from_before_is_known(run)?;
    let counted = summary(run)?["invalidations"].clone();
    ensure!(counted == told.len(), "{counted} counted, {} told", told.len());
    as_many_as_a_kprobe_counts(run, told.len())
}

/// It registered once, and its operations have a name in text.
fn the_notifier(run: &Run, pid: &Value) -> Result<Value> {
    let mut notifiers = run.json_of_type("notifier")?;
    ensure!(notifiers.len() == 1, "{} notifiers", notifiers.len());
    let notifier = notifiers.remove(0);
    ensure!(notifier["tgid"] == *pid, "registered by {}", notifier["tgid"]);
    let kallsyms = run.json_of_type("ops")?;
    let ops = kallsyms.first().and_then(|ops| ops["at"].as_str()).context("no KVM in kallsyms")?;
    ensure!(notifier["ops"] == u64::from_str_radix(ops, 16)?, "ops of another: {notifier}");
    ensure!(run.complaints().contains("notifier   kvm_mmu_notifier_ops"), "ops without a name");
    Ok(notifier)
}

/// The guest's memory is all of the process's. Told of changes is KVM, where pages are pinned and elsewhere, and
/// both are counted; what pinned is told of none.
fn what_is_pinned_relies_on_the_pin(run: &Run, told: &[Value], notifier: &Value) -> Result<()> {
    let space = the_address_space(&summary(run)?)?;
    ensure!(space["mm"] == notifier["mm"] && space["complete"] == true, "not it: {space}");
    ensure!(space["secondary_mmus"][0]["ops"] == notifier["ops"], "another MMU: {space}");
    let pages = run.json_of_type("provoke")?;
    let time = |kind: &str| -> Result<Vec<Option<u64>>> {
        Ok(run.json_of_type(kind)?.iter().map(|one| one["at"].as_u64()).collect())
    };
    let (pins, unpins) = (time("pin")?, time("unpin")?);
    let held = pins.iter().min().zip(unpins.iter().max()).context("no pin, or no unpin")?;
    let of_pinned = |one: &&Value| {
        let at = one["at"].as_u64();
        (held.0..held.1).contains(&&at) && pages.iter().any(|page| covers(one, page))
    };
    let pinned = told.iter().filter(of_pinned).count();
    ensure!(space["invalidated_pinned"] == pinned, "{pinned} of pinned pages: {space}");
    let elsewhere = told.len() - pinned;
    ensure!(space["invalidated_elsewhere"] == elsewhere, "{elsewhere} elsewhere: {space}");
    Ok(())
}

fn the_address_space(summary: &Value) -> Result<Value> {
    let spaces = summary["address_spaces"].as_array().context("no address spaces")?;
    let [space] = spaces.as_slice() else { bail!("{} address spaces", spaces.len()) };
    ensure!(space["secondary_mmus"][0]["name"] == "KVM", "not KVM: {space}");
    Ok(space.clone())
}

fn one_from_before_is_known(run: &Run) -> Result<()> {
    let summaries = run.json_of_type("before")?;
    ensure!(summaries.len() == usize::from(run.kernel == "6.12"), "{} runs", summaries.len());
    for summary in summaries {
        let space = the_address_space(&summary)?;
        ensure!(space["complete"] == true, "not known: {space}");
    }
    Ok(())
}

/// Its probe or its invalidation will do; what the copy itself tells notifiers ("clear") will not.
fn mprotect_is_the_cause(cause: &Value, pid: &Value) -> Result<()> {
    let said = format!("{} {}", cause["kind"], cause["detail"]);
    let right = said.contains("mprotect") || said.contains("protection-vma");
    ensure!(right && cause["tgid"] == *pid, "cause: {cause}");
    Ok(())
}

/// While the address space has pins and lives, every start and its end was seen.
fn as_many_as_a_kprobe_counts(run: &Run, told: usize) -> Result<()> {
    let time = |kind: &str| -> Result<Option<u64>> {
        let lines = run.json_of_type(kind)?;
        Ok(lines.first().and_then(|line| line["at"].as_u64()).map(|ns| ns / 1000))
    };
    let (pinned, gone) = (time("pin")?, time("mm-exit")?);
    let [began, ended] = [run.json_of_type("began")?, run.json_of_type("ended")?];
    ensure!(began.len() == ended.len(), "{} began, {} ended", began.len(), ended.len());
    for (what, all) in [("began", began), ("ended", ended)] {
        let within = all.iter().map(|one| one["us"].as_u64());
        let count = within.filter(|us| (pinned..gone).contains(us)).count();
        ensure!(count == told, "{count} {what} while there were pins, {told} seen");
    }
    Ok(())
}

pub fn names_the_module_it_needs(run: &Run) -> Result<()> {
    let complaints = run.complaints();
    ensure!(complaints.contains("load kvm_amd or kvm_intel"), "not said: {complaints}");
    ensure!(run.text().is_empty(), "measured something all the same");
    run.expect_status(FAILED)
}
