//! Who pins belong to: held against what the process and sysfs say themselves.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::summary;
use crate::lab_tests::case::Run;

/// The one owner at the end has all of the workload's pages, and the name that the script found itself.
pub(in crate::lab_tests) fn the_owner_is_the_one_that_the_process_has(run: &Run) -> Result<()> {
    let wanted = run.json_of_type("owner")?;
    let wanted = wanted.first().context("the script found none")?;
    let summary = summary(run)?;
    let owned = summary["owned"].as_array().context("no owners")?;
    let pages: u64 = owned.iter().filter_map(|one| one["pages"].as_u64()).sum();
    ensure!(wanted["pages"] == pages, "{pages} pages have an owner");
    for one in owned {
        is_it(&one["owner"], wanted)?;
        ensure!(one["tgid"] == wanted["tgid"], "of process {}", one["tgid"]);
    }
    Ok(())
}

fn is_it(owner: &Value, wanted: &Value) -> Result<()> {
    ensure!(owner["found"] == "sure", "found: {owner}");
    for field in ["kind", "name"] {
        ensure!(owner[field] == wanted[field], "{field} is {}", owner[field]);
    }
    Ok(())
}
