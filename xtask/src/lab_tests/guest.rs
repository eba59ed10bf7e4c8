//! One boot that runs the cases sharing it.

use std::{ffi::OsString, fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    case::{Case, Run, Verdict},
    frames::{self, Frame},
};
use crate::{
    kernels::{Bootable, Kernel},
    lab::{
        self,
        boot::{Boot, Output},
        ending::{Ending, Guest},
        options::Machine,
    },
};

/// Runs each case in a session and a directory of its own, ends what it left
/// running, and sends a frame.
const RUNNER: &str = include_str!("runner.sh");

/// Cases in one boot. A guest is one thread of its emulator: fewer boots would leave a core idle behind the longest.
const MOST_IN_A_BOOT: usize = 12;

/// The cases of one kernel and machine.
pub struct Group<'a> {
    /// The kernel to boot.
    pub kernel: Bootable,
    /// Its row in the table.
    pub series: &'static Kernel,
    /// The machine all of them need.
    pub machine: &'a Machine,
    /// Whether the scripts are to do more of what takes long.
    pub full: bool,
    /// The cases.
    pub cases: Vec<&'a Case>,
}

impl Group<'_> {
    /// As many boots as it takes, of about the same number of cases.
    pub fn split(self) -> Vec<Self> {
        let boots = self.cases.len().div_ceil(MOST_IN_A_BOOT).max(1);
        let each = self.cases.len().div_ceil(boots).max(1);
        let parts = self.cases.chunks(each);
        parts
            .map(|cases| Self { cases: cases.to_vec(), kernel: self.kernel.clone(), ..self })
            .collect()
    }

    /// Boots, runs, judges; every case gets exactly one verdict.
    pub fn run(&self, cowtrace: &Path, tell: &dyn Fn(Verdict)) {
        let judged = lab::until_ready(&self.kernel, || self.boot(cowtrace));
        let (frames, trouble) = match &judged {
            Ok(guest) => (frames::parse(&guest.stdout), trouble(guest)),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        for (index, case) in self.cases.iter().enumerate() {
            let frame = frames.iter().find(|frame| frame.case == index);
            // The kernel's trouble is told with the case it stopped, or with the last.
            let last = index + 1 == self.cases.len();
            let trouble = trouble.as_deref().filter(|_| frame.is_none() || last);
            tell(self.judge(case, frame, trouble));
        }
    }

    fn boot(&self, cowtrace: &Path) -> Result<Guest> {
        let command = ["sh", "/lab/runner"].map(OsString::from);
        let limits: u32 = self.cases.iter().map(|case| case.limit).sum();
        // Where its clock counts instructions a second is 10^9 of them: a busy host was seen to take five of its own.
        let seconds = if self.machine.icount { 8 * limits } else { limits };
        Boot {
            kernel: &self.kernel,
            cowtrace,
            machine: self.machine,
            texts: &self.texts(),
            command: &command,
            timeout: Some(Duration::from_secs(u64::from(seconds) + 60)),
            output: Output::Capture,
        }
        .run()
    }

    /// The runner, its list of cases and their scripts.
    fn texts(&self) -> Vec<(String, Vec<u8>)> {
        let mut list = String::new();
        let mut texts = vec![("lab/runner".to_owned(), RUNNER.into())];
        for (index, case) in self.cases.iter().enumerate() {
            let _ = writeln!(list, "{index} {}", case.limit);
            texts.push((format!("lab/cases/{index}.sh"), case.script.into()));
        }
        texts.push(("lab/cases/list".to_owned(), list.into()));
        texts.push(("lab/cases/kernel".to_owned(), self.series.name.into()));
        texts.push(("lab/cases/full".to_owned(), if self.full { "yes" } else { "" }.into()));
        texts
    }

    fn judge(&self, case: &Case, frame: Option<&Frame>, trouble: Option<&str>) -> Verdict {
        let outcome = self.outcome(case, frame, trouble).map_err(|error| format!("{error:#}"));
        let seconds = frame.map(|frame| frame.seconds);
        Verdict { kernel: self.series.name, name: case.name, seconds, outcome }
    }

    fn outcome(&self, case: &Case, frame: Option<&Frame>, trouble: Option<&str>) -> Result<()> {
        let frame = frame.with_context(|| {
            format!(
                "it did not run to its end: {}",
                trouble.unwrap_or("the guest sent nothing of it")
            )
        })?;
        let run = Run {
            kernel: self.series.name,
            status: frame.status,
            stdout: frame.stdout.clone(),
            stderr: frame.stderr.clone(),
        };
        // The reason comes above the output, which may be long.
        (case.check)(&run).map_err(|why| anyhow::anyhow!("{why:#}\n{}", run.shown()))?;
        trouble.map_or(Ok(()), |trouble| Err(anyhow::anyhow!("after the last case: {trouble}")))
    }
}

fn trouble(guest: &Guest) -> Option<String> {
    let failed = match guest.ending {
        Ending::Exited(0) => None,
        Ending::Exited(status) => Some(format!(
            "the guest's runner ended with status {status}: {}",
            String::from_utf8_lossy(&guest.stderr)
        )),
        _ => Some("the guest did not end as it should".to_owned()),
    };
    let trouble = guest.trouble().or(failed)?;
    Some(format!("{trouble} (boot log in {})", guest.log.display()))
}
