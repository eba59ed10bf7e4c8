//! How a boot ended, and what the user is told of it.

use std::{fs, path::PathBuf, time::Duration};

use super::console;

/// How a boot ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// COMMAND ended with this status.
    Exited(u8),
    /// COMMAND did not end in time.
    TimedOut(Duration),
    /// The guest could not be what was asked for.
    Unfit(String),
    /// The guest died before COMMAND started: an accident of emulation, as a rule.
    NeverReady(String),
    /// The guest died while COMMAND ran.
    Died,
    /// Whoever read our stdout went away (`| head`), so COMMAND was cut short.
    Unread,
}

/// What is left of a guest.
pub struct Guest {
    /// How it ended.
    pub ending: Ending,
    /// COMMAND's stdout, where it was captured.
    pub stdout: Vec<u8>,
    /// COMMAND's stderr, where it was captured.
    pub stderr: Vec<u8>,
    /// The kernel's log.
    pub log: PathBuf,
}

impl Guest {
    /// What befell the guest beyond COMMAND's own status, in a sentence.
    pub fn trouble(&self) -> Option<String> {
        let kernel = self.kernel_trouble();
        match &self.ending {
            Ending::Exited(_) | Ending::Unread => kernel,
            Ending::TimedOut(limit) => Some(format!(
                "COMMAND did not end within {} s ({})",
                limit.as_secs(),
                kernel
                    .as_deref()
                    .unwrap_or("the kernel reports no trouble; --timeout S gives it longer")
            )),
            Ending::Unfit(why) => Some(format!("{why}; COMMAND was not run")),
            Ending::NeverReady(why) => Some(kernel.unwrap_or_else(|| why.clone())),
            Ending::Died => Some(kernel.unwrap_or_else(|| {
                "the guest went down before COMMAND ended, and the kernel did not say why"
                    .to_owned()
            })),
        }
    }

    /// Panic, oops or lock-up in the kernel's log.
    pub fn kernel_trouble(&self) -> Option<String> {
        console::trouble(&String::from_utf8_lossy(&fs::read(&self.log).ok()?))
    }
}
