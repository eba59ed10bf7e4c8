//! The signals that end a run the way `q` does: what is attached comes off, and the recording is ended.
//!
//! Outside the view a second Ctrl-C ends the process where it is, which may be a write to a terminal that is stopped: the
//! kernel takes off what is attached, and a recording stays good up to its last second, and is never called clean.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context, Result};
use signal_hook::{consts::SIGINT, flag};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys;

/// SIGTERM, SIGHUP and SIGINT, caught from when this is made: before, each ends the process where it is, so it is made
/// when the probes are attached, which the kernel undoes, and in front of what has to be ended well, a recording first.
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
        if !needs_terminal {
            second_interrupt_ends().context("catching signals")?;
        }
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

/// The status of a process that Ctrl-C has ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// From the first SIGINT on the next one exits, from its handler. The order is that of registering.
fn second_interrupt_ends() -> io::Result<()> {
    let one_came = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&one_came))?;
    flag::register(SIGINT, one_came).map(drop)
}
