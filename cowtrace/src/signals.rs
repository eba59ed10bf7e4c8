//! The signals that end a run the way `q` does: what is attached comes off, and the recording is ended.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys;

/// SIGTERM, SIGHUP and SIGINT, caught from when this is made.
pub struct Signals {
    terminate: Signal,
    /// None where it is ignored, as `nohup` has it.
    hangup: Option<Signal>,
    // Ctrl-C comes as a key in raw mode; this is `kill -INT`.
    interrupt: Signal,
}

impl Signals {
    /// Starts to catch them; SIGHUP also where it is ignored if there is nothing to do without a terminal.
    pub fn listen(needs_terminal: bool) -> Result<Self> {
        let catch = |kind| signal(kind).context("catching signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            hangup: if !needs_terminal && sys::is_hangup_ignored() {
                None
            } else {
                Some(catch(SignalKind::hangup())?)
            },
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them. Safe to cancel.
    pub async fn any(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = hangup => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
