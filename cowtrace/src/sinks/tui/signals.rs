//! The signals that end the run the way `q` does.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGHUP and SIGINT, caught from when this is made.
pub struct Signals {
    terminate: Signal,
    hangup: Signal,
    // Ctrl-C comes as a key in raw mode; this is `kill -INT`.
    interrupt: Signal,
}

impl Signals {
    /// Starts to catch them.
    pub fn listen() -> Result<Self> {
        let catch = |kind| signal(kind).context("catching signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them. Safe to cancel.
    pub async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
