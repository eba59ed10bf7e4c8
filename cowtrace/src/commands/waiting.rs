//! The command that is to be traced, before it runs: a thread that will start it.
//!
//! A child has the privileges of the thread that forks it. So this thread is there before we give ours up, keeps them
//! until the probes are attached, starts the command, and is gone.

use std::{
    ffi::OsString,
    io,
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
};

use crate::errors;

/// The thread. Dropped, it starts nothing.
pub struct Waiting {
    program: String,
    go: Sender<()>,
    started: Receiver<io::Result<Child>>,
}

impl Waiting {
    /// For a command line, if it has a command.
    pub fn of(line: &[OsString]) -> anyhow::Result<Option<Self>> {
        let Some((program, rest)) = line.split_first() else { return Ok(None) };
        let mut command = Command::new(program);
        command.args(rest);
        let (go, may_go) = mpsc::channel();
        let (tell, started) = mpsc::channel();
        let program = program.to_string_lossy().into_owned();
        let runtime = Handle::current();
        let start = move || {
            let _in_it = runtime.enter();
            if may_go.recv().is_ok() {
                // Who waits for it cannot have gone.
                let _ = tell.send(command.spawn());
            }
        };
        let thread = thread::Builder::new().name("starter".to_owned()).spawn(start);
        thread.map_err(|error| errors::command(&program, &error))?;
        Ok(Some(Self { program, go, started }))
    }

    /// Starts it.
    pub fn start(self) -> anyhow::Result<Child> {
        let gone = || io::Error::other("the thread that was to start it has gone");
        let sent = self.go.send(()).map_err(|_| gone());
        let started = sent.and_then(|()| self.started.recv().map_err(|_| gone())?);
        started.map_err(|error| errors::command(&self.program, &error))
    }
}
