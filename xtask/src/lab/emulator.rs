//! The running QEMU, which never outlives the boot it belongs to.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// A running QEMU, killed when dropped.
pub struct Emulator(Child);

impl Emulator {
    /// Starts it. Its own complaints go to our stderr.
    pub fn start(arguments: &[String]) -> Result<Self> {
        // setpriv: a guest must not outlive an xtask that is killed.
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map(Self)
            .context("cannot start QEMU (packages qemu-system-x86 and util-linux)")
    }

    /// The process, to see whether it still runs.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits for it to end by itself, but not for ever.
    pub fn wait_for(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
