//! `cowtrace gate`: its exit statuses, and the files that a CI reads.

use anyhow::{Context as _, Result, ensure};
use roxmltree::{Document, Node};
use serde_json::Value;

use super::{FINDINGS, INCONCLUSIVE};
use crate::lab_tests::case::Run;

/// What came of one gate.
struct Gate<'a> {
    name: &'a str,
    status: u8,
    junit: &'a str,
    sarif: Value,
}

/// By name: the exit status, the failures and errors of the test cases, and whether SARIF says that it succeeded.
const WANTED: [(&str, u8, &[&str], bool); 4] = [
    ("lost", FINDINGS, &["lost"], true),
    ("passed", 7, &["the command succeeded"], true),
    ("missed", INCONCLUSIVE, &["everything was seen"], false),
    ("interrupted", INCONCLUSIVE, &["everything was seen", "the command succeeded"], false),
];

pub(in crate::lab_tests) fn fails_for_a_loss_alone(run: &Run) -> Result<()> {
    run.expect_status(0)?;
    let text = run.text();
    let gates: Vec<_> = text.split("=== ").skip(1).map(gate).collect::<Result<_>>()?;
    ensure!(gates.len() == WANTED.len(), "{} gates", gates.len());
    for (gate, wanted) in gates.iter().zip(WANTED) {
        agrees(gate, wanted).with_context(|| format!("the gate {}", gate.name))?;
    }
    let kernel = &gates[0].sarif["runs"][0]["invocations"][0]["properties"]["kernel"];
    ensure!(kernel.to_string().contains(run.kernel), "another kernel: {kernel}");
    let said = run.complaints();
    for telling in [
        "cowtrace gate: failed: 1 lost",
        "LOST (proven): 1 page of provoke",
        "cowtrace gate: passed: ",
    ] {
        ensure!(said.contains(telling), "{telling:?} is not said");
    }
    Ok(())
}

/// `NAME STATUS`, JUnit XML, a line `===`, SARIF.
fn gate(section: &str) -> Result<Gate<'_>> {
    let (head, rest) = section.split_once('\n').context("no head")?;
    let (name, status) = head.split_once(' ').context("no status")?;
    let (junit, sarif) = rest.split_once("\n===\n").context("no SARIF")?;
    let sarif = serde_json::from_str(sarif).context("SARIF is no JSON")?;
    Ok(Gate { name, status: status.parse()?, junit: junit.trim_end(), sarif })
}

fn agrees(gate: &Gate, (name, status, failed, succeeded): (&str, u8, &[&str], bool)) -> Result<()> {
    ensure!(gate.name == name, "it is {}", gate.name);
    ensure!(gate.status == status, "status {} instead of {status}", gate.status);
    let junit = Document::parse(gate.junit).context("JUnit is no XML")?;
    let is_bad = |case: &Node| {
        case.children().any(|child| child.has_tag_name("failure") || child.has_tag_name("error"))
    };
    let bad = junit.descendants().filter(|node| node.has_tag_name("testcase")).filter(is_bad);
    let bad: Vec<_> = bad.filter_map(|case| case.attribute("name")).collect();
    ensure!(bad == failed, "JUnit has {bad:?} instead of {failed:?}");
    let invocation = &gate.sarif["runs"][0]["invocations"][0];
    ensure!(invocation["exitCode"] == status, "SARIF has status {}", invocation["exitCode"]);
    ensure!(invocation["executionSuccessful"] == succeeded, "SARIF: {invocation}");
    let results = gate.sarif["runs"][0]["results"].as_array().context("no results")?;
    // Of what was missed, there may be some that cannot be told.
    ensure!(
        name == "missed" || results.is_empty() != (name == "lost"),
        "{} results",
        results.len()
    );
    Ok(())
}
