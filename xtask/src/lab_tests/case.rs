//! A case: what runs in the guest, and what must come of it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{kernels::Kernel, lab::options::Machine};

/// One row of the table.
pub struct Case {
    /// A sentence that is true when the case passes.
    pub name: &'static str,
    /// The kernels it runs on; empty for all.
    pub kernels: &'static [&'static str],
    /// The kernels it runs on as well where there is time to do more.
    pub more_kernels: &'static [&'static str],
    /// The machine it needs. The default one is shared by most cases; each
    /// other costs a boot of its own.
    pub machine: Machine,
    /// Seconds the script may take under emulation.
    pub limit: u32,
    /// A `sh` script. `$LAB_KERNEL` is the kernel's name, `$LAB_FULL` not empty where it is to
    /// do more; the directory it starts in is empty and its own.
    pub script: &'static str,
    /// What must hold of its output. The error is shown with that output.
    pub check: fn(&Run) -> Result<()>,
}

impl Case {
    /// A case for all kernels on the default machine.
    pub fn new(name: &'static str, script: &'static str, check: fn(&Run) -> Result<()>) -> Self {
        let machine = Machine::default();
        Self { name, kernels: &[], more_kernels: &[], machine, limit: 120, script, check }
    }

    /// Whether it runs on a kernel; `full` where there is time to do more.
    pub fn runs_on(&self, kernel: &Kernel, full: bool) -> bool {
        self.kernels.is_empty()
            || self.kernels.contains(&kernel.name)
            || full && self.more_kernels.contains(&kernel.name)
    }
}

/// What a case's script left behind on one kernel.
#[derive(Clone, Debug)]
pub struct Run {
    /// The kernel's name, such as `5.10`.
    pub kernel: &'static str,
    /// The script's exit status; 137 when it took too long.
    pub status: u8,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: Vec<u8>,
}

#[allow(dead_code, reason = "the vocabulary of checks: not every table uses every word")]
impl Run {
    /// stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text.
    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails unless the script ended with this status.
    pub fn expect_status(&self, status: u8) -> Result<()> {
        ensure!(self.status == status, "status {} instead of {status}", self.status);
        Ok(())
    }

    /// stdout as JSON, one object per line; empty lines are skipped.
    pub fn json(&self) -> Result<Vec<Value>> {
        self.text()
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect()
    }

    /// The JSON lines of stdout whose `type` is this.
    pub fn json_of_type(&self, wanted: &str) -> Result<Vec<Value>> {
        let mut lines = self.json()?;
        lines.retain(|line| line["type"] == wanted);
        Ok(lines)
    }

    /// Everything there is to know, for a failure's report.
    pub fn shown(&self) -> String {
        format!(
            "status {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.text().trim_end(),
            self.complaints().trim_end()
        )
    }
}

/// How a case went on a kernel.
pub struct Verdict {
    /// The kernel's name.
    pub kernel: &'static str,
    /// The case's sentence.
    pub name: &'static str,
    /// How long its script took in the guest; none if it did not run to its end.
    pub seconds: Option<usize>,
    /// Why it failed, with the output.
    pub outcome: Result<(), String>,
}
